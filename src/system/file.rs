//! Opening, creating and naming files, and reserving their space.

use super::{Refusal, check};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

pub(super) fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// Opens an existing file without following a symlink, without waiting for the other end of a FIFO
/// or for the holder of a lease, and without making a terminal this process's controlling one.
pub(crate) fn open(path: &Path, write: bool) -> io::Result<File> {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    match opened {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, LEASED))
        }
        other => other,
    }
}

/// The kernel has asked the holder for it.
const LEASED: &str = "its owner, or a file server, has a lease on it (F_SETLEASE), and has not given it up yet; \
                      try again: the kernel takes it back within /proc/sys/fs/lease-break-time seconds";

/// Creates a new file; fails if the name is taken, be it by a dangling symlink.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
        .open(path)
}

/// Creates a file without a name in `directory`: if this process dies, nothing is left of it.
pub(crate) fn create_unnamed(directory: &Path) -> io::Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_CLOEXEC | libc::O_TMPFILE)
        .open(directory)
}

/// True if the error of [`create_unnamed`] says that the filesystem has no files without a name.
pub(crate) fn lacks_unnamed_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL | libc::ENOSYS))
}

/// Gives a file without a name its name, unless that is taken.
pub(crate) fn link_unnamed(file: &File, path: &Path) -> io::Result<()> {
    let source = c_path(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))?;
    let target = c_path(path)?;
    // SAFETY: both strings are NUL-terminated and outlive the call.
    check(unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            source.as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    })
    .map(drop)
}

/// Gives `from` the name `to` unless `to` exists. Falls back to a hard link where the filesystem
/// cannot rename without replacing.
pub(crate) fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    let (c_from, c_to) = (c_path(from)?, c_path(to)?);
    // SAFETY: both strings are NUL-terminated and outlive the call.
    let renamed = check(unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            c_from.as_ptr(),
            libc::AT_FDCWD,
            c_to.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    });
    match renamed {
        // Neither does every filesystem have the call, nor every sandbox let it through.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        other => other.map(drop),
    }
}

/// Reserves `len` bytes for the file, so that no later store can fail for want of space.
pub(crate) fn reserve(file: &File, len: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    let (mut at, mut part) = (0, len);
    while at < len {
        // SAFETY: no memory is passed.
        let result = check(unsafe { libc::fallocate(file.as_raw_fd(), 0, at, part.min(len - at)) });
        match result {
            Ok(_) => at += part.min(len - at),
            // A tmpfs gives up what it has reserved when a signal interrupts it. Under a timer, a
            // long call would never end.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => part = (part / 2).max(PART_MIN),
            // Older filesystems have no such call, and a sandbox may refuse it.
            Err(error) if Refusal::of(&error).is_none() => return write_zeros(file, len.unsigned_abs()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The fewest bytes that are reserved at a time: some microseconds of work.
const PART_MIN: libc::off_t = 1 << 16;

/// Writes all of the file, so that every page of it has its place.
fn write_zeros(file: &File, len: u64) -> io::Result<()> {
    const PART: u64 = 1 << 20;
    let zeros = vec![0; usize::try_from(PART.min(len)).unwrap_or(0)];
    let mut at = 0;
    while at < len {
        let part = usize::try_from(PART.min(len - at)).unwrap_or(0);
        file.write_all_at(&zeros[..part], at)?;
        at += part as u64;
    }
    // Some filesystems decide about the place when the page goes to the disk.
    file.sync_data()
}

/// True if a file without a name can be given one.
pub(crate) fn can_link_unnamed(file: &File) -> bool {
    std::fs::metadata(format!("/proc/self/fd/{}", file.as_raw_fd())).is_ok()
}
