//! The possible steps of a delivery.

use crate::memory::{Life, Shared};
use crate::oracle::Intent;
use slipring_core::format::{DeliveryWord, Geometry, State, Tail};
use slipring_core::memory::Right;
use slipring_core::protocol::lease::Lease;
use std::collections::{BTreeSet, HashMap, HashSet};

/// As long as any delay may be.
const LONGEST: u32 = 1 << 30;

/// A group's book: what it owes, and the last word of each message.
#[derive(Debug)]
pub(crate) struct GroupBook {
    number: usize,
    geometry: Geometry,
    /// 0: no end.
    max_deliver: u32,
    /// The first position that the group owes; none while there is no such group.
    start: Option<u64>,
    /// The unsettled positions.
    open: BTreeSet<u64>,
    /// Positions of which there is a letter.
    pub(crate) letters: HashSet<u64>,
    /// The last word of each.
    last: HashMap<u64, u64>,
    pub(crate) leases: u64,
}

impl GroupBook {
    pub(crate) fn new(number: usize, geometry: Geometry, max_deliver: u32) -> GroupBook {
        GroupBook {
            number,
            geometry,
            max_deliver,
            start: None,
            open: BTreeSet::new(),
            letters: HashSet::new(),
            last: HashMap::new(),
            leases: 0,
        }
    }

    pub(crate) fn exists(&self) -> bool {
        self.start.is_some()
    }

    /// The group owes everything from `start` on; with none, it is gone.
    pub(crate) fn begins(&mut self, start: Option<u64>, end: u64) {
        self.start = start;
        self.open = start.map_or(BTreeSet::new(), |start| (start..end).collect());
    }

    pub(crate) fn published(&mut self, position: u64) {
        if self.start.is_some_and(|start| position >= start) {
            self.open.insert(position);
        }
    }

    /// The group owes this message.
    pub(crate) fn is_open(&self, position: u64) -> bool {
        self.open.contains(&position)
    }

    /// The lowest that it owes, and how many.
    pub(crate) fn open(&self) -> (Option<u64>, u64) {
        (self.open.first().copied(), self.open.len() as u64)
    }

    /// A worker has had its last word on a lease, or was told that it comes too late: either way
    /// the lease's word is gone.
    pub(crate) fn ended(&self, lease: Lease) {
        assert_ne!(self.last.get(&lease.position), Some(&lease.word.0), "{lease:?} was not lost");
    }

    /// The worker of this entry is dead or has left, and its messages can be leased again.
    pub(crate) fn returned(&self, owner: u32) {
        for position in &self.open {
            let Some(word) = self.last.get(position).map(|&word| DeliveryWord(word)) else { continue };
            let theirs = word.state() == State::Leased && word.owner() == owner;
            assert!(!theirs, "{position} is still leased to worker {owner}, who is gone");
        }
    }

    pub(crate) fn wrote_floor(&self, old: Tail, new: Tail, end: u64) {
        let (Some(_), Some(old), Some(new)) = (self.start, old.position(), new.position()) else {
            return;
        };
        assert!(old <= new, "the floor goes back from {old} to {new}");
        assert!(new <= end, "the floor {new} lies beyond the head");
        if let Some(open) = self.open.range(..new).next() {
            panic!("the floor goes to {new}, and {open} is not settled");
        }
    }

    /// Each change of a delivery's word must be a possible step, by a party that may make it.
    pub(crate) fn wrote(&mut self, shared: &Shared, life: &Life, position: Option<u64>, old: u64, new: u64) {
        let Some(start) = self.start else { return };
        let position = position.expect("a delivery of what was published");
        let lap = self.geometry.lap(position);
        let story = || {
            format!("group {}, position {position}, by {}: {:x} to {:x}", self.number, life.party, old, new)
        };
        assert!(position >= start, "below where the group began: {}", story());
        assert_eq!(new >> 52, lap % 4096, "a word of another lap: {}", story());
        let (old, new) = (DeliveryWord::read(old, lap), DeliveryWord(new));
        let is_owner = |word: DeliveryWord| shared.holder(Right::Worker(word.owner())) == Some(life.party);
        let means = |intent| life.intent.get() == intent;
        // A clock that was set back changes nothing: the time was there.
        let due = old.deadline().ahead_of(shared.machine.latest.get(), LONGEST) == 0;
        let exhausted = self.max_deliver != 0 && old.attempt() >= self.max_deliver;
        let again = new.attempt() == old.attempt() + 1;
        let same = new.attempt() == old.attempt();
        let sound = match (old.state(), new.state()) {
            (State::Leased, State::Leased) if same => is_owner(old) && means(Intent::Extend(position)),
            (State::Available, State::Leased) => is_owner(new) && again && !exhausted,
            (State::Leased | State::Delayed, State::Leased) => is_owner(new) && again && !exhausted && due,
            (State::Leased, State::Acked) => is_owner(old) && same && means(Intent::Ack(position)),
            (State::Leased, State::Delayed) => is_owner(old) && same && means(Intent::Nack(position)),
            (State::Leased, State::Available) if same => is_owner(old),
            (State::Leased, State::Available) => {
                is_owner(old) && new.attempt() + 1 == old.attempt() && means(Intent::Release(position))
            }
            (State::Leased, State::DeadPending) => {
                same && (is_owner(old) && means(Intent::Reject(position)) || due && exhausted)
            }
            (State::Available | State::Delayed, State::DeadPending) => same && exhausted,
            (State::DeadPending, State::DeadPending) => same,
            (State::DeadPending, State::DeadLettered) => self.letters.contains(&position),
            _ => false,
        };
        assert!(
            sound,
            "{old:?} {:?} becomes {:?} at {:?}: {}",
            old.state(),
            new.state(),
            shared.machine.now.get(),
            story()
        );
        self.last.insert(position, new.0);
        self.leases += u64::from(new.state() == State::Leased);
        assert!(self.is_open(position), "settled before: {}", story());
        if new.is_settled() {
            self.open.remove(&position);
        }
    }
}
