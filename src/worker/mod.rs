//! A worker of a group: gets messages under a lease, and looks after what others let fall.

mod burial;
pub(crate) mod delivery;
mod options;

use crate::error::{AtPath, JoinError, RecvError};
use crate::id::RingId;
use crate::region::Region;
use crate::region::clock;
use crate::ring::attach::{Attachment, Place};
use crate::system;
use crate::wait::{CHECK_UP, NAP, Wait, Waiting, wait_for};
use crate::worker::delivery::Delivery;
use slipring_core::format::Millis;
use slipring_core::memory::Futex;
use slipring_core::protocol::group::{self, Kinds, members};
use slipring_core::protocol::lease::{Found, Lease, LeaseLost, Lessee, Tally};
use slipring_core::protocol::park::Side;
use slipring_core::protocol::read::is_closed;
use slipring_core::protocol::recorder::EventKind;
use slipring_core::protocol::settings::GroupSettings;
use std::cell::Cell;
use std::time::Duration;

pub use options::WorkerOptions;

/// What became of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acked,
    /// Not done: the message can be had again, or is doomed.
    GivenBack,
}

/// A worker of a group: each message goes to one worker at a time, under a lease, until one of them settles it.
///
/// Any number of deliveries may be held at once. The handle belongs to one thread at a time; use one worker per
/// thread. Dropping it leaves the group: what it still had leased can be had by others at once, as it can when
/// its process dies.
///
/// ```
/// use slipring::{GroupSettings, Producer, RingOptions, WorkerOptions};
///
/// let ring = RingOptions::new(48, 1024).group("sms", GroupSettings::new()).create_in_memory()?;
/// let mut producer = Producer::open(&ring)?;
/// let worker = WorkerOptions::new("sms").join(&ring)?;
///
/// producer.send(b"order 17 is paid")?;
/// let delivery = worker.recv()?;
/// assert_eq!((&*delivery, delivery.attempt()), (&b"order 17 is paid"[..], 1));
/// delivery.nack(None)?; // the gateway did not answer: again, please
///
/// let delivery = worker.recv()?;
/// assert_eq!(delivery.attempt(), 2);
/// delivery.ack()?;
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
pub struct Worker {
    lessee: Lessee<Region>,
    group_name: String,
    wait: Wait,
    tick_ms: u32,
    notice_dead_producer: bool,
    /// When this worker last looked after what others let fall.
    swept: Cell<Millis>,
    pub(crate) attachment: Attachment,
}

impl Worker {
    /// Joins the group of this name in the ring at `place`, with the default options.
    pub fn join(place: impl Place, group: impl Into<String>) -> Result<Worker, AtPath<JoinError>> {
        WorkerOptions::new(group).join(place)
    }

    /// How to join otherwise.
    pub fn options(group: impl Into<String>) -> WorkerOptions {
        WorkerOptions::new(group)
    }

    /// The group's settings.
    pub fn settings(&self) -> &GroupSettings {
        self.lessee.settings()
    }

    /// The group's name.
    pub fn group(&self) -> &str {
        &self.group_name
    }

    /// The ring's identity.
    pub fn ring_id(&self) -> RingId {
        self.attachment.header.ring_id
    }

    /// The next message that may be had, if there is one. What died with a colleague, or ran out, it finds once per
    /// [tick](crate::WorkerOptions::tick), the first of which begins with joining; who waits finds it before it sleeps.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`]; [`RecvError::Closed`] once the stream is closed and the group has settled all of
    /// it.
    #[inline]
    pub fn try_recv(&self) -> Result<Delivery<'_>, RecvError> {
        self.try_recv_kind(Kinds::Any)
    }

    /// The next message; waits as long as it takes.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] once the stream is closed and the group has settled all of it: while a colleague
    /// has something leased, this worker waits, since it may come back. [`RecvError::Replaced`] when the
    /// file at the path is no longer this ring's; [`RecvError::ProducerDead`] if asked for.
    #[inline]
    pub fn recv(&self) -> Result<Delivery<'_>, RecvError> {
        self.recv_kind(Kinds::Any, None)
    }

    /// As [`recv`](Self::recv), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Delivery<'_>, RecvError> {
        self.recv_kind(Kinds::Any, Some(timeout))
    }

    /// As [`try_recv`](Self::try_recv), for messages of certain kinds: the same choice that System V's `msgrcv`
    /// gives by its `msgtyp`.
    ///
    /// What nobody in the group wants is never settled: it stays below the
    /// [ack floor](crate::GroupInfo::ack_floor)'s reach, which stops there, and so does the producer one ring
    /// further. A group whose workers choose must have a worker for every kind, if only to acknowledge it.
    /// A choice is found by looking from the first unleased message on, so it costs the more, the more is
    /// left lying. Errors as [`try_recv`](Self::try_recv).
    #[inline]
    pub fn try_recv_kind(&self, kinds: Kinds) -> Result<Delivery<'_>, RecvError> {
        if let Some(lease) = self.look_for(kinds) {
            return Ok(self.deliver(lease));
        }
        self.attachment.not_lost()?;
        Err(if self.is_finished() { RecvError::Closed } else { RecvError::Empty })
    }

    /// As [`try_recv_kind`](Self::try_recv_kind), waiting as long as it takes, or as `timeout` says.
    /// Errors as [`recv_timeout`](Self::recv_timeout).
    #[inline]
    pub fn recv_kind(
        &self,
        kinds: Kinds,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Delivery<'_>, RecvError> {
        if let Some(lease) = self.look_for(kinds) {
            return Ok(self.deliver(lease));
        }
        let lease = self.await_lease(kinds, timeout.into())?;
        Ok(self.deliver(lease))
    }

    /// Up to `max` messages that may be had, at least one; each has a lease of its own. Errors as
    /// [`try_recv`](Self::try_recv).
    pub fn try_recv_batch(&self, max: usize) -> Result<Vec<Delivery<'_>>, RecvError> {
        let first = self.try_recv()?;
        Ok(self.fill_up(first, max))
    }

    /// Up to `max` messages; waits for the first. Errors as [`recv`](Self::recv).
    pub fn recv_batch(&self, max: usize) -> Result<Vec<Delivery<'_>>, RecvError> {
        let first = self.recv()?;
        Ok(self.fill_up(first, max))
    }

    /// As [`recv_batch`](Self::recv_batch), waiting at most `timeout` for the first.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    pub fn recv_batch_timeout(&self, max: usize, timeout: Duration) -> Result<Vec<Delivery<'_>>, RecvError> {
        let first = self.recv_timeout(timeout)?;
        Ok(self.fill_up(first, max))
    }

    fn fill_up<'w>(&'w self, first: Delivery<'w>, max: usize) -> Vec<Delivery<'w>> {
        let mut batch = vec![first];
        while batch.len() < max {
            match self.look_for(Kinds::Any) {
                Some(lease) => batch.push(self.deliver(lease)),
                None => break,
            }
        }
        batch
    }

    /// Acknowledges several at once. All that can be are acknowledged.
    ///
    /// # Errors
    ///
    /// The leases that were lost.
    pub fn ack_all<'w>(
        &self,
        deliveries: impl IntoIterator<Item = Delivery<'w>>,
    ) -> Result<(), Vec<LeaseLost>> {
        let lost: Vec<LeaseLost> =
            deliveries.into_iter().filter_map(|delivery| delivery.ack().err()).collect();
        if lost.is_empty() { Ok(()) } else { Err(lost) }
    }

    pub(crate) fn lessee(&self) -> &Lessee<Region> {
        &self.lessee
    }

    #[inline(always)]
    fn deliver(&self, lease: Lease) -> Delivery<'_> {
        self.lessee.count(Tally::Delivered);
        Delivery::new(self, lease)
    }

    #[inline(always)]
    fn look_for(&self, kinds: Kinds) -> Option<Lease> {
        let now = clock::coarse_now();
        if now.0.wrapping_sub(self.swept.get().0) >= self.tick_ms {
            return self.sweep(kinds, now).lease;
        }
        if kinds == Kinds::Any {
            if let Some(lease) = self.lessee.next(now) {
                return Some(lease);
            }
        }
        let found = self.lessee.search(kinds, now, false);
        self.wake_after_claims();
        found.lease
    }

    /// The pin of a claim that failed may be what the producer went to sleep over.
    #[inline(always)]
    fn wake_after_claims(&self) {
        if self.lessee.has_withdrawn() {
            self.wake_producer();
        }
    }

    /// Looks after what others let fall: dead workers, leases that ran out, messages that are due, burials.
    #[cold]
    fn sweep(&self, kinds: Kinds, now: Millis) -> Found {
        // Who goes to sleep has read the exact clock, which is ahead of the one that sweeps are counted by.
        self.swept.set(clock::coarse_now());
        self.reap();
        let found = self.lessee.search(kinds, now, true);
        self.wake_after_claims();
        if let Some(first) = found.doomed {
            self.bury_from(first);
        }
        found
    }

    /// Returns what dead colleagues had leased.
    fn reap(&self) {
        let group = self.lessee.group();
        members::reap_all(group, &self.attachment.locks, self.lessee.entry(), |pid| {
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
        let region = self.lessee.memory();
        is_closed(region)
            && self.lessee.group().help_floor().is_some_and(|floor| floor >= group::head(region))
    }

    /// Ends a lease, gives up the bytes, counts what came of it, and wakes who waits for that.
    #[inline(always)]
    pub(crate) fn end(
        &self,
        lease: Lease,
        outcome: Outcome,
        end: impl FnOnce(&Lessee<Region>, Lease) -> Result<(), LeaseLost>,
    ) -> Result<(), LeaseLost> {
        let ended = end(&self.lessee, lease);
        self.lessee.unpin(lease.position);
        self.lessee.settled(lease.position);
        self.lessee.count(match outcome {
            _ if ended.is_err() => Tally::Lost,
            Outcome::Acked => Tally::Acked,
            Outcome::GivenBack => Tally::Failed,
        });
        self.wake_producer();
        if outcome == Outcome::GivenBack {
            self.wake_colleagues();
        }
        ended
    }

    /// A slot may have become free.
    #[inline(always)]
    pub(crate) fn wake_producer(&self) {
        if self.lessee.producer_asleep() {
            self.lessee.wake_producer();
        }
    }

    /// The word that readers sleep on is the producer's, and not to be changed here: a colleague who is just
    /// falling asleep misses this and wakes at its next tick.
    fn wake_colleagues(&self) {
        if Side::Readers.is_asleep(self.lessee.memory()) {
            self.lessee.memory().wake_all(Side::Readers.word());
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.attachment.is_foreign() {
            return;
        }
        let (region, geometry) = (self.lessee.memory(), self.lessee.geometry());
        members::leave(region, geometry, &self.attachment.locks, self.lessee.entry());
        self.wake_colleagues();
        let floor = self.lessee.group().stored_floor().unwrap_or(0);
        let pid = u64::from(std::process::id());
        self.attachment.try_record(EventKind::WorkerLeft, floor, &self.group_name, pid);
    }
}

/// A worker that waits.
struct Waiter<'w> {
    worker: &'w Worker,
    kinds: Kinds,
    lease: Option<Lease>,
}

impl Waiting for Waiter<'_> {
    type Error = RecvError;

    #[inline(always)]
    fn look(&mut self) -> Result<bool, RecvError> {
        if self.lease.is_none() {
            self.lease = self.worker.look_for(self.kinds);
        }
        Ok(self.lease.is_some())
    }

    fn glance(&mut self) -> Result<(), RecvError> {
        if self.worker.is_finished() { Err(RecvError::Closed) } else { Ok(()) }
    }

    fn check_up(&mut self) -> Result<(), RecvError> {
        self.worker
            .attachment
            .check_up(self.worker.notice_dead_producer)
            .or_else(|error| if self.look()? { Ok(()) } else { Err(error) })
    }

    /// Sleeps until the next message, or until something that is in flight is due, and at most for a tick while
    /// anything is: somebody must look at the clock, and at who died.
    fn sleep(&mut self, at_most: Duration) -> Result<(), RecvError> {
        let worker = self.worker;
        let ticket = Side::Readers.announce(worker.lessee.memory());
        let found = worker.sweep(self.kinds, clock::now());
        self.lease = found.lease;
        if self.lease.is_some() || worker.is_finished() {
            return Ok(());
        }
        let due_ms = found.next_due_ms.map_or(worker.tick_ms, |due| due.min(worker.tick_ms).max(1));
        let bound = if !system::membarrier_works() {
            NAP
        } else if found.outstanding {
            Duration::from_millis(due_ms.into())
        } else {
            CHECK_UP
        };
        Side::Readers.sleep(worker.lessee.memory(), ticket, at_most.min(bound));
        Ok(())
    }

    fn timed_out(&mut self, waited: Duration) -> RecvError {
        RecvError::TimedOut(waited)
    }
}
