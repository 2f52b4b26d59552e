//! The life of a worker's entry: enlisting in a group, leaving the group, and clearing up after
//! death.
//!
//! | state | group | pin | right |
//! |---|---|---|---|
//! | free | 0 | none | free |
//! | a worker | the group's number + 1 | a position, or none | the worker's |
//! | a dead worker | the same | the same | free |
//!
//! A dead worker's leases carry the number of its entry. They are returned before the entry is
//! free, so that no later worker is taken for their owner.
//!
//! Example: worker 7 dies with positions 4 and 9 leased. Worker 2 takes the right of entry 7, makes
//! 4 and 9 available again, clears pin and group of entry 7, and gives the right back. Only now can
//! a new worker have number 7.

use super::{Group, NOWHERE, TAKEN_AWAY};
use crate::format::readers_page::USED_WORKERS;
use crate::format::{Count, Geometry, State, worker};
use crate::memory::{Futex, Liveness, Memory, Right};
use crate::protocol::membership::Identity;
use crate::protocol::park::Side;
use crate::protocol::recorder;
use core::sync::atomic::Ordering::{Relaxed, Release};

/// Reasons for which a worker gets no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnlistError<E> {
    /// Every entry is held. A party that only clears up holds an entry for a moment: try again.
    Full,
    /// The kernel cannot tell whether a process holds an entry.
    Unknown(E),
}

/// Takes an entry, free or a dead worker's, for a worker of the group, and holds its right from
/// then on. The dead worker's leases become available again. The caller holds the table right.
pub fn enlist<M: Memory + Clone, L: Liveness>(
    group: &Group<M>,
    rights: &L,
    who: &Identity<'_>,
) -> Result<u32, EnlistError<L::Error>> {
    let Group { memory, geometry, .. } = group;
    let entry = seize_entry(memory, geometry, rights)?;
    let word = |at| geometry.worker_word(entry, at);
    free(memory, geometry, entry);
    for at in [worker::DELIVERED, worker::ACKED, worker::FAILED, worker::LOST] {
        memory.store(word(at), 0, Relaxed);
    }
    recorder::store_name(memory, |at| word(worker::NAME + at), who.name);
    memory.store(word(worker::PID), who.pid, Relaxed);
    memory.store(word(worker::JOINED_MS), who.unix_ms, Relaxed);
    memory.store(word(worker::GROUP), u64::from(group.number) + 1, Relaxed);
    Ok(entry)
}

/// A free entry, or else a dead worker's.
fn seize_entry<M: Memory, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
) -> Result<u32, EnlistError<L::Error>> {
    for dead in [false, true] {
        for entry in geometry.worker_entries() {
            let seize = || rights.try_seize(Right::Worker(entry)).map_err(EnlistError::Unknown);
            if is_taken(memory, geometry, entry) == dead && seize()? {
                return Ok(entry);
            }
        }
    }
    Err(EnlistError::Full)
}

/// Lets a worker leave: its remaining leases become available again, and its entry becomes free.
pub fn leave<M: Memory + Futex + Clone, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    entry: u32,
) {
    free(memory, geometry, entry);
    rights.release(Right::Worker(entry));
    Side::Producer.wake_if_asleep(memory);
}

/// Frees a worker's entry: returns its leases, removes its pin, and clears its group. The caller
/// holds the right to the entry.
pub fn free<M: Memory + Clone>(memory: &M, geometry: &Geometry, entry: u32) {
    let word = |at| geometry.worker_word(entry, at);
    let of = memory.load(word(worker::GROUP), Relaxed);
    let number = of.checked_sub(1).filter(|&number| number < geometry.groups());
    if let Some(number) = number.and_then(|number| u32::try_from(number).ok()) {
        return_leases(&Group::new(memory.clone(), *geometry, number), entry);
    }
    memory.store(word(worker::PIN), NOWHERE, Release); // UNPIN
    memory.store(word(worker::GROUP), 0, Relaxed);
}

/// Returns every lease that carries the number of a worker that died, or leaves.
fn return_leases<M: Memory>(group: &Group<M>, owner: u32) {
    let Some(floor) = group.floor() else { return };
    let mut returned = 0;
    for snapshot in group.window(floor) {
        let theirs = snapshot.word.state() == State::Leased && snapshot.word.owner() == owner;
        if theirs && group.replace(snapshot, snapshot.word.returned()) {
            group.hint_returned(snapshot.position);
            returned += 1;
        }
    }
    if returned > 0 {
        group.count(Count::WorkerDied, returned);
    }
}

/// Clears up after a worker that died: its leases become available at once. False if the worker
/// lives, or if there is nothing to clear up.
pub fn reap<M: Memory + Clone, L: Liveness>(memory: &M, geometry: &Geometry, rights: &L, entry: u32) -> bool {
    if !is_taken(memory, geometry, entry) || !rights.seize(Right::Worker(entry)) {
        return false;
    }
    let reaped = is_taken(memory, geometry, entry);
    if reaped {
        free(memory, geometry, entry);
    }
    rights.release(Right::Worker(entry));
    reaped
}

/// Clears up after the dead workers of the group, except for the entry `own`, whose right the
/// caller holds already. `died` receives the process number of each.
///
/// A worker without a lease has no pin either: its death holds no message up. So unless `all` are
/// asked for, only workers with a pin cost a system call, and only entries that were ever used are
/// looked at.
pub fn reap_all<M: Memory + Clone, L: Liveness>(
    group: &Group<M>,
    rights: &L,
    own: u32,
    all: bool,
    mut died: impl FnMut(u64),
) {
    let Group { memory, geometry, .. } = group;
    let has_pin = |entry| memory.load(geometry.worker_word(entry, worker::PIN), Relaxed) != NOWHERE;
    // A worker is counted before it has a pin.
    let counted = if all { u64::MAX } else { memory.load(USED_WORKERS, Relaxed) };
    let asked = |&entry: &u32| entry != own && (all || has_pin(entry));
    for entry in of(group).take_while(|&entry| u64::from(entry) < counted).filter(asked) {
        let pid = pid(memory, geometry, entry);
        if reap(memory, geometry, rights, entry) {
            died(pid);
        }
    }
}

/// Removes the pin of a worker that died. For the producer, which leaves the worker's leases to the
/// group. False if the worker lives.
///
/// Example: worker 3 lost its lease on position 7 to worker 4, read on, and died; its pin is 7, and
/// the floor 12. Only the pin gates the producer. It stores [`TAKEN_AWAY`], by which the next sweep
/// still sees that worker 3 may have left leases; [`NOWHERE`] would say that it has none.
pub fn unpin_dead<M: Memory, L: Liveness>(memory: &M, geometry: &Geometry, rights: &L, entry: u32) -> bool {
    if !rights.seize(Right::Worker(entry)) {
        return false;
    }
    memory.store(geometry.worker_word(entry, worker::PIN), TAKEN_AWAY, Relaxed);
    rights.release(Right::Worker(entry));
    true
}

/// The entries of the group's workers, alive or dead.
pub fn of<M: Memory>(group: &Group<M>) -> impl Iterator<Item = u32> + '_ {
    let belongs = u64::from(group.number) + 1;
    let word = |entry| group.geometry.worker_word(entry, worker::GROUP);
    group.geometry.worker_entries().filter(move |&entry| group.memory.load(word(entry), Relaxed) == belongs)
}

/// Process number of the worker that has, or last had, this entry.
pub fn pid<M: Memory>(memory: &M, geometry: &Geometry, entry: u32) -> u64 {
    memory.load(geometry.worker_word(entry, worker::PID), Relaxed)
}

fn is_taken<M: Memory>(memory: &M, geometry: &Geometry, entry: u32) -> bool {
    memory.load(geometry.worker_word(entry, worker::GROUP), Relaxed) != 0
}
