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
