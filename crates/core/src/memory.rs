//! The narrow interface between the protocol and what it runs on.
//!
//! The protocol knows 64-bit words, blocks, fences and two kernel services: "sleep until this word
//! changes" ([`Futex`]) and "is the owner of this byte alive" ([`Liveness`]). It never sees a file,
//! a path or a system call. The shipped implementation is `Region` in `src/region/mod.rs` (a mapped
//! file or heap memory, both by raw pointer, inlined to nothing); the model checker implements the
//! same traits over its own atomics, so what it explores is the code that ships.
//!
//! Every access is `#[track_caller]`, so a backend knows the source line of each access.
//! Verification uses this to weaken one ordering at a time, or to stop a party before its n-th
//! access, without touching the source.

use crate::format::{Block, Millis};
pub use crate::format::{Segment, Word};
use core::ops::Range;
use core::sync::atomic::Ordering;
use core::time::Duration;

/// Atomic words, fences and blocks of one ring.
///
/// Readers map the producer's segment read-only. On such pages the standard library promises only
/// relaxed atomic loads, so the protocol reads them with `Relaxed` followed by `fence(Acquire)`,
/// and never with `load(Acquire)`.
///
/// # Safety
///
/// `load`, `store` and `compare_exchange` must act on the named word as the operation of the same
/// name on [`core::sync::atomic::AtomicU64`], fences as [`core::sync::atomic::fence`]. The guard
/// returned by `read_block` must denote that block and no other memory.
pub unsafe trait Memory {
    /// Read access to one block in place. Holds a pointer, not a reference: forgetting the guard
    /// only stalls the producer.
    type Read<'a>
    where
        Self: 'a;
    /// Write access to all blocks.
    type Blocks: BlockWriter;

    /// Atomic load.
    #[track_caller]
    fn load(&self, word: Word, order: Ordering) -> u64;

    /// Atomic store.
    #[track_caller]
    fn store(&self, word: Word, value: u64, order: Ordering);

    /// Atomic compare-exchange, strong.
    #[track_caller]
    fn compare_exchange(
        &self,
        word: Word,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64>;

    /// A fence.
    #[track_caller]
    fn fence(&self, order: Ordering);

    /// The cheap half of an asymmetric `SeqCst` fence: a compiler barrier where every party that
    /// calls [`heavy_fence`](Memory::heavy_fence) can interrupt this one, a `SeqCst` fence
    /// elsewhere.
    #[track_caller]
    fn light_fence(&self);

    /// The expensive half: after it, everything that any party wrote before its last light fence is
    /// visible here, and everything that this party wrote before is visible to that party after its
    /// next light fence.
    #[track_caller]
    fn heavy_fence(&self);

    /// One turn of a spin loop.
    fn relax(&self);

    /// Asks for the cache line of a word, which this party may read soon. A hint, which changes and
    /// orders nothing.
    #[inline(always)]
    fn prefetch(&self, word: Word) {
        let _ = word;
    }

    /// Read access to a block.
    ///
    /// # Safety
    ///
    /// The block is one of this ring's geometry, and until the guard and everything derived from it
    /// is gone, no party writes it: the caller has seen its message published and gates the
    /// producer.
    #[track_caller]
    unsafe fn read_block(&self, block: Block) -> Self::Read<'_>;

    /// Write access to the blocks, for the producer.
    fn blocks(&self) -> Self::Blocks;

    /// Copies the first `into.len()` bytes of a block by relaxed atomic loads. The result may be
    /// torn; the caller validates it afterwards.
    ///
    /// # Safety
    ///
    /// The block is one of this ring's geometry, and `into` is no longer than a block.
    #[track_caller]
    unsafe fn copy_block(&self, block: Block, into: &mut [u8]);
}

/// Writes the blocks of claimed positions, and the words that describe them.
///
/// A copy of the few values of a [`Memory`] that a loop over many messages needs. A value behind a
/// reference would be loaded again after every store into the ring.
///
/// # Safety
///
/// `store_relaxed` must act on the named word as a relaxed store on
/// [`core::sync::atomic::AtomicU64`]; `write` and `zero` must change the named bytes and no other
/// memory.
///
/// The caller of each function promises that the memory behind this writer still lives and is
/// writable, that the word or block is one of its geometry, that the caller is the producer, and
/// that no reader in place may still hold the block: its position lies below a limit derived from
/// every gating tail.
pub unsafe trait BlockWriter {
    /// Bytes of a block.
    fn block_size(&self) -> usize;

    /// Stores a word of a slot, relaxed.
    ///
    /// # Safety
    ///
    /// See [`BlockWriter`].
    #[track_caller]
    unsafe fn store_relaxed(&self, word: Word, value: u64);

    /// Copies `bytes` to the start of a block.
    ///
    /// # Panics
    ///
    /// If they are more than a block.
    ///
    /// # Safety
    ///
    /// See [`BlockWriter`].
    #[track_caller]
    unsafe fn write(&self, block: Block, bytes: &[u8]);

    /// Zeroes these bytes of a block.
    ///
    /// # Panics
    ///
    /// If they reach beyond it.
    ///
    /// # Safety
    ///
    /// See [`BlockWriter`].
    #[track_caller]
    unsafe fn zero(&self, block: Block, bytes: Range<usize>);
}

/// Sleeping until a word changes. The word's low 32 bits are compared.
pub trait Futex {
    /// Sleeps while the low half of `word` equals `expected`, at most `timeout`. May return early.
    fn wait(&self, word: Word, expected: u32, timeout: Duration);

    /// As [`wait`](Self::wait), on words of several memories at once. False if the system cannot do
    /// that.
    fn wait_any(words: &[(&Self, Word, u32)], timeout: Duration) -> bool
    where
        Self: Sized;

    /// Wakes every thread that sleeps on `word`.
    fn wake_all(&self, word: Word);
}

/// A right that one party holds, and that its death gives up whatever the party was doing: one byte
/// of the file under an open-file-description lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// To publish.
    Producer,
    /// To change the tables, and to write the flight recorder.
    Table,
    /// To be consumer entry `n`.
    Consumer(u32),
    /// To be worker entry `n`.
    Worker(u32),
}

/// Tells living parties from dead ones. Taking a dead party's right *is* the proof of its death,
/// and everything that the dead party wrote happens before the taking returns.
pub trait Liveness {
    /// Reason for which the kernel cannot tell whether a right is free.
    type Error;

    /// Takes `right` if no living party holds it. Taking a right that the caller holds already
    /// succeeds.
    fn try_seize(&self, right: Right) -> Result<bool, Self::Error>;

    /// As [`try_seize`](Self::try_seize). A holder about which the kernel cannot tell counts as
    /// alive.
    fn seize(&self, right: Right) -> bool {
        self.try_seize(right).unwrap_or(false)
    }

    /// True if another living party holds `right`, or if the kernel cannot tell. Where it is false,
    /// everything that the holders wrote happens before the return.
    fn is_held(&self, right: Right) -> bool;

    /// Gives `right` back.
    fn release(&self, right: Right);
}

/// The two clocks that decide anything in shared memory.
pub trait Clock {
    /// The machine's monotonic clock, the same for every process of a boot.
    fn now(&self) -> Millis;

    /// The system clock, in milliseconds since 1970.
    fn unix_ms(&self) -> u64;
}
