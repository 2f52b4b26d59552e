//! A worker without the type of its messages: how it finds its next message, waits for it, and ends
//! leases.

use crate::error::RecvError;
use crate::id::{MessageId, RingId};
use crate::region::Region;
use crate::region::clock;
use crate::ring::attach::Attachment;
use crate::system;
use crate::wait::{CHECK_UP, Wait, Waiting, longest_sleep, wait_for};
use slipring_core::format::Millis;
use slipring_core::protocol;
use slipring_core::protocol::group::{self, Kinds, members};
use slipring_core::protocol::lease::{Found, Lease, LeaseLost, Sweep, Tally};
use slipring_core::protocol::park::Side;
use slipring_core::protocol::read::is_closed;
use slipring_core::protocol::recorder::EventKind;
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acked,
    /// Not done: the message can be had again, or is dead-pending.
    GivenBack,
}

/// A worker without the type of its messages.
#[derive(Debug)]
pub(crate) struct RawWorker {
    pub(super) protocol: protocol::Worker<Region>,
    pub(super) group_name: String,
    pub(super) wait: Wait,
    pub(super) tick_ms: u32,
    pub(super) notice_producer_away: bool,
    /// The time of this worker's last sweep.
    pub(super) swept: Cell<Millis>,
    /// Why the last message that this worker gave up was not moved; none if it was.
    pub(super) obstacle: RefCell<Option<String>>,
    /// True if the last look that leased no message met the limit of what may be in flight.
    pub(super) limited: Cell<bool>,
    pub(crate) attachment: Attachment,
}

impl RawWorker {
    /// The next message that can be leased.
    #[inline(always)]
    pub(super) fn try_next(&self, kinds: Kinds) -> Result<Lease, RecvError> {
        if let Some(lease) = self.look_for(kinds) {
            return Ok(self.counted(lease));
        }
        self.attachment.not_lost()?;
        if self.is_finished() {
            return Err(RecvError::Closed);
        }
        if let Err(error) = self.attachment.check_up_at_times(self.notice_producer_away) {
            // Messages that were published before are still received.
            return self.look_for(kinds).map(|lease| self.counted(lease)).ok_or(error);
        }
        Err(RecvError::Empty)
    }

    /// The next message; waits for it, at most `timeout`.
    #[inline(always)]
    pub(super) fn next(&self, kinds: Kinds, timeout: Option<Duration>) -> Result<Lease, RecvError> {
        if let Some(lease) = self.look_for(kinds) {
            return Ok(self.counted(lease));
        }
        let lease = self.await_lease(kinds, timeout)?;
        Ok(self.counted(lease))
    }

    /// The identity of the message at a position.
    pub(crate) fn identity(&self, position: u64) -> MessageId {
        self.attachment.header.identity(position)
    }

    /// The ring's identity.
    pub(crate) fn ring_id(&self) -> RingId {
        self.attachment.header.ring_id
    }

    /// The group's name.
    pub(crate) fn group(&self) -> &str {
        &self.group_name
    }

    pub(crate) fn protocol(&self) -> &protocol::Worker<Region> {
        &self.protocol
    }

    #[inline(always)]
    fn counted(&self, lease: Lease) -> Lease {
        self.protocol.count(Tally::Delivered);
        lease
    }

    #[inline(always)]
    fn look_for(&self, kinds: Kinds) -> Option<Lease> {
        let now = clock::coarse_now();
        if now.0.wrapping_sub(self.swept.get().0) >= self.tick_ms {
            if let Some(found) = self.sweep_if_due(kinds, clock::now()) {
                return found.lease;
            }
        }
        if kinds == Kinds::Any {
            if let Some(lease) = self.protocol.next(now) {
                return Some(lease);
            }
        }
        self.search(kinds, now).lease
    }

    /// Looks from where new messages begin, or from the lowest that was handed back.
    #[inline(always)]
    fn search(&self, kinds: Kinds, now: Millis) -> Found {
        let found = self.protocol.search(kinds, now, false);
        self.after_search(&found, now);
        found
    }

    /// Notes what a search found, and wakes the producer if it sleeps: the pin of a claim that
    /// failed may have been its gate.
    #[inline(always)]
    fn after_search(&self, found: &Found, now: Millis) {
        self.limited.set(found.limited && found.lease.is_none());
        if self.protocol.has_withdrawn() {
            self.wake_behind();
        }
        if let Some(ms) = found.next_due_ms {
            self.protocol.expect_sweep(now, ms);
        }
    }

    /// Sweeps: returns the leases of dead workers, finds leases that ran out and messages that are
    /// due, and moves dead letters. One worker per tick does so for the whole group; none if
    /// another worker has done it.
    #[cold]
    fn sweep_if_due(&self, kinds: Kinds, now: Millis) -> Option<Found> {
        // The coarse clock, by which this worker counts its ticks, is behind the exact one.
        self.swept.set(clock::coarse_now());
        let Sweep { of_all } = self.protocol.begin_sweep(now, self.tick_ms)?;
        self.reap(of_all);
        let found = self.protocol.search(kinds, now, true);
        self.after_search(&found, now);
        if let Some(first) = found.dead_pending {
            self.move_dead_letters_from(first);
        }
        Some(found)
    }

    /// Returns the leases of dead workers.
    fn reap(&self, all: bool) {
        let group = self.protocol.group();
        members::reap_all(group, &self.attachment.locks, self.protocol.entry(), all, |pid| {
            let floor = group.stored_floor().unwrap_or(0);
            self.attachment.try_record(EventKind::WorkerDied, floor, &self.group_name, pid);
        });
    }

    fn await_lease(&self, kinds: Kinds, timeout: Option<Duration>) -> Result<Lease, RecvError> {
        let mut waiter = Waiter { worker: self, kinds, lease: None };
        wait_for(&mut waiter, self.wait, timeout)?;
        // `wait_for` returns when a look succeeded.
        waiter.lease.ok_or(RecvError::Empty)
    }

    /// True when the stream is closed and the group has settled all of it.
    #[cold]
    fn is_finished(&self) -> bool {
        let region = self.protocol.memory();
        is_closed(region)
            && self.protocol.group().help_floor().is_some_and(|floor| floor >= group::head(region))
    }

    /// Ends a lease, drops the pin, counts the outcome, and wakes the parties that wait for it.
    #[inline(always)]
    pub(crate) fn end(
        &self,
        lease: Lease,
        outcome: Outcome,
        end: impl FnOnce(&protocol::Worker<Region>, Lease) -> Result<(), LeaseLost>,
    ) -> Result<(), LeaseLost> {
        let ended = end(&self.protocol, lease);
        self.protocol.unpin(lease.position);
        self.protocol.settled(lease.position);
        self.protocol.count(match outcome {
            _ if ended.is_err() => Tally::Lost,
            Outcome::Acked => Tally::Acked,
            Outcome::GivenBack => Tally::Failed,
        });
        self.wake_behind();
        if outcome == Outcome::GivenBack {
            self.protocol.nudge_colleagues();
        }
        ended
    }

    /// Wakes the parties that sleep until the group settles messages: a slot may have become free.
    #[inline(always)]
    pub(crate) fn wake_behind(&self) {
        self.protocol.wake_behind();
    }
}

impl Drop for RawWorker {
    fn drop(&mut self) {
        if self.attachment.is_foreign() {
            return;
        }
        let (region, geometry) = (self.protocol.memory(), self.protocol.geometry());
        members::leave(region, geometry, &self.attachment.locks, self.protocol.entry());
        self.protocol.nudge_colleagues();
        let floor = self.protocol.group().stored_floor().unwrap_or(0);
        let pid = u64::from(system::process_id());
        self.attachment.try_record(EventKind::WorkerLeft, floor, &self.group_name, pid);
    }
}

/// A worker that waits.
struct Waiter<'w> {
    worker: &'w RawWorker,
    kinds: Kinds,
    lease: Option<Lease>,
}

impl Waiter<'_> {
    /// Sweeps, and returns for how long there will be no message to lease; none if there is one.
    ///
    /// Example, a tick of 10 ms, worker 2 holds position 7 until 42 ms from now. Worker 3 sweeps
    /// now: something is outstanding, so it sleeps until the next tick, to see whether worker 2
    /// lives. Worker 4 looks 3 ms later, finds the sweep of this tick made, and sleeps for 7 ms.
    /// With nothing in flight worker 3 would sleep until a message or a check-up; worker 4 has not
    /// seen that, and looks again at the next tick.
    fn sweep(&mut self) -> Option<Duration> {
        let (worker, now) = (self.worker, clock::now());
        let swept = worker.sweep_if_due(self.kinds, now);
        let found = swept.unwrap_or_else(|| worker.search(self.kinds, now));
        self.lease = found.lease;
        if self.lease.is_some() || worker.is_finished() {
            return None;
        }
        if swept.is_some() && !found.outstanding {
            return Some(longest_sleep(CHECK_UP));
        }
        // A colleague swept, and may have found something that is in flight.
        let next_ms = worker.protocol.next_sweep_ms(now, worker.tick_ms);
        let due_ms = found.next_due_ms.map_or(next_ms, |due| due.min(next_ms)).max(1);
        Some(longest_sleep(Duration::from_millis(due_ms.into())))
    }
}

impl Waiting for Waiter<'_> {
    type Error = RecvError;

    #[inline(always)]
    fn poll(&mut self) -> Result<bool, RecvError> {
        if self.lease.is_none() {
            self.lease = self.worker.look_for(self.kinds);
        }
        Ok(self.lease.is_some())
    }

    fn check_closed(&mut self) -> Result<(), RecvError> {
        if self.worker.is_finished() { Err(RecvError::Closed) } else { Ok(()) }
    }

    fn check_ring(&mut self) -> Result<(), RecvError> {
        self.worker.attachment.check_up(self.worker.notice_producer_away)
    }

    fn check_up_at_times(&mut self) -> Result<(), RecvError> {
        let worker = self.worker;
        let Err(error) = worker.attachment.check_up_at_times(worker.notice_producer_away) else {
            return Ok(());
        };
        // Messages that were published before are still received.
        if self.poll()? { Ok(()) } else { Err(error) }
    }

    /// Sleeps until the next message, or until something that is in flight is due, and at most for
    /// a tick while a message is: the sweep must look at the clock, and at dead workers.
    fn sleep(&mut self, at_most: Duration) -> Result<(), RecvError> {
        Side::Readers.sleep_unless(
            self,
            |it| it.worker.protocol.memory(),
            |it| Ok(it.sweep().map(|bound| bound.min(at_most))),
        )
    }

    fn timed_out(&mut self, waited: Duration) -> RecvError {
        RecvError::TimedOut(waited)
    }
}
