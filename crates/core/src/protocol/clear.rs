//! Clearing a whole ring of what the dead left. Producers and workers do the same when they come upon it.

use super::group::table::clear_unfinished;
use super::group::{self, Group, NOWHERE, members};
use super::membership;
use super::park::Side;
use crate::format::readers_page::{USED_CONSUMERS, USED_GROUPS, USED_WORKERS};
use crate::format::{GatingEntry, Geometry, Tail, Word, worker};
use crate::memory::{Futex, Liveness, Memory, Right};
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

/// An entry that was cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// That of a group whose creator, or remover, died over it.
    Group(u32),
    /// A dead consumer's.
    Consumer(u32),
    /// A dead worker's.
    Worker(u32),
    /// The count of used entries of this table, which was not what the entries say.
    Count(&'static str),
}

/// The tables, the word that says how many of their entries were ever used, and how many they have.
pub fn used_tables(geometry: &Geometry) -> [(&'static str, Word, u64); 3] {
    [
        ("consumers", USED_CONSUMERS, geometry.consumers()),
        ("groups", USED_GROUPS, geometry.groups()),
        ("workers", USED_WORKERS, geometry.workers()),
    ]
}

/// Clears every entry of the dead. The caller holds the table right.
pub fn clear_dead<M: Memory + Futex + Clone, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
) -> Vec<Cleared> {
    let groups =
        Group::all(memory, geometry).filter(clear_unfinished).map(|group| Cleared::Group(group.number));
    let consumers = geometry
        .consumer_entries()
        .filter(|&entry| clear_consumer(memory, geometry, rights, entry))
        .map(Cleared::Consumer);
    let workers = geometry
        .worker_entries()
        .filter(|&entry| clear_worker(memory, geometry, rights, entry))
        .map(Cleared::Worker);
    let mut cleared: Vec<Cleared> = groups.chain(consumers).chain(workers).collect();
    cleared.extend(recount(memory, geometry).into_iter().map(Cleared::Count));
    if !cleared.is_empty() {
        Side::Producer.wake(memory);
    }
    cleared
}

/// Makes the counts of used entries what the entries say, and returns the tables whose count was
/// wrong.
fn recount<M: Memory>(memory: &M, geometry: &Geometry) -> Vec<&'static str> {
    let gates = |entry: GatingEntry| Tail(memory.load(entry.tail(), Relaxed)).position().is_some();
    let last = [
        geometry.consumer_entries().rfind(|&n| gates(geometry.consumer_entry(n))),
        geometry.group_entries().rfind(|&n| gates(geometry.group_entry(n))),
        geometry.worker_entries().rfind(|&n| group::pin(memory, geometry, n).is_some()),
    ];
    let mut recounted = Vec::new();
    for ((table, word, entries), last) in used_tables(geometry).into_iter().zip(last) {
        let found = memory.load(word, Relaxed);
        let right = found.clamp(last.map_or(0, |n| u64::from(n) + 1), entries);
        // A worker may count itself meanwhile; then the count is right.
        if right != found && memory.compare_exchange(word, found, right, Relaxed, Relaxed).is_ok() {
            recounted.push(table);
        }
    }
    recounted
}

fn clear_consumer<M: Memory, L: Liveness>(memory: &M, geometry: &Geometry, rights: &L, entry: u32) -> bool {
    let tail = memory.load(geometry.tail(entry), Relaxed);
    let is_left = membership::flags(memory, geometry, entry).is_taken() || tail != Tail::NONE.0;
    is_left && membership::reap(memory, geometry, rights, entry)
}

/// Other than [`members::reap`], clears also a pin that only a damaged file has: one of a free entry.
fn clear_worker<M: Memory + Clone, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    entry: u32,
) -> bool {
    let load = |at| memory.load(geometry.worker_word(entry, at), Relaxed);
    let is_left = load(worker::GROUP) != 0 || load(worker::PIN) != NOWHERE;
    let cleared = is_left && rights.seize(Right::Worker(entry));
    if cleared {
        members::free(memory, geometry, entry);
        rights.release(Right::Worker(entry));
    }
    cleared
}
