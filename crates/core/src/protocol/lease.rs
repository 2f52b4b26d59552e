//! A worker's half of a group: finding a message, leasing it, and every way in which a lease ends.
//!
//! Every step is one compare-exchange of the delivery's word, and the exact word is the token of
//! the lease. So no death at any instruction loses or doubles a claim, and a worker that comes too
//! late finds another word and changes nothing.
//!
//! # Why a slot is not reused under a reader after its lease ran out
//!
//! A worker stores its *pin*, the lowest position that it may be reading, before the exchange that
//! claims. The producer looks at the floor first and at the pins afterwards.
//!
//! 1. Before the claim, the position was unsettled, so the floor had not passed it.
//! 2. An exchange that settles the position later is in the release sequence of the claim. A party
//!    that sees the position settled (the producer, or a worker that moves the floor) and makes an
//!    acquire fence sees the pin.
//! 3. So the producer either stops at the floor, or sees the pin, or sees that the pin is gone; its
//!    removal is a release after the last read.
//!
//! Example, capacity 4: worker 7 pins and leases position 0, and hangs. Worker 8 leases and acks
//! it, and moves the floor to 1. The producer finds the floor 1, but then pin 0: its limit stays 0
//! + 4, and position 4 cannot take slot 0.

mod limit;
mod search;
mod steps;
mod sweep;

use super::eligibility::Eligibility;
use super::group::{DeliverySnapshot, Group, Kinds, NOWHERE};
use super::park;
use super::read::copy_out;
use super::settings::{CurrentSettings, Reason, SLACK_MS};
use super::tenure::count_entry;
use crate::format::readers_page::USED_WORKERS;
use crate::format::{Count, DeliveryWord, GatingEntry, Geometry, Message, Millis, State, group, worker};
use crate::memory::{Futex, Memory, Word};
use alloc::collections::VecDeque;
use core::cell::{Cell, RefCell};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use limit::InFlight;
pub use search::Found;
use search::Passed;
pub use steps::SWEEP_STEPS;
use steps::Steps;
pub use sweep::Sweep;

/// Most positions by which the stored floor may lag behind settled ones before a worker moves it.
const FLOOR_STRIDE: u64 = 64;

/// Longest tick of a worker.
pub const TICK_MAX_MS: u32 = 1000;

/// The right to one message until the deadline, or until another worker takes the message over: the
/// position and the exact word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Position of the message.
    pub position: u64,
    /// The word that stands for this lease and for no other.
    pub word: DeliveryWord,
    /// The message.
    pub message: Message,
}

/// The lease was over: the deadline had passed, and another worker took the message over or settled
/// it. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the lease on the message at position {position} was lost: its deadline passed or its worker counted as dead, and \
     the message was leased again, given back, or settled; nothing was changed"
)]
#[non_exhaustive]
pub struct LeaseLost {
    /// The position of the message.
    pub position: u64,
}

/// Counters of one worker, for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// Leases that the worker got.
    Delivered,
    /// Leases that the worker acknowledged.
    Acked,
    /// Leases that the worker gave back.
    Failed,
    /// Leases that the worker ended too late.
    Lost,
}

impl Tally {
    #[inline(always)]
    const fn word(self) -> u64 {
        match self {
            Tally::Delivered => worker::DELIVERED,
            Tally::Acked => worker::ACKED,
            Tally::Failed => worker::FAILED,
            Tally::Lost => worker::LOST,
        }
    }
}

/// A worker's half of the protocol. Holds the right to its entry for as long as it lives.
///
/// # Invariants
///
/// The stored pin equals `lowest_held`: the lowest position that this worker reads in place, or
/// [`NOWHERE`].
#[derive(Debug)]
pub struct Worker<M> {
    group: Group<M>,
    /// The words by which the group gates.
    gating: GatingEntry,
    entry: u32,
    /// The settings that this worker goes by ([`current`](super::group::current)).
    settings: Cell<CurrentSettings>,
    /// Resolution of the coarse clock, in milliseconds; added to every deadline.
    grain_ms: u32,
    /// The first position whose settling moves the stored floor up.
    help_at: Cell<u64>,
    /// Fewer messages than the limit are in flight while no position from here on was leased.
    free_until: Cell<u64>,
    in_flight: RefCell<InFlight>,
    /// How far it has looked for messages of the kinds that it wanted last, and of others.
    passed: Cell<Passed>,
    passed_of_others: RefCell<VecDeque<Passed>>,
    steps: Steps,
    lowest_held: Cell<u64>,
    /// The other positions that this worker reads in place, ascending. With repeats: the worker may
    /// lease a message again after its own lease ran out.
    more_held: RefCell<VecDeque<u64>>,
    /// True if `more_held` is empty: most workers process one message at a time.
    holds_one: Cell<bool>,
    /// True if a claim failed and its pin was removed: the producer may have gone to sleep over
    /// that pin.
    has_withdrawn: Cell<bool>,
    /// Position and word of the delivery that the last search deferred ([`Worker::defer_suspect`]).
    suspect: Cell<Option<(u64, u64)>>,
    /// Values of the counters of [`Tally`].
    tallies: [Cell<u64>; 4],
}

impl<M: Memory> Worker<M> {
    /// A worker with `entry`, which belongs to this group.
    pub fn new(group: Group<M>, entry: u32, settings: CurrentSettings, grain_ms: u32) -> Worker<M> {
        // Before any pin: a party that finds a message settled that this worker claimed then finds
        // the count, and by the count the pin.
        count_entry(&group.memory, USED_WORKERS, entry);
        let free_until = group.stored_floor().unwrap_or(0).saturating_add(settings.settings.max_ack_pending);
        Worker {
            gating: group.geometry.group_entry(group.number),
            group,
            entry,
            settings: Cell::new(settings),
            grain_ms,
            help_at: Cell::new(0),
            free_until: Cell::new(free_until),
            in_flight: RefCell::default(),
            passed: Cell::new(Passed::nothing(Kinds::Any)),
            passed_of_others: RefCell::default(),
            steps: Steps::USUAL,
            lowest_held: Cell::new(NOWHERE),
            more_held: RefCell::default(),
            holds_one: Cell::new(true),
            has_withdrawn: Cell::new(false),
            suspect: Cell::new(None),
            tallies: Default::default(),
        }
    }

    /// The same worker, but its searches and its sweeps look at no more words than these at a time:
    /// for tests, whose rings are small.
    #[must_use]
    pub fn with_steps(self, look: u64, sweep: u64) -> Worker<M> {
        Worker { steps: Steps { look, sweep }, ..self }
    }

    /// The memory that this worker reads.
    pub fn memory(&self) -> &M {
        &self.group.memory
    }
    /// The ring's geometry.
    pub fn geometry(&self) -> &Geometry {
        &self.group.geometry
    }
    /// The worker's group.
    pub fn group(&self) -> &Group<M> {
        &self.group
    }
    /// The group's settings, as this worker knows them.
    pub fn settings(&self) -> CurrentSettings {
        self.settings.get()
    }
    /// Takes up the group's settings, if they were changed. True if they were.
    #[cold]
    fn take_up_settings(&self) -> bool {
        let Some(changed) = self.group.settings_after(self.settings.get().version) else { return false };
        self.settings.set(changed);
        self.doubt_limit();
        true
    }
    /// Number of the worker's entry.
    pub fn entry(&self) -> u32 {
        self.entry
    }
    /// Adds one to a counter of this worker.
    #[inline(always)]
    pub fn count(&self, what: Tally) {
        let count = &self.tallies[what as usize];
        count.set(count.get() + 1);
        self.memory().store(self.geometry().worker_word(self.entry, what.word()), count.get(), Relaxed);
    }
    /// Leases the next fresh message, if it is published and no message was handed back: the usual
    /// case of [`search`](Self::search), without the search.
    #[inline(always)]
    pub fn next(&self, now: Millis) -> Option<Lease> {
        let frontier = self.group.bounded(self.group.load(group::FRONTIER));
        if self.group.load(group::RETURNED) <= frontier {
            return None;
        }
        let snapshot = self.group.snapshot(frontier);
        if !snapshot.word.is_fresh()
            || self.reaches_limit(frontier, now)
            || self.group.sequence_of_fresh(frontier) != frontier + 1
        {
            return None;
        }
        let message = self.group.message(frontier)?;
        if message.meta.is_redriven() {
            return None;
        }
        self.group.announce(frontier, false);
        let lease = self.claim(snapshot, message, now)?;
        self.memory().store(self.group.entry_word(group::FRONTIER), frontier + 1, Relaxed);
        Some(lease)
    }

    /// True if the redriven message of a snapshot is for this group; else it is settled, without a
    /// delivery.
    #[cold]
    fn is_meant(&self, snapshot: DeliverySnapshot) -> bool {
        let redriven = self.group.redriven(snapshot.position);
        // Only the group that gets it ever leases it.
        if !snapshot.word.is_fresh() || redriven.is_some_and(|redriven| self.group.is_meant(redriven)) {
            return true;
        }
        let word = self.geometry().delivery(self.group.number, snapshot.position);
        let (memory, old, new) = (self.memory(), snapshot.stored, snapshot.word.acked().0);
        let settled = memory.compare_exchange(word, old, new, Release, Relaxed); // LAP, SETTLED
        if settled.is_ok() {
            self.settled(snapshot.position);
        }
        false
    }

    /// Defers a delivery by one search if the search before did not see the very same word, and
    /// notes it in `suspect`. True if it is deferred.
    ///
    /// The word's deadline lies beyond the longest lease. Either the word is corrupt, or this
    /// worker was stopped after it had read its clock, and the lease began after that reading. A
    /// worker that finds the same word in the next search has read the clock since: the word is
    /// corrupt.
    ///
    /// Example: the worker reads the clock at 5 s, and is stopped. At 90 s another worker leases
    /// position 3 until 120 s. The first worker goes on with "now = 5 s": the deadline is 115 s
    /// ahead, with `ack_wait` 30 s. It defers position 3; in the next search now is 91 s, and the
    /// lease good.
    #[cold]
    fn defer_suspect(&self, snapshot: DeliverySnapshot, suspect: &mut Option<(u64, u64)>) -> bool {
        let this = (snapshot.position, snapshot.stored);
        let is_new = self.suspect.get() != Some(this);
        if is_new {
            suspect.get_or_insert(this);
        }
        is_new
    }

    #[inline(always)]
    fn claim(&self, snapshot: DeliverySnapshot, message: Message, now: Millis) -> Option<Lease> {
        let deadline = now.after(self.settings.get().settings.ack_wait_ms + self.grain_ms);
        let word = snapshot.word.leased(self.entry, deadline);
        self.pin(snapshot.position);
        let delivery = self.geometry().delivery(self.group.number, snapshot.position);
        let (memory, old) = (self.memory(), snapshot.stored);
        let won = memory.compare_exchange(delivery, old, word.0, Release, Relaxed); // PIN, LAP, SET
        if won.is_err() {
            self.unpin(snapshot.position);
            self.has_withdrawn.set(true);
            return None;
        }
        if snapshot.word.state() == State::Leased {
            self.group.count(Count::Expired, 1);
        }
        Some(Lease { position: snapshot.position, word, message })
    }

    /// Stores the pin before a claim; the claim's exchange releases it.
    #[inline(always)]
    fn pin(&self, position: u64) {
        let lowest = self.lowest_held.get();
        if position < lowest {
            self.lowest_held.set(position);
            // Release: the pin may replace a higher pin, or none, and ends the reading under that.
            self.memory().store(self.pin_word(), position, Release); // UNPIN
        }
        if lowest != NOWHERE {
            self.hold_one_more(lowest.max(position));
        }
    }

    #[inline(always)]
    fn pin_word(&self) -> Word {
        self.geometry().worker_word(self.entry, worker::PIN)
    }

    fn hold_one_more(&self, position: u64) {
        let mut more = self.more_held.borrow_mut();
        let at = more.partition_point(|&held| held <= position);
        more.insert(at, position);
        self.holds_one.set(false);
    }

    /// Gives up the bytes of a message: no reference to them is left.
    #[inline(always)]
    pub fn unpin(&self, position: u64) {
        let lowest = self.lowest_held.get();
        let next = if self.holds_one.get() { NOWHERE } else { self.hold_one_less(position) };
        self.lowest_held.set(next);
        if next != lowest {
            self.memory().store(self.pin_word(), next, Release); // UNPIN
        }
    }

    /// Drops a held position, and returns the lowest of the others.
    fn hold_one_less(&self, position: u64) -> u64 {
        let mut more = self.more_held.borrow_mut();
        let lowest = self.lowest_held.get();
        let left = if position == lowest {
            more.pop_front()
        } else {
            more.binary_search(&position).ok().map(|at| more.remove(at));
            Some(lowest)
        };
        self.holds_one.set(more.is_empty());
        left.unwrap_or(NOWHERE)
    }

    #[inline(always)]
    fn end(&self, lease: Lease, new: DeliveryWord) -> Result<(), LeaseLost> {
        let Lease { position, word, .. } = lease;
        if self.group.replace(DeliverySnapshot { position, stored: word.0, word }, new) {
            return Ok(());
        }
        Err(self.lost(position))
    }

    #[cold]
    fn lost(&self, position: u64) -> LeaseLost {
        self.group.count(Count::Lost, 1);
        LeaseLost { position }
    }

    /// Acknowledges the message: the group is done with it.
    #[inline(always)]
    pub fn ack(&self, lease: Lease) -> Result<(), LeaseLost> {
        self.end(lease, lease.word.acked())?;
        self.note_settled(lease.position);
        Ok(())
    }

    /// Ends the attempt as failed: a worker may lease the message again in `delay_ms`, or after the
    /// group's backoff.
    pub fn nack(&self, lease: Lease, delay_ms: Option<u32>, now: Millis) -> Result<(), LeaseLost> {
        self.take_up_settings();
        let rest = || self.settings.get().settings.backoff.delay_ms(lease.position, lease.word.attempt());
        let delay_ms = delay_ms.unwrap_or_else(rest);
        let rest = if delay_ms == 0 { 0 } else { delay_ms + self.grain_ms };
        self.end(lease, lease.word.delayed(now.after(rest)))?;
        if rest == 0 {
            self.group.hint_returned(lease.position);
        } else {
            self.expect_sweep(now, rest);
        }
        self.group.count(Count::Failed, 1);
        Ok(())
    }

    /// Hands the message back unprocessed: the attempt does not count.
    pub fn hand_back(&self, lease: Lease) -> Result<(), LeaseLost> {
        self.end(lease, lease.word.handed_back())?;
        self.group.hint_returned(lease.position);
        self.group.count(Count::HandedBack, 1);
        Ok(())
    }

    /// Makes the lease last for a whole `ack_wait` from now.
    pub fn extend(&self, lease: Lease, now: Millis) -> Result<Lease, LeaseLost> {
        self.take_up_settings();
        let deadline = now.after(self.settings.get().settings.ack_wait_ms + self.grain_ms);
        let word = lease.word.extended(deadline);
        let delivery = self.geometry().delivery(self.group.number, lease.position);
        let (memory, old) = (self.memory(), lease.word.0);
        let extended = memory.compare_exchange(delivery, old, word.0, Release, Relaxed); // SET
        match extended {
            Ok(_) => Ok(Lease { word, ..lease }),
            Err(_) => Err(self.lost(lease.position)),
        }
    }

    /// Gives the message up: it becomes dead-pending.
    pub fn reject(&self, lease: Lease, now: Millis) -> Result<(), LeaseLost> {
        self.end(lease, lease.word.dead_pending(Reason::Rejected as u32, now))?;
        self.group.count(Count::Rejected, 1);
        Ok(())
    }

    #[cold]
    fn give_up(&self, snapshot: DeliverySnapshot, reason: Reason, now: Millis) -> bool {
        let dead_pending = self.group.replace(snapshot, snapshot.word.dead_pending(reason as u32, now));
        if dead_pending && snapshot.word.state() == State::Leased {
            self.group.count(Count::Expired, 1);
        }
        dead_pending
    }

    /// The dead-pending messages from `from` on that can be moved to the dead-letter ring now.
    pub fn dead_pending(&self, from: u64, now: Millis) -> impl Iterator<Item = u64> {
        let settings = self.settings.get();
        let due = move |snapshot: &DeliverySnapshot| {
            matches!(settings.eligibility(snapshot.position, snapshot.word, now), Eligibility::DeadPending(0))
        };
        self.group.leased_before(from, self.steps.sweep).filter(due).map(|snapshot| snapshot.position)
    }

    /// Copies the dead-pending message at `position` into `buffer`, which is as long as a block.
    ///
    /// One worker at a time moves messages, so the message usually stays. But a worker that was
    /// stopped may go on after the dead-letter ring was replaced, beside a second one. So the
    /// message is not read in place, and the copy counts only if the message is still dead-pending
    /// afterwards: the producer overwrites no part of it before it is settled.
    pub(super) fn copy_dead_pending(&self, position: u64, now: Millis, buffer: &mut [u8]) -> Option<Lease> {
        let snapshot = self.group.snapshot(position);
        let eligibility = self.settings.get().eligibility(position, snapshot.word, now);
        if !matches!(eligibility, Eligibility::DeadPending(0)) {
            return None;
        }
        let message = self.group.message(position)?;
        let message = Message { meta: copy_out(self.memory(), message, buffer), ..message };
        self.memory().fence(Acquire); // CLAIM
        (self.group.snapshot(position) == snapshot).then_some(Lease {
            position,
            word: snapshot.word,
            message,
        })
    }

    /// Settles a dead-pending message, and adds one to `count`.
    pub(super) fn settle_dead_pending(&self, dead_pending: Lease, count: Count) {
        if self.end(dead_pending, dead_pending.word.dead_lettered()).is_ok() {
            self.group.count(count, 1);
        }
    }

    /// Puts off the move of a dead-pending message.
    pub(super) fn put_off(&self, dead_pending: Lease, ms: u32, now: Millis) {
        let _ =
            self.end(dead_pending, dead_pending.word.dead_pending(dead_pending.word.owner(), now.after(ms)));
    }

    /// Moves the stored floor now and then, after a message was settled. (The producer looks past
    /// settled messages above the floor, so the floor can wait.)
    #[inline(always)]
    pub fn settled(&self, position: u64) {
        if position >= self.help_at.get() {
            self.move_floor(position);
        }
    }

    #[cold]
    fn move_floor(&self, position: u64) {
        self.group.help_floor();
        let stride = FLOOR_STRIDE.min(self.geometry().capacity() / 8);
        self.help_at.set(position + stride);
    }

    /// True if a claim has failed since the last call. The pin of a failed claim holds the producer
    /// up like any other, so the caller [wakes](Self::wake_behind) it.
    #[inline(always)]
    pub fn has_withdrawn(&self) -> bool {
        self.has_withdrawn.replace(false)
    }

    /// Wakes the parties that may be asleep until the group settles messages: the producer for want
    /// of room, and followers.
    #[inline(always)]
    pub fn wake_behind(&self)
    where
        M: Futex,
    {
        if park::Side::is_any_behind_asleep(self.memory(), self.gating) {
            self.wake_each_behind();
        }
    }

    #[cold]
    fn wake_each_behind(&self)
    where
        M: Futex,
    {
        park::Side::wake_each_behind(self.memory(), self.gating);
    }

    /// Wakes sleeping workers, so that they search again. The word that they sleep on is the
    /// producer's, and a worker must not change it: a worker that is about to sleep misses the
    /// wake, and wakes at its next tick.
    pub fn nudge_colleagues(&self)
    where
        M: Futex,
    {
        park::Side::Readers.nudge(self.memory());
    }
}
