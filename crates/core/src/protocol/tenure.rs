//! What an entry that gates says of its owners, one after another, and how many entries of a table were
//! ever used.

use crate::format::readers_page::{USED_CONSUMERS, USED_GROUPS, USED_WORKERS};
use crate::format::{GatingEntry, Geometry, Tail, entry, gating};
use crate::memory::{Memory, Word};
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Counts entry `number` of a table among those that were ever used, in the table's word `used`,
/// which never falls. Nothing of the entry may gate before.
///
/// A party that sees a tail or a pin that is stored after this, and looks at the word behind an
/// acquire fence, finds the entry counted. The producer needs no more than that the count precedes
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

/// The entries of a table that were ever used, as its word says, at most as many as it has.
///
/// A table without entries has no word to be looked at.
#[inline(always)]
pub fn used_entries<M: Memory>(memory: &M, used: Word, entries: Range<u32>) -> Range<u32> {
    if entries.is_empty() {
        return entries;
    }
    let count = memory.load(used, Relaxed).min(u64::from(entries.end));
    0..u32::try_from(count).unwrap_or(entries.end)
}

/// Begins the next generation of an entry that a new owner has the right to: the words of the owner
/// before are believed no longer. Called before the owner joins; not for an owner that resumes, or
/// joins again after it was evicted.
///
/// The order keeps a death in between from making the words lie: a generation without a tail is
/// believed by no party, and the mark that no owner left, like any later value of that word, shows
/// the new generation to its reader.
pub fn succeed<M: Memory>(memory: &M, entry: GatingEntry) {
    let generation = memory.load(entry.generation(), Relaxed).wrapping_add(1);
    memory.store(entry.generation(), generation, Relaxed);
    memory.store(entry.left_at(), gating::NOT_LEFT, Release); // SUCCEED
}

/// Stops an entry from gating, and says how far its owner had come. The caller has the right to it.
///
/// Killed between the two stores, the entry gates from the same position still, and is vacated
/// again.
pub fn vacate<M: Memory>(memory: &M, entry: GatingEntry) {
    if let Some(position) = Tail(memory.load(entry.tail(), Relaxed)).position() {
        memory.store(entry.left_at(), position, Relaxed);
    }
    memory.store(entry.tail(), Tail::NONE.0, Release); // LEAVE
}

/// What an entry says of its owner, as others may believe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// Its tail, or floor.
    pub tail: Tail,
    /// Where its owner left, if it did. Unbounded: another process wrote it.
    pub left_at: Option<u64>,
    /// How often the entry was taken. The words above are the owner's of this generation, or an
    /// earlier one's.
    pub generation: u64,
    /// It is among the entries of its table that were ever used.
    pub is_counted: bool,
}

/// Looks at an entry whose owner goes on meanwhile.
///
/// Each word is read before the one that says whose it is: a tail that gates is that of a counted
/// entry; a tail or a leaving that a later owner wrote comes with a later generation. So a party
/// that knows the generation of an owner and finds the same one here has that owner's words.
pub fn look_at<M: Memory>(memory: &M, entry: GatingEntry) -> Tenure {
    let tail = Tail(memory.load(entry.tail(), Relaxed));
    memory.fence(Acquire); // LEAVE, USED
    let left_at = Some(memory.load(entry.left_at(), Relaxed)).filter(|&at| at != gating::NOT_LEFT);
    memory.fence(Acquire); // SUCCEED
    let generation = memory.load(entry.generation(), Relaxed);
    let is_counted = memory.load(entry.used(), Relaxed) > u64::from(entry.number());
    Tenure { tail, left_at, generation, is_counted }
}

/// The words that the consumers' protocol orders its steps by, and the counts of all tables, with
/// their values in a new ring.
pub fn words(geometry: &Geometry) -> Vec<(Word, u64)> {
    let entries = geometry.consumer_entries().flat_map(|number| {
        [
            (entry::TAIL, Tail::NONE.0),
            (entry::GENERATION, 0),
            (entry::LEFT_AT, gating::NOT_LEFT),
            (entry::FLAGS, 0),
        ]
        .map(|(at, value)| (geometry.entry_word(number, at), value))
    });
    entries.chain([USED_CONSUMERS, USED_GROUPS, USED_WORKERS].map(|word| (word, 0))).collect()
}
