//! The memory a ring lives in: two mapped segments of a file, or heap memory of the same shape.
//!
//! Offsets become pointers here and nowhere else.

pub(crate) mod clock;
pub(crate) mod pages;
pub(crate) mod rights;

pub(crate) use crate::system::fork::State;
use crate::system::fork::{HoleFilled, Window};
use crate::system::{self, FutexWord, Mapping};
use slipring_core::format::{Block, Geometry, Run, to_usize};
use slipring_core::memory::{BlockWriter, Futex, Memory, Segment, Word};
use std::alloc;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How much of a ring a party may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Both segments: the producer, and the creator.
    Everything,
    /// The readers' segment: consumers and workers. A consumer's wild write into a message faults
    /// in the consumer.
    Readers,
    /// Nothing: observers and [`Ring`](crate::Ring).
    Nothing,
}

/// The origin of a segment's bytes, kept alive for as long as a pointer to them exists.
#[derive(Debug)]
enum Backing {
    /// Two segments, the producer's first; or the whole file, for a party that may write neither.
    Mapped {
        first: ManuallyDrop<Mapped>,
        second: Option<ManuallyDrop<Mapped>>,
    },
    Heap {
        start: *mut u8,
        layout: alloc::Layout,
    },
}

/// One mapped segment, kept out of forked children.
#[derive(Debug)]
struct Mapped {
    // Dropped first: the fork handler must not fill a range that is unmapped.
    hole: HoleFilled,
    map: Mapping,
}

// SAFETY: the pointer is the sole owner of its allocation, which is shared by atomics and by blocks
// that the protocol keeps exclusive, as a mapping between processes is.
unsafe impl Send for Backing {}
// SAFETY: as above.
unsafe impl Sync for Backing {}

impl Drop for Backing {
    fn drop(&mut self) {
        match self {
            Backing::Heap { start, layout } => {
                // SAFETY: allocated with this layout in `Region::heap`, freed once, here.
                unsafe { alloc::dealloc(*start, *layout) };
            }
            Backing::Mapped { first, second } => {
                let _window = Window::open();
                for segment in [Some(first), second.as_mut()].into_iter().flatten() {
                    // In a forked child another mapping may have the address: it stays.
                    if !segment.hole.is_foreign() {
                        // SAFETY: dropped once, here.
                        unsafe { ManuallyDrop::drop(segment) };
                    }
                }
            }
        }
    }
}

/// A ring's two segments.
///
/// # Invariants
///
/// `producer` and `readers` point to the segments that `geometry` plans, mapped or allocated for as
/// long as `backing` lives, the producer's writable only if this region was made with
/// [`Access::Everything`]. Every [`Word`] comes from `geometry` or from a constant of the layout,
/// and so lies inside its segment.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    producer: *mut u8,
    readers: *mut u8,
    geometry: Geometry,
    /// True if this process's light fences are compiler barriers, because `membarrier` interrupts
    /// it.
    interruptible: bool,
    backing: Arc<Backing>,
}

// SAFETY: shared by atomics and by blocks that the protocol keeps exclusive.
unsafe impl Send for Region {}
// SAFETY: as above: every safe method makes atomic accesses or none.
unsafe impl Sync for Region {}

impl Region {
    /// Maps the two segments of a file whose length was checked against `geometry`, so that the
    /// kernel can give huge pages, if `huge` says so.
    pub(crate) fn map(file: &File, geometry: &Geometry, access: Access, huge: bool) -> io::Result<Region> {
        let _window = Window::open();
        let map = |offset, len, write| segment(file, offset, len, write, huge);
        let offset = geometry.producer_segment_len();
        let (first, second) = match access {
            Access::Nothing => (map(0, geometry.file_len(), false)?, None),
            Access::Readers | Access::Everything => {
                let producer = map(0, offset, access == Access::Everything)?;
                (producer, Some(map(offset, geometry.readers_segment_len(), true)?))
            }
        };
        let producer = first.map.as_mut_ptr();
        let readers = match &second {
            Some(second) => second.map.as_mut_ptr(),
            // SAFETY: the readers' segment begins inside the file, which is mapped as a whole.
            None => unsafe { producer.add(usize::try_from(offset).unwrap_or(0)) },
        };
        let (first, second) = (ManuallyDrop::new(first), second.map(ManuallyDrop::new));
        Ok(Region {
            producer,
            readers,
            geometry: *geometry,
            interruptible: system::membarrier_registered(),
            backing: Arc::new(Backing::Mapped { first, second }),
        })
    }

    /// Allocates the two segments, zeroed.
    pub(crate) fn heap(geometry: &Geometry) -> io::Result<Region> {
        Region::heap_filled(geometry, |_| ())
    }

    /// Allocates the two segments, which `fill` gets as one run of zeros, as they lie in a file.
    pub(crate) fn heap_filled(geometry: &Geometry, fill: impl FnOnce(&mut [u8])) -> io::Result<Region> {
        let out_of_memory = || io::Error::from(io::ErrorKind::OutOfMemory);
        let len = usize::try_from(geometry.file_len()).map_err(|_| out_of_memory())?;
        let layout = alloc::Layout::from_size_align(len, 4096).map_err(|_| out_of_memory())?;
        // SAFETY: the layout is not empty: a ring has at least a header.
        let start = unsafe { alloc::alloc_zeroed(layout) };
        if start.is_null() {
            return Err(out_of_memory());
        }
        let offset = usize::try_from(geometry.producer_segment_len()).map_err(|_| out_of_memory())?;
        // SAFETY: so many zeroed bytes, which no other party knows of yet.
        fill(unsafe { std::slice::from_raw_parts_mut(start, len) });
        Ok(Region {
            producer: start,
            // SAFETY: the readers' segment begins inside the allocation.
            readers: unsafe { start.add(offset) },
            geometry: *geometry,
            interruptible: system::membarrier_registered(),
            backing: Arc::new(Backing::Heap { start, layout }),
        })
    }

    fn mapped(&self) -> impl Iterator<Item = &Mapped> {
        let mapped = match &*self.backing {
            Backing::Mapped { first, second } => [Some(&**first), second.as_deref()],
            Backing::Heap { .. } => [None, None],
        };
        mapped.into_iter().flatten()
    }

    /// The mappings, the producer's segment first; a region on the heap has none.
    fn maps(&self) -> impl Iterator<Item = &Mapping> {
        self.mapped().map(|mapped| &mapped.map)
    }

    /// Asks for huge pages; the kernel may ignore it.
    pub(crate) fn ask_for_huge_pages(&self) {
        for map in self.maps() {
            // SAFETY: the range is the mapping.
            unsafe { system::ask_for_huge_pages(map.as_mut_ptr(), map.len()) };
        }
    }

    /// Maps every page, for writing where `access` lets this party write.
    pub(crate) fn populate(&self, access: Access) -> io::Result<()> {
        let writes = [access == Access::Everything, access != Access::Nothing];
        self.maps().zip(writes).try_for_each(|(map, write)| {
            // SAFETY: the range is the mapping, which was made for writing if `write` says so.
            unsafe { system::populate(map.as_mut_ptr(), map.len(), write) }
        })
    }

    /// Keeps every page in memory for as long as the mapping lives.
    pub(crate) fn lock_pages(&self) -> io::Result<()> {
        self.maps().try_for_each(Mapping::lock)
    }

    /// Whether the memory is still the ring.
    #[cold]
    pub(crate) fn state(&self) -> State {
        let mut states = self.mapped().map(|mapped| mapped.hole.state());
        states.find(|state| *state != State::Whole).unwrap_or(State::Whole)
    }

    /// True if the low half of a word is still `expected`.
    fn is_unchanged(&self, word: Word, expected: u32) -> bool {
        self.load(word, Ordering::Relaxed) & u64::from(u32::MAX) == u64::from(expected)
    }

    /// The address of a word's low half, for a futex.
    fn futex_address(&self, word: Word) -> *const u32 {
        self.address(word).cast::<u32>()
    }

    #[inline(always)]
    fn address(&self, word: Word) -> *const u64 {
        debug_assert!(word.offset % 8 == 0);
        let base = match word.segment {
            Segment::Producer => self.producer,
            Segment::Readers => self.readers,
        };
        // SAFETY: by the invariant of `Region`, the word lies inside its segment.
        unsafe { base.add(to_usize(word.offset)).cast::<u64>() }
    }

    #[inline(always)]
    fn atomic(&self, word: Word) -> &AtomicU64 {
        // SAFETY: mapped and aligned by the invariants of `Region` and of the layout, and accessed
        // by every party as an atomic of this size. (On read-only pages only relaxed loads are
        // made.)
        unsafe { AtomicU64::from_ptr(self.address(word).cast_mut()) }
    }

    #[inline(always)]
    fn block_pointer(&self, block: Block) -> *mut u8 {
        debug_assert!(self.geometry.slots().has(block));
        // SAFETY: by the invariants of `Geometry` and `Block`, the block lies inside.
        unsafe { self.producer.add(offset(block)) }
    }

    /// Whole blocks that lie behind each other.
    ///
    /// # Safety
    ///
    /// The blocks are of this region's geometry, and until the returned reference is gone, no party
    /// writes them.
    #[inline(always)]
    pub(crate) unsafe fn read_run(&self, run: Run) -> &[u8] {
        let start = self.block_pointer(run.first());
        // SAFETY: so many mapped blocks without a gap; the caller promises that no party writes
        // them.
        unsafe { std::slice::from_raw_parts(start, self.block_len() * blocks(run)) }
    }

    #[inline(always)]
    pub(crate) fn block_len(&self) -> usize {
        to_usize(self.geometry.block_size())
    }
}

fn segment(file: &File, offset: u64, len: u64, write: bool, huge: bool) -> io::Result<Mapped> {
    let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let map = Mapping::shared(file, offset, len, write, huge)?;
    // SAFETY: the range is the mapping just made.
    unsafe { system::dont_fork(map.as_mut_ptr(), map.len()) }?;
    Ok(Mapped { hole: HoleFilled::new(map.as_mut_ptr(), map.len()), map })
}

/// Address and geometry of a ring's blocks, copied out of a [`Region`] for loops over many blocks:
/// after a raw store into the ring, the compiler must assume that fields behind a reference
/// changed, and would reload them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    segment: *mut u8,
    len: usize,
}

// SAFETY: an address and a length; the unsafe methods name the caller's promises.
unsafe impl Send for Blocks {}
// SAFETY: as above.
unsafe impl Sync for Blocks {}

impl Blocks {
    /// A whole block.
    ///
    /// # Safety
    ///
    /// The block is of the geometry of the region that this comes from. For as long as the
    /// reference lives, that region lives and is mapped for writing, and no other party reads the
    /// block in place or writes it.
    #[inline(always)]
    pub(crate) unsafe fn bytes_mut<'a>(self, block: Block) -> &'a mut [u8] {
        // SAFETY: the block is the region's, so that it lies inside.
        let start = unsafe { self.segment.add(offset(block)) };
        // SAFETY: the block is `self.len` mapped bytes; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(start, self.len) }
    }

    /// Whole blocks that lie behind each other.
    ///
    /// # Safety
    ///
    /// As of [`bytes_mut`](Self::bytes_mut), for each of them.
    #[inline(always)]
    pub(crate) unsafe fn run_mut<'a>(self, run: Run) -> &'a mut [u8] {
        // SAFETY: the blocks are the region's, so that they lie inside.
        let start = unsafe { self.segment.add(offset(run.first())) };
        // SAFETY: so many blocks of `self.len` mapped bytes, without a gap; the rest is the
        // caller's promise.
        unsafe { std::slice::from_raw_parts_mut(start, self.len * blocks(run)) }
    }

    /// Asks for the line of a word of a slot, ahead of writing it.
    #[inline(always)]
    pub(crate) fn prefetch_word(self, word: Word) {
        debug_assert!(word.segment == Segment::Producer);
        prefetch_for_writing(self.segment.wrapping_add(to_usize(word.offset)));
    }

    /// Asks for the line so many bytes behind where a block begins, ahead of writing it.
    #[inline(always)]
    pub(crate) fn prefetch(self, block: Block, ahead: usize) {
        prefetch_for_writing(self.segment.wrapping_add(offset(block)).wrapping_add(ahead));
    }
}

// SAFETY: the word is accessed as an `AtomicU64` at its own address; `bytes_mut` gives the bytes of
// the block.
unsafe impl BlockWriter for Blocks {
    #[inline(always)]
    fn block_size(&self) -> usize {
        self.len
    }

    #[inline(always)]
    unsafe fn store_relaxed(&self, word: Word, value: u64) {
        debug_assert!(word.segment == Segment::Producer);
        // SAFETY: the word is the region's, so that it lies inside the segment.
        let word = unsafe { self.segment.add(to_usize(word.offset)) }.cast::<u64>();
        // SAFETY: mapped and aligned, as `Region::atomic` has it.
        unsafe { AtomicU64::from_ptr(word) }.store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    unsafe fn write(&self, block: Block, bytes: &[u8]) {
        // SAFETY: the caller's promise; the reference is gone when this returns.
        let to = unsafe { self.bytes_mut(block) };
        to[..bytes.len()].copy_from_slice(bytes);
    }

    #[inline(always)]
    unsafe fn zero(&self, block: Block, bytes: Range<usize>) {
        // SAFETY: as above.
        let block = unsafe { self.bytes_mut(block) };
        block[bytes].fill(0);
    }
}

/// Asks for a cache line that will be written soon. A hint: any address will do.
#[inline(always)]
fn prefetch_for_writing(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: prefetching touches no memory that the program can see and faults on no address.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    let _ = at;
}

/// Asks for a cache line that will be read soon. A hint: any address will do.
#[inline(always)]
fn prefetch_for_reading(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as in `prefetch_for_writing`.
    unsafe {
        std::arch::asm!("prefetcht0 [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    let _ = at;
}

/// The offset of a block in the producer's segment, in bytes.
#[inline(always)]
fn offset(block: Block) -> usize {
    to_usize(block.offset())
}

/// The number of blocks of a run.
#[inline(always)]
fn blocks(run: Run) -> usize {
    to_usize(run.blocks())
}

/// Read access to one block in place. The handle that made it knows whether the reader may still
/// read the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockRead<'a> {
    pointer: *const u8,
    len: usize,
    region: PhantomData<&'a Region>,
}

impl<'a> BlockRead<'a> {
    /// The first `len` bytes of the block, cut at its end.
    ///
    /// # Safety
    ///
    /// Until the returned reference is gone, no party writes the block.
    #[inline(always)]
    pub(crate) unsafe fn bytes(&self, len: usize) -> &'a [u8] {
        // SAFETY: the block is `self.len` mapped bytes; the caller promises that no party writes
        // it.
        unsafe { std::slice::from_raw_parts(self.pointer, len.min(self.len)) }
    }
}

/// The light fence of a process that `membarrier` cannot interrupt. Out of line, so that the code
/// of a send or a receive runs past it without a jump: one instruction of each.
#[cold]
#[inline(never)]
fn uninterruptible_fence() {
    atomic::fence(Ordering::SeqCst);
}

// SAFETY: words are accessed as `AtomicU64` at their own address, fences are the standard ones (or,
// for the asymmetric pair, `membarrier`, which is one on every core that runs a registered
// process), and blocks are those of the geometry.
unsafe impl Memory for Region {
    type Read<'a> = BlockRead<'a>;
    type Blocks = Blocks;

    #[inline(always)]
    fn load(&self, word: Word, order: Ordering) -> u64 {
        self.atomic(word).load(order)
    }

    #[inline(always)]
    fn store(&self, word: Word, value: u64, order: Ordering) {
        self.atomic(word).store(value, order);
    }

    #[inline(always)]
    fn compare_exchange(
        &self,
        word: Word,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.atomic(word).compare_exchange(current, new, success, failure)
    }

    #[inline(always)]
    fn fence(&self, order: Ordering) {
        atomic::fence(order);
    }

    #[inline(always)]
    fn light_fence(&self) {
        if self.interruptible {
            atomic::compiler_fence(Ordering::SeqCst);
        } else {
            uninterruptible_fence();
        }
    }

    fn heavy_fence(&self) {
        // Without membarrier this side is fenced, and a peer that relies on it may be missed: no
        // sleep is unbounded, and `crate::wait` bounds them more tightly then.
        if !system::membarrier() {
            atomic::fence(Ordering::SeqCst);
        }
    }

    #[inline(always)]
    fn relax(&self) {
        std::hint::spin_loop();
    }

    #[inline(always)]
    fn prefetch(&self, word: Word) {
        prefetch_for_reading(self.address(word).cast());
    }

    #[inline(always)]
    unsafe fn read_block(&self, block: Block) -> BlockRead<'_> {
        BlockRead { pointer: self.block_pointer(block), len: self.block_len(), region: PhantomData }
    }

    #[inline(always)]
    fn blocks(&self) -> Blocks {
        Blocks { segment: self.producer, len: self.block_len() }
    }

    unsafe fn copy_block(&self, block: Block, into: &mut [u8]) {
        let block = self.block_pointer(block).cast::<u64>();
        // The stride of blocks is a multiple of 8, so that the block's last word belongs to no
        // other block.
        for (i, chunk) in into.chunks_mut(8).enumerate() {
            // SAFETY: `into` is no longer than a block, and the blocks' stride is a multiple of 8.
            let word = unsafe { block.add(i) };
            // SAFETY: aligned, inside the slot. The producer's plain stores may race with this
            // load; the protocol throws the copy away then. (Outside Rust's model, as every seqlock
            // is; inside the hardware's.)
            let value = unsafe { AtomicU64::from_ptr(word) }.load(Ordering::Relaxed);
            chunk.copy_from_slice(&value.to_le_bytes()[..chunk.len()]);
        }
    }
}

impl Futex for Region {
    fn wait(&self, word: Word, expected: u32, timeout: Duration) {
        let began = Instant::now();
        // SAFETY: the word lies in the region, aligned.
        unsafe { system::futex_wait(self.futex_address(word), expected, timeout) };
        // A sandbox may refuse the sleep by a result that looks like its end.
        if self.is_unchanged(word, expected) && began.elapsed() < timeout {
            system::nap(timeout);
        }
    }

    fn wait_any(words: &[(&Region, Word, u32)], timeout: Duration) -> bool {
        let began = Instant::now();
        let futex = |(region, word, expected): &(&Region, Word, u32)| {
            FutexWord::new(region.futex_address(*word), *expected)
        };
        let futexes: Vec<FutexWord> = words.iter().map(futex).collect();
        // SAFETY: each word lies in its region, which is borrowed, aligned.
        let slept = futexes.len() <= system::FUTEX_WAIT_ANY_MAX
            && unsafe { system::futex_wait_any(&futexes, timeout) };
        let is_unchanged = || words.iter().all(|(region, word, value)| region.is_unchanged(*word, *value));
        slept && (!is_unchanged() || began.elapsed() >= timeout)
    }

    fn wake_all(&self, word: Word) {
        // SAFETY: the word lies in the region, aligned.
        unsafe { system::futex_wake_all(self.futex_address(word)) };
    }
}
