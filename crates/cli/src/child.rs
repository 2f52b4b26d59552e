//! The command that works on a message: fed, watched, and ended with its worker.

use crate::output;
use crate::signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use slipring::Delivery;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

/// The time for which a command that was told to end may go on.
const GRACE: Duration = Duration::from_secs(5);
/// How often a command is looked at where the kernel does not say that it has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Bytes of a line that are kept for the note, at most.
const NOTE_MAX: usize = 512;

/// How a command ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself, or by a signal.
    Exited(ExitStatus),
    /// Told to end, since the command ran longer than it may.
    RanTooLong,
    /// Told to end, since another worker has the message.
    LeaseLost,
}

/// A command that runs for a delivery.
pub(crate) struct Running {
    child: Child,
    group: Pid,
    stdin: Option<ChildStdin>,
    stderr: Option<File>,
    /// Readable once the command has ended.
    ended: Option<OwnedFd>,
    note: LastLine,
    /// Why it was told to end, and when it is killed.
    told: Option<(End, Instant)>,
    is_reaped: bool,
}

impl Running {
    /// Runs the command in a shell, in a process group of its own.
    pub(crate) fn begin(command: &str, delivery: &Delivery<'_>) -> io::Result<Running> {
        let parent = rustix::process::getpid();
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", command])
            .env("SLIPRING_ID", delivery.id().to_string())
            .env("SLIPRING_POSITION", delivery.position().to_string())
            .env("SLIPRING_KIND", delivery.kind().to_string())
            .env("SLIPRING_ATTEMPT", delivery.attempt().to_string())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        tell_if_it_may_outlive_its_worker();
        // SAFETY: between fork and exec it makes two system calls, and allocates nothing.
        unsafe { shell.pre_exec(move || end_with(parent)) };
        let mut child = shell.spawn()?;
        let group = Pid::from_child(&child);
        let stdin = child.stdin.take();
        let stderr = child.stderr.take().map(|stderr| File::from(OwnedFd::from(stderr)));
        let mut running = Running {
            child,
            group,
            stdin,
            stderr,
            ended: pidfd_open(group, PidfdFlags::empty()).ok(),
            note: LastLine::default(),
            told: None,
            is_reaped: false,
        };
        running.do_not_block()?;
        Ok(running)
    }

    fn do_not_block(&mut self) -> io::Result<()> {
        use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
        let set = |fd: rustix::fd::BorrowedFd<'_>| fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK);
        self.stdin.as_ref().map_or(Ok(()), |stdin| set(stdin.as_fd()))?;
        Ok(self.stderr.as_ref().map_or(Ok(()), |stderr| set(stderr.as_fd()))?)
    }

    /// Feeds it the message, and extends the lease while it runs, for as long as it may.
    pub(crate) fn watch(
        mut self,
        delivery: &mut Delivery<'_>,
        ack_wait: Duration,
        max_run: Option<Duration>,
    ) -> io::Result<(End, String)> {
        let began = Instant::now();
        let (mut sent, mut extended, mut is_told_of_signal) = (0, began, false);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return self.end(status);
            }
            self.wait_a_little(ack_wait)?;
            self.feed(delivery, &mut sent)?;
            self.relay()?;
            if signals::interrupted() && !is_told_of_signal {
                is_told_of_signal = true;
                self.signal(Signal::TERM);
            }
            if max_run.is_some_and(|limit| began.elapsed() >= limit) {
                self.tell_to_end(End::RanTooLong);
            }
            if extended.elapsed() >= ack_wait / 3 {
                extended = Instant::now();
                if delivery.extend().is_err() {
                    self.tell_to_end(End::LeaseLost);
                }
            }
            if self.told.as_ref().is_some_and(|(_, killed)| Instant::now() >= *killed) {
                self.signal(Signal::KILL);
            }
        }
    }

    /// Until something can be read, written or known, or a slice is over.
    fn wait_a_little(&self, ack_wait: Duration) -> io::Result<()> {
        let longest = if self.ended.is_some() { signals::SLICE } else { LOOK };
        let nanos = longest.min(ack_wait / 8).subsec_nanos();
        let mut fds = Vec::with_capacity(3);
        fds.extend(self.stdin.as_ref().map(|stdin| PollFd::new(stdin, PollFlags::OUT)));
        fds.extend(self.stderr.as_ref().map(|stderr| PollFd::new(stderr, PollFlags::IN)));
        fds.extend(self.ended.as_ref().map(|ended| PollFd::new(ended, PollFlags::IN)));
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: nanos.into() })) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn feed(&mut self, message: &[u8], sent: &mut usize) -> io::Result<()> {
        while let Some(stdin) = &mut self.stdin {
            match stdin.write(&message[*sent..]) {
                Ok(count) => *sent += count,
                Err(error) if is_later(&error) => return Ok(()),
                // A command need not read what it is given.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => *sent = message.len(),
                Err(error) => return Err(error),
            }
            if *sent == message.len() {
                self.stdin = None;
            }
        }
        Ok(())
    }

    /// Passes its standard error on, and keeps the last line.
    fn relay(&mut self) -> io::Result<()> {
        while let Some(stderr) = &mut self.stderr {
            let mut buffer = [0; 4096];
            match stderr.read(&mut buffer) {
                Ok(0) => self.stderr = None,
                Ok(count) => {
                    self.note.add(&buffer[..count]);
                    drop(io::stderr().write_all(&buffer[..count]));
                }
                Err(error) if is_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        // The command may have ended meanwhile.
        let _ = kill_process_group(self.group, signal);
    }

    fn tell_to_end(&mut self, why: End) {
        if self.told.is_none() {
            self.told = Some((why, Instant::now() + GRACE));
            self.signal(Signal::TERM);
        }
    }

    fn end(mut self, status: ExitStatus) -> io::Result<(End, String)> {
        self.is_reaped = true;
        self.relay()?;
        let told = self.told.take().map(|(why, _)| why);
        if told.is_some() {
            // The rest of its process group was to end with it.
            self.signal(Signal::KILL);
        }
        Ok((told.unwrap_or(End::Exited(status)), self.note.text()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_reaped {
            self.signal(Signal::KILL);
            drop(self.child.wait());
        }
    }
}

/// In the child: asks the kernel to end it when the thread of the worker ends that began it.
fn end_with(parent: Pid) -> io::Result<()> {
    // A sandbox may refuse it: the lease ends with the worker all the same.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    match rustix::process::getppid() {
        Some(now) if now == parent => Ok(()),
        // The parent ended before the kernel was asked.
        _ => Err(io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error())),
    }
}

/// Says once that the kernel would not end a command with its worker.
fn tell_if_it_may_outlive_its_worker() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        if rustix::process::parent_process_death_signal().is_err() {
            output::note("a sandbox refuses prctl: a command goes on when its worker is killed");
        }
    });
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The last line of a text that is not empty.
#[derive(Debug, Default)]
struct LastLine {
    line: Vec<u8>,
    /// The line has ended, so that the next byte begins another.
    is_over: bool,
}

impl LastLine {
    fn add(&mut self, text: &[u8]) {
        for byte in text {
            match byte {
                b'\n' | b'\r' => self.is_over = true,
                _ => {
                    if std::mem::take(&mut self.is_over) {
                        self.line.clear();
                    }
                    if self.line.len() < NOTE_MAX {
                        self.line.push(*byte);
                    }
                }
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.line).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_one_that_says_something() {
        let mut last = LastLine::default();
        for text in ["one\ntw", "o\n", "\r\n\n"] {
            last.add(text.as_bytes());
        }
        assert_eq!(last.text(), "two");
        last.add(&[b'x'; 3 * NOTE_MAX]);
        assert_eq!(last.text().len(), NOTE_MAX);
    }
}
