//! Clearing a whole ring of what the dead left. Producers and workers do the same when they come upon it.

use super::group::table::clear_unfinished;
use super::group::{Group, NOWHERE, members};
use super::membership;
use super::park::Side;
use crate::format::{Geometry, Tail, worker};
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
    let cleared: Vec<Cleared> = groups.chain(consumers).chain(workers).collect();
    if !cleared.is_empty() {
        Side::Producer.wake(memory);
    }
    cleared
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
