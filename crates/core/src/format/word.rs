//! The place of a word in a ring.

/// A segment of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// The producer alone writes it; readers map it read-only.
    Producer,
    /// Readers write it, and the holder of the table right.
    Readers,
}

/// The place of one 64-bit word: a segment and a byte offset from its start, a multiple of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Word {
    /// The segment.
    pub segment: Segment,
    /// Bytes from the start of the segment.
    pub offset: u64,
}

impl Word {
    /// A word of the producer's segment.
    #[inline(always)]
    pub const fn producer(offset: u64) -> Word {
        Word { segment: Segment::Producer, offset }
    }

    /// A word of the readers' segment.
    #[inline(always)]
    pub const fn readers(offset: u64) -> Word {
        Word { segment: Segment::Readers, offset }
    }
}
