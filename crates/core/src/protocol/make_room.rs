//! Making room: removal of the parties that gate the producer of a full ring, where that is
//! allowed.
//!
//! | the lowest gate is | removed if | how |
//! |---|---|---|
//! | an evictable consumer | always | its tail is taken away |
//! | an ephemeral consumer | its process died | its entry is freed ([`membership::reap`]) |
//! | a durable consumer | it has been away for too long | its entry is freed ([`membership::expire`]) |
//! | a worker | its process died | its pin is taken away ([`members::unpin_dead`]) |
//! | a group | its creator, or remover, died over it | its entry is freed ([`clear_unfinished`]) |

use super::after;
use super::follow::Party;
use super::group::table::clear_unfinished;
use super::group::{Group, members};
use super::publish::{Gate, Producer, Who};
use super::recorder::EventKind;
use super::{membership, recorder};
use crate::format::{Geometry, Millis, Tail, worker};
use crate::memory::{Clock, Futex, Liveness, Memory, Right};
use alloc::string::String;
use core::sync::atomic::Ordering::Relaxed;

/// Milliseconds for which a proof of life is believed: asking the kernel costs a system call.
const PROOF_MS: u32 = 10;

/// Conditions that a producer sets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Number of tails and groups that must gate; with fewer, nothing is granted.
    pub required_readers: u32,
    /// Milliseconds for which a durable consumer may be away; 0: unlimited.
    pub durable_inactive_ms: u64,
}

/// A party that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The reason.
    pub kind: EventKind,
    /// The position at which the party gated.
    pub position: u64,
    /// Name of the party.
    pub name: String,
    /// Process number of the party; 0 for a group.
    pub pid: u64,
}

/// Makes room for a producer, and remembers for a while which party was proved alive.
#[derive(Debug)]
pub struct RoomMaker {
    policy: Policy,
    proved: Option<(Who, Millis)>,
    /// The party that gated in the last scan.
    gated_by: Option<Who>,
}

impl RoomMaker {
    /// A maker of room for a producer with this policy.
    pub fn new(policy: Policy) -> RoomMaker {
        RoomMaker { policy, proved: None, gated_by: None }
    }

    /// The producer's policy.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// True if a group or a worker of one gated in the last scan.
    pub fn is_gated_by_workers(&self) -> bool {
        matches!(self.gated_by, Some(Who::Group(_) | Who::Worker(_)))
    }

    /// Scans, and removes the lowest gate where that is allowed, until there is room. False if
    /// there is none.
    ///
    /// Example, capacity 8, head 8: dead consumer A gates at 0, living consumer B at 6. The scan
    /// finds A; its process died, so its entry is freed. The next scan finds B at 6: the limit
    /// becomes 14.
    pub fn make_room<M: Memory + Futex + Clone>(
        &mut self,
        producer: &mut Producer<M>,
        rights: &impl Liveness,
        clock: &impl Clock,
        mut removed: impl FnMut(Removal),
    ) -> bool {
        let geometry = *producer.geometry();
        // Each turn frees an entry or is the last. The bound holds even if other parties keep
        // refilling entries.
        let turns = 1 + geometry.consumers() + geometry.groups() + geometry.workers();
        for _ in 0..turns {
            let scan = producer.rescan(self.policy.required_readers);
            self.gated_by = scan.lowest.map(|gate| gate.who);
            if producer.room() > 0 {
                return true;
            }
            let gate = scan.lowest.filter(|_| scan.gates >= self.policy.required_readers);
            if !gate.is_some_and(|gate| self.dislodge(producer, gate, rights, clock, &mut removed)) {
                return false;
            }
        }
        false
    }

    /// Removes the gate if that is allowed. False if the gate stays.
    fn dislodge<M: Memory + Futex + Clone>(
        &mut self,
        producer: &mut Producer<M>,
        gate: Gate,
        rights: &impl Liveness,
        clock: &impl Clock,
        removed: &mut impl FnMut(Removal),
    ) -> bool {
        let Gate { who, position } = gate;
        if matches!(who, Who::Consumer(_, tail) if tail.is_evictable()) {
            let (name, pid) = name_and_pid(producer.memory(), producer.geometry(), who);
            // If the tail moved instead, there is room.
            if producer.evict(gate) {
                removed(Removal { kind: EventKind::Evicted, position, name, pid });
            }
            return true;
        }
        let now = clock.now();
        if self.proved.is_some_and(|(proved, at)| proved == who && now.0.wrapping_sub(at.0) < PROOF_MS) {
            return false;
        }
        // Removal clears the name.
        let (name, pid) = name_and_pid(producer.memory(), producer.geometry(), who);
        let done = self.remove(producer.memory(), producer.geometry(), who, rights, clock);
        self.proved = done.is_none().then_some((who, now));
        if let Some(kind) = done {
            removed(Removal { kind, position, name, pid });
        }
        done.is_some()
    }

    /// Removes a party that is dead or away, and returns the kind of event; `None` if it stays.
    fn remove<M: Memory + Futex + Clone>(
        &self,
        memory: &M,
        geometry: &Geometry,
        who: Who,
        rights: &impl Liveness,
        clock: &impl Clock,
    ) -> Option<EventKind> {
        let (kind, removed) = match who {
            Who::Consumer(entry, _) if membership::flags(memory, geometry, entry).is_kept() => {
                let (threshold, now) = (self.policy.durable_inactive_ms, clock.unix_ms());
                let expired = membership::expire(memory, geometry, rights, entry, threshold, now);
                (EventKind::Removed, expired)
            }
            Who::Consumer(entry, _) => (EventKind::Died, membership::reap(memory, geometry, rights, entry)),
            Who::Worker(entry) => (EventKind::Died, members::unpin_dead(memory, geometry, rights, entry)),
            Who::Group(number) => {
                let group = Group::new(memory.clone(), *geometry, number);
                (EventKind::Removed, clear_abandoned(&group, rights))
            }
        };
        removed.then_some(kind)
    }
}

/// Clears the entry of a group if its creator or remover died.
fn clear_abandoned<M: Memory + Futex>(group: &Group<M>, rights: &impl Liveness) -> bool {
    if !rights.seize(Right::Table) {
        return false;
    }
    let cleared = clear_unfinished(group);
    rights.release(Right::Table);
    cleared
}

/// The party that holds the ring by this gate: a follower that has caught up with an upstream only
/// waits for it, and the upstream may wait for another one.
///
/// Example: act is after risk, and risk after journal; all three stand at 7. The scan finds act,
/// and journal holds the ring.
pub fn holder<M: Memory + Clone>(memory: &M, geometry: &Geometry, gate: Gate) -> Gate {
    let mut who = gate.who;
    // Damaged words may name each other in a circle.
    for _ in 0..geometry.consumers() + geometry.groups() {
        let party = match who {
            Who::Consumer(entry, _) => Party::Consumer(entry),
            Who::Group(number) => Party::Group(number),
            Who::Worker(_) => break,
        };
        let upstream = after::held_up_by(memory, geometry, party, gate.position);
        let Some(upstream) = upstream.filter(|upstream| upstream.is_there(memory, geometry)) else { break };
        who = match upstream.party {
            Party::Consumer(entry) => Who::Consumer(entry, Tail(memory.load(geometry.tail(entry), Relaxed))),
            Party::Group(number) => Who::Group(number),
        };
    }
    Gate { who, ..gate }
}

/// Name and process number of a party that gates; 0 for a group.
pub fn name_and_pid<M: Memory + Clone>(memory: &M, geometry: &Geometry, who: Who) -> (String, u64) {
    match who {
        Who::Consumer(entry, _) => {
            (membership::name(memory, geometry, entry), membership::pid(memory, geometry, entry))
        }
        Who::Group(number) => (Group::new(memory.clone(), *geometry, number).name(), 0),
        Who::Worker(entry) => {
            let name = recorder::load_name(memory, |at| geometry.worker_word(entry, worker::NAME + at));
            (name, memory.load(geometry.worker_word(entry, worker::PID), Relaxed))
        }
    }
}
