//! What a group is to everybody: its floor and its window of deliveries. [`table`] is the life of a group's entry,
//! [`members`] that of its workers' entries.

pub mod members;
pub mod table;

use super::message::{find, last_published};
use super::settings::{GroupSettings, Standing};
use super::{recorder, sightings};
use crate::format::producer_page::HEAD;
use crate::format::{
    Count, DeliveryWord, Geometry, Message, Millis, POSITION_MAX, Tail, gating, group, group_flags, worker,
};
use crate::memory::{Memory, Word};
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Stored where a hint or a pin names no position.
pub const NOWHERE: u64 = u64::MAX;

/// Which messages a worker wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kinds {
    /// Any, oldest first. As System V's `msgtyp` 0.
    #[default]
    Any,
    /// Those of this kind, oldest first. As a positive `msgtyp`.
    Equal(u32),
    /// Those of the lowest kind that is at most this, oldest first. As a negative `msgtyp`.
    AtMost(u32),
    /// All but those of this kind, oldest first. As `MSG_EXCEPT`.
    Except(u32),
}

impl Kinds {
    /// True if a message of this kind is wanted.
    #[inline(always)]
    pub fn admits(self, kind: u32) -> bool {
        match self {
            Kinds::Any => true,
            Kinds::Equal(wanted) => kind == wanted,
            Kinds::AtMost(highest) => kind <= highest,
            Kinds::Except(unwanted) => kind != unwanted,
        }
    }
}

/// One delivery as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slip {
    pub position: u64,
    /// The word in memory: what a compare-exchange starts from.
    pub stored: u64,
    /// What it says of this position.
    pub word: DeliveryWord,
}

/// A group's words, as anybody may read them.
///
/// The floor is a hint from below: everything under it is settled, and perhaps more. Whoever needs to know
/// better walks up the settled words from it, so that nobody has to keep it exact, and the death of who was
/// about to move it costs nothing.
#[derive(Clone, Debug)]
pub struct Group<M> {
    pub memory: M,
    pub geometry: Geometry,
    pub number: u32,
}

impl<M: Memory> Group<M> {
    /// Group `number`, which is below the ring's number of groups.
    pub fn new(memory: M, geometry: Geometry, number: u32) -> Group<M> {
        Group { memory, geometry, number }
    }

    /// Every group entry of a ring, taken or not.
    pub fn all(memory: &M, geometry: &Geometry) -> impl Iterator<Item = Group<M>>
    where
        M: Clone,
    {
        geometry.group_entries().map(|number| Group::new(memory.clone(), *geometry, number))
    }

    /// The group of this name.
    pub fn named(memory: &M, geometry: &Geometry, name: &str) -> Option<Group<M>>
    where
        M: Clone,
    {
        Group::all(memory, geometry).find(|group| group.is_taken() && group.name() == name)
    }

    /// True for a whole group: not for a free entry, nor for a group that is being created or removed.
    pub fn is_taken(&self) -> bool {
        self.load(group::FLAGS) == group_flags::TAKEN
    }

    /// Its name.
    pub fn name(&self) -> String {
        recorder::load_name(&self.memory, |at| self.entry_word(group::NAME + at))
    }

    /// Its settings.
    pub fn settings(&self) -> GroupSettings {
        GroupSettings::load(&self.memory, |at| self.entry_word(at))
    }

    #[inline(always)]
    pub fn entry_word(&self, at: u64) -> Word {
        self.geometry.group_word(self.number, at)
    }
    pub fn load(&self, at: u64) -> u64 {
        self.memory.load(self.entry_word(at), Relaxed)
    }

    /// A position that another process wrote. The head counts what comes below the ring's first one as published, and so
    /// would who looked there.
    #[inline(always)]
    pub fn bounded(&self, position: u64) -> u64 {
        position.max(self.geometry.first_position()).min(POSITION_MAX)
    }

    /// What the group's word says of `position` at this moment.
    #[inline(always)]
    pub fn slip(&self, position: u64) -> Slip {
        let stored = self.memory.load(self.geometry.delivery(self.number, position), Relaxed);
        Slip { position, stored, word: DeliveryWord::read(stored, self.geometry.lap(position)) }
    }

    /// Replaces the word of a slip, unless somebody did before.
    #[inline(always)]
    pub fn replace(&self, slip: Slip, new: DeliveryWord) -> bool {
        let word = self.geometry.delivery(self.number, slip.position);
        // Relaxed: it grants nothing by itself. What the lease's owner read is released by its pin, and the
        // exchange hands on whatever the claim released.
        self.memory.compare_exchange(word, slip.stored, new.0, Relaxed, Relaxed).is_ok()
    }

    /// The stored floor; none if there is no such group. Bounded.
    pub fn stored_floor(&self) -> Option<u64> {
        Tail(self.load(group::FLOOR)).position().map(|floor| floor.min(POSITION_MAX))
    }

    /// The end of the run of settled positions that begins at `from`, not beyond `end`.
    pub fn settled_until(&self, from: u64, end: u64) -> u64 {
        let mut position = from;
        while position < end && self.is_settled(position) {
            position += 1;
        }
        position
    }

    /// True also for a position whose slot was reused meanwhile. The stored floor may lie so low: the producer
    /// sees over what is settled above it. The word speaks of a later lap then, and looks fresh; that the
    /// slot was published again says that the position was settled.
    fn is_settled(&self, position: u64) -> bool {
        let word = self.slip(position).word;
        word.is_settled() || word.is_fresh() && self.sequence_of_fresh(position) > position + 1
    }

    /// The lowest position that is not settled. None if there is no such group.
    ///
    /// The stored floor may lie any number of laps behind, if everybody died who was about to move it. What lies a
    /// lap below the head was overwritten, so that the walk begins there.
    pub fn floor(&self) -> Option<u64> {
        let capacity = self.geometry.capacity();
        let from = self.stored_floor()?.max(head(&self.memory).saturating_sub(capacity));
        Some(self.settled_until(from, from + 2 * capacity))
    }

    /// Moves the stored floor up over what is settled, and returns it: the lowest position that was not. None
    /// if there is no such group.
    pub fn help_floor(&self) -> Option<u64> {
        let stored = self.stored_floor()?;
        let floor = self.floor()?;
        if floor > stored {
            self.memory.fence(Acquire); // SETTLED
            let (from, to) = (Tail::at(stored, false).0, Tail::at(floor, false).0);
            // Somebody else may have got further, or removed the group.
            let _ = self.memory.compare_exchange(self.entry_word(group::FLOOR), from, to, Release, Relaxed); // FLOOR
        }
        Some(floor)
    }

    /// Deliveries from `from` on, up to the first message that is not published yet.
    pub fn window(&self, from: u64) -> Window<'_, M> {
        let from = self.bounded(from);
        Window { group: self, next: from, end: from + 2 * self.geometry.capacity(), moved: false }
    }

    /// One past the message that is published in a slot whose delivery looked fresh.
    ///
    /// A word of a later lap looks fresh too. Who wrote it had seen the slot of that lap, so that after this
    /// fence it is seen here as well, and the word is taken for what it is.
    #[inline(always)]
    pub fn sequence_of_fresh(&self, position: u64) -> u64 {
        self.memory.fence(Acquire); // LAP
        last_published(&self.memory, self.geometry.slots(), position)
    }

    /// A published message, which may be overwritten; nothing for one that is not there.
    #[inline(always)]
    pub fn message(&self, position: u64) -> Option<Message> {
        find(&self.memory, self.geometry.slots(), position)
    }

    /// Says that `position` can be had again: whoever looks next, looks from there.
    pub fn hint_returned(&self, position: u64) {
        let word = self.entry_word(group::RETURNED);
        let mut seen = self.memory.load(word, Relaxed);
        while seen > position {
            match self.memory.compare_exchange(word, seen, position, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
    }

    /// Counts something in the group's statistics.
    pub fn count(&self, what: Count, times: u64) {
        let word = self.entry_word(group::COUNTS + what as u64 * 8);
        let mut seen = self.memory.load(word, Relaxed);
        while let Err(now) =
            self.memory.compare_exchange(word, seen, seen.wrapping_add(times), Relaxed, Relaxed)
        {
            seen = now;
        }
    }

    /// Counts what is in the window.
    pub fn census(&self, now: Millis) -> Option<Census> {
        let settings = self.settings();
        let floor = self.floor()?;
        let mut census = Census { floor, ..Census::default() };
        for slip in self.window(floor) {
            census.redelivered += u64::from(slip.word.attempt() > 1 && !slip.word.is_settled());
            match settings.standing(slip.position, slip.word, now) {
                Standing::Settled => {}
                Standing::Ready if slip.word.attempt() == 0 => census.pending += 1,
                Standing::Doomed(_) | Standing::Exhausted(_) => census.doomed += 1,
                Standing::Ready | Standing::Later(_) => census.ack_pending += 1,
            }
        }
        if census.pending + census.ack_pending + census.doomed > 0 {
            census.oldest_age_ms = sightings::age(&self.memory, |at| self.entry_word(at), floor, now);
        }
        Some(census)
    }
}

/// What a look at a group's window counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The lowest position that is not settled.
    pub floor: u64,
    /// Messages that were never leased.
    pub pending: u64,
    /// Messages that were leased and are not settled.
    pub ack_pending: u64,
    /// Of those, messages that were leased more than once.
    pub redelivered: u64,
    /// Messages that wait for their burial.
    pub doomed: u64,
    /// How long the floor's message has been there at least, if anybody saw it come.
    pub oldest_age_ms: Option<u32>,
}

/// Iterates over a group's deliveries.
///
/// It begins at a hint, which may lie below slots that were reused meanwhile, and ends at the head: there the
/// word is of an earlier lap and the slot not published. A word whose own lap is over when the hint points to
/// it is at most one lap old, since every lap writes it, so the head is less than two rings away; where the
/// words are younger, the window is moved up, once. What a hostile hand wrote ends it too.
#[derive(Debug)]
pub struct Window<'g, M> {
    group: &'g Group<M>,
    next: u64,
    end: u64,
    moved: bool,
}

impl<M: Memory> Window<'_, M> {
    /// A ring below the message that is in the slot now, everything is settled.
    #[cold]
    fn skip_reused(&mut self, sequence: u64) {
        let capacity = self.group.geometry.capacity();
        // Nobody has published so far ahead of the head: a damaged word must not stand for a message.
        let reached = head(&self.group.memory) + capacity;
        let below = if sequence > reached { 0 } else { sequence.saturating_sub(capacity) };
        self.next = below.max(self.next + 1);
        if !self.moved {
            self.moved = true;
            self.end = self.next + 2 * capacity;
        }
    }
}

impl<M: Memory> Iterator for Window<'_, M> {
    type Item = Slip;

    #[inline(always)]
    fn next(&mut self) -> Option<Slip> {
        while self.next < self.end {
            let slip = self.group.slip(self.next);
            if slip.word.is_fresh() {
                let sequence = self.group.sequence_of_fresh(self.next);
                if sequence <= self.next {
                    return None;
                }
                if sequence != self.next + 1 {
                    self.skip_reused(sequence);
                    continue;
                }
            }
            self.next += 1;
            return Some(slip);
        }
        None
    }
}

/// How far a group lets the producer go: the lowest position that it has not settled, at most `head`. None if
/// there is no such group.
///
/// For the producer, who reads groups and never writes them. What it reads here is acquired by the fence of
/// its scan.
pub fn gate<M: Memory>(memory: &M, geometry: &Geometry, number: u32, head: u64) -> Option<u64> {
    let stored = Tail(memory.load(geometry.group_word(number, group::FLOOR), Relaxed)).position()?;
    // What the producer has overwritten was settled: the words there may speak of a later lap.
    let mut floor = stored.max(geometry.earliest(head)).min(head);
    while floor < head {
        let word =
            DeliveryWord::read(memory.load(geometry.delivery(number, floor), Relaxed), geometry.lap(floor));
        if !word.is_settled() {
            break;
        }
        floor += 1;
    }
    Some(floor)
}

/// Where a worker holds the producer back, if it does.
pub fn pin<M: Memory>(memory: &M, geometry: &Geometry, worker: u32) -> Option<u64> {
    Some(memory.load(geometry.worker_word(worker, worker::PIN), Relaxed)).filter(|&pin| pin != NOWHERE)
}

/// The next position to publish, for those who read nothing by it.
pub fn head<M: Memory>(memory: &M) -> u64 {
    memory.load(HEAD, Relaxed).min(POSITION_MAX)
}

/// The words that the protocol of groups orders its steps by, with their values in a new ring.
pub fn words(geometry: &Geometry) -> Vec<(Word, u64)> {
    let groups = geometry.group_entries().flat_map(|number| {
        [
            (group::FLOOR, Tail::NONE.0),
            (group::GENERATION, 0),
            (group::LEFT_AT, gating::NOT_LEFT),
            (group::FRONTIER, 0),
            (group::RETURNED, NOWHERE),
            (group::FLAGS, 0),
        ]
        .map(|(at, value)| (geometry.group_word(number, at), value))
    });
    let workers = geometry.worker_entries().flat_map(|entry| {
        [(worker::PIN, NOWHERE), (worker::GROUP, 0)]
            .map(|(at, value)| (geometry.worker_word(entry, at), value))
    });
    groups.chain(workers).collect()
}
