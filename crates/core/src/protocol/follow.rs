//! Followers: readers that read no further than other readers of the ring have released.
//!
//! A follower's *bound* is the lowest tail of its upstreams, a group's being its floor. It gates
//! the producer as any reader does, so the bound changes nothing for the producer.
//!
//! ```text
//! producer ── journal ──┬── risk ──┐
//!                       └──────────┴── act      act is after journal and risk
//! tails:       9          7   5        4        act may read 4, and no further than 5
//! ```
//!
//! An entry's number is used again, so a follower knows its upstream by the entry and its
//! generation ([`Followed`]). When the upstream leaves, its entry keeps where it left: the follower
//! reads that far, and is then told.
//!
//! No upstream follows its own follower, directly or through others. A [list](super::after) names
//! only entries that are complete at that moment, and stays as it is for the life of the follower's
//! entry: every upstream's generation is older than its follower's.
//!
//! Waiting: a follower sleeps on the words of the one upstream that is furthest behind
//! ([`Side::Followers`]). A party that moves a tail looks at the word beside it.

use super::Damage;
use super::entry;
use super::group::Group;
use super::message::is_published;
use super::park::Side;
use super::tenure::{self, Tenure};
use crate::format::{GatingEntry, Geometry, Tail};
use crate::memory::{Futex, Liveness, Memory, Right};
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

/// A party that can be followed, by the number of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// A consumer.
    Consumer(u32),
    /// A group.
    Group(u32),
}

impl Party {
    /// The words by which the party gates.
    pub fn entry(self, geometry: &Geometry) -> GatingEntry {
        match self {
            Party::Consumer(entry) => geometry.consumer_entry(entry),
            Party::Group(number) => geometry.group_entry(number),
        }
    }

    /// The party's name.
    pub fn name<M: Memory + Clone>(self, memory: &M, geometry: &Geometry) -> String {
        match self {
            Party::Consumer(entry) => entry::name(memory, geometry, entry),
            Party::Group(number) => Group::new(memory.clone(), *geometry, number).name(),
        }
    }
}

/// One owner of an entry: the party, and the generation of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The party.
    pub party: Party,
    /// The generation that it began.
    pub generation: u64,
}

impl Followed {
    /// The present owner of an entry. The caller holds the table right, or knows that the owner has
    /// joined.
    pub fn present<M: Memory>(memory: &M, geometry: &Geometry, party: Party) -> Followed {
        Followed { party, generation: memory.load(party.entry(geometry).generation(), Relaxed) }
    }

    /// True while the entry is of this generation.
    pub fn is_there<M: Memory>(self, memory: &M, geometry: &Geometry) -> bool {
        Followed::present(memory, geometry, self.party) == self
    }
}

/// How far one owner of an entry has come, as another party sees it.
#[derive(Clone, Debug)]
pub struct Upstream<M> {
    followed: Followed,
    entry: GatingEntry,
    /// The group, if it is one: its floor follows from the words of the deliveries.
    group: Option<Group<M>>,
    geometry: Geometry,
    /// Every position below was released. Unbounded: another process wrote it.
    passed: u64,
    /// The owner is gone: `passed` stays.
    is_gone: bool,
}

impl<M: Memory> Upstream<M> {
    /// Nothing is known of it yet.
    pub fn new(memory: &M, geometry: &Geometry, followed: Followed) -> Upstream<M>
    where
        M: Clone,
    {
        let group = match followed.party {
            Party::Consumer(_) => None,
            Party::Group(number) => Some(Group::new(memory.clone(), *geometry, number)),
        };
        let entry = followed.party.entry(geometry);
        Upstream { followed, entry, group, geometry: *geometry, passed: 0, is_gone: false }
    }

    /// The party, and the generation that is meant.
    pub fn followed(&self) -> Followed {
        self.followed
    }
    /// Every position below was released when this party looked.
    pub fn passed(&self) -> u64 {
        self.passed
    }
    /// True if the party had gone when this party looked: it releases no more.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }
    /// The side that sleeps until this party moves.
    pub fn side(&self) -> Side {
        Side::Followers(self.entry)
    }

    /// Looks how far the party has come. All that it did before it released is visible afterwards.
    ///
    /// Example: generation 3 is followed. Tail 70, generation 3: 70 was passed. Tail "none",
    /// generation 3: it left, and the entry says where. Tail 20, generation 4: it left, and what
    /// was seen of it last counts.
    #[inline(always)]
    pub fn look(&mut self, memory: &M) {
        if self.is_gone {
            return;
        }
        let passed = match &self.group {
            None => Tail(memory.load(self.entry.tail(), Relaxed)).position(),
            Some(group) => group.floor(),
        };
        memory.fence(Acquire); // FOLLOW
        match passed {
            Some(passed) if memory.load(self.entry.generation(), Relaxed) == self.followed.generation => {
                // A consumer that was evicted and joins again shows the lowest tail for a moment.
                self.passed = self.passed.max(passed);
            }
            _ => self.look_where_it_left(memory),
        }
    }

    /// Looks whether the party has passed `position`. A position that the producer has not
    /// published is never passed: an error if the party's words say so.
    pub fn has_passed(&mut self, memory: &M, position: u64) -> Result<bool, Damage> {
        self.look(memory);
        if self.passed <= position {
            return Ok(false);
        }
        if is_published(memory, self.geometry.slots(), position) {
            return Ok(true);
        }
        Err(Damage::new("tail of a reader", self.passed, 0, position))
    }

    /// The party does not gate, or its entry is another's.
    #[cold]
    fn look_where_it_left(&mut self, memory: &M) {
        let Tenure { left_at, generation, .. } = tenure::look_at(memory, self.entry);
        let is_same = generation == self.followed.generation;
        if let Some(left_at) = left_at.filter(|_| is_same) {
            self.passed = self.passed.max(left_at);
        }
        // An evicted consumer does not gate, and comes back, or leaves without a position.
        self.is_gone = !is_same || left_at.is_some() || !self.is_taken(memory);
    }

    fn is_taken(&self, memory: &M) -> bool {
        match self.followed.party {
            Party::Consumer(entry) => entry::flags(memory, &self.geometry, entry).is_taken(),
            Party::Group(_) => true,
        }
    }

    /// Frees the entry of a party that died, so that the next look finds it gone. False if the
    /// party lives, waits for its owner to come back, or is gone already. A system call.
    pub fn reap_if_dead<L: Liveness>(&self, memory: &M, rights: &L) -> bool
    where
        M: Futex,
    {
        let Party::Consumer(entry) = self.followed.party else { return false };
        !self.is_gone
            && self.followed.is_there(memory, &self.geometry)
            && !rights.is_held(Right::Consumer(entry))
            && entry::reap(memory, &self.geometry, rights, entry)
    }
}

/// The parties that one party follows, at least one.
#[derive(Clone, Debug)]
pub struct Upstreams<M> {
    all: Vec<Upstream<M>>,
    /// The index of the one that is furthest behind.
    last: usize,
    bound: u64,
    /// The messages that were last seen to be published.
    pub(super) seen: Readable,
}

/// Messages that are published, up to a position.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Readable {
    /// One past the last of them.
    pub(super) end: u64,
    /// Those from here on are headerless.
    pub(super) headers_until: u64,
}

impl<M: Memory> Upstreams<M> {
    /// `None` for a party that follows nobody.
    pub fn new(memory: &M, geometry: &Geometry, after: &[Followed]) -> Option<Upstreams<M>>
    where
        M: Clone,
    {
        let all: Vec<Upstream<M>> =
            after.iter().map(|followed| Upstream::new(memory, geometry, *followed)).collect();
        (!all.is_empty()).then_some(Upstreams { all, last: 0, bound: 0, seen: Readable::default() })
    }

    /// Looks at all of them. All that each of them did before it released is visible afterwards.
    #[inline(always)]
    pub fn look(&mut self, memory: &M) -> u64 {
        let (mut bound, mut last) = (u64::MAX, 0);
        for (index, upstream) in self.all.iter_mut().enumerate() {
            upstream.look(memory);
            // Of two that have come equally far, the one that is gone is in the way.
            if upstream.passed < bound || upstream.passed == bound && upstream.is_gone {
                (bound, last) = (upstream.passed, index);
            }
        }
        (self.bound, self.last) = (bound, last);
        bound
    }

    /// No position from here on may be read, as of the last look. Unbounded.
    #[inline(always)]
    pub fn bound(&self) -> u64 {
        self.bound
    }
    /// The upstream that is furthest behind, as of the last look.
    pub fn last(&self) -> &Upstream<M> {
        &self.all[self.last]
    }
    /// All of them.
    pub fn all(&self) -> &[Upstream<M>] {
        &self.all
    }
}
