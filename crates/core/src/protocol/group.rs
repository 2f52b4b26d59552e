//! What a group is to everybody: its floor, its window of deliveries, its entry in the table, and what is
//! cleared away when a worker or a whole group goes.

use super::message::{find, last_published};
use super::settings::{GroupSettings, Standing};
use super::table::{Start, StartError, join_at};
use super::{recorder, sightings};
use crate::format::producer_page::HEAD;
use crate::format::{
    Count, DeliveryWord, Geometry, Message, Millis, POSITION_MAX, State, Tail, group, group_flags, worker,
};
use crate::memory::{Liveness, Memory, Right, Word};
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

    /// Returns every lease that carries the number of a worker who is dead, or leaves.
    pub fn return_leases(&self, owner: u32) -> u64 {
        let Some(floor) = self.floor() else { return 0 };
        let mut returned = 0;
        for slip in self.window(floor) {
            let theirs = slip.word.state() == State::Leased && slip.word.owner() == owner;
            if theirs && self.replace(slip, slip.word.returned()) {
                self.hint_returned(slip.position);
                returned += 1;
            }
        }
        if returned > 0 {
            self.count(Count::Abandoned, returned);
        }
        returned
    }

    /// Counts what is in the window.
    pub fn census(&self, now: Millis) -> Option<Census> {
        let settings = GroupSettings::load(&self.memory, |at| self.entry_word(at));
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

/// Creates a group in a free entry, gating from `start` on. The caller holds the table right.
///
/// Until everything is in place the entry says so: if this process dies in between, whoever has the table
/// right next clears it away ([`clear_unfinished`]).
pub fn create<M: Memory>(
    group: &Group<M>,
    name: &str,
    settings: &GroupSettings,
    start: Start,
    boot: u64,
    unix_ms: u64,
) -> Result<u64, StartError> {
    let Group { memory, geometry, .. } = group;
    let store = |at, value| memory.store(group.entry_word(at), value, Relaxed);
    store(group::FLAGS, group_flags::UNFINISHED);
    for position in 0..geometry.capacity() {
        let word = geometry.delivery(group.number, position);
        // Looking first leaves pages alone that nobody ever wrote.
        if memory.load(word, Relaxed) != 0 {
            memory.store(word, 0, Relaxed);
        }
    }
    settings.store(memory, |at| group.entry_word(at));
    recorder::store_name(memory, |at| group.entry_word(group::NAME + at), name);
    store(group::BOOT, boot);
    store(group::CREATED_MS, unix_ms);
    for at in (group::COUNTS..group::LEN).step_by(8) {
        store(at, 0);
    }
    store(group::FRONTIER, 0);
    store(group::RETURNED, NOWHERE);
    match join_at(memory, geometry, group.entry_word(group::FLOOR), start, false) {
        Ok(floor) => {
            store(group::FRONTIER, floor);
            store(group::FLAGS, group_flags::TAKEN);
            Ok(floor)
        }
        Err(error) => {
            store(group::FLAGS, group_flags::FREE);
            Err(error)
        }
    }
}

/// Removes a group: it gates no more. The caller holds the table right and the right of every worker of the
/// group.
pub fn remove<M: Memory>(group: &Group<M>) {
    let Group { memory, .. } = group;
    memory.store(group.entry_word(group::FLAGS), group_flags::UNFINISHED, Relaxed);
    memory.store(group.entry_word(group::FLOOR), Tail::NONE.0, Release); // LEAVE
    memory.store(group.entry_word(group::FLAGS), group_flags::FREE, Relaxed);
}

/// Clears away a group whose creator or remover died over it, and what only a damaged file has: a floor of
/// nobody's group, which would hold the producer for ever. The caller holds the table right. True if it was one.
pub fn clear_unfinished<M: Memory>(group: &Group<M>) -> bool {
    let unfinished = match group.load(group::FLAGS) {
        group_flags::TAKEN => false,
        group_flags::FREE => group.stored_floor().is_some(),
        _ => true,
    };
    if unfinished {
        remove(group);
    }
    unfinished
}

/// After a reboot the clock began anew: what a worker of an earlier boot leased or delayed is due now. The
/// caller holds the table right.
pub fn after_reboot<M: Memory>(group: &Group<M>, boot: u64) {
    if group.load(group::BOOT) == boot {
        return;
    }
    if let Some(floor) = group.floor() {
        for slip in group.window(floor) {
            if matches!(slip.word.state(), State::Leased | State::Delayed) {
                group.replace(slip, slip.word.returned());
                group.hint_returned(slip.position);
            }
        }
    }
    group.memory.store(group.entry_word(group::BOOT), boot, Relaxed);
}

/// Frees a worker's entry: returns its leases, takes its pin away, and lets the entry go. The caller holds the
/// right to it.
pub fn free_worker<M: Memory + Clone>(memory: &M, geometry: &Geometry, entry: u32) {
    let word = |at| geometry.worker_word(entry, at);
    let of = memory.load(word(worker::GROUP), Relaxed);
    let number = of.checked_sub(1).filter(|&number| number < geometry.groups());
    if let Some(number) = number.and_then(|number| u32::try_from(number).ok()) {
        Group::new(memory.clone(), *geometry, number).return_leases(entry);
    }
    memory.store(word(worker::PIN), NOWHERE, Release); // UNPIN
    memory.store(word(worker::GROUP), 0, Relaxed);
}

/// Clears up after a worker that died: what it had leased can be had again at once. False if it lives, or if
/// there is nothing to clear up.
pub fn reap_worker<M: Memory + Clone, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    liveness: &L,
    entry: u32,
) -> bool {
    let word = geometry.worker_word(entry, worker::GROUP);
    if memory.load(word, Relaxed) == 0 || !liveness.seize(Right::Worker(entry)) {
        return false;
    }
    let reaped = memory.load(word, Relaxed) != 0;
    if reaped {
        free_worker(memory, geometry, entry);
    }
    liveness.release(Right::Worker(entry));
    reaped
}

/// Takes away the pin of a worker that died. For the producer, who leaves its leases to the group. False if it
/// lives.
pub fn unpin_dead<M: Memory, L: Liveness>(memory: &M, geometry: &Geometry, liveness: &L, entry: u32) -> bool {
    if !liveness.seize(Right::Worker(entry)) {
        return false;
    }
    memory.store(geometry.worker_word(entry, worker::PIN), NOWHERE, Relaxed);
    liveness.release(Right::Worker(entry));
    true
}

/// The next position to publish, for those who read nothing by it.
pub fn head<M: Memory>(memory: &M) -> u64 {
    memory.load(HEAD, Relaxed).min(POSITION_MAX)
}

/// The words that the protocol of groups orders its steps by, with their values in a new ring.
pub fn words(geometry: &Geometry) -> Vec<(Word, u64)> {
    let numbers = |count: u64| 0..u32::try_from(count).unwrap_or(u32::MAX);
    let groups = numbers(geometry.groups()).flat_map(|number| {
        [(group::FLOOR, Tail::NONE.0), (group::FRONTIER, 0), (group::RETURNED, NOWHERE), (group::FLAGS, 0)]
            .map(|(at, value)| (geometry.group_word(number, at), value))
    });
    let workers = numbers(geometry.workers()).flat_map(|entry| {
        [(worker::PIN, NOWHERE), (worker::GROUP, 0)]
            .map(|(at, value)| (geometry.worker_word(entry, at), value))
    });
    groups.chain(workers).collect()
}

/// True for the words of a group's entry that only tell people something: nothing is decided by them.
pub fn is_statistic(geometry: &Geometry, word: Word) -> bool {
    (0..geometry.groups()).any(|number| {
        let entry = geometry.group_word(u32::try_from(number).unwrap_or(0), 0).offset;
        (entry + group::BOOT..entry + group::LEN).contains(&word.offset) && word == Word::readers(word.offset)
    })
}
