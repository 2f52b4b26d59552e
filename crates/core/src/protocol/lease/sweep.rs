//! Sweeps: one worker per tick looks for what no other party reports, for its whole group: leases
//! that ran out, messages that are due, and what hints have lost.
//!
//! A sweep looks at [`SWEEP_STEPS`](super::SWEEP_STEPS) words at most, and stores where it ended;
//! the next one, by whichever worker, goes on there, and a sweep that comes to the end begins the
//! next *pass* at the floor. So a tick costs the same however much is in flight, and what is due is
//! found after a tick, and one more for each so many words between the floor and the end of the
//! pass.
//!
//! Example: 100,000 messages wait for their next attempt. A pass takes 49 sweeps, half a second
//! with ticks of 10 ms. With 2000 messages in a row in flight, each sweep is a pass.
//!
//! A pass ends at the first message that no worker has leased, and behind which none was leased:
//! a backlog is not swept.

use super::search::Look;
use super::{SLACK_MS, TICK_MAX_MS, Worker};
use crate::format::{Millis, group};
use crate::memory::Memory;
use crate::protocol::group::{Kinds, NOWHERE, head};
use crate::protocol::sightings;
use core::sync::atomic::Ordering::Relaxed;

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

impl<M: Memory> Worker<M> {
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

    /// One sweep. Leases the first eligible message that it finds, and leaves a hint to the next.
    #[cold]
    pub(super) fn sweep(&self, kinds: Kinds, now: Millis) -> Look {
        // For the age of what is pending.
        sightings::note(self.memory(), |at| self.group.entry_word(at), head(self.memory()), now);
        let floor = self.group.help_floor().unwrap_or(0);
        let reach = self.group.reach();
        let mut look = self.look(kinds, now);
        let stored = self.group.load(group::SWEEP_AT);
        let from = if stored < reach { stored.max(floor) } else { floor };
        let mut window = self.group.window(from).learning().within(self.steps.sweep);
        let is_cut = loop {
            match window.next() {
                None => break window.is_cut(),
                Some(snapshot) if snapshot.word.is_fresh() && snapshot.position >= reach => break false,
                Some(snapshot) => self.consider(&mut look, snapshot),
            }
        };
        let next_sweep = if is_cut { window.position() } else { 0 };
        self.memory().store(self.group.entry_word(group::SWEEP_AT), next_sweep, Relaxed);
        // What it did not look at may be in flight.
        look.found.outstanding |= from > floor || is_cut;
        self.lease_best(&mut look);
        if let Some(next) = look.skipped.old {
            self.group.hint_returned(next);
        }
        self.lower_frontier(&look);
        look
    }

    /// Fresh messages below the frontier, which the hint has lost: they are leased next.
    fn lower_frontier(&self, look: &Look) {
        let leased = look.found.lease.filter(|_| look.leased_fresh);
        let lower_frontier = look.skipped.fresh.unwrap_or(leased.map_or(NOWHERE, |lease| lease.position + 1));
        if lower_frontier < look.frontier {
            self.group.hint_reached(look.frontier - 1);
            self.memory().store(self.group.entry_word(group::FRONTIER), lower_frontier, Relaxed);
        }
    }
}
