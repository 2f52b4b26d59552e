//! Slots and blocks: where a message is, and what says so.

use super::{Meta, Word};

/// See [`Sequence`].
const SEQUENCE: u64 = 0;
/// See [`Meta`].
const META: u64 = 8;
/// Bytes before the block of a message that shares its slot.
const HEADER: u64 = 16;
/// The longest block, in bytes, that has a place beside the header in its slot: with it, two cache lines.
const SHARING_BLOCK_MAX: u64 = 2 * CACHE_LINE - HEADER;

/// Slots, and blocks that are sent one by one, start on multiples of this.
pub(super) const ALIGN: u64 = 16;
/// Bytes of a cache line, as far as slots are concerned. Fixed by the format, whatever the target.
const CACHE_LINE: u64 = 64;
/// The packed blocks start on a multiple of this.
const PAGE: u64 = 4096;

/// Things of one size, one after another in the producer's segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// From the start of the segment to the first, in bytes.
    pub offset: u64,
    /// From one to the next, in bytes.
    pub stride: u64,
}

impl Row {
    #[inline(always)]
    fn at(self, index: u64) -> u64 {
        self.offset + index * self.stride
    }
}

/// How the slots and blocks lie in the producer's segment.
///
/// Two rows: the slots, and the *packed* blocks. A message that is sent by itself should cost its reader as few misses as
/// can be, so a block of up to 112 bytes has a place beside its header: with up to 48 it is the same cache line, with more
/// the one behind, which comes along. The messages of a batch should cost the lines that their bytes fill, so they lie
/// packed, with no header between them. Longer blocks are packed either way: beside them a header's line weighs little.
///
/// Measured between two cores: 64 B in batches of 32 take 0.8 of the time packed, 8 B 0.6; a round trip of 64 B takes 1.2
/// times as long with its header elsewhere.
///
/// # Invariants
///
/// `capacity` is a power of two; the rows are those that `Slots::plan` makes, and lie one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    pub(super) capacity: u64,
    pub(super) slots: Row,
    /// Where messages that are sent by themselves lie.
    pub(super) singles: Row,
    /// Where messages that are sent in batches lie.
    pub(super) packed: Row,
    /// What describes a message that fills its block and is of kind 0.
    full: Meta,
}

/// As little as goes without any of so many bytes touching more cache lines than its length needs, in a row of them.
const fn stride(bytes: u64) -> u64 {
    let len = bytes.next_multiple_of(ALIGN);
    // The one length that, packed, would lie across a line's end where it need not.
    if len % CACHE_LINE == CACHE_LINE - ALIGN { len + ALIGN } else { len }
}

impl Slots {
    /// Plans slots and blocks from `offset` on, which is a multiple of a page. Every argument was bounded before.
    pub fn plan(offset: u64, block_size: u64, capacity: u64) -> Slots {
        let shares = block_size <= SHARING_BLOCK_MAX;
        let (slot, block) = if shares {
            (stride(HEADER + block_size), block_size.next_multiple_of(8))
        } else {
            (HEADER, stride(block_size))
        };
        let slots = Row { offset, stride: slot };
        let packed = Row { offset: slots.at(capacity).next_multiple_of(PAGE), stride: block };
        let singles = if shares { Row { offset: offset + HEADER, stride: slot } } else { packed };
        // At most 2^30.
        #[expect(clippy::cast_possible_truncation, reason = "a block has at most 1 GiB")]
        let full = Meta::new(block_size as u32, 0);
        Slots { capacity, slots, singles, packed, full }
    }

    /// Where the last block ends.
    pub fn end(self) -> u64 {
        self.packed.at(self.capacity)
    }

    /// What describes a message that fills its block and is of kind 0.
    #[inline(always)]
    pub fn full(self) -> Meta {
        self.full
    }

    /// Number of slots.
    #[inline(always)]
    pub fn capacity(self) -> u64 {
        self.capacity
    }

    /// From one packed block to the next, in bytes.
    #[inline(always)]
    pub fn packed_stride(self) -> u64 {
        self.packed.stride
    }

    /// True if a message has the same place whether it is sent by itself or in a batch.
    #[inline(always)]
    pub fn has_one_place(self) -> bool {
        self.singles.offset == self.packed.offset
    }

    /// Packed blocks from that of `position` on: up to `max`, as far as they lie behind each other; one, if there are gaps
    /// between them. `max` is at least one.
    #[inline(always)]
    pub fn packed_run(self, position: u64, max: u64) -> Run {
        let first = self.packed(self.at(position));
        let has_gaps = self.packed.stride != self.block_size();
        let in_a_row = if has_gaps { 1 } else { self.capacity - first.index };
        Run { first, blocks: max.min(in_a_row) }
    }

    /// In bytes.
    #[inline(always)]
    fn block_size(self) -> u64 {
        self.full.len() as u64
    }

    /// The slot of a position.
    #[inline(always)]
    pub fn at(self, position: u64) -> Slot {
        let index = position & (self.capacity - 1);
        Slot { index, offset: self.slots.at(index) }
    }

    /// True if a block is one of these.
    pub fn has(self, block: Block) -> bool {
        let slot = self.at(block.index);
        [self.single(slot), self.packed(slot)].contains(&block)
    }

    /// Where the message of a slot lies if it is sent by itself.
    #[inline(always)]
    pub fn single(self, slot: Slot) -> Block {
        Block { index: slot.index, offset: self.singles.at(slot.index) }
    }

    /// Where the message of a slot lies if it is sent in a batch.
    #[inline(always)]
    pub fn packed(self, slot: Slot) -> Block {
        Block { index: slot.index, offset: self.packed.at(slot.index) }
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

    /// The message at `position` was published by itself, or another one later in its slot.
    #[inline(always)]
    pub fn is_published_beyond(self, position: u64) -> bool {
        !self.is_sealed() && self.0 > position
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
    pub index: u64,
    pub offset: u64,
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
}

/// Where the block of a message is.
///
/// # Invariants
///
/// Made by [`Slots`] alone: `index` is below the capacity, and a whole block begins at `offset` in the producer's
/// segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    index: u64,
    offset: u64,
}

impl Block {
    /// The number of its slot, below the capacity.
    #[inline(always)]
    pub fn index(self) -> u64 {
        self.index
    }
    /// Bytes from the start of the producer's segment.
    #[inline(always)]
    pub fn offset(self) -> u64 {
        self.offset
    }
}

/// Packed blocks that lie behind each other without a gap.
///
/// # Invariants
///
/// Made by [`Slots::packed_run`] alone: the bytes of so many whole blocks begin at the first, those of slots one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    first: Block,
    blocks: u64,
}

impl Run {
    /// The first of them.
    #[inline(always)]
    pub fn first(self) -> Block {
        self.first
    }
    /// How many there are.
    #[inline(always)]
    pub fn blocks(self) -> u64 {
        self.blocks
    }
}

/// A published message: what it is, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Length, as stored, and kind.
    pub meta: Meta,
    /// Where its bytes are.
    pub block: Block,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::v1::*;

    #[test]
    fn no_message_touches_more_lines_than_it_must() {
        for block_size in 1..=4096 {
            let slots = Slots::plan(8192, block_size, 8);
            let before = if slots.has_one_place() { 0 } else { HEADER };
            let len = before + block_size;
            for n in 0..8 {
                let start = slots.single(slots.at(n)).offset - before;
                let lines = (start + len - 1) / CACHE_LINE - start / CACHE_LINE + 1;
                assert_eq!(lines, len.div_ceil(CACHE_LINE), "{block_size}, slot {n}");
            }
        }
    }

    #[test]
    fn nothing_lies_over_anything() {
        for block_size in (1..=200).chain([1024, 65536]) {
            let slots = Slots::plan(8192, block_size, 4);
            let mut taken: Vec<(u64, u64)> = Vec::new();
            for n in 0..4 {
                let slot = slots.at(n);
                taken.push((slot.offset, HEADER));
                taken.push((slots.packed(slot).offset, block_size));
                if !slots.has_one_place() {
                    taken.push((slots.single(slot).offset, block_size));
                }
            }
            taken.sort_unstable();
            assert!(
                taken.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0),
                "{block_size}: {taken:?}"
            );
            assert!(taken.iter().all(|(offset, _)| offset % 8 == 0), "{block_size}: {taken:?}");
            assert!(taken.last().is_some_and(|(offset, len)| offset + len <= slots.end()), "{block_size}");
        }
    }
}
