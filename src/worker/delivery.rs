//! One delivery: a message under a lease, read in place, and the calls that end the lease.

use crate::id::MessageId;
use crate::message::Message;
use crate::region::Region;
use crate::region::clock;
use crate::worker::raw::{Outcome, RawWorker};
use slipring_core::memory::Memory;
use slipring_core::protocol::lease::{Lease, LeaseLost};
use std::marker::PhantomData;
use std::time::Duration;

/// Where a rejected message is now.
///
/// ```
/// use slipring::{GroupSettings, Producer, Rejected, RingOptions, Worker};
///
/// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
/// Producer::<u64>::open(&ring)?.send(&7)?;
/// let worker = Worker::<u64>::join(&ring, "g")?;
/// assert_eq!(worker.recv()?.reject("no such order")?, Rejected::Settled);
/// assert_eq!(ring.dead_letters()?.len(), 1);
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// The message is in the dead-letter ring, or was dropped and counted, as the ring's policy
    /// says.
    Settled,
    /// The message will not be delivered again. It waits for room in the dead-letter ring, or for
    /// the worker that is writing there at this moment; any worker of the group moves it later.
    Waiting,
}

/// A message that this worker has leased, until it is settled or the lease runs out. Dereferences
/// to its bytes, or to the value, in place.
///
/// | to say | call | the attempt |
/// |---|---|---|
/// | done | [`ack`](Self::ack) | |
/// | failed, try again later | [`nack`](Self::nack) | counts |
/// | not mine, let another have it | [`hand_back`](Self::hand_back) | does not count |
/// | still at it | [`extend`](Self::extend) | |
/// | never again | [`reject`](Self::reject) | |
///
/// Dropping a delivery, unlike dropping a consumer's message, says that the attempt failed: it acts
/// as `nack(None)`, also while the thread is panicking. So a handler that fails unexpectedly
/// neither loses the message nor tries it for ever.
///
/// When the lease runs out, another worker may get the message, and settling it here fails with
/// [`LeaseLost`]: nothing is changed then. No process overwrites the bytes as long as this value
/// lives, lease or not.
///
/// ```
/// use slipring::{Backoff, GroupSettings, Producer, RingOptions, Worker};
/// use std::time::Duration;
///
/// let settings = GroupSettings::new().backoff(Backoff::None);
/// let ring = RingOptions::of::<u64>(1024).group("orders", settings).create_in_memory()?;
/// Producer::<u64>::open(&ring)?.send((7, &1000))?;
///
/// let worker = Worker::<u64>::join(&ring, "orders")?;
/// let delivery = worker.recv()?;
/// assert_eq!((*delivery, delivery.kind(), delivery.attempt()), (1000, 7, 1));
/// delivery.nack(None)?; // failed: once more
/// worker.recv()?.ack()?; // done
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a delivery counts as a failed attempt; `ack` settles it"]
pub struct Delivery<'w, T: ?Sized = [u8]> {
    worker: &'w RawWorker,
    lease: Lease,
    carries: PhantomData<&'w T>,
}

impl<'w, T: ?Sized> Delivery<'w, T> {
    /// The delivery of a message that is a `T`.
    pub(crate) fn new(worker: &'w RawWorker, lease: Lease) -> Delivery<'w, T> {
        Delivery { worker, lease, carries: PhantomData }
    }

    /// The message's position.
    #[inline]
    pub fn position(&self) -> u64 {
        self.lease.position
    }

    /// The message's identity, the same at every delivery, also after a redrive to its group: a
    /// handler that deduplicates by it has each effect exactly once.
    ///
    /// ```
    /// use slipring::{GroupSettings, Producer, RingOptions, Worker};
    ///
    /// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.send(&7)?;
    /// let worker = Worker::<u64>::join(&ring, "g")?;
    /// let first = worker.recv()?.id(); // dropped: the attempt failed
    /// assert_eq!(worker.recv()?.id(), first);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    pub fn id(&self) -> MessageId {
        let position = match self.lease.message.meta.is_redriven() {
            true => self.first_position(),
            false => self.lease.position,
        };
        self.worker.identity(position)
    }

    /// Where a redriven message was published at first.
    #[cold]
    fn first_position(&self) -> u64 {
        let redriven = self.worker.protocol().group().redriven(self.lease.position);
        redriven.map_or(self.lease.position, |redriven| redriven.first)
    }

    /// The kind that the producer gave the message; 0 by default.
    #[inline]
    pub fn kind(&self) -> u32 {
        self.lease.message.meta.kind()
    }

    /// How often the message was delivered, this time included: 1 to 127, where 127 means "or
    /// more".
    #[inline]
    pub fn attempt(&self) -> u32 {
        self.lease.word.attempt()
    }

    /// How long the lease still lasts, in steps of a millisecond; zero once it is over. A delivery
    /// whose lease is over can be settled until another worker takes the message.
    pub fn time_left(&self) -> Duration {
        let longest = self.worker.protocol.settings().longest_ack_wait_ms;
        // A deadline is rounded up to the tick of the clock.
        let left = self.lease.word.deadline().ahead_of(clock::now(), longest.saturating_add(64));
        Duration::from_millis(left.min(longest).into())
    }

    /// Settles the message as done: this group never delivers it again.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`] if the lease ran out and another worker has the message, or settled it.
    #[inline]
    pub fn ack(self) -> Result<(), LeaseLost> {
        self.worker.end(self.into_lease(), Outcome::Acked, |worker, lease| worker.ack(lease))
    }

    /// Says that this attempt failed: the message is delivered again after `delay`, to any worker
    /// of the group, or after the group's [`backoff`](crate::GroupSettings::backoff) if `None`.
    /// After the last attempt it goes to the dead-letter ring instead. Delays are rounded up to
    /// milliseconds and cut to 12 days.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn nack(self, delay: impl Into<Option<Duration>>) -> Result<(), LeaseLost> {
        let delay_ms = delay.into().map(|delay| {
            let ms = delay.as_nanos().div_ceil(1_000_000);
            u32::try_from(ms).unwrap_or(u32::MAX).min(slipring_core::protocol::settings::WAIT_MAX_MS)
        });
        let now = clock::now();
        self.worker
            .end(self.into_lease(), Outcome::GivenBack, |worker, lease| worker.nack(lease, delay_ms, now))
    }

    /// Hands the message back unprocessed: any worker can lease it at once, and the attempt does
    /// not count.
    ///
    /// ```
    /// use slipring::{GroupSettings, Producer, RingOptions, Worker};
    ///
    /// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.send(&7)?;
    /// let worker = Worker::<u64>::join(&ring, "g")?;
    /// worker.recv()?.hand_back()?;
    /// assert_eq!(worker.recv()?.attempt(), 1); // the first delivery does not count
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn hand_back(self) -> Result<(), LeaseLost> {
        self.worker.end(self.into_lease(), Outcome::GivenBack, |worker, lease| worker.hand_back(lease))
    }

    /// Renews the lease: it lasts for a whole [`ack_wait`](crate::GroupSettings::ack_wait) from now
    /// on. For work that takes longer than expected and makes progress.
    ///
    /// ```
    /// use slipring::{GroupSettings, Producer, RingOptions, Worker};
    ///
    /// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.send(&7)?;
    /// let worker = Worker::<u64>::join(&ring, "g")?;
    /// let mut delivery = worker.recv()?;
    /// delivery.extend()?; // half of the work is done
    /// delivery.ack()?;
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack). The delivery can still be read.
    pub fn extend(&mut self) -> Result<(), LeaseLost> {
        self.lease = self.worker.protocol().extend(self.lease, clock::now())?;
        Ok(())
    }

    /// Gives the message up: it goes to the dead-letter ring at once, with `note` (cut to 64 bytes)
    /// beside the reason, and is not delivered again. Where the dead-letter ring does not take it
    /// at once ([`Rejected::Waiting`]), the note waits in the flight recorder, which holds the last
    /// 256 events: of more messages that wait, the oldest notes are lost.
    ///
    /// ```
    /// use slipring::{GroupSettings, Producer, RingOptions, Worker};
    ///
    /// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.send(&7)?;
    /// let worker = Worker::<u64>::join(&ring, "g")?;
    /// worker.recv()?.reject("no such number")?;
    /// assert_eq!(ring.dead_letters()?[0].note, "no such number");
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn reject(self, note: &str) -> Result<Rejected, LeaseLost> {
        let (worker, lease) = (self.worker, self.into_lease());
        worker.reject(lease, note)
    }

    /// The lease, without its guard.
    fn into_lease(self) -> Lease {
        let lease = self.lease;
        std::mem::forget(self);
        lease
    }
}

impl<T: ?Sized + Message> std::ops::Deref for Delivery<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        let region: &Region = self.worker.protocol().memory();
        // SAFETY: the position was seen published and is pinned while this guard lives, so that the
        // producer does not write its block, lease or not. The block is the region's.
        let block = unsafe { region.read_block(self.lease.message.block) };
        // SAFETY: as above. The length is cut to the block.
        T::in_block(unsafe { block.bytes(self.lease.message.meta.len()) })
    }
}

impl AsRef<[u8]> for Delivery<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<T: ?Sized> Drop for Delivery<'_, T> {
    fn drop(&mut self) {
        let now = clock::now();
        // After `LeaseLost` another worker has the message.
        let _ =
            self.worker.end(self.lease, Outcome::GivenBack, |worker, lease| worker.nack(lease, None, now));
    }
}
