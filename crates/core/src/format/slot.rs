//! Slots and blocks: the places of a message and of the words that describe it.

use super::{Meta, Word};

/// Offset in a slot of its [`Sequence`].
const SEQUENCE: u64 = 0;
/// Offset in a slot of its [`Meta`].
const META: u64 = 8;
/// Bytes of a slot that precede a block in the slot.
const HEADER: u64 = 16;
/// The longest block, in bytes, that lies in its slot: slot words and block fill two cache lines.
const SHARING_BLOCK_MAX: u64 = 2 * CACHE_LINE - HEADER;

/// Alignment of slots, and of blocks outside the packed row, in bytes.
pub(super) const ALIGN: u64 = 16;
/// Bytes of a cache line, as far as slots are concerned. Fixed by the format, whatever the target.
const CACHE_LINE: u64 = 64;
/// Alignment of the packed row, in bytes.
const PAGE: u64 = 4096;

/// Places of one size, one after another in the producer's segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Bytes from the start of the segment to the first place.
    pub offset: u64,
    /// Bytes from one place to the next.
    pub stride: u64,
}

impl Row {
    #[inline(always)]
    fn at(self, index: u64) -> u64 {
        self.offset + index * self.stride
    }
}

/// How the slots and blocks lie in the producer's segment.
/// Two rows: the slots, and the *packed* blocks. A message that is sent by itself should cost its
/// reader as few cache misses as possible. So a block of up to 112 bytes has a place in its slot:
/// up to 48 bytes lie on the line of the slot's words, and longer ones reach into the next line,
/// which the processor fetches along. The messages of a batch should cost the lines that their
/// bytes fill, so they lie in the packed row, without words between them. Blocks of more than 112
/// bytes lie in the packed row in either case: beside such a block the line of its slot weighs
/// little.
///
/// | block size | sent by itself | sent in a batch |
/// |---|---|---|
/// | 1 to 48 bytes | in the slot, one line | packed row |
/// | 49 to 112 bytes | in the slot, two lines | packed row |
/// | more | packed row | packed row |
///
/// Measured between two cores: 64 B in batches of 32 take 0.8 of the time when they are packed, 8 B
/// take 0.6; a round trip of 64 B takes 1.2 times as long when the slot lies elsewhere.
///
/// # Invariants
///
/// The capacity is a power of two. The rows are those of [`Slots::plan`], the packed row behind the
/// slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// The capacity less 1: a position's number of slot without the bits above.
    mask: u64,
    pub(super) slots: Row,
    /// Blocks of messages that are sent by themselves.
    pub(super) singles: Row,
    /// Blocks of messages that are sent in batches.
    pub(super) packed: Row,
    /// Length and kind of a headerless message: a whole block, kind 0.
    full: Meta,
}

/// The smallest stride at which no block of so many bytes touches more cache lines than its length
/// needs.
const fn stride(bytes: u64) -> u64 {
    let len = bytes.next_multiple_of(ALIGN);
    // At a stride of 48 modulo 64, some block would straddle a line's end without need.
    if len % CACHE_LINE == CACHE_LINE - ALIGN { len + ALIGN } else { len }
}

impl Slots {
    /// Plans slots and blocks from `offset` on, a multiple of a page. The caller has bounded every
    /// argument.
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
        Slots { mask: capacity - 1, slots, singles, packed, full }
    }

    /// The same, with every block in the packed row, as if blocks were long.
    pub(super) fn with_one_place(self) -> Slots {
        Slots { singles: self.packed, ..self }
    }

    /// Offset of the end of the last block.
    pub fn end(self) -> u64 {
        self.packed.at(self.capacity())
    }

    /// Length and kind of a headerless message: a whole block, kind 0.
    #[inline(always)]
    pub fn full(self) -> Meta {
        self.full
    }

    /// Number of slots.
    #[inline(always)]
    pub fn capacity(self) -> u64 {
        self.mask + 1
    }

    /// Bytes from one packed block to the next.
    #[inline(always)]
    pub fn packed_stride(self) -> u64 {
        self.packed.stride
    }

    /// True if a message lies at the same place whether it is sent by itself or in a batch.
    #[inline(always)]
    pub fn has_one_place(self) -> bool {
        self.singles.offset == self.packed.offset
    }

    /// Up to `max` packed blocks from that of `position` on that adjoin each other; a single block
    /// if the row has gaps between blocks. `max` is at least 1.
    ///
    /// Example: capacity 8, blocks of 64 bytes, `position` 6, `max` 5: the run has the blocks of
    /// positions 6 and 7. Position 8 lies at the start of the row.
    #[inline(always)]
    pub fn packed_run(self, position: u64, max: u64) -> Run {
        let first = self.packed(self.at(position));
        let has_gaps = self.packed.stride != self.block_size();
        let in_a_row = if has_gaps { 1 } else { self.capacity() - first.index };
        Run { first, blocks: max.min(in_a_row) }
    }

    /// Bytes of a block.
    #[inline(always)]
    fn block_size(self) -> u64 {
        self.full.len() as u64
    }

    /// A word on the second cache line of a slot, if its message lies on two.
    #[inline(always)]
    pub fn second_line(self, slot: Slot) -> Option<Word> {
        (self.slots.stride > CACHE_LINE).then(|| Word::producer(slot.offset + CACHE_LINE))
    }

    /// The slot of a position.
    #[inline(always)]
    pub fn at(self, position: u64) -> Slot {
        let index = position & self.mask;
        Slot { index, offset: self.slots.at(index) }
    }

    /// True if the block belongs to these slots.
    pub fn has(self, block: Block) -> bool {
        let slot = self.at(block.index);
        [self.single(slot), self.packed(slot)].contains(&block)
    }

    /// The block of a slot's message that is sent by itself.
    #[inline(always)]
    pub fn single(self, slot: Slot) -> Block {
        Block { index: slot.index, offset: self.singles.at(slot.index) }
    }

    /// The block of a slot's message that is sent in a batch.
    #[inline(always)]
    pub fn packed(self, slot: Slot) -> Block {
        Block { index: slot.index, offset: self.packed.at(slot.index) }
    }
}

/// The sequence word of a slot: which message the slot describes, and whether `head` decides about
/// it.
///
/// | value | the slot describes |
/// |---|---|
/// | 0 | no message yet |
/// | *p* + 1 | the message at position *p*, published |
/// | *p* + 1, bit 63 set | the message at position *p* of a batch, published once `head` > *p* |
///
/// `docs/states-of-a-slot.md` has all combinations of this word and `head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The mark *batched*: bit 63, above every position.
    const BATCHED: u64 = 1 << 63;

    /// The slot describes no message yet.
    pub const NONE: Sequence = Sequence(0);

    /// The slot describes the message at `position`, which is published.
    #[inline(always)]
    pub fn published(position: u64) -> Sequence {
        Sequence(position + 1)
    }

    /// The slot describes the message at `position`, which is filled; a `head` above `position`
    /// publishes it.
    #[inline(always)]
    pub fn batched(position: u64) -> Sequence {
        Sequence((position + 1) | Sequence::BATCHED)
    }

    /// True if `head` decides whether the message is published.
    #[inline(always)]
    pub fn is_batched(self) -> bool {
        self.0 & Sequence::BATCHED != 0
    }

    /// True if the message at `position`, or a later one of the same slot, was published by itself.
    #[inline(always)]
    pub fn is_published_beyond(self, position: u64) -> bool {
        !self.is_batched() && self.0 > position
    }

    /// One past the position of the described message, published or not; 0 if there is none.
    #[inline(always)]
    pub fn number(self) -> u64 {
        self.0 & !Sequence::BATCHED
    }
}

/// The place of a position's slot. Computed once per message and carried along by value: after a
/// store through a raw pointer into the ring, the compiler must assume that anything behind a
/// reference changed, and would load it again.
///
/// # Invariants
///
/// Made by [`Slots::at`] alone: `index` is below the capacity, and that slot begins at `offset` in
/// the producer's segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Number of the slot, below the capacity.
    pub index: u64,
    /// Bytes from the start of the producer's segment.
    pub offset: u64,
}

impl Slot {
    /// Number of the slot, below the capacity.
    #[inline(always)]
    pub fn index(self) -> u64 {
        self.index
    }
    /// The word of its [`Sequence`].
    #[inline(always)]
    pub fn sequence(self) -> Word {
        Word::producer(self.offset + SEQUENCE)
    }
    /// The word of its [`Meta`].
    #[inline(always)]
    pub fn meta(self) -> Word {
        Word::producer(self.offset + META)
    }
}

/// The place of a message's block.
///
/// # Invariants
///
/// Made by [`Slots`] alone: `index` is below the capacity, and a whole block begins at `offset` in
/// the producer's segment.
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

/// Packed blocks that adjoin each other.
///
/// # Invariants
///
/// Made by [`Slots::packed_run`] alone: the bytes of `blocks` whole blocks begin at the first, and
/// belong to consecutive slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    first: Block,
    blocks: u64,
}

impl Run {
    /// The first block.
    #[inline(always)]
    pub fn first(self) -> Block {
        self.first
    }
    /// Number of blocks.
    #[inline(always)]
    pub fn blocks(self) -> u64 {
        self.blocks
    }
}

/// A published message: its description and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Length, as stored, and kind.
    pub meta: Meta,
    /// The block with its bytes.
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
    fn the_second_line_of_a_slot_is_that_of_the_message_in_it() {
        for block_size in 1..=200 {
            let slots = Slots::plan(8192, block_size, 8);
            for n in 0..8 {
                let slot = slots.at(n);
                let spans = (49..=112).contains(&block_size);
                let last = (slots.single(slot).offset + block_size - 1) / CACHE_LINE;
                let asked = slots.second_line(slot).map(|word| word.offset / CACHE_LINE);
                assert_eq!(asked, spans.then_some(last), "{block_size}, slot {n}");
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
