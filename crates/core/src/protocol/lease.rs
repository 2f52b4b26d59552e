//! A worker's half of a group: finding a message, leasing it, and everything that may become of the
//! lease.
//!
//! Every step is one compare-exchange of the delivery's word, and the exact word is the token of
//! the lease: there is no instruction at which a death could lose or double a claim, and whoever
//! comes too late finds another word and changes nothing.
//!
//! # Why a slot is not reused under a reader whose lease ran out
//!
//! A worker stores its *pin*, the lowest position it may be reading, before the exchange that
//! claims. The producer goes by the floor first and by the pins after that.
//!
//! 1. Before the claim, the position was unsettled, so the floor had not passed it.
//! 2. Whatever settles the position afterwards is a later exchange of the same word, in the release sequence
//!    of the claim. Whoever sees it settled (the producer, or who moves the floor up) and makes an acquire
//!    fence sees the pin.
//! 3. So the producer either stops at the floor, or sees the pin, or sees that it was taken away, which is
//!    released after the last read.

use super::group::{DeliverySnapshot, Group, Kinds, NOWHERE, head};
use super::read::copy_out;
use super::settings::{Eligibility, GroupSettings, Reason};
use super::tenure::count_entry;
use super::{park, sightings};
use crate::format::readers_page::USED_WORKERS;
use crate::format::{Count, DeliveryWord, Geometry, Message, Millis, State, group, worker};
use crate::memory::{Futex, Memory};
use alloc::collections::VecDeque;
use core::cell::{Cell, RefCell};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// The stored floor may lie so far below what is settled before a worker moves it up.
const FLOOR_STRIDE: u64 = 64;

/// The right to one message until its time is up, or somebody takes it: the position and the exact
/// word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which message.
    pub position: u64,
    /// The word that stands for this lease and for no other.
    pub word: DeliveryWord,
    /// The message.
    pub message: Message,
}

/// The lease was over: its time ran out, and another worker took the message over, or settled it.
/// Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the lease on the message at position {position} was lost: it ran out, and another worker took the message \
     over; nothing was changed"
)]
#[non_exhaustive]
pub struct LeaseLost {
    /// The position of the message.
    pub position: u64,
}

/// What a worker did, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// Leases that it got.
    Delivered,
    /// Leases that it acknowledged.
    Acked,
    /// Leases that it gave back.
    Failed,
    /// Leases that it ended too late.
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

/// What a search found, besides a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The message that is leased now.
    pub lease: Option<Lease>,
    /// In how many milliseconds the next one is due, of those that were looked at.
    pub next_due_ms: Option<u32>,
    /// Something was looked at that is leased, delayed or dead-pending.
    pub outstanding: bool,
    /// The first message that waits to be moved to the dead-letter ring now.
    pub dead_pending: Option<u64>,
    /// So much is in flight that no new message is delivered.
    pub limited: bool,
}

/// A worker's half of the protocol. Holds the right to its entry for as long as it lives.
///
/// # Invariants
///
/// The stored pin equals `lowest_held`, which is the lowest position that is being read in place,
/// or nowhere.
#[derive(Debug)]
pub struct Worker<M> {
    group: Group<M>,
    entry: u32,
    settings: GroupSettings,
    /// By how much a clock that is read in steps may be late.
    grain_ms: u32,
    cached_floor: Cell<u64>,
    lowest_held: Cell<u64>,
    /// The others that are being read in place, ascending; with repeats, since a lease that ran out
    /// may be had again by the same worker.
    more_held: RefCell<VecDeque<u64>>,
    /// True if there are none of those: most workers do one thing at a time.
    holds_one: Cell<bool>,
    /// A pin was taken away whose claim failed: the producer may have gone to sleep over it.
    has_withdrawn: Cell<bool>,
    /// The position and the word of a lease that looked longer than any can be, in the search
    /// before.
    suspect: Cell<Option<(u64, u64)>>,
    /// How often it did what: see [`Tally`].
    tallies: [Cell<u64>; 4],
}

impl<M: Memory> Worker<M> {
    /// A worker with `entry`, which belongs to this group.
    pub fn new(group: Group<M>, entry: u32, settings: GroupSettings, grain_ms: u32) -> Worker<M> {
        // Before any pin: whoever finds a message settled that was claimed here finds the count,
        // and then the pin.
        count_entry(&group.memory, USED_WORKERS, entry);
        let cached_floor = Cell::new(group.stored_floor().unwrap_or(0));
        Worker {
            group,
            entry,
            settings,
            grain_ms,
            cached_floor,
            lowest_held: Cell::new(NOWHERE),
            more_held: RefCell::default(),
            holds_one: Cell::new(true),
            has_withdrawn: Cell::new(false),
            suspect: Cell::new(None),
            tallies: Default::default(),
        }
    }

    /// The memory this worker reads.
    pub fn memory(&self) -> &M {
        &self.group.memory
    }
    /// The ring's geometry.
    pub fn geometry(&self) -> &Geometry {
        &self.group.geometry
    }
    /// The group it belongs to.
    pub fn group(&self) -> &Group<M> {
        &self.group
    }
    /// The group's settings.
    pub fn settings(&self) -> &GroupSettings {
        &self.settings
    }
    /// Number of its entry.
    pub fn entry(&self) -> u32 {
        self.entry
    }
    /// Counts something that it did.
    #[inline(always)]
    pub fn count(&self, what: Tally) {
        let count = &self.tallies[what as usize];
        count.set(count.get() + 1);
        self.memory().store(self.geometry().worker_word(self.entry, what.word()), count.get(), Relaxed);
    }
    /// Leases the next new message, if it is there and nothing was handed back: the usual case of
    /// [`search`](Self::search), without the search.
    #[inline(always)]
    pub fn next(&self, now: Millis) -> Option<Lease> {
        let frontier = self.group.bounded(self.group.load(group::FRONTIER));
        if self.group.load(group::RETURNED) <= frontier {
            return None;
        }
        let snapshot = self.group.snapshot(frontier);
        let in_flight = frontier.wrapping_sub(self.cached_floor.get());
        if !snapshot.word.is_fresh()
            || in_flight >= self.settings.max_ack_pending
            || self.group.sequence_of_fresh(frontier) != frontier + 1
        {
            return None;
        }
        let lease = self.claim(snapshot, self.group.message(frontier)?, now)?;
        self.memory().store(self.group.entry_word(group::FRONTIER), frontier + 1, Relaxed);
        Some(lease)
    }

    /// Leases the first message that is wanted and may be had.
    ///
    /// Usually it looks from where new messages begin, or from the lowest that was handed back. A
    /// *sweep* looks from the floor on, and finds what ran out or became due meanwhile: who waits
    /// sweeps once per tick.
    ///
    /// `now` was read after the search before this one.
    #[inline]
    pub fn search(&self, kinds: Kinds, now: Millis, sweep: bool) -> Found {
        let frontier = self.group.load(group::FRONTIER);
        let returned = self.group.load(group::RETURNED);
        let from = if sweep { self.sweep_start(now) } else { frontier.min(returned) };
        let mut found = Found::default();
        let mut skipped = Skipped { fresh: None, old: None };
        let mut best: Option<(DeliverySnapshot, Message)> = None;
        let mut suspect = None;
        for snapshot in self.group.window(from) {
            match self.settings.eligibility(snapshot.position, snapshot.word, now) {
                Eligibility::Settled => {}
                Eligibility::Later(ms) => found.note_due(ms),
                eligibility
                    if eligibility.is_early(snapshot.word, now) && self.is_news(snapshot, &mut suspect) =>
                {
                    found.note_due(1);
                }
                Eligibility::DeadPending(0) => found.note_dead_pending(snapshot.position),
                Eligibility::DeadPending(ms) => found.note_due(ms),
                Eligibility::Exhausted(reason) => {
                    if self.give_up(snapshot, reason, now) {
                        found.note_dead_pending(snapshot.position);
                    }
                }
                Eligibility::Ready
                    if snapshot.word.is_fresh() && self.is_limited(&mut found, snapshot.position) =>
                {
                    skipped.note(snapshot);
                }
                Eligibility::Ready => {
                    let message = self.group.message(snapshot.position);
                    let Some(message) = message.filter(|message| kinds.admits(message.meta.kind())) else {
                        skipped.note(snapshot);
                        continue;
                    };
                    if let Kinds::AtMost(_) = kinds {
                        // The lowest kind counts, so the whole window does.
                        let better = best.is_none_or(|(_, best)| message.meta.kind() < best.meta.kind());
                        let this = (snapshot, message);
                        let left = if better { best.replace(this) } else { Some(this) };
                        if let Some((left, _)) = left {
                            skipped.note(left);
                        }
                        continue;
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
            found.lease = self.claim(snapshot, message, now);
            found.outstanding |= found.lease.is_none();
        }
        self.move_hints(frontier, returned, skipped, found.lease);
        found
    }

    /// False if the search before saw the very same word.
    ///
    /// A deadline further ahead than any can be: either nobody meant it, or this worker was stopped
    /// after it had read its clock, and the lease is younger than that. Whoever finds the word
    /// again has read the clock since the word was there, and knows.
    #[cold]
    fn is_news(&self, snapshot: DeliverySnapshot, suspect: &mut Option<(u64, u64)>) -> bool {
        let this = (snapshot.position, snapshot.stored);
        let is_news = self.suspect.get() != Some(this);
        if is_news {
            suspect.get_or_insert(this);
        }
        is_news
    }

    /// Where a sweep begins. Notes how far the head has come, for the age of what is pending.
    #[cold]
    fn sweep_start(&self, now: Millis) -> u64 {
        sightings::note(self.memory(), |at| self.group.entry_word(at), head(self.memory()), now);
        let floor = self.group.help_floor().unwrap_or(0);
        self.cached_floor.set(floor);
        floor
    }

    /// After a search: where the next one begins.
    #[inline(always)]
    fn move_hints(&self, frontier: u64, returned: u64, skipped: Skipped, lease: Option<Lease>) {
        let after = lease.map_or(NOWHERE, |lease| lease.position + 1);
        let next_frontier = match skipped.fresh {
            // The hint was too high.
            Some(left) if left < frontier => left,
            Some(left) => frontier.max(left.min(after)),
            None if after == NOWHERE => frontier,
            None => frontier.max(after),
        };
        if next_frontier != frontier {
            // One that is overtaken by a lower one costs others a look at words that are taken.
            self.memory().store(self.group.entry_word(group::FRONTIER), next_frontier, Relaxed);
        }
        let unseen = if after < next_frontier { after } else { NOWHERE };
        let next_returned = skipped.old.unwrap_or(NOWHERE).min(unseen);
        if next_returned != returned {
            let word = self.group.entry_word(group::RETURNED);
            let _ = self.memory().compare_exchange(word, returned, next_returned, Relaxed, Relaxed);
        }
    }

    /// True if no new message may be delivered from `position` on.
    #[inline(always)]
    fn is_limited(&self, found: &mut Found, position: u64) -> bool {
        let max = self.settings.max_ack_pending;
        found.limited
            || position.saturating_sub(self.cached_floor.get()) >= max && {
                found.limited = self.count_in_flight(position) >= max;
                found.limited
            }
    }

    /// How many messages below `position` are in flight.
    #[cold]
    fn count_in_flight(&self, position: u64) -> u64 {
        let floor = self.group.help_floor().unwrap_or(0);
        self.cached_floor.set(floor);
        if position.saturating_sub(floor) < self.settings.max_ack_pending {
            return position.saturating_sub(floor);
        }
        let below = self.group.window(floor).take_while(|snapshot| snapshot.position < position);
        below.filter(|snapshot| !snapshot.word.is_fresh() && !snapshot.word.is_settled()).map(|_| 1).sum()
    }

    #[inline(always)]
    fn claim(&self, snapshot: DeliverySnapshot, message: Message, now: Millis) -> Option<Lease> {
        let deadline = now.after(self.settings.ack_wait_ms + self.grain_ms);
        let word = snapshot.word.leased(self.entry, deadline);
        self.pin(snapshot.position);
        let delivery = self.geometry().delivery(self.group.number, snapshot.position);
        let claimed = self.memory().compare_exchange(delivery, snapshot.stored, word.0, Release, Relaxed); // PIN, LAP
        if claimed.is_err() {
            self.unpin(snapshot.position);
            self.has_withdrawn.set(true);
            return None;
        }
        if snapshot.word.state() == State::Leased {
            self.group.count(Count::Expired, 1);
        }
        Some(Lease { position: snapshot.position, word, message })
    }

    /// Stored before a claim, which releases it.
    #[inline(always)]
    fn pin(&self, position: u64) {
        let lowest = self.lowest_held.get();
        if position < lowest {
            self.lowest_held.set(position);
            // Released: it may follow a higher pin, or none, and then says that what that one held
            // is done with.
            self.memory().store(self.geometry().worker_word(self.entry, worker::PIN), position, Release); // UNPIN
        }
        if lowest != NOWHERE {
            self.hold_one_more(lowest.max(position));
        }
    }

    fn hold_one_more(&self, position: u64) {
        let mut more = self.more_held.borrow_mut();
        let at = more.partition_point(|&held| held <= position);
        more.insert(at, position);
        self.holds_one.set(false);
    }

    /// Gives up the bytes of a message. Nothing refers to them any more.
    #[inline(always)]
    pub fn unpin(&self, position: u64) {
        let lowest = self.lowest_held.get();
        let next = if self.holds_one.get() { NOWHERE } else { self.hold_one_less(position) };
        self.lowest_held.set(next);
        if next != lowest {
            self.memory().store(self.geometry().worker_word(self.entry, worker::PIN), next, Release); // UNPIN
        }
    }

    /// The lowest that is left.
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
        self.group.count(Count::Lost, 1);
        Err(LeaseLost { position })
    }

    /// Settles a message for good.
    #[inline(always)]
    pub fn ack(&self, lease: Lease) -> Result<(), LeaseLost> {
        self.end(lease, lease.word.acked())
    }

    /// Has it delivered again, in `delay_ms`, or after the group's backoff.
    pub fn nack(&self, lease: Lease, delay_ms: Option<u32>, now: Millis) -> Result<(), LeaseLost> {
        let rest = || self.settings.backoff.delay_ms(lease.position, lease.word.attempt());
        let new = match delay_ms.unwrap_or_else(rest) {
            0 => lease.word.delayed(now),
            ms => lease.word.delayed(now.after(ms + self.grain_ms)),
        };
        self.end(lease, new)?;
        self.group.hint_returned(lease.position);
        self.group.count(Count::Failed, 1);
        Ok(())
    }

    /// Hands it back as if it had not been leased.
    pub fn release(&self, lease: Lease) -> Result<(), LeaseLost> {
        self.end(lease, lease.word.released())?;
        self.group.hint_returned(lease.position);
        self.group.count(Count::Released, 1);
        Ok(())
    }

    /// Makes the lease last for a whole `ack_wait` from now.
    pub fn extend(&self, lease: Lease, now: Millis) -> Result<Lease, LeaseLost> {
        let word = lease.word.extended(now.after(self.settings.ack_wait_ms + self.grain_ms));
        self.end(lease, word)?;
        Ok(Lease { word, ..lease })
    }

    /// Says that it shall not be delivered again. It waits to be moved to the dead-letter ring.
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

    /// The dead-pending messages from a position on that may be moved to the dead-letter ring now.
    pub fn dead_pending(&self, from: u64, now: Millis) -> impl Iterator<Item = u64> {
        let due = move |snapshot: &DeliverySnapshot| {
            matches!(
                self.settings.eligibility(snapshot.position, snapshot.word, now),
                Eligibility::DeadPending(0)
            )
        };
        self.group.window(from).filter(due).map(|snapshot| snapshot.position)
    }

    /// Copies the dead-pending message at `position` into `buffer`, which holds a block.
    ///
    /// One worker at a time moves messages, so the message stays; but a worker that was stopped may
    /// go on after the dead-letter ring was replaced. So nothing is read in place, and the copy is
    /// believed only if the message is still dead-pending afterwards: until it is settled, nothing of it
    /// is overwritten.
    pub(super) fn copy_dead_pending(&self, position: u64, now: Millis, buffer: &mut [u8]) -> Option<Lease> {
        let snapshot = self.group.snapshot(position);
        if !matches!(self.settings.eligibility(position, snapshot.word, now), Eligibility::DeadPending(0)) {
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

    /// Settles a dead-pending message, and counts what became of it.
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

    /// After something was settled: moves the floor up now and then. (The producer sees over what
    /// is settled above the floor, so this can wait.)
    #[inline(always)]
    pub fn settled(&self, position: u64) {
        let stride = FLOOR_STRIDE.min(self.geometry().capacity() / 8);
        if position.wrapping_sub(self.cached_floor.get()) >= stride {
            self.move_floor();
        }
    }

    #[cold]
    fn move_floor(&self) {
        if let Some(floor) = self.group.help_floor() {
            self.cached_floor.set(floor);
        }
    }

    /// True if a claim has failed since this was last asked. The pin of a failed claim holds the
    /// producer up like any other, so [wake](Self::wake_producer) it.
    #[inline(always)]
    pub fn has_withdrawn(&self) -> bool {
        self.has_withdrawn.replace(false)
    }

    /// Wakes the producer, if it may be asleep for want of room.
    #[inline(always)]
    pub fn wake_producer(&self)
    where
        M: Futex,
    {
        park::Side::Producer.wake_if_asleep(self.memory());
    }

    /// Has workers look again that sleep. The word that readers sleep on is the producer's, and not
    /// to be changed here: a worker that is just falling asleep misses this, and wakes at its next
    /// tick.
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

/// The lowest messages that a search left alone though they may be had.
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
