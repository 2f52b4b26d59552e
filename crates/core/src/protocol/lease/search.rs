//! How a worker finds its next message.
//!
//! A search has two parts. It looks for what was handed back, from the hint on: at 256 words, since
//! sweeps find the rest. Then it looks for a message that no worker has leased, from the frontier
//! on.
//!
//! A worker that chooses by kind leaves fresh messages behind that it does not want. It keeps for
//! itself up to where it has looked for these kinds ([`Passed`]), so that it looks at each of them
//! once: the kind of a message never changes.
//!
//! Example: behind 200,000 messages of kind 0, a worker waits for one of kind 7. Its first search
//! looks at all of them. Its next one begins at position 200,000.

use super::{Lease, Worker};
use crate::format::{Message, Millis, group};
use crate::memory::Memory;
use crate::protocol::eligibility::Eligibility;
use crate::protocol::group::{DeliverySnapshot, Kinds, NOWHERE};
use crate::protocol::settings::CurrentSettings;
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

/// A worker that does not want the message of the hint looks above it once in so many milliseconds.
const LOOK_AGAIN_MS: u32 = 10;
/// Choices of kinds for which a worker remembers up to where it has looked.
const CHOICES: usize = 8;

/// Result of [`Worker::search`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The message that this worker has leased now.
    pub lease: Option<Lease>,
    /// Milliseconds until the next message is due, among those that the search looked at.
    pub next_due_ms: Option<u32>,
    /// True if the search saw a message that is leased, delayed or dead-pending; or if it was a
    /// sweep that did not look at all of them.
    pub outstanding: bool,
    /// The lowest message that can be moved to the dead-letter ring now.
    pub dead_pending: Option<u64>,
    /// True if so much is in flight that no worker may lease a fresh message.
    pub limited: bool,
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
    /// Of a sweep that has led to no lease, and of the search after it.
    fn and(self, later: Found) -> Found {
        Found {
            lease: later.lease,
            next_due_ms: self.next_due_ms.into_iter().chain(later.next_due_ms).min(),
            outstanding: self.outstanding || later.outstanding,
            dead_pending: self.dead_pending.or(later.dead_pending),
            limited: self.limited || later.limited,
        }
    }
}

/// The lowest eligible messages that a walk did not lease.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Skipped {
    pub(super) fresh: Option<u64>,
    pub(super) old: Option<u64>,
}

/// How far a worker has looked for messages of some kinds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    kinds: Kinds,
    /// No fresh message from `from` to below `until` is wanted.
    from: u64,
    until: u64,
    /// Some of them were fresh.
    left_fresh: bool,
    /// A hint to a message that was handed back, and is not wanted.
    hint: u64,
    /// Where to look next for others above that one, and when this worker looked last.
    above: u64,
    looked: Millis,
}

impl Passed {
    pub(super) fn nothing(kinds: Kinds) -> Passed {
        let looked = Millis(0);
        Passed { kinds, from: 0, until: 0, left_fresh: false, hint: NOWHERE, above: NOWHERE, looked }
    }
}

/// A walk over deliveries, and what it has found so far.
pub(super) struct Look {
    kinds: Kinds,
    now: Millis,
    settings: CurrentSettings,
    /// The frontier before the walk.
    pub(super) frontier: u64,
    /// Positions whose fresh messages are known not to be wanted.
    unwanted: Range<u64>,
    pub(super) found: Found,
    /// The lease is the first one of its message.
    pub(super) leased_fresh: bool,
    pub(super) skipped: Skipped,
    /// The lowest fresh message that it left for another reason than its kind.
    left: Option<u64>,
    best: Option<(DeliverySnapshot, Message)>,
    suspect: Option<(u64, u64)>,
}

impl Look {
    fn new(kinds: Kinds, now: Millis, settings: CurrentSettings) -> Look {
        Look {
            kinds,
            now,
            settings,
            frontier: 0,
            unwanted: 0..0,
            found: Found::default(),
            leased_fresh: false,
            skipped: Skipped::default(),
            left: None,
            best: None,
            suspect: None,
        }
    }
    fn skip_fresh(&mut self, position: u64) {
        self.skipped.fresh = Some(self.skipped.fresh.map_or(position, |lowest| lowest.min(position)));
    }
    fn skip_old(&mut self, position: u64) {
        self.skipped.old = Some(self.skipped.old.map_or(position, |lowest| lowest.min(position)));
    }
    fn leave(&mut self, position: u64) {
        self.skip_fresh(position);
        self.left = Some(self.left.map_or(position, |lowest| lowest.min(position)));
    }
}

impl<M: Memory> Worker<M> {
    /// Leases the first message that is wanted and eligible.
    ///
    /// Usually the search begins at the frontier, or at the lowest position that was handed back.
    /// Once per tick of a waiting worker, a sweep goes before it, and finds leases that ran out and
    /// messages that became due.
    ///
    /// The caller reads `now` after the search before this one.
    #[inline]
    pub fn search(&self, kinds: Kinds, now: Millis, sweep: bool) -> Found {
        let swept = if sweep { self.sweep(kinds, now) } else { Look::new(kinds, now, self.settings.get()) };
        let mut found = swept.found;
        let mut suspect = swept.suspect;
        if found.lease.is_none() {
            let look = self.search_by_hints(kinds, now);
            found = found.and(look.found);
            suspect = suspect.or(look.suspect);
        }
        // Only now: the search after the sweep goes by the same time.
        if suspect.is_some() {
            self.note_suspect(suspect);
        }
        found
    }

    fn search_by_hints(&self, kinds: Kinds, now: Millis) -> Look {
        let returned = self.group.load(group::RETURNED);
        let mut look = self.look(kinds, now);
        let passed = self.passed.get();
        let start = look.frontier.max(passed.until);
        if passed.left_fresh && passed.until > look.frontier {
            look.skipped.fresh = Some(look.frontier);
        }
        let mut end = start;
        if returned < start {
            end = self.look_at_returned(&mut look, returned, start);
        }
        if look.found.lease.is_none() {
            end = self.look_for_fresh(&mut look, start);
        }
        if look.found.lease.is_none() && look.found.limited && returned >= end {
            // What was handed back is in flight already.
            end = self.look_at_returned(&mut look, returned, self.group.reach()).max(end);
        }
        self.lease_best(&mut look);
        self.move_hints(&look, returned, end);
        look
    }

    /// A walk that has not begun.
    pub(super) fn look(&self, kinds: Kinds, now: Millis) -> Look {
        let frontier = self.group.load(group::FRONTIER);
        if self.passed.get().kinds != kinds {
            self.choose(kinds);
        }
        if frontier < self.passed.get().from {
            // The hint was too high.
            self.passed.set(Passed::nothing(kinds));
        }
        let unwanted = frontier..self.passed.get().until;
        Look { frontier, unwanted, ..Look::new(kinds, now, self.settings.get()) }
    }

    /// Takes up what this worker knows about these kinds.
    #[cold]
    fn choose(&self, kinds: Kinds) {
        let mut others = self.passed_of_others.borrow_mut();
        others.push_back(self.passed.get());
        let known = others.iter().position(|passed| passed.kinds == kinds);
        let passed = known.and_then(|at| others.remove(at)).unwrap_or(Passed::nothing(kinds));
        self.passed.set(passed);
        if others.len() >= CHOICES {
            others.pop_front();
        }
    }

    /// Looks at what was handed back, from the hint on to `end`. Returns up to where it has looked.
    ///
    /// As long as the hint names a message that is not wanted, it goes on above that one once per
    /// tick, in turns of as many words as a sweep.
    #[cold]
    fn look_at_returned(&self, look: &mut Look, returned: u64, end: u64) -> u64 {
        let passed = self.passed.get();
        let (mut from, mut steps) = (returned, self.steps.look);
        if matches!(look.kinds, Kinds::AtMost(_)) {
            // The lowest kind of all of them wins.
            steps = u64::MAX;
        } else if passed.hint == returned {
            look.skip_old(returned);
            if look.now.0.wrapping_sub(passed.looked.0) < LOOK_AGAIN_MS {
                return end;
            }
            from = if passed.above < end { passed.above } else { returned };
            steps = self.steps.sweep;
        }
        let mut window = self.group.window(from).learning().within(steps);
        while window.position() < end && look.found.lease.is_none() {
            match window.next() {
                Some(snapshot) if snapshot.position < end => self.consider(look, snapshot),
                _ => break,
            }
        }
        let hint = if look.skipped.old == Some(returned) { returned } else { NOWHERE };
        // Where it found one, it looks on at once.
        let looked = if look.found.lease.is_some() { passed.looked } else { look.now };
        self.passed.set(Passed { hint, above: window.position(), looked, ..passed });
        window.position()
    }

    /// Looks for a fresh message from `start` on. Returns up to where it has looked.
    #[inline(always)]
    fn look_for_fresh(&self, look: &mut Look, start: u64) -> u64 {
        let mut window = self.group.window(start).learning();
        while look.found.lease.is_none() && !look.found.limited {
            let Some(snapshot) = window.next() else { break };
            self.consider(look, snapshot);
        }
        let passed = self.passed.get();
        let until = look.left.unwrap_or(window.position());
        self.passed.set(Passed {
            from: if passed.until > look.frontier { passed.from } else { look.frontier },
            until,
            left_fresh: look.skipped.fresh.is_some_and(|fresh| fresh < until),
            ..passed
        });
        window.position()
    }

    /// Looks at one delivery, and leases its message if that is eligible and wanted. A walk that
    /// has a lease goes on only to see what else there is.
    #[inline(always)]
    pub(super) fn consider(&self, look: &mut Look, snapshot: DeliverySnapshot) {
        match self.eligibility(look, snapshot) {
            Eligibility::Settled => {}
            Eligibility::DeadPending(0) => look.found.note_dead_pending(snapshot.position),
            Eligibility::Later(ms) | Eligibility::DeadPending(ms) => look.found.note_due(ms),
            Eligibility::Exhausted(reason) => {
                if self.give_up(snapshot, reason, look.now) {
                    look.found.note_dead_pending(snapshot.position);
                }
            }
            Eligibility::Ready if snapshot.word.is_fresh() => self.consider_fresh(look, snapshot),
            Eligibility::Ready => self.consider_old(look, snapshot),
        }
    }

    #[inline(always)]
    fn eligibility(&self, look: &mut Look, snapshot: DeliverySnapshot) -> Eligibility {
        let now = look.now;
        let mut eligibility = look.settings.eligibility(snapshot.position, snapshot.word, now);
        // A colleague may have written this deadline by settings that this worker does not
        // know. If this look misses their version, the delivery is deferred, and the walk goes
        // on to an acquire fence (LAP, or PUB of the leased message): the next search finds it.
        if eligibility.is_early(snapshot.word, now) && self.take_up_settings() {
            look.settings = self.settings.get();
            eligibility = look.settings.eligibility(snapshot.position, snapshot.word, now);
        }
        if eligibility.is_early(snapshot.word, now) && self.defer_suspect(snapshot, &mut look.suspect) {
            eligibility = Eligibility::Later(1);
        }
        eligibility
    }

    #[inline(always)]
    fn consider_fresh(&self, look: &mut Look, snapshot: DeliverySnapshot) {
        let position = snapshot.position;
        if look.unwanted.contains(&position) {
            return look.skip_fresh(position);
        }
        if look.found.lease.is_some() {
            return look.leave(position);
        }
        look.found.limited = look.found.limited || self.reaches_limit(position, look.now);
        if look.found.limited {
            return look.leave(position);
        }
        let Some(message) = self.group.message(position) else { return look.leave(position) };
        if message.meta.is_redriven() && !self.is_meant(snapshot) || !look.kinds.admits(message.meta.kind()) {
            return look.skip_fresh(position);
        }
        self.take(look, snapshot, message);
    }

    #[inline(always)]
    fn consider_old(&self, look: &mut Look, snapshot: DeliverySnapshot) {
        let is_wanted = |message: &Message| look.kinds.admits(message.meta.kind());
        let message = if look.found.lease.is_some() { None } else { self.group.message(snapshot.position) };
        match message.filter(is_wanted) {
            Some(message) => self.take(look, snapshot, message),
            None => look.skip_old(snapshot.position),
        }
    }

    /// Leases the message; for a worker of the lowest kind, only if no later one is of a lower
    /// kind.
    #[inline(always)]
    fn take(&self, look: &mut Look, snapshot: DeliverySnapshot, message: Message) {
        let Kinds::AtMost(_) = look.kinds else { return self.lease(look, snapshot, message) };
        if snapshot.word.is_fresh() {
            look.left = Some(look.left.map_or(snapshot.position, |lowest| lowest.min(snapshot.position)));
        }
        if let Some(other) = keep_lower_kind(&mut look.best, (snapshot, message)) {
            if other.word.is_fresh() {
                look.skip_fresh(other.position)
            } else {
                look.skip_old(other.position)
            }
        }
    }

    /// Leases the message of the lowest kind.
    pub(super) fn lease_best(&self, look: &mut Look) {
        if let Some((snapshot, message)) = look.best.take() {
            self.lease(look, snapshot, message);
        }
    }

    #[inline(always)]
    fn lease(&self, look: &mut Look, snapshot: DeliverySnapshot, message: Message) {
        look.leased_fresh = snapshot.word.is_fresh();
        if look.leased_fresh {
            self.group.announce(snapshot.position, look.skipped.fresh.is_some());
        }
        look.found.lease = self.claim(snapshot, message, look.now);
        look.found.outstanding |= look.found.lease.is_none();
    }

    /// After a search that has looked at the positions from the hints on to `end`: stores where the
    /// next one begins.
    ///
    /// Example, frontier 7, returned none: the search skips fresh positions 7 and 8 (of another
    /// kind) and leases 9. The frontier stays 7, since 7 was never leased. Then a search for any
    /// kind leases 7: the frontier becomes 8, and the next search begins there.
    #[inline(always)]
    fn move_hints(&self, look: &Look, returned: u64, end: u64) {
        let after = look.found.lease.map_or(NOWHERE, |lease| lease.position + 1);
        let next_frontier = frontier_after(look.frontier, look.skipped.fresh, after);
        if next_frontier != look.frontier {
            if next_frontier < look.frontier {
                self.group.hint_reached(look.frontier - 1);
            }
            // If a lower value overtakes a higher one, other workers look at leased words once
            // more.
            self.memory().store(self.group.entry_word(group::FRONTIER), next_frontier, Relaxed);
        }
        if returned >= end {
            if let Some(old) = look.skipped.old {
                self.group.hint_returned(old);
            }
            return;
        }
        self.move_returned(look, returned, after);
    }

    /// Positions behind a lease may have been handed back, too. Those of which a search without a
    /// lease has not seen that they were are left to the sweeps.
    fn move_returned(&self, look: &Look, returned: u64, after: u64) {
        let unseen = if after < self.group.reach() { after } else { NOWHERE };
        let next_returned = look.skipped.old.unwrap_or(unseen);
        if next_returned != returned {
            let word = self.group.entry_word(group::RETURNED);
            let _ = self.memory().compare_exchange(word, returned, next_returned, Relaxed, Relaxed);
        }
    }

    /// Notes the delivery that a search has deferred, unless an earlier one waits.
    #[cold]
    fn note_suspect(&self, deferred: Option<(u64, u64)>) {
        let is_there = |&(position, stored): &(u64, u64)| self.group.snapshot(position).stored == stored;
        if !self.suspect.get().is_some_and(|suspect| is_there(&suspect)) {
            self.suspect.set(deferred);
        }
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
