//! Input that a signal ends, also while nothing comes.

use crate::signals;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A file, or standard input.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
}

impl Source {
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Source> {
        let file = match path {
            None => {
                let stdin: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
                File::from(stdin)
            }
            Some(path) => open(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: cannot be read: {error}", path.display()))
            })?,
        };
        Ok(Source { file })
    }

    /// Whether there is input that was not read. Of a file at its end, too.
    pub(crate) fn has_more(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok()
            && fds[0].revents().contains(PollFlags::IN)
    }

    /// How much was read; 0 at the end, None after a signal.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let slice = Timespec { tv_sec: 0, tv_nsec: i64::from(signals::SLICE.subsec_nanos()) };
        loop {
            if signals::interrupted() {
                return Ok(None);
            }
            match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&slice)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(Some),
            }
        }
    }
}

/// Opens a file. Of a FIFO without a writer, too: the wait for one is that of the reads, which a
/// signal ends.
fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    // The reads wait by `poll`, and go by files that block.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// For readers of the standard library, to which a signal is an error.
impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Source::read(self, buffer)?.ok_or_else(|| io::Error::other("interrupted"))
    }
}
