//! The first line of an entry that gates the producer: the entries of consumers and of groups begin
//! alike. The constants are offsets from the entry's start, in bytes.

use super::{LINE, Word};

/// A consumer's tail, or a group's floor: a [`Tail`](super::Tail).
pub const TAIL: u64 = 0;
/// Number of owners that the entry has had.
pub const GENERATION: u64 = 8;
/// The last tail of an owner that left.
pub const LEFT_AT: u64 = 16;
/// Nonzero while a party may sleep until the tail moves. The sleeper sets it; the party that moves
/// the tail clears it and then wakes.
pub const FOLLOWERS_ASLEEP: u64 = 24;
/// Those parties sleep on this word. The party that moved the tail changes it before it wakes.
pub const PROGRESS: u64 = 32;
/// The entries that this entry follows: a lane of 16 bits for each.
pub const AFTER: u64 = 40;
/// The generations of the owners that it follows, in the order of the lanes.
pub const AFTER_GENERATIONS: u64 = 64;
/// Most entries that one entry follows.
pub const UPSTREAMS_MAX: usize = 4;
/// Stored in [`LEFT_AT`] while no owner of this generation has left.
pub const NOT_LEFT: u64 = u64::MAX;
const _: () = assert!(AFTER_GENERATIONS + 8 * UPSTREAMS_MAX as u64 <= LINE);

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
    /// Nonzero while a party may sleep until the tail moves.
    #[inline(always)]
    pub fn followers_asleep(self) -> Word {
        Word::readers(self.offset + FOLLOWERS_ASLEEP)
    }
    /// The word that those parties sleep on.
    #[inline(always)]
    pub const fn progress(self) -> Word {
        Word::readers(self.offset + PROGRESS)
    }
    /// The entries that this entry follows.
    pub fn after(self) -> Word {
        Word::readers(self.offset + AFTER)
    }
    /// The generation of one of those.
    pub fn after_generation(self, nth: usize) -> Word {
        debug_assert!(nth < UPSTREAMS_MAX);
        Word::readers(self.offset + AFTER_GENERATIONS + 8 * nth as u64)
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
