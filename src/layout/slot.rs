//! One slot of a ring: a sequence word, a description, a block.

use crate::memory::Word;

/// See [`Sequence`].
const SEQUENCE: u64 = 0;
/// Length in the low half, kind in the high half.
const META: u64 = 8;
/// 48 bytes of the block share the slot's first cache line.
pub(super) const BLOCK: u64 = 16;

/// How the slots lie in the producer's segment.
///
/// # Invariants
///
/// `capacity` is a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    pub(super) capacity: u64,
    /// From the start of the segment to the first slot, in bytes.
    pub(super) offset: u64,
    /// From a slot to the next, in bytes.
    pub(super) stride: u64,
}

/// Slots and blocks start on multiples of this.
pub(super) const ALIGN: u64 = 16;
/// Bytes of a cache line, as far as slots are concerned. Fixed by the format, whatever the target.
const CACHE_LINE: u64 = 64;

/// From a slot to the next: as little as goes without any message touching more cache lines than its length needs.
///
/// Slots of whole lines would be simpler, and slower: measured between two cores, 64 B in batches of 32 cost 1.2 times
/// as much, 8 B 1.1 times; round trips cost the same.
pub(super) const fn stride(block_size: u64) -> u64 {
    let len = (BLOCK + block_size).next_multiple_of(ALIGN);
    // The one length that, packed, would lie across a line's end where it need not.
    if len % CACHE_LINE == CACHE_LINE - ALIGN { len + ALIGN } else { len }
}

impl Slots {
    /// From a slot to the next, in bytes.
    #[inline(always)]
    pub(crate) fn stride(self) -> u64 {
        self.stride
    }

    /// The slot of a position.
    #[inline(always)]
    pub fn at(self, position: u64) -> Slot {
        let index = position & (self.capacity - 1);
        Slot { index, offset: self.offset + index * self.stride }
    }
}

/// What the sequence word of a slot says of the message in it. All zero: there was none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Above every position.
    const SEALED: u64 = 1 << 63;

    /// Nothing was ever filled.
    pub const NONE: Sequence = Sequence(0);

    /// The message at `position` is published.
    #[inline(always)]
    pub fn published(position: u64) -> Sequence {
        Sequence(position + 1)
    }

    /// The message at `position` is whole, and published as soon as the head is beyond it; perhaps never.
    #[inline(always)]
    pub fn sealed(position: u64) -> Sequence {
        Sequence((position + 1) | Sequence::SEALED)
    }

    /// True if the head decides whether the message is published.
    #[inline(always)]
    pub fn is_sealed(self) -> bool {
        self.0 & Sequence::SEALED != 0
    }

    /// One past the position of the message in the slot, published or not; 0 if there was none yet.
    #[inline(always)]
    pub fn number(self) -> u64 {
        self.0 & !Sequence::SEALED
    }
}

/// Where the slot of a position is. Worked out once per message and carried along: what is read through a
/// reference after a store into the ring is read from memory again.
///
/// # Invariants
///
/// Made by [`Slots::at`] alone: `index` is below the capacity, and `offset` is where that slot begins in the
/// producer's segment.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_touches_more_lines_than_it_must() {
        for block_size in 1..=4096 {
            let (len, stride) = (BLOCK + block_size, stride(block_size));
            assert!(stride >= len && stride < len + 2 * ALIGN, "{block_size}");
            for n in 0..4 {
                let (first, last) = (n * stride / CACHE_LINE, (n * stride + len - 1) / CACHE_LINE);
                assert_eq!(last - first + 1, len.div_ceil(CACHE_LINE), "{block_size}, slot {n}");
            }
        }
    }
}
