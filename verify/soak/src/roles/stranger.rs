//! A process of another user, with the right to read and not to write: it holds every lock that it
//! can get on every file that it can open, and reads. The others must not notice.

use crate::board::{Entry, Global};
use crate::cast::{Cast, Wrong};
use crate::message::{Stream, verify};
use slipring::{Observer, RecvError, Ring, Start};
use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// True if this process may become another user.
pub(crate) fn can_be() -> bool {
    // SAFETY: takes nothing.
    unsafe { libc::geteuid() == 0 }
}

/// Becomes a user that owns nothing.
fn become_another(cast: &Cast) {
    let nobody = kit::NOBODY;
    let check = |what: &str, result: libc::c_int| {
        if result != 0 {
            cast.fail(Wrong::Failed, format_args!("{what}: {}", std::io::Error::last_os_error()));
        }
    };
    // SAFETY: no group is passed.
    check("setgroups", unsafe { libc::setgroups(0, std::ptr::null()) });
    // SAFETY: takes numbers.
    check("setresgid", unsafe { libc::setresgid(nobody, nobody, nobody) });
    // SAFETY: takes numbers.
    check("setresuid", unsafe { libc::setresuid(nobody, nobody, nobody) });
    // The kernel forgets this when the user changes.
    // SAFETY: no memory is passed.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Reads and locks until the work is done.
pub(crate) fn stay(cast: &Cast) {
    become_another(cast);
    cast.arrived();
    let mut dice = cast.dice();
    // By inode: a file that was replaced is another one.
    let mut held: HashMap<u64, File> = HashMap::new();
    while !cast.board.is_set(Global::WorkDone) {
        let entries = std::fs::read_dir(&cast.dir).into_iter().flatten().filter_map(Result::ok);
        for entry in entries {
            hold(cast, &entry.path(), &mut held);
        }
        // Those that are gone are let go.
        held.retain(|_, file| file.metadata().is_ok_and(|file| file.nlink() > 0));
        let stream = dice.pick(&[Stream::Broadcast, Stream::Groups, Stream::Fleeting]);
        look(cast, stream, Duration::from_millis(dice.roll(200)));
    }
}

/// Opens a file, if that is allowed, and takes every lock on it that it can have.
fn hold(cast: &Cast, path: &Path, held: &mut HashMap<u64, File>) {
    if path.is_dir() {
        return;
    }
    if File::options().write(true).open(path).is_ok() {
        cast.fail(Wrong::Failed, format_args!("{}: another user may write it", path.display()));
    }
    match File::open(path) {
        Ok(_) if path.extension().is_some_and(|end| end == "locks") => {
            cast.fail(Wrong::Failed, format_args!("{}: another user may open it", path.display()))
        }
        Ok(file) => {
            let Ok(inode) = file.metadata().map(|file| file.ino()) else { return };
            held.entry(inode).or_insert_with(|| {
                lock(&file);
                file
            });
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => cast.count(Entry::Refused, 1),
        // It went meanwhile.
        Err(_) => {}
    }
}

fn lock(file: &File) {
    let whole = libc::flock {
        l_type: libc::F_RDLCK.try_into().unwrap_or(0),
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    for command in [libc::F_OFD_SETLK, libc::F_SETLK] {
        // SAFETY: the structure lives across the call.
        unsafe { libc::fcntl(file.as_raw_fd(), command, &raw const whole) };
    }
    // SAFETY: takes numbers.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
}

/// Observes a ring for a while, and looks at its tables.
fn look(cast: &Cast, stream: Stream, time: Duration) {
    let (path, start) = (cast.ring(stream), Instant::now());
    // Nothing is there between two files of the fleeting ring.
    let Ok(mut observer) = Observer::<[u8]>::attach(&path, Start::Earliest) else { return };
    while start.elapsed() < time {
        match observer.recv_timeout(time) {
            Ok(message) => {
                let (position, kind) = (message.position(), message.kind());
                // Messages of the groups may be redriven, and files of the fleeting ring be cut
                // short.
                if stream == Stream::Broadcast && verify(&message, kind, stream, position).is_none() {
                    cast.fail(Wrong::Corrupt, format_args!("at position {position}, kind {kind}"));
                }
                cast.count(Entry::Messages, 1);
            }
            Err(RecvError::Lagged { missed }) => cast.count(Entry::Missed, missed),
            Err(RecvError::TimedOut(_)) => {}
            // Closed at the end; the fleeting ring's file goes.
            Err(_) => break,
        }
    }
    let Ok(ring) = Ring::open(&path) else { return };
    let (_, _, _) = (ring.consumers(), ring.groups(), ring.events());
}
