//! The first line of an entry that gates the producer: the entries of consumers and of groups begin
//! alike. The constants are offsets from the entry's start, in bytes.

use super::{LINE, Word};

/// A consumer's tail, or a group's floor: a [`Tail`](super::Tail).
pub const TAIL: u64 = 0;
/// Number of owners that the entry has had.
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
    /// Bytes from the start of the readers' segment to the entry.
    pub(super) offset: u64,
    /// Number of the entry in its table.
    pub(super) number: u32,
    /// The word that counts the used entries of the table.
    pub(super) used: Word,
}

impl GatingEntry {
    /// The tail, or the floor.
    #[inline(always)]
    pub fn tail(self) -> Word {
        Word::readers(self.offset + TAIL)
    }
    /// Number of owners that the entry has had.
    pub fn generation(self) -> Word {
        Word::readers(self.offset + GENERATION)
    }
    /// The last tail of an owner that left.
    pub fn left_at(self) -> Word {
        Word::readers(self.offset + LEFT_AT)
    }
    /// The word that counts the used entries of its table.
    pub fn used(self) -> Word {
        self.used
    }
    /// Number of the entry in its table.
    pub fn number(self) -> u32 {
        self.number
    }
}
