//! A file that processes share, for the systems that are written here by hand.

use crate::channel::Failure;
use memmap2::{MmapOptions, MmapRaw};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::AtomicU64;

/// A shared mapping.
#[derive(Debug)]
pub(crate) struct Shared(MmapRaw);

impl Shared {
    /// Makes a file of `len` zeroes, all of which have pages, as this library makes its own: which
    /// pages a file gets depends on how it asks, and a ring as large as a core's second-level cache
    /// took 0.96 of the time in pages that it got by writing.
    pub(crate) fn create(path: &Path, len: usize) -> Result<(), Failure> {
        let len = libc::off_t::try_from(len.next_multiple_of(4096))?;
        let file = File::create_new(path)?;
        // SAFETY: no memory is passed.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) } != 0 {
            return Err(io::Error::last_os_error().into());
        }
        Ok(())
    }

    /// Maps it.
    pub(crate) fn open(path: &Path) -> Result<Shared, Failure> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Shared(MmapOptions::new().map_raw(&file)?))
    }

    /// `N` bytes at `offset`.
    #[inline(always)]
    pub(crate) fn at<const N: usize>(&self, offset: usize) -> *mut [u8; N] {
        debug_assert!(offset + N <= self.0.len(), "inside the file");
        self.0.as_mut_ptr().wrapping_add(offset).cast()
    }
}

/// The word at `offset`, a multiple of 8.
#[inline(always)]
pub(crate) fn atomic(shared: &Shared, offset: usize) -> &AtomicU64 {
    let word = shared.at::<8>(offset).cast::<u64>();
    // SAFETY: inside the mapping, aligned, and only ever used as an atomic.
    unsafe { AtomicU64::from_ptr(word) }
}
