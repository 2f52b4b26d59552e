//! A consumer's entry: what it says, and how it becomes free. The life of an entry around these
//! steps is [`membership`](super::membership).

use super::park::Side;
use super::{recorder, tenure};
use crate::format::{EntryFlags, Geometry, entry};
use crate::memory::{Futex, Liveness, Memory, Right};
use alloc::string::String;
use core::sync::atomic::Ordering::Relaxed;

/// The flags of an entry.
pub fn flags<M: Memory>(memory: &M, geometry: &Geometry, entry: u32) -> EntryFlags {
    EntryFlags(memory.load(geometry.flags(entry), Relaxed))
}

/// Name of the consumer that has, or last had, this entry.
pub fn name<M: Memory>(memory: &M, geometry: &Geometry, entry: u32) -> String {
    recorder::load_name(memory, |at| geometry.entry_word(entry, entry::NAME + at))
}

/// Process number of the consumer that has, or last had, this entry.
pub fn pid<M: Memory>(memory: &M, geometry: &Geometry, entry: u32) -> u64 {
    memory.load(geometry.entry_word(entry, entry::PID), Relaxed)
}

/// The entry of the consumer with this name. An empty name finds no entry.
pub(super) fn named<M: Memory>(memory: &M, geometry: &Geometry, name: &str) -> Option<u32> {
    let is_named = |&entry: &u32| {
        flags(memory, geometry, entry).is_taken() && self::name(memory, geometry, entry) == name
    };
    geometry.consumer_entries().find(is_named).filter(|_| !name.is_empty())
}

/// Stops gating and frees the entry, and wakes its followers: they learn where it left. The caller
/// holds the right to it.
pub fn free<M: Memory + Futex>(memory: &M, geometry: &Geometry, entry: u32) {
    // First the flags become "ephemeral": if this party is killed between the steps, the entry is
    // cleared like any other.
    memory.store(geometry.flags(entry), EntryFlags::taken(false, false).0, Relaxed);
    tenure::vacate(memory, geometry.consumer_entry(entry));
    memory.store(geometry.flags(entry), EntryFlags::FREE.0, Relaxed);
    Side::Followers(geometry.consumer_entry(entry)).wake_if_asleep(memory);
}

/// Frees the entry of a consumer that died. False if the consumer lives, or is durable: the tail of
/// a durable consumer waits for it.
///
/// The right is held while writing, so that no new consumer takes the entry in between.
pub fn reap<M: Memory + Futex, L: Liveness>(memory: &M, geometry: &Geometry, rights: &L, entry: u32) -> bool {
    let right = Right::Consumer(entry);
    if !rights.seize(right) {
        return false;
    }
    let reaped = !flags(memory, geometry, entry).is_kept();
    if reaped {
        free(memory, geometry, entry);
    }
    rights.release(right);
    reaped
}
