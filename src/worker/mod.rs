//! A worker of a group: gets messages under a lease, and looks after what others let fall.

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

pub use options::WorkerOptions;
pub(crate) use raw::{Outcome, RawWorker};

/// A worker of a group: each message goes to one worker at a time, under a lease, until one of them settles it.
///
/// Any number of deliveries may be held at once. The handle belongs to one thread at a time; use one worker per
/// thread. Dropping it leaves the group: what it still had leased can be had by others at once, as it can when
/// its process dies.
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
/// delivery.nack(None)?; // the gateway did not answer: again, please
///
/// let delivery = worker.recv()?;
/// assert_eq!(delivery.attempt(), 2);
/// delivery.ack()?;
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
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

    /// The group's settings.
    pub fn settings(&self) -> &GroupSettings {
        self.raw.protocol.settings()
    }

    /// The group's name.
    pub fn group(&self) -> &str {
        self.raw.group()
    }

    /// The ring's identity.
    pub fn ring_id(&self) -> RingId {
        self.raw.ring_id()
    }

    /// The next message that may be had, if there is one. What died with a colleague, or ran out, it finds once per
    /// [tick](crate::WorkerOptions::tick), the first of which begins with joining; who waits finds it before it sleeps.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`]; [`RecvError::Closed`] once the stream is closed and the group has settled all of
    /// it; [`RecvError::WrongLength`] if the message is no `T`: it is rejected, as
    /// [`Delivery::reject`] does it, and the next receive goes on.
    #[inline]
    pub fn try_recv(&self) -> Result<Delivery<'_, T>, RecvError> {
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
    pub fn recv(&self) -> Result<Delivery<'_, T>, RecvError> {
        self.recv_kind(Kinds::Any, None)
    }

    /// As [`recv`](Self::recv), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Delivery<'_, T>, RecvError> {
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
    pub fn try_recv_kind(&self, kinds: Kinds) -> Result<Delivery<'_, T>, RecvError> {
        let lease = self.raw.try_next(kinds)?;
        self.hand_out(lease)
    }

    /// As [`try_recv_kind`](Self::try_recv_kind), waiting as long as it takes, or as `timeout` says.
    /// Errors as [`recv_timeout`](Self::recv_timeout).
    #[inline]
    pub fn recv_kind(
        &self,
        kinds: Kinds,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Delivery<'_, T>, RecvError> {
        let lease = self.raw.next(kinds, timeout.into())?;
        self.hand_out(lease)
    }

    /// Up to `max` messages that may be had, at least one; each has a lease of its own. Errors as
    /// [`try_recv`](Self::try_recv).
    pub fn try_recv_batch(&self, max: usize) -> Result<Vec<Delivery<'_, T>>, RecvError> {
        let first = self.try_recv()?;
        Ok(self.fill_up(first, max))
    }

    /// Up to `max` messages; waits for the first. Errors as [`recv`](Self::recv).
    pub fn recv_batch(&self, max: usize) -> Result<Vec<Delivery<'_, T>>, RecvError> {
        let first = self.recv()?;
        Ok(self.fill_up(first, max))
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
    ) -> Result<Vec<Delivery<'_, T>>, RecvError> {
        let first = self.recv_timeout(timeout)?;
        Ok(self.fill_up(first, max))
    }

    fn fill_up<'w>(&'w self, first: Delivery<'w, T>, max: usize) -> Vec<Delivery<'w, T>> {
        let mut batch = vec![first];
        while batch.len() < max {
            match self.try_recv() {
                Ok(delivery) => batch.push(delivery),
                Err(_) => break,
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

    /// Rejects a message that is no `T`.
    #[cold]
    fn pass(&self, lease: Lease) -> RecvError {
        // If the lease is lost, another worker passes the message.
        let _ = self.raw.reject(lease, "its length is not that of the worker's type");
        wrong_length::<T>(lease.position, lease.message.meta.len())
    }
}
