//! A group's floor and its window of deliveries, as every party sees them. [`table`] is the life of
//! a group's entry, [`members`] that of its workers' entries.

pub mod current;
pub mod members;
mod runs;
pub mod table;

use super::eligibility::Eligibility;
use super::message::{find, last_published};
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
/// Stored as the pin of a dead worker by the producer: gates nothing, and says that the worker may
/// have left leases.
pub const TAKEN_AWAY: u64 = u64::MAX - 1;

/// The messages that a worker wants, by their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kinds {
    /// Every message, oldest first. As System V's `msgtyp` 0.
    #[default]
    Any,
    /// Messages of this kind, oldest first. As a positive `msgtyp`.
    Equal(u32),
    /// Messages of the lowest kind that is at most this, oldest first. As a negative `msgtyp`.
    AtMost(u32),
    /// Every message but those of this kind, oldest first. As `MSG_EXCEPT`.
    Except(u32),
}

impl Kinds {
    /// True if the worker wants a message of this kind.
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

/// One delivery at the moment at which a worker looked at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverySnapshot {
    /// Position of the message.
    pub position: u64,
    /// The word in memory: the expected value of a later compare-exchange.
    pub stored: u64,
    /// The meaning of that word for this position.
    pub word: DeliveryWord,
}

/// A group's words, which every party may read.
///
/// The floor is a lower bound: every position below is settled, and perhaps more. A party that
/// needs the exact lowest unsettled position walks up the settled words from the floor. So no party
/// has to keep the floor exact, and the death of a worker that was about to move it costs nothing.
///
/// Example: the stored floor is 4. Positions 4, 5 and 7 are acked, position 6 is leased. The exact
/// floor is 6: [`Group::floor`] returns 6, and [`Group::help_floor`] also stores it.
#[derive(Clone, Debug)]
pub struct Group<M> {
    /// The ring's words.
    pub memory: M,
    /// The places of the words.
    pub geometry: Geometry,
    /// Number of the group in its table.
    pub number: u32,
}

impl<M: Memory> Group<M> {
    /// The group with this number, which is below the ring's number of groups.
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

    /// The group with this name, if there is one.
    pub fn named(memory: &M, geometry: &Geometry, name: &str) -> Option<Group<M>>
    where
        M: Clone,
    {
        Group::all(memory, geometry).find(|group| group.is_taken() && group.name() == name)
    }

    /// True for a complete group: not for a free entry, nor for a group that is being created or
    /// removed.
    pub fn is_taken(&self) -> bool {
        self.load(group::FLAGS) == group_flags::TAKEN
    }

    /// The group's name.
    pub fn name(&self) -> String {
        recorder::load_name(&self.memory, |at| self.entry_word(group::NAME + at))
    }

    #[inline(always)]
    /// The word `at` bytes from the start of the group's entry.
    pub fn entry_word(&self, at: u64) -> Word {
        self.geometry.group_word(self.number, at)
    }
    /// Loads that word, relaxed.
    pub fn load(&self, at: u64) -> u64 {
        self.memory.load(self.entry_word(at), Relaxed)
    }

    /// Bounds a position that another process wrote. The head counts positions below the ring's
    /// first one as published, so no worker may look there.
    #[inline(always)]
    pub fn bounded(&self, position: u64) -> u64 {
        position.max(self.geometry.first_position()).min(POSITION_MAX)
    }

    /// The delivery of `position` at this moment.
    #[inline(always)]
    pub fn snapshot(&self, position: u64) -> DeliverySnapshot {
        let stored = self.memory.load(self.geometry.delivery(self.number, position), Relaxed);
        DeliverySnapshot { position, stored, word: DeliveryWord::read(stored, self.geometry.lap(position)) }
    }

    /// Replaces the word of a snapshot, unless another party changed the word since.
    #[inline(always)]
    pub fn replace(&self, snapshot: DeliverySnapshot, new: DeliveryWord) -> bool {
        let word = self.geometry.delivery(self.number, snapshot.position);
        // Release: a follower of the group acts on what a worker did before it settled the message.
        // (The producer needs less: the pin of the lease's owner releases the owner's reads, and
        // the exchange carries on the release of the claim.)
        let (memory, old) = (&self.memory, snapshot.stored);
        memory.compare_exchange(word, old, new.0, Release, Relaxed).is_ok() // FOLLOW
    }

    /// The stored floor, bounded; `None` if there is no such group.
    pub fn stored_floor(&self) -> Option<u64> {
        Tail(self.load(group::FLOOR)).position().map(|floor| floor.min(POSITION_MAX))
    }

    /// The end of the settled positions that begin at `from`, not beyond `end`.
    pub fn settled_until(&self, from: u64, end: u64) -> u64 {
        let mut position = from;
        loop {
            position = runs::settled_end(&self.memory, &self.geometry, self.number, position, end);
            if position >= end || !self.is_reused(position) {
                return position;
            }
            position += 1;
        }
    }

    /// True for a position whose slot was reused since. The stored floor may lie so low
    /// because the producer looks past settled positions above it. Then the word speaks of a later
    /// lap, and looks fresh; but a slot that was published again proves that its earlier position
    /// was settled.
    ///
    /// Example, capacity 4: the floor is stored as 1, and position 5 was published and leased. The
    /// word in slot 1 is of lap 1, so it looks fresh for position 1. The slot's last message is 5:
    /// position 1 was settled.
    fn is_reused(&self, position: u64) -> bool {
        self.snapshot(position).word.is_fresh() && self.sequence_of_fresh(position) > position + 1
    }

    /// The lowest position that is not settled. `None` if there is no such group.
    ///
    /// The stored floor may lie any number of laps behind if every worker died that was about to
    /// move it. Positions a lap below the head were overwritten, so the walk begins there at the
    /// lowest.
    pub fn floor(&self) -> Option<u64> {
        let capacity = self.geometry.capacity();
        let from = self.stored_floor()?.max(head(&self.memory).saturating_sub(capacity));
        Some(self.settled_until(from, from + 2 * capacity))
    }

    /// Moves the stored floor up over settled positions, and returns the lowest unsettled position.
    /// `None` if there is no such group.
    pub fn help_floor(&self) -> Option<u64> {
        let stored = self.stored_floor()?;
        let floor = self.floor()?;
        if floor > stored {
            self.memory.fence(Acquire); // SETTLED
            let (from, to) = (Tail::at(stored, false).0, Tail::at(floor, false).0);
            // Another worker may have moved the floor further, or removed the group.
            let word = self.entry_word(group::FLOOR);
            let _ = self.memory.compare_exchange(word, from, to, Release, Relaxed); // FLOOR
        }
        Some(floor)
    }

    /// Unsettled deliveries from `from` on, up to the first message that is not yet published.
    pub fn window(&self, from: u64) -> Window<'_, M> {
        let next = self.bounded(from);
        let end = next + 2 * self.geometry.capacity();
        Window { group: self, next, end, moved: false, settled: Passing::Known, steps: u64::MAX }
    }

    /// True if the lowest unsettled message from `from` on was given up, and waits for the
    /// dead-letter ring.
    pub fn waits_for_dead_letters(&self, from: u64, now: Millis) -> bool {
        let settings = self.settings();
        self.window(from).next().is_some_and(|lowest| {
            let eligibility = settings.eligibility(lowest.position, lowest.word, now);
            matches!(eligibility, Eligibility::DeadPending(_) | Eligibility::Exhausted(_))
        })
    }

    /// No position from here on was leased, except by a worker that does so at this moment.
    pub fn reach(&self) -> u64 {
        self.load(group::FRONTIER).max(self.load(group::REACHED))
    }

    /// Unsettled deliveries that were leased at least once, from `from` on, among so many words.
    pub fn leased_before(&self, from: u64, steps: u64) -> impl Iterator<Item = DeliverySnapshot> + '_ {
        let reach = self.reach();
        self.window(from)
            .within(steps)
            .take_while(move |delivery| delivery.position < reach || !delivery.word.is_fresh())
            .filter(|delivery| !delivery.word.is_fresh())
    }

    /// Announces the first lease of the message at `position`, before it is made. `behind_fresh`:
    /// the worker has skipped messages below that were never leased. If later ones were leased
    /// before, the lease counts as a backfill.
    #[inline(always)]
    pub fn announce(&self, position: u64, behind_fresh: bool) {
        if self.load(group::REACHED) > position {
            self.add(group::BACKFILLED, 1);
        } else if behind_fresh {
            self.hint_reached(position);
        }
    }

    /// Hints that a worker leases `position`, with messages below it that were never leased.
    pub fn hint_reached(&self, position: u64) {
        let word = self.entry_word(group::REACHED);
        let mut seen = self.memory.load(word, Relaxed);
        while seen <= position {
            match self.memory.compare_exchange(word, seen, position + 1, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
    }

    /// One past the position of the message that is published in a slot whose delivery looks fresh.
    ///
    /// A word of a later lap looks fresh, too. The worker that wrote such a word had seen the slot
    /// of that lap. So after this fence this party sees the slot of that lap as well, and
    /// recognises the word.
    #[inline(always)]
    pub fn sequence_of_fresh(&self, position: u64) -> u64 {
        self.memory.fence(Acquire); // LAP
        last_published(&self.memory, self.geometry.slots(), position)
    }

    /// The published message at `position`, which may be overwritten meanwhile; `None` if it is not
    /// there.
    #[inline(always)]
    pub fn message(&self, position: u64) -> Option<Message> {
        find(&self.memory, self.geometry.slots(), position)
    }

    /// Hints that a worker may lease `position` again: the next search begins there.
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

    /// Adds to one of the group's counters.
    pub fn count(&self, what: Count, times: u64) {
        self.add(group::COUNTS + what as u64 * 8, times);
    }

    #[cold]
    fn add(&self, at: u64, times: u64) {
        let word = self.entry_word(at);
        let mut seen = self.memory.load(word, Relaxed);
        while let Err(now) =
            self.memory.compare_exchange(word, seen, seen.wrapping_add(times), Relaxed, Relaxed)
        {
            seen = now;
        }
    }

    /// Counts the deliveries of the window by their state.
    pub fn window_counts(&self, now: Millis) -> Option<WindowCounts> {
        let settings = self.settings();
        let floor = self.floor()?;
        let mut counts = WindowCounts { floor, ..WindowCounts::default() };
        let (reach, head) = (self.reach(), head(&self.memory));
        let mut window = self.window(floor);
        while let Some(snapshot) = window.next() {
            if snapshot.word.is_fresh() && (reach..head).contains(&snapshot.position) {
                counts.pending += head - snapshot.position;
                window.next = head;
                continue;
            }
            counts.redelivered += u64::from(snapshot.word.attempt() > 1);
            match settings.eligibility(snapshot.position, snapshot.word, now) {
                Eligibility::Settled => {}
                Eligibility::Ready if snapshot.word.attempt() == 0 => counts.pending += 1,
                Eligibility::DeadPending(_) | Eligibility::Exhausted(_) => counts.dead_pending += 1,
                Eligibility::Ready | Eligibility::Later(_) => counts.ack_pending += 1,
            }
        }
        let unsettled = counts.pending + counts.ack_pending + counts.dead_pending;
        counts.settled = window.next.saturating_sub(self.geometry.first_position()).saturating_sub(unsettled);
        if unsettled > 0 {
            counts.oldest_age_ms = sightings::age(&self.memory, |at| self.entry_word(at), floor, now);
        }
        Some(counts)
    }
}

/// Counts of the deliveries in a group's window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCounts {
    /// The lowest position that is not settled.
    pub floor: u64,
    /// Messages that no worker has leased.
    pub pending: u64,
    /// Messages that were leased and are not settled.
    pub ack_pending: u64,
    /// Messages among the unsettled ones that were leased more than once.
    pub redelivered: u64,
    /// Messages that wait to be copied to the dead-letter ring.
    pub dead_pending: u64,
    /// Positions that are settled, those before the group began included. It never falls from one
    /// look to a later one: each look visits all positions up to its own end, and what is settled
    /// stays so.
    pub settled: u64,
    /// Lower bound of the age of the floor's message, in milliseconds, if a sighting shows it.
    pub oldest_age_ms: Option<u32>,
}

/// Iterates over a group's deliveries, from a hint up to the head.
///
/// ```text
/// capacity 8, head 21:         slots hold positions 13..21
/// hint 11                      slots of 11 and 12 were reused: by 19 and 20
///                   11 12 | 13 14 15 16 17 18 19 20 | 21
///                   reused  window                    end: not published
/// ```
///
/// 1. The word's lap is that of the position: the delivery is yielded.
/// 2. The word looks fresh, and the slot holds a later position: the slot was reused. The window
///    moves up to a ring below that later position, once.
/// 3. The word looks fresh, and the slot holds no message of this position: the head; the window
///    ends.
///
/// The hint is at most one lap old where its word is of its own lap, since every lap writes the
/// word. So the head is less than two rings away, and the window has at most two rings; corrupt
/// words end it at the latest there.
#[derive(Debug)]
pub struct Window<'g, M> {
    group: &'g Group<M>,
    next: u64,
    end: u64,
    moved: bool,
    settled: Passing,
    /// Words that it may look at before it ends. One in another cache line counts more
    /// ([`STEPS_ELSEWHERE`]). A stretch of settled deliveries counts as a run at most: if it is
    /// longer, the next walk passes the rest in a step.
    steps: u64,
}

/// What a look at the word of a run or of a slot counts, as looks at neighbouring delivery words:
/// its cache line is seldom at hand.
const STEPS_ELSEWHERE: u64 = 4;

/// How a window passes settled deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    /// By the runs that are known.
    Known,
    /// The same, and stores the runs that it finds.
    Learning,
    /// Not: it yields them.
    Yielding,
}

impl<M: Memory> Window<'_, M> {
    /// Stores the runs of settled deliveries that it passes, for the next walk. For workers: other
    /// parties do not write the group's words.
    #[must_use]
    pub fn learning(self) -> Self {
        Window { settled: Passing::Learning, ..self }
    }

    /// Yields every delivery, settled or not, and believes no run.
    #[must_use]
    pub fn word_by_word(self) -> Self {
        Window { settled: Passing::Yielding, ..self }
    }

    /// Ends after it has looked at so many words, wherever it is then.
    #[must_use]
    pub fn within(self, steps: u64) -> Self {
        Window { steps, ..self }
    }

    /// True if it ended because it had looked at as many words as it may.
    pub fn is_cut(&self) -> bool {
        self.steps == 0
    }

    /// The position at which it goes on, or at which it ended: the first that it has not looked at.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The end of the settled deliveries that begin at the next one.
    fn settled_end(&self) -> u64 {
        let Group { memory, geometry, number } = self.group;
        match self.settled {
            Passing::Learning => self.group.learn_settled_end(self.next, self.end),
            _ => runs::settled_end(memory, geometry, *number, self.next, self.end),
        }
    }

    /// A ring below the message that is in the slot now, every position is settled.
    #[cold]
    fn skip_reused(&mut self, sequence: u64) {
        let capacity = self.group.geometry.capacity();
        // No producer publishes so far ahead of the head: a corrupt word must not stand for a
        // message.
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
    type Item = DeliverySnapshot;

    #[inline(always)]
    fn next(&mut self) -> Option<DeliverySnapshot> {
        while self.next < self.end && self.steps > 0 {
            self.steps -= 1;
            let snapshot = self.group.snapshot(self.next);
            if snapshot.word.is_settled() && self.settled != Passing::Yielding {
                let end = self.settled_end().max(self.next + 1);
                let run = self.group.geometry.run_len();
                self.steps = self.steps.saturating_sub((end - self.next).min(run + STEPS_ELSEWHERE));
                self.next = end;
                continue;
            }
            if snapshot.word.is_fresh() {
                self.steps = self.steps.saturating_sub(STEPS_ELSEWHERE);
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
            return Some(snapshot);
        }
        None
    }
}

/// The lowest position that a group has not settled, at most `head`: the producer may not go
/// further. `None` if there is no such group.
///
/// For the producer, which reads groups and never writes them. The fence of its scan acquires the
/// words that are read here.
pub fn gate<M: Memory>(memory: &M, geometry: &Geometry, number: u32, head: u64) -> Option<u64> {
    let stored = Tail(memory.load(geometry.group_word(number, group::FLOOR), Relaxed)).position()?;
    // Overwritten positions were settled: the words there may speak of a later lap.
    let from = stored.max(geometry.earliest(head)).min(head);
    Some(runs::settled_end(memory, geometry, number, from, head))
}

/// The position at which a worker holds the producer back, if any.
pub fn pin<M: Memory>(memory: &M, geometry: &Geometry, worker: u32) -> Option<u64> {
    Some(memory.load(geometry.worker_word(worker, worker::PIN), Relaxed)).filter(|&pin| pin < TAKEN_AWAY)
}

/// The next position to publish, for a caller that reads no message by it.
pub fn head<M: Memory>(memory: &M) -> u64 {
    memory.load(HEAD, Relaxed).min(POSITION_MAX)
}

/// The words that order the steps of the groups' protocol, with their values in a new ring.
pub fn words(geometry: &Geometry) -> Vec<(Word, u64)> {
    let groups = geometry.group_entries().flat_map(|number| {
        [
            (group::FLOOR, Tail::NONE.0),
            (group::GENERATION, 0),
            (group::LEFT_AT, gating::NOT_LEFT),
            (group::FOLLOWERS_ASLEEP, 0),
            (group::PROGRESS, 0),
            (group::FRONTIER, 0),
            (group::RETURNED, NOWHERE),
            (group::REACHED, 0),
            (group::SWEPT, 0),
            (group::SWEEP_AT, 0),
            (group::BACKFILLED, 0),
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
