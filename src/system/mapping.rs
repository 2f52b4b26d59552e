//! A part of a file, mapped and shared.

use super::check;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;

/// The size of a huge page. The kernel maps one where address and offset in the file agree modulo
/// this size.
const HUGE_PAGE: usize = 2 << 20;
/// The largest plain page of the supported targets.
const LARGEST_PAGE: usize = 64 << 10;

/// A mapping, unmapped when it is dropped.
///
/// # Invariants
///
/// `len` bytes from `address` on are mapped, and belong to this value alone.
#[derive(Debug)]
pub(crate) struct Mapping {
    address: *mut u8,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes of a file from `offset` on, a multiple of the page size; with `huge`, at an
    /// address at which the kernel can map huge pages.
    ///
    /// Rust's crates for mappings leave the address to the kernel, which cares for huge pages only
    /// where a setting of the system asks for them.
    pub(crate) fn shared(
        file: &File,
        offset: u64,
        len: usize,
        write: bool,
        huge: bool,
    ) -> io::Result<Mapping> {
        let file_offset =
            libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
        let protection = if write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // A refusal costs the huge pages and nothing else.
        let place = huge.then(|| Mapping::reserve(file_offset, len)).flatten();
        let (address, fixed) =
            place.as_ref().map_or((null_mut(), 0), |place| (place.address, libc::MAP_FIXED));
        let flags = libc::MAP_SHARED | fixed;
        // SAFETY: a fixed address is that of a reservation of at least `len` bytes, which no other
        // code uses; elsewhere the kernel chooses an address at which nothing is mapped.
        let mapped = unsafe { map(address, len, protection, flags, file.as_raw_fd(), file_offset) }?;
        // The file has taken the place of the reservation.
        std::mem::forget(place);
        Ok(Mapping { address: mapped, len })
    }

    /// Reserves `len` bytes at an address that agrees with `offset` modulo the huge page.
    fn reserve(offset: libc::off_t, len: usize) -> Option<Mapping> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // A whole number of pages, also where they have 64 KiB.
        let len = len.checked_next_multiple_of(LARGEST_PAGE)?;
        let all = len.checked_add(HUGE_PAGE)?;
        // SAFETY: the kernel chooses an address at which nothing is mapped.
        let address = unsafe { map(null_mut(), all, libc::PROT_NONE, flags, -1, 0) }.ok()?;
        let before = usize::try_from(offset).ok()?.wrapping_sub(address.addr()) % HUGE_PAGE;
        let start = address.wrapping_add(before);
        // Given back as they are dropped: the parts before and behind.
        drop(Mapping { address, len: before });
        drop(Mapping { address: start.wrapping_add(len), len: all - before - len });
        Some(Mapping { address: start, len })
    }

    pub(crate) fn as_mut_ptr(&self) -> *mut u8 {
        self.address
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Keeps every page in memory for as long as the mapping lives.
    pub(crate) fn lock(&self) -> io::Result<()> {
        // SAFETY: by the invariant, the range is mapped; locking changes no byte of it.
        check(unsafe { libc::mlock(self.address.cast(), self.len) }).map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: by the invariant, the range is this value's own.
            unsafe { libc::munmap(self.address.cast(), self.len) };
        }
    }
}

/// # Safety
///
/// With `MAP_FIXED` in `flags`, no other code uses the range.
unsafe fn map(
    address: *mut u8,
    len: usize,
    protection: libc::c_int,
    flags: libc::c_int,
    descriptor: libc::c_int,
    offset: libc::off_t,
) -> io::Result<*mut u8> {
    // SAFETY: the caller's promise; without it the kernel replaces no mapping.
    let mapped = unsafe { libc::mmap(address.cast(), len, protection, flags, descriptor, offset) };
    if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(mapped.cast()) }
}
