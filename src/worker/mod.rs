//! A worker of a group: leases messages, and returns the leases that dead or hanging workers left.

mod batch;
mod dead_letter;
pub(crate) mod delivery;
mod options;
mod raw;

use crate::error::{AtPath, JoinError, RecvError};
use crate::id::RingId;
use crate::message::{Message, is_length_of, wrong_length};
use crate::ring::place::Place;
use crate::worker::delivery::Delivery;
use slipring_core::protocol::group::Kinds;
use slipring_core::protocol::lease::{Lease, LeaseLost};
use slipring_core::protocol::settings::GroupSettings;
use std::marker::PhantomData;
use std::time::Duration;

pub use batch::DeliveryBatch;
pub use options::WorkerOptions;
pub(crate) use raw::RawWorker;

/// A worker of a group: each message goes to one worker at a time, under a lease, until one of them
/// settles it.
///
/// Any number of deliveries may be held at once. The handle belongs to one thread at a time; use
/// one worker per thread. Dropping it leaves the group: other workers can lease its messages at
/// once, as when its process dies.
///
/// ```
/// use slipring::{GroupSettings, Producer, RingOptions, Worker};
///
/// let ring = RingOptions::new(48, 1024).group("sms", GroupSettings::new()).create_in_memory()?;
/// let mut producer = Producer::<[u8]>::open(&ring)?;
/// let worker = Worker::<[u8]>::join(&ring, "sms")?;
///
/// producer.send(b"order 17 is paid")?;
/// let delivery = worker.recv()?;
/// assert_eq!((&*delivery, delivery.attempt()), (&b"order 17 is paid"[..], 1));
/// delivery.nack(None)?; // the gateway did not answer: another attempt
///
/// let delivery = worker.recv()?;
/// assert_eq!(delivery.attempt(), 2);
/// delivery.ack()?;
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a worker leaves the group"]
pub struct Worker<T: ?Sized + Message = [u8]> {
    raw: RawWorker,
    carries: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized + Message> Worker<T> {
    /// Joins the group of this name in the ring at `place`; [`WorkerOptions`] has the other ways.
    ///
    /// # Errors
    ///
    /// As [`WorkerOptions::join`].
    pub fn join(place: impl Place, group: impl Into<String>) -> Result<Worker<T>, AtPath<JoinError>> {
        WorkerOptions::new(group).join(place)
    }

    /// The group's settings, as this worker knows them:
    /// [`Ring::change_group`](crate::Ring::change_group) changes them.
    pub fn settings(&self) -> GroupSettings {
        self.raw.protocol.settings().settings
    }

    /// Why the dead-letter ring did not take the last message that this worker tried to move there;
    /// none if it did, or if this worker has tried to move none. The message waits, and no message
    /// is lost: any worker of the group tries again after a second.
    ///
    /// ```
    /// use slipring::{GroupSettings, Producer, RingOptions, Worker};
    ///
    /// let options = RingOptions::of::<u64>(8).group("g", GroupSettings::new());
    /// let ring = options.dead_letter_capacity(1).create_in_memory()?;
    /// let mut producer = Producer::<u64>::open(&ring)?;
    /// let worker = Worker::<u64>::join(&ring, "g")?;
    /// producer.send_batch(&[1, 2])?;
    /// worker.recv()?.reject("no such customer")?;
    /// assert_eq!(worker.dead_letters_wait(), None);
    /// worker.recv()?.reject("no such customer")?;
    /// assert!(worker.dead_letters_wait().is_some_and(|why| why.contains("full")));
    /// # Ok::<(), slipring::Error>(())
    /// ```
    pub fn dead_letters_wait(&self) -> Option<String> {
        self.raw.obstacle.borrow().clone()
    }

    /// The group's [limit](GroupSettings::max_ack_pending), if the last call that found no message
    /// found none because of it: messages are there, and as many as the group allows are in flight,
    /// leased or waiting for another attempt. One that is settled lets the next one be leased.
    /// [`Ring::pending`](crate::Ring::pending) lists them;
    /// [`Ring::change_group`](crate::Ring::change_group) raises the limit.
    ///
    /// Dead-pending messages, which wait for the dead-letter ring, do not count.
    ///
    /// ```
    /// use slipring::{GroupSettings, Producer, RecvError, RingOptions, Worker};
    ///
    /// let one = GroupSettings::new().max_ack_pending(1);
    /// let ring = RingOptions::of::<u64>(64).group("g", one).create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.send_batch(&[1, 2])?;
    /// let worker = Worker::<u64>::join(&ring, "g")?;
    /// let held = worker.recv()?;
    /// assert!(matches!(worker.try_recv(), Err(RecvError::Empty)));
    /// assert_eq!(worker.limit_reached(), Some(1));
    /// held.ack()?;
    /// worker.recv()?.ack()?;
    /// assert!(matches!(worker.try_recv(), Err(RecvError::Empty)));
    /// assert_eq!(worker.limit_reached(), None, "nothing is left");
    /// # Ok::<(), slipring::Error>(())
    /// ```
    pub fn limit_reached(&self) -> Option<u64> {
        self.raw.limited.get().then(|| self.settings().max_ack_pending)
    }

    /// The group's name.
    pub fn group(&self) -> &str {
        self.raw.group()
    }

    /// The ring's identity.
    pub fn ring_id(&self) -> RingId {
        self.raw.ring_id()
    }

    /// The next message that can be leased, if there is one. Leases that ran out, or whose worker
    /// died, are found once per [tick](crate::WorkerOptions::tick), the first of which begins with
    /// joining; the waiting calls look for them before they sleep.
    ///
    /// ```
    /// use slipring::{GroupSettings, Producer, RecvError, RingOptions, Worker};
    ///
    /// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
    /// let worker = Worker::<u64>::join(&ring, "g")?;
    /// assert!(matches!(worker.try_recv(), Err(RecvError::Empty)));
    /// Producer::<u64>::open(&ring)?.send(&7)?;
    /// let delivery = worker.try_recv()?;
    /// assert_eq!(*delivery, 7);
    /// delivery.ack()?;
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`], also if messages are there and the group's limit holds them back
    /// ([`limit_reached`](Self::limit_reached)); [`RecvError::Closed`] once the stream is closed
    /// and the group has settled all of it; [`RecvError::WrongLength`] if the message is no `T`: it
    /// is rejected, as by [`Delivery::reject`], and the next receive returns the message behind it.
    /// A call that finds nothing looks at the path if none did so for 100 ms, and returns then what
    /// [`recv`](Self::recv) returns.
    #[inline]
    pub fn try_recv(&self) -> Result<Delivery<'_, T>, RecvError> {
        self.try_recv_kind(Kinds::Any)
    }

    /// The next message; waits without a limit, as [`WorkerOptions::wait`] says.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] once the stream is closed and the group has settled all of it: while
    /// another worker has a message leased, this worker waits, since the message may be delivered
    /// again. [`RecvError::Handle`] when the file at the path is no longer this ring's;
    /// [`RecvError::ProducerAway`] if the options
    /// [ask for it](WorkerOptions::notice_producer_away).
    #[inline]
    pub fn recv(&self) -> Result<Delivery<'_, T>, RecvError> {
        self.recv_kind(Kinds::Any, None)
    }

    /// As [`recv`](Self::recv), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`], also if the group's limit held messages
    /// back ([`limit_reached`](Self::limit_reached)).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Delivery<'_, T>, RecvError> {
        self.recv_kind(Kinds::Any, Some(timeout))
    }

    /// As [`try_recv`](Self::try_recv), for messages of certain kinds: the same choice that System
    /// V's `msgrcv` gives by its `msgtyp`.
    ///
    /// A message of a kind that no worker of the group asks for is never settled: the
    /// [ack floor](crate::GroupInfo::ack_floor) stops at it, and the producer stops a lap later. A
    /// group whose workers choose needs a worker for every kind, if only to acknowledge it.
    /// Example: in a ring of 8, an unwanted message at position 3 keeps the ack floor at 3, and the
    /// producer stops at position 11.
    ///
    /// The first call for these kinds looks from the first unleased message on; a later one, from
    /// where that ended. [`Kinds::AtMost`] looks at every unleased message that it admits, each
    /// time. A worker remembers up to nine choices of kinds.
    ///
    /// ```
    /// use slipring::{GroupSettings, Kinds, Producer, RecvError, RingOptions, Worker};
    ///
    /// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
    /// let mut producer = Producer::<u64>::open(&ring)?;
    /// producer.send((1, &10))?;
    /// producer.send((2, &20))?;
    /// let worker = Worker::<u64>::join(&ring, "g")?;
    /// let delivery = worker.try_recv_kind(Kinds::Equal(2))?;
    /// assert_eq!(*delivery, 20);
    /// delivery.ack()?;
    /// assert!(matches!(worker.try_recv_kind(Kinds::Equal(2)), Err(RecvError::Empty)));
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    #[inline]
    pub fn try_recv_kind(&self, kinds: Kinds) -> Result<Delivery<'_, T>, RecvError> {
        let lease = self.raw.try_next(kinds)?;
        self.hand_out(lease)
    }

    /// As [`try_recv_kind`](Self::try_recv_kind), waiting at most `timeout`, or without a limit if
    /// it is `None`.
    ///
    /// ```
    /// use slipring::{GroupSettings, Kinds, Producer, RecvError, RingOptions, Worker};
    /// use std::time::Duration;
    ///
    /// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.send((1, &10))?;
    /// let worker = Worker::<u64>::join(&ring, "g")?;
    /// worker.recv_kind(Kinds::Equal(1), None)?.ack()?;
    /// let error = worker.recv_kind(Kinds::Equal(1), Duration::from_millis(1)).unwrap_err();
    /// assert!(matches!(error, RecvError::TimedOut(_)));
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`recv_timeout`](Self::recv_timeout).
    #[inline]
    pub fn recv_kind(
        &self,
        kinds: Kinds,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Delivery<'_, T>, RecvError> {
        let lease = self.raw.next(kinds, timeout.into())?;
        self.hand_out(lease)
    }

    /// Up to `max` messages that can be leased, at least one; each has a lease of its own.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub fn try_recv_batch(&self, max: usize) -> Result<DeliveryBatch<'_, T>, RecvError> {
        self.fill_up(max, || self.try_recv())
    }

    /// Up to `max` messages; waits for the first one without a limit.
    ///
    /// ```
    /// use slipring::{GroupSettings, Producer, RingOptions, Worker};
    ///
    /// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.send_batch(&[1, 2, 3])?;
    /// let worker = Worker::<u64>::join(&ring, "g")?;
    /// for delivery in worker.recv_batch(32)? {
    ///     println!("{}", *delivery);
    ///     delivery.ack()?;
    /// }
    /// assert_eq!(ring.group("g").map(|group| group.ack_floor), Some(3));
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_batch(&self, max: usize) -> Result<DeliveryBatch<'_, T>, RecvError> {
        self.fill_up(max, || self.recv())
    }

    /// As [`recv_batch`](Self::recv_batch), waiting at most `timeout` for the first.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    pub fn recv_batch_timeout(
        &self,
        max: usize,
        timeout: Duration,
    ) -> Result<DeliveryBatch<'_, T>, RecvError> {
        self.fill_up(max, || self.recv_timeout(timeout))
    }

    fn fill_up<'w>(
        &'w self,
        max: usize,
        first: impl FnOnce() -> Result<Delivery<'w, T>, RecvError>,
    ) -> Result<DeliveryBatch<'w, T>, RecvError> {
        let mut batch = DeliveryBatch::default();
        if max > 0 {
            batch.push(first()?);
        }
        while batch.len() < max {
            match self.try_recv() {
                Ok(delivery) => batch.push(delivery),
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    /// Acknowledges several deliveries at once: each one, unless its lease was lost.
    ///
    /// ```
    /// use slipring::{GroupSettings, Producer, RingOptions, Worker};
    ///
    /// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.send_batch(&[1, 2, 3])?;
    /// let worker = Worker::<u64>::join(&ring, "g")?;
    /// let batch = worker.recv_batch(32)?;
    /// worker.ack_all(batch).expect("every lease is young");
    /// assert_eq!(ring.group("g").map(|group| group.ack_floor), Some(3));
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The leases that were lost.
    pub fn ack_all<'w>(
        &self,
        deliveries: impl IntoIterator<Item = Delivery<'w, T>>,
    ) -> Result<(), Vec<LeaseLost>> {
        let lost: Vec<LeaseLost> =
            deliveries.into_iter().filter_map(|delivery| delivery.ack().err()).collect();
        if lost.is_empty() { Ok(()) } else { Err(lost) }
    }

    #[inline(always)]
    fn hand_out(&self, lease: Lease) -> Result<Delivery<'_, T>, RecvError> {
        if !is_length_of::<T>(lease.message.meta.len()) {
            return Err(self.pass(lease));
        }
        Ok(Delivery::new(&self.raw, lease))
    }

    /// Rejects a message that is no `T`, and returns the error for it.
    #[cold]
    fn pass(&self, lease: Lease) -> RecvError {
        // If the lease is lost, another worker passes the message.
        let _ = self.raw.reject(lease, "its length is not that of the worker's type");
        wrong_length::<T>(lease.position, lease.message.meta.len())
    }
}
