//! The first line of an entry that gates the producer: a consumer's and a group's begin alike. The
//! constants say where its words lie, from the entry's start.

use super::{LINE, Word};

/// A consumer's tail, a group's floor.
pub const TAIL: u64 = 0;
/// How often the entry was taken by a new owner.
pub const GENERATION: u64 = 8;
/// The last tail of an owner that left.
pub const LEFT_AT: u64 = 16;
/// Reserved: nonzero when a follower of the entry may sleep. Zero in this version.
pub const FOLLOWERS_ASLEEP: u64 = 24;
/// Reserved: the entry's followers sleep on its low half. Zero in this version.
pub const PROGRESS: u64 = 32;
/// Stored in [`LEFT_AT`] while no owner of this generation has left.
pub const NOT_LEFT: u64 = u64::MAX;
const _: () = assert!(PROGRESS + 8 <= LINE);

/// The first line of the entry of a consumer or of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatingEntry {
    /// Of the entry, in the readers' segment.
    pub(super) offset: u64,
    pub(super) number: u32,
    /// Says how many entries of its table were ever used.
    pub(super) used: Word,
}

impl GatingEntry {
    /// The tail, or the floor.
    #[inline(always)]
    pub fn tail(self) -> Word {
        Word::readers(self.offset + TAIL)
    }
    /// How often the entry was taken by a new owner.
    pub fn generation(self) -> Word {
        Word::readers(self.offset + GENERATION)
    }
    /// The last tail of an owner that left.
    pub fn left_at(self) -> Word {
        Word::readers(self.offset + LEFT_AT)
    }
    /// How many entries of its table were ever used.
    pub fn used(self) -> Word {
        self.used
    }
    /// Its number in its table.
    pub fn number(self) -> u32 {
        self.number
    }
}
