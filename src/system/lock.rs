//! Open-file-description locks on single bytes of a file.

use super::check;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Takes an open-file-description write lock on one byte. `Ok(false)` if another open file
/// description has it.
pub(crate) fn try_lock(file: &File, offset: u64) -> io::Result<bool> {
    match lock_operation(file, libc::F_OFD_SETLK, libc::F_WRLCK, offset, 1) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives a byte back.
pub(crate) fn unlock(file: &File, offset: u64) -> io::Result<()> {
    lock_operation(file, libc::F_OFD_SETLK, libc::F_UNLCK, offset, 1).map(drop)
}

/// Gives every byte from `offset` on back.
pub(crate) fn unlock_from(file: &File, offset: u64) -> io::Result<()> {
    lock_operation(file, libc::F_OFD_SETLK, libc::F_UNLCK, offset, 0).map(drop)
}

/// True if some *other* open file description has the byte locked. Needs no write access.
pub(crate) fn is_locked(file: &File, offset: u64) -> io::Result<bool> {
    let lock = lock_operation(file, libc::F_OFD_GETLK, libc::F_WRLCK, offset, 1)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

fn lock_operation(
    file: &File,
    command: libc::c_int,
    kind: libc::c_int,
    offset: u64,
    len: libc::off_t,
) -> io::Result<libc::flock> {
    // SAFETY: `flock` is plain integers; OFD locks demand that the unused `l_pid` is zero.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    #[expect(clippy::cast_possible_truncation, reason = "the constants are 0, 1 and 2")]
    {
        lock.l_type = kind as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
    }
    lock.l_start = libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    lock.l_len = len;
    loop {
        // SAFETY: the pointer is to a `flock` that lives across the call.
        let result = check(unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|_| lock),
        }
    }
}
