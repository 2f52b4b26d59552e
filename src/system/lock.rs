//! Open-file-description locks on single bytes of a file.

use super::check;
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
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

/// True if some *other* open file description has the byte locked for writing, as no process can
/// that may only read the file. Needs no write access.
pub(crate) fn is_locked(file: &File, offset: u64) -> io::Result<bool> {
    let lock = lock_operation(file, libc::F_OFD_GETLK, libc::F_WRLCK, offset, 1)?;
    Ok(i32::from(lock.l_type) == libc::F_WRLCK)
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

/// The bytes of a file that open file descriptions have locked for writing, as the kernel tells any
/// process that may not open the file.
pub(crate) fn locked_bytes(device: u64, inode: u64) -> io::Result<Vec<RangeInclusive<u64>>> {
    let locks = std::fs::read_to_string("/proc/locks")?;
    let file = format!("{:02x}:{:02x}:{inode}", libc::major(device), libc::minor(device));
    Ok(locks.lines().filter_map(|line| locked_range(line, &file)).collect())
}

/// The range of one line of `/proc/locks`, if it is a lock for writing on the file. The line of a
/// process that waits has an arrow behind its number.
fn locked_range(line: &str, file: &str) -> Option<RangeInclusive<u64>> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, "OFDLCK", _, "WRITE", _, of, first, last] = fields[..] else { return None };
    let range = first.parse().ok()?..=last.parse().unwrap_or(u64::MAX);
    (of == file).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_tells_the_locks_for_writing() {
        let range = |line| locked_range(line, "00:1a:77");
        assert_eq!(range("1: OFDLCK ADVISORY  WRITE -1 00:1a:77 5 6"), Some(5..=6));
        assert_eq!(range("1: OFDLCK ADVISORY  WRITE -1 00:1a:77 5 EOF"), Some(5..=u64::MAX));
        for other in [
            "1: OFDLCK ADVISORY  READ -1 00:1a:77 5 6",
            "1: OFDLCK ADVISORY  WRITE -1 00:1a:78 5 6",
            "1: FLOCK  ADVISORY  WRITE 12 00:1a:77 0 EOF",
            "1: POSIX  ADVISORY  WRITE 12 00:1a:77 5 6",
            "1: -> OFDLCK ADVISORY  WRITE -1 00:1a:77 5 6",
        ] {
            assert_eq!(range(other), None, "{other}");
        }
    }
}
