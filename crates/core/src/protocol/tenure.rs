//! The successive owners of a gating entry, and the count of used entries of a table.

use crate::format::readers_page::{USED_CONSUMERS, USED_GROUPS, USED_WORKERS};
use crate::format::{GatingEntry, Geometry, Tail, entry, gating};
use crate::memory::{Memory, Word};
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Counts entry `number` of a table as used, in the table's word `used`, which never falls. Nothing
/// of the entry may gate before.
///
/// A party that sees a tail or a pin that is stored after this call, makes an acquire fence and
/// then loads the word finds the entry counted. The producer needs less: that the count precedes
/// the joiner's `SeqCst` fence (consumers, groups), or the claim (workers).
pub fn count_entry<M: Memory>(memory: &M, used: Word, number: u32) {
    let count = u64::from(number) + 1;
    let mut seen = memory.load(used, Relaxed);
    while seen < count {
        match memory.compare_exchange(used, seen, count, Relaxed, Relaxed) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
    memory.fence(Release); // USED
}

/// The used entries of a table as its word counts them, at most as many as the table has.
///
/// The word of a table without entries is not read.
#[inline(always)]
pub fn used_entries<M: Memory>(memory: &M, used: Word, entries: Range<u32>) -> Range<u32> {
    if entries.is_empty() {
        return entries;
    }
    let count = memory.load(used, Relaxed).min(u64::from(entries.end));
    0..u32::try_from(count).unwrap_or(entries.end)
}

/// Begins the next generation of an entry; the new owner holds its right: from now on no party
/// believes the words of the owner before. Called before the owner joins; not called for an owner
/// that resumes, or that joins again after an eviction.
///
/// The order keeps the words true if the owner dies in between: a generation without a tail counts
/// for nothing, and the mark "no owner left", like any later value of that word, shows the new
/// generation to its reader.
pub fn succeed<M: Memory>(memory: &M, entry: GatingEntry) {
    let generation = memory.load(entry.generation(), Relaxed).wrapping_add(1);
    memory.store(entry.generation(), generation, Relaxed);
    memory.store(entry.left_at(), gating::NOT_LEFT, Release); // SUCCEED
}

/// Stops an entry from gating, and records how far its owner had come. The caller holds its right.
///
/// A party that is killed between the two stores leaves an entry that still gates from the same
/// position; the next party vacates it again.
pub fn vacate<M: Memory>(memory: &M, entry: GatingEntry) {
    if let Some(position) = Tail(memory.load(entry.tail(), Relaxed)).position() {
        memory.store(entry.left_at(), position, Relaxed);
    }
    memory.store(entry.tail(), Tail::NONE.0, Release); // LEAVE
}

/// The words of an entry about its owner, as other parties may believe them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// The entry's tail, or floor.
    pub tail: Tail,
    /// Position at which the owner left, if it left. Unbounded: another process wrote it.
    pub left_at: Option<u64>,
    /// Number of owners so far. The words above are of the owner of this generation, or of an
    /// earlier one.
    pub generation: u64,
    /// True if the entry is counted among the used entries of its table.
    pub is_counted: bool,
}

/// Looks at an entry while its owner goes on.
///
/// Each word is read before the word that identifies its owner: a tail that gates belongs to a
/// counted entry; a tail or a leaving that a later owner wrote comes with a later generation. So a
/// party that knows an owner's generation and finds the same generation here has that owner's
/// words.
///
/// Example: a follower knows generation 3. It reads tail "none", then "left at 70", then generation
/// 4. Position 70 may be the new owner's, so the follower ignores it. With generation 3 the owner
/// of generation 3 left at 70.
pub fn look_at<M: Memory>(memory: &M, entry: GatingEntry) -> Tenure {
    let tail = Tail(memory.load(entry.tail(), Relaxed));
    memory.fence(Acquire); // LEAVE, USED
    let left_at = Some(memory.load(entry.left_at(), Relaxed)).filter(|&at| at != gating::NOT_LEFT);
    memory.fence(Acquire); // SUCCEED
    let generation = memory.load(entry.generation(), Relaxed);
    let is_counted = memory.load(entry.used(), Relaxed) > u64::from(entry.number());
    Tenure { tail, left_at, generation, is_counted }
}

/// The words that order the steps of the consumers' protocol, and the counts of all tables, with
/// their values in a new ring.
pub fn words(geometry: &Geometry) -> Vec<(Word, u64)> {
    let entries = geometry.consumer_entries().flat_map(|number| {
        [
            (entry::TAIL, Tail::NONE.0),
            (entry::GENERATION, 0),
            (entry::LEFT_AT, gating::NOT_LEFT),
            (entry::FOLLOWERS_ASLEEP, 0),
            (entry::PROGRESS, 0),
            (entry::FLAGS, 0),
        ]
        .map(|(at, value)| (geometry.entry_word(number, at), value))
    });
    entries.chain([USED_CONSUMERS, USED_GROUPS, USED_WORKERS].map(|word| (word, 0))).collect()
}
