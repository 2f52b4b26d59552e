//! Advice to the kernel about a mapping: `madvise` and `mlock`.

use super::check;
use std::io;

/// Keeps a mapping out of forked children: a child that touches it faults instead of sharing it.
///
/// # Safety
///
/// `address` and `len` are those of a mapping.
pub(crate) unsafe fn dont_fork(address: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: the range is a mapping by the caller's promise; the advice changes no byte of it.
    check(unsafe { libc::madvise(address.cast(), len, libc::MADV_DONTFORK) }).map(drop)
}

/// Maps all pages of a mapping, for reading or for writing.
///
/// # Safety
///
/// `address` and `len` are those of a mapping, which is writable if `write` is set.
pub(crate) unsafe fn populate(address: *mut u8, len: usize, write: bool) -> io::Result<()> {
    let advice = if write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
    // SAFETY: the range is a mapping by the caller's promise; the advice changes no byte of it.
    let populated = check(unsafe { libc::madvise(address.cast(), len, advice) });
    match populated {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            // Linux before 5.14 has no `MADV_POPULATE_*`: `MADV_WILLNEED` at least asks for the
            // pages. SAFETY: as above.
            check(unsafe { libc::madvise(address.cast(), len, libc::MADV_WILLNEED) }).map(drop)
        }
        other => other.map(drop),
    }
}

/// Asks for huge pages: for pages that are mapped later and, from Linux 6.1 on, for pages that are
/// mapped already.
///
/// # Safety
///
/// `address` and `len` are those of a mapping.
pub(crate) unsafe fn ask_for_huge_pages(address: *mut u8, len: usize) {
    for advice in [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE] {
        // SAFETY: the range is a mapping by the caller's promise; the advice changes no byte of it.
        // A hint: a refusal costs speed and nothing else.
        unsafe { libc::madvise(address.cast(), len, advice) };
    }
}
