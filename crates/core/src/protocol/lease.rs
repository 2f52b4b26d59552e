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

use super::eligibility::Eligibility;
use super::group::{DeliverySnapshot, Group, Kinds, NOWHERE, head};
use super::read::copy_out;
use super::settings::{CurrentSettings, Reason, SLACK_MS};
use super::tenure::count_entry;
use super::{park, sightings};
use crate::format::readers_page::USED_WORKERS;
use crate::format::{Count, DeliveryWord, GatingEntry, Geometry, Message, Millis, State, group, worker};
use crate::memory::{Futex, Memory, Word};
use alloc::collections::VecDeque;
use core::cell::{Cell, RefCell};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

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

/// Result of [`Worker::search`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The message that this worker has leased now.
    pub lease: Option<Lease>,
    /// Milliseconds until the next message is due, among those that the search looked at.
    pub next_due_ms: Option<u32>,
    /// True if the search saw a message that is leased, delayed or dead-pending.
    pub outstanding: bool,
    /// The lowest message that can be moved to the dead-letter ring now.
    pub dead_pending: Option<u64>,
    /// True if so much is in flight that no worker may lease a fresh message.
    pub limited: bool,
}

/// A sweep that a worker has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Once in a while, it asks of every colleague whether it lives; else of those with a pin.
    pub of_all: bool,
}

/// Sweeps ask of every colleague once in so many milliseconds, as a power of two.
const ALL_SHIFT: u32 = 10;

/// When the group was swept, and when it is due again.
#[derive(Clone, Copy)]
struct SweepTimes {
    last: Millis,
    due: Millis,
}

impl SweepTimes {
    #[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
    fn read(stored: u64) -> SweepTimes {
        SweepTimes { last: Millis((stored >> 32) as u32), due: Millis(stored as u32) }
    }
    fn stored(self) -> u64 {
        u64::from(self.last.0) << 32 | u64::from(self.due.0)
    }
    /// Milliseconds until a worker with this tick sweeps. Times that no worker can have meant are
    /// over.
    fn wait_ms(self, now: Millis, tick_ms: u32) -> u32 {
        let by_tick = self.last.after(tick_ms).ahead_of(now, tick_ms + SLACK_MS);
        by_tick.min(self.due.ahead_of(now, TICK_MAX_MS + SLACK_MS)).min(tick_ms)
    }
}

/// What a count of the messages in flight has found. It stays an upper bound: a message below that
/// was neither in flight nor fresh is settled, or given up.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    /// The position below which was counted.
    below: u64,
    /// The messages below it that were in flight, or fresh: a worker that chooses by kind may lease
    /// those later.
    at_most: u64,
}

/// Most unsettled messages that a worker counts again and again, before it adds them to what it has
/// [`Counted`], which is then too high once they are settled.
const COUNTED_AGAIN_MAX: u64 = 64;

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
    counted: Cell<Counted>,
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
            counted: Cell::default(),
            lowest_held: Cell::new(NOWHERE),
            more_held: RefCell::default(),
            holds_one: Cell::new(true),
            has_withdrawn: Cell::new(false),
            suspect: Cell::new(None),
            tallies: Default::default(),
        }
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
        // The limit of what may be in flight may be lower.
        self.free_until.set(0);
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
            || frontier >= self.free_until.get()
            || self.group.sequence_of_fresh(frontier) != frontier + 1
        {
            return None;
        }
        let message = self.group.message(frontier)?;
        if message.meta.is_redriven() {
            return None;
        }
        let lease = self.claim(snapshot, message, now)?;
        self.memory().store(self.group.entry_word(group::FRONTIER), frontier + 1, Relaxed);
        Some(lease)
    }

    /// Leases the first message that is wanted and eligible.
    ///
    /// Usually the search begins at the frontier, or at the lowest position that was handed back. A
    /// *sweep* begins at the floor, and finds leases that ran out and messages that became due; a
    /// waiting worker sweeps once per tick.
    ///
    /// The caller reads `now` after the search before this one.
    #[inline]
    pub fn search(&self, kinds: Kinds, now: Millis, sweep: bool) -> Found {
        let frontier = self.group.load(group::FRONTIER);
        let returned = self.group.load(group::RETURNED);
        let from = if sweep { self.sweep_start(now) } else { frontier.min(returned) };
        let mut found = Found::default();
        let mut skipped = Skipped { fresh: None, old: None };
        let mut best: Option<(DeliverySnapshot, Message)> = None;
        let mut suspect = None;
        let mut settings = self.settings.get();
        for snapshot in self.group.window(from).learning() {
            let mut eligibility = settings.eligibility(snapshot.position, snapshot.word, now);
            // A colleague may have written this deadline by settings that this worker does not
            // know. If this look misses their version, the delivery is deferred, and the walk goes
            // on to an acquire fence (LAP, or PUB of the leased message): the next search finds it.
            if eligibility.is_early(snapshot.word, now) && self.take_up_settings() {
                settings = self.settings.get();
                eligibility = settings.eligibility(snapshot.position, snapshot.word, now);
            }
            if eligibility.is_early(snapshot.word, now) && self.defer_suspect(snapshot, &mut suspect) {
                eligibility = Eligibility::Later(1);
            }
            match eligibility {
                Eligibility::Settled => {}
                Eligibility::DeadPending(0) => found.note_dead_pending(snapshot.position),
                Eligibility::Later(ms) | Eligibility::DeadPending(ms) => found.note_due(ms),
                Eligibility::Exhausted(reason) => {
                    if self.give_up(snapshot, reason, now) {
                        found.note_dead_pending(snapshot.position);
                    }
                }
                Eligibility::Ready => {
                    let is_fresh = snapshot.word.is_fresh();
                    found.limited = found.limited || is_fresh && self.reaches_limit(snapshot.position);
                    let message = if is_fresh && found.limited { None } else { self.wanted(snapshot, kinds) };
                    let Some(message) = message else {
                        skipped.note(snapshot);
                        if is_fresh && found.limited && snapshot.position >= self.group.reach() {
                            // No message above it was leased yet.
                            break;
                        }
                        continue;
                    };
                    if let Kinds::AtMost(_) = kinds {
                        // The lowest kind of the whole window wins.
                        if let Some(left) = keep_lower_kind(&mut best, (snapshot, message)) {
                            skipped.note(left);
                        }
                        continue;
                    }
                    if skipped.fresh.is_some() {
                        self.group.hint_reached(snapshot.position);
                    }
                    found.lease = self.claim(snapshot, message, now);
                    if found.lease.is_some() {
                        break;
                    }
                    found.outstanding = true;
                }
            }
        }
        if suspect.is_some() {
            self.suspect.set(suspect);
        }
        if let Some((snapshot, message)) = best {
            self.group.hint_reached(snapshot.position);
            found.lease = self.claim(snapshot, message, now);
            found.outstanding |= found.lease.is_none();
        }
        self.move_hints(frontier, returned, skipped, found.lease);
        found
    }

    /// The message of a snapshot, if its kind is wanted.
    #[inline(always)]
    fn wanted(&self, snapshot: DeliverySnapshot, kinds: Kinds) -> Option<Message> {
        let message = self.group.message(snapshot.position)?;
        if message.meta.is_redriven() && !self.is_meant(snapshot) {
            return None;
        }
        kinds.admits(message.meta.kind()).then_some(message)
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

    /// True if this worker shall sweep now, for the whole group: the last sweep is a tick back, or
    /// the time has come that it named. `None`: a colleague sweeps, or did so.
    ///
    /// Example: 64 workers wait. Each of them wakes once per tick, and the first to exchange the
    /// time of the last sweep sweeps. The others find a time that is younger than a tick.
    pub fn begin_sweep(&self, now: Millis, tick_ms: u32) -> Option<Sweep> {
        self.take_up_settings();
        let word = self.group.entry_word(group::SWEPT);
        let seen = self.memory().load(word, Relaxed);
        let times = SweepTimes::read(seen);
        if times.wait_ms(now, tick_ms) > 0 {
            return None;
        }
        let next = SweepTimes { last: now, due: now.after(TICK_MAX_MS) };
        self.memory().compare_exchange(word, seen, next.stored(), Relaxed, Relaxed).ok()?;
        Some(Sweep { of_all: (times.last.0 ^ now.0) >> ALL_SHIFT != 0 })
    }

    /// Has a worker sweep in `ms` at the latest.
    pub fn expect_sweep(&self, now: Millis, ms: u32) {
        let word = self.group.entry_word(group::SWEPT);
        let mut seen = self.memory().load(word, Relaxed);
        loop {
            let times = SweepTimes::read(seen);
            if times.due.ahead_of(now, u32::MAX / 2) <= ms {
                break;
            }
            let next = SweepTimes { due: now.after(ms), ..times }.stored();
            match self.memory().compare_exchange(word, seen, next, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(changed) => seen = changed,
            }
        }
    }

    /// In how many milliseconds this worker shall look whether a sweep is due, at most a tick.
    pub fn next_sweep_ms(&self, now: Millis, tick_ms: u32) -> u32 {
        SweepTimes::read(self.group.load(group::SWEPT)).wait_ms(now, tick_ms)
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

    /// Where a sweep begins. Notes how far the head has come, for the age of what is pending.
    #[cold]
    fn sweep_start(&self, now: Millis) -> u64 {
        sightings::note(self.memory(), |at| self.group.entry_word(at), head(self.memory()), now);
        self.group.help_floor().unwrap_or(0)
    }

    /// After a search: stores where the next one begins.
    ///
    /// Example, frontier 7, returned none: the search skips fresh positions 7 and 8 (of another
    /// kind) and leases 9. The frontier stays 7, since 7 was never leased. Then a search for any
    /// kind leases 7: the frontier becomes 8, and the next search begins there.
    #[inline(always)]
    fn move_hints(&self, frontier: u64, returned: u64, skipped: Skipped, lease: Option<Lease>) {
        let after = lease.map_or(NOWHERE, |lease| lease.position + 1);
        let next_frontier = frontier_after(frontier, skipped.fresh, after);
        if next_frontier != frontier {
            // If a lower value overtakes a higher one, other workers look at leased words once
            // more.
            self.memory().store(self.group.entry_word(group::FRONTIER), next_frontier, Relaxed);
        }
        // The search ended at the lease: positions from there to the frontier were not looked at.
        let unseen = if after < next_frontier { after } else { NOWHERE };
        let next_returned = skipped.old.unwrap_or(NOWHERE).min(unseen);
        if next_returned != returned {
            let word = self.group.entry_word(group::RETURNED);
            let _ = self.memory().compare_exchange(word, returned, next_returned, Relaxed, Relaxed);
        }
    }

    /// True if so much is in flight that no worker may lease the fresh message at `position`.
    #[inline(always)]
    fn reaches_limit(&self, position: u64) -> bool {
        position >= self.free_until.get() && self.is_limit_reached(position)
    }

    /// Counts what is in flight below `position`, and notes up to which position the count need not
    /// be repeated: each message above it that is leased adds one.
    ///
    /// Example, a limit of 1000: of the messages below 5000, one is in flight. So up to position
    /// 5999 the limit is not reached, whatever becomes of them.
    ///
    /// Near the limit the count is repeated soon. It then goes on from an earlier count, and begins
    /// anew only if that one, which may be too high by now, says that the limit is reached.
    ///
    /// Example: 998 of the messages below 5000 are in flight, so the count is repeated at 5002, and
    /// looks at 5000 and 5001.
    #[cold]
    fn is_limit_reached(&self, position: u64) -> bool {
        let floor = self.group.help_floor().unwrap_or(0);
        let max = self.settings.get().settings.max_ack_pending;
        let by_floor = floor.saturating_add(max);
        if position < by_floor {
            self.free_until.set(by_floor);
            return false;
        }
        let counted = Some(self.counted.get()).filter(|it| floor < it.below && it.below <= position);
        let nothing = Counted { below: floor, at_most: 0 };
        let free = counted
            .and_then(|counted| self.count_up_to(position, counted, max))
            .or_else(|| self.count_up_to(position, nothing, max));
        let Some(free) = free else { return true };
        self.free_until.set(position.saturating_add(free));
        false
    }

    /// Counts on to `position`. Returns how many messages may be leased until the count must be
    /// repeated, at least one; `None` if the limit is reached.
    fn count_up_to(&self, position: u64, counted: Counted, max: u64) -> Option<u64> {
        let (mut in_flight, mut fresh) = (0, 0);
        let from_there = self.group.window(counted.below).learning();
        for snapshot in from_there.take_while(|snapshot| snapshot.position < position) {
            if snapshot.word.is_fresh() {
                fresh += 1;
            } else if snapshot.word.state() != State::DeadPending {
                in_flight += 1;
            }
            if counted.at_most + in_flight >= max {
                return None;
            }
        }
        let found = in_flight + fresh;
        let at_most = counted.at_most + found;
        if counted.at_most == 0 || found == 0 || found > COUNTED_AGAIN_MAX {
            self.counted.set(Counted { below: position, at_most });
        }
        // A worker that chooses by kind may lease what is still fresh below.
        Some(max.saturating_sub(at_most).max(1))
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
        self.end(lease, lease.word.acked())
    }

    /// Ends the attempt as failed: a worker may lease the message again in `delay_ms`, or after the
    /// group's backoff.
    pub fn nack(&self, lease: Lease, delay_ms: Option<u32>, now: Millis) -> Result<(), LeaseLost> {
        self.take_up_settings();
        let rest = || self.settings.get().settings.backoff.delay_ms(lease.position, lease.word.attempt());
        let new = match delay_ms.unwrap_or_else(rest) {
            0 => lease.word.delayed(now),
            ms => lease.word.delayed(now.after(ms + self.grain_ms)),
        };
        self.end(lease, new)?;
        self.group.hint_returned(lease.position);
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
        self.group.leased_before(from).filter(due).map(|snapshot| snapshot.position)
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

impl Found {
    fn note_due(&mut self, ms: u32) {
        self.outstanding = true;
        self.next_due_ms = Some(self.next_due_ms.map_or(ms, |due| due.min(ms)));
    }
    fn note_dead_pending(&mut self, position: u64) {
        self.outstanding = true;
        self.dead_pending = self.dead_pending.or(Some(position));
    }
}

/// The lowest eligible messages that a search did not lease.
#[derive(Clone, Copy, Debug)]
struct Skipped {
    fresh: Option<u64>,
    old: Option<u64>,
}

impl Skipped {
    #[inline(always)]
    fn note(&mut self, snapshot: DeliverySnapshot) {
        let lowest = if snapshot.word.is_fresh() { &mut self.fresh } else { &mut self.old };
        *lowest = Some(lowest.map_or(snapshot.position, |lowest| lowest.min(snapshot.position)));
    }
}

/// The frontier after a search: `left` is the lowest fresh message that the search skipped, `after`
/// follows the leased position, or is [`NOWHERE`].
#[inline(always)]
fn frontier_after(frontier: u64, left: Option<u64>, after: u64) -> u64 {
    match left {
        // The hint was too high.
        Some(left) if left < frontier => left,
        Some(left) => frontier.max(left.min(after)),
        None if after == NOWHERE => frontier,
        None => frontier.max(after),
    }
}

/// Keeps the message of the lower kind in `best`, the earlier one of two equal kinds, and returns
/// the snapshot of the other.
fn keep_lower_kind(
    best: &mut Option<(DeliverySnapshot, Message)>,
    this: (DeliverySnapshot, Message),
) -> Option<DeliverySnapshot> {
    let is_lower = best.is_none_or(|(_, best)| this.1.meta.kind() < best.meta.kind());
    let left = if is_lower { best.replace(this) } else { Some(this) };
    left.map(|(snapshot, _)| snapshot)
}
