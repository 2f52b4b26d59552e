//! Refusals of the kernel that `std::io::ErrorKind` does not tell apart.

use std::io;

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The last part of the path is a symbolic link.
    Symlink,
    /// The path is a socket, or a device without a driver.
    NoFile,
    /// The filesystem, the process or the user may not have so many bytes.
    NoSpace,
}

impl Refusal {
    pub(crate) fn of(error: &io::Error) -> Option<Refusal> {
        match error.raw_os_error()? {
            libc::ELOOP => Some(Refusal::Symlink),
            libc::ENXIO | libc::ENODEV => Some(Refusal::NoFile),
            libc::ENOSPC | libc::EFBIG | libc::EDQUOT => Some(Refusal::NoSpace),
            _ => None,
        }
    }
}

/// The way out of a refusal that names a limit of the process or of the system; empty for others.
pub(crate) fn way_out(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => {
            "; this process has as many files open as it may: raise `ulimit -n`, or drop handles"
        }
        Some(libc::ENFILE) => "; the system has as many files open as it may: raise fs.file-max",
        Some(libc::ENOLCK) => {
            "; the kernel has no memory for locks, or the filesystem has no locks: use /dev/shm"
        }
        Some(libc::EAGAIN) => {
            "; this process may lock no more memory, and has asked for all that it maps (`mlockall`): \
             raise `ulimit -l`, or open the ring before that call"
        }
        Some(libc::ENOMEM) => {
            "; this process has no more address space or memory: raise `ulimit -v`, or its memory limit"
        }
        _ => "",
    }
}
