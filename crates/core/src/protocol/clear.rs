//! Clears a whole ring of everything that dead parties left. Producers and workers clear the same
//! entries one at a time when they meet them.

use super::group::table::clear_unfinished;
use super::group::{self, Group, NOWHERE, members};
use super::membership;
use super::park::Side;
use crate::format::readers_page::{USED_CONSUMERS, USED_GROUPS, USED_WORKERS};
use crate::format::{GatingEntry, Geometry, Tail, Word, worker};
use crate::memory::{Futex, Liveness, Memory, Right};
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

/// An entry, or a count, that was cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// The group with this number: its creator or remover died before it was done.
    Group(u32),
    /// The entry of a dead consumer.
    Consumer(u32),
    /// The entry of a dead worker.
    Worker(u32),
    /// The count of used entries of this table, which contradicted the entries.
    Count(&'static str),
}

/// The tables: name, the word that counts their used entries, and their number of entries.
pub fn used_tables(geometry: &Geometry) -> [(&'static str, Word, u64); 3] {
    [
        ("consumers", USED_CONSUMERS, geometry.consumers()),
        ("groups", USED_GROUPS, geometry.groups()),
        ("workers", USED_WORKERS, geometry.workers()),
    ]
}

/// Clears every entry of a dead party. The caller holds the table right.
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

/// Corrects the counts of used entries by the entries, and returns the tables with a
/// wrong count.
///
/// Example: consumer entry 5 gates, and the count says 3. The producer would overlook entry 5, so
/// the count becomes 6. A count of 9000 in a table of 16 becomes 16.
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
        // A worker may count its own entry meanwhile; then the count is right.
        if right != found && memory.compare_exchange(word, found, right, Relaxed, Relaxed).is_ok() {
            recounted.push(table);
        }
    }
    recounted
}

fn clear_consumer<M: Memory + Futex, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    entry: u32,
) -> bool {
    let tail = memory.load(geometry.tail(entry), Relaxed);
    let is_left = membership::flags(memory, geometry, entry).is_taken() || tail != Tail::NONE.0;
    is_left && membership::reap(memory, geometry, rights, entry)
}

/// Clears, unlike [`members::reap`], also the pin of a free entry, which only a damaged file has.
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
