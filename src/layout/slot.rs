//! One slot of a ring: a sequence word, a description, a block.

use crate::memory::Word;

/// 0 if never published, else position + 1.
const SEQUENCE: u64 = 0;
/// Length in the low half, kind in the high half.
const META: u64 = 8;
/// 48 bytes of the block share the slot's first cache line.
pub(super) const BLOCK: u64 = 16;

/// Where the slot of a position is. Worked out once per message and carried along: what is read through a
/// reference after a store into the ring is read from memory again.
///
/// # Invariants
///
/// Made by [`Geometry::slot`](super::Geometry::slot) alone: `index` is below that geometry's capacity, and `offset`
/// is where that slot begins in the producer's segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub(super) index: u64,
    pub(super) offset: u64,
}

impl Slot {
    /// Its number, below the capacity.
    #[inline(always)]
    pub fn index(self) -> u64 {
        self.index
    }
    /// Its sequence word.
    #[inline(always)]
    pub fn sequence(self) -> Word {
        Word::producer(self.offset + SEQUENCE)
    }
    /// Its length-and-kind word.
    #[inline(always)]
    pub fn meta(self) -> Word {
        Word::producer(self.offset + META)
    }
    /// Where its block begins in the producer's segment.
    #[inline(always)]
    pub(crate) fn block(self) -> u64 {
        self.offset + BLOCK
    }
}
