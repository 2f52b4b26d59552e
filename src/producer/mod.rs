//! The producer's handle: claim, fill, publish.

pub(crate) mod claim;
mod full;
mod options;
mod raw;
mod watch;

pub use options::ProducerOptions;

use crate::error::{AtPath, AttachError, SendError};
use crate::id::RingId;
use crate::message::{Message, Outgoing, Value, is_length_of};
use crate::producer::claim::{BatchClaim, Claim, Filled};
use crate::region::Region;
use crate::ring::place::Place;
use raw::{Patience, RawProducer};
use slipring_core::protocol::group::Group;
use slipring_core::protocol::redrive::Redriven;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// The one writer of a ring: it claims blocks, fills them and publishes them.
///
/// `&mut self` proves that it is the only producer in its process, and a kernel lock that it is the
/// only one among all processes. Dropping it gives the right back without closing the stream:
/// another producer may continue it, in this process or another.
///
/// If the process is killed at any instruction, readers see all messages that it published, and no
/// other bytes.
///
/// A producer does not survive `fork`: in the child each call fails with
/// [`HandleError::Forked`](crate::HandleError::Forked).
///
/// The calls that send notice within a second that the file was removed, replaced or cut short, at
/// no cost per message: a thread of the library's looks at the path ([`ProducerOptions::watched`]).
/// Dropping a producer cannot say so; [`close`](Self::close) and [`check`](Self::check) do.
///
/// ```
/// use slipring::{Consumer, Producer, RingOptions, SendError, Start};
///
/// slipring::message! {
///     /// The price of an instrument.
///     struct Quote { instrument: u64, price: i64 }
/// }
/// let ring = RingOptions::of::<Quote>(4).create_in_memory()?;
/// let mut producer = Producer::<Quote>::open(&ring)?;
/// let _slow = Consumer::<Quote>::attach(&ring, Start::Earliest)?;
///
/// let quote = Quote { instrument: 7, price: 1001 };
/// producer.send(&quote)?; // waits for room
/// producer.try_send((3, &quote))?; // does not, and has a kind
/// producer.publish_with(|slot| slot.price = 1002)?; // filled in place, in a closure
/// let mut slot = producer.claim()?; // or under a guard
/// *slot = quote;
/// slot.publish()?;
/// assert!(matches!(producer.try_send(&quote), Err(SendError::Full { .. })));
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a producer gives its right back"]
pub struct Producer<T: ?Sized + Message = [u8]> {
    raw: RawProducer,
    carries: PhantomData<fn(Box<T>)>,
}

// Inlined always, as those of `RawProducer`.
impl<T: ?Sized + Message> Producer<T> {
    /// Becomes the producer of the ring at `place`; [`ProducerOptions`] has the other ways.
    ///
    /// # Errors
    ///
    /// As [`ProducerOptions::open`].
    pub fn open(place: impl Place) -> Result<Producer<T>, AtPath<AttachError>> {
        ProducerOptions::new().open(place)
    }

    /// The next position to be published.
    pub fn head(&self) -> u64 {
        self.raw.head()
    }

    /// The bytes of a block: the length of the longest message.
    #[inline]
    pub fn block_size(&self) -> usize {
        self.raw.block_size()
    }

    /// The ring's identity. A program that saves positions saves it beside them.
    pub fn ring_id(&self) -> RingId {
        self.raw.attachment.header.ring_id
    }

    /// True if the ring is this one, or has taken its place.
    pub(crate) fn is_or_continues(&self, ring: RingId) -> bool {
        self.raw.attachment.header.is_or_continues(ring)
    }

    /// Copies a message into the ring and returns its position; waits for room without a limit.
    /// `send((kind, message))` gives the message a kind, by which workers select.
    ///
    /// While no consumer and no group gates the producer, there is always room, and a message is
    /// overwritten a lap later. To keep messages from before the first consumer attaches, declare
    /// the consumer ([`RingOptions::durable`](crate::RingOptions::durable)) or require it
    /// ([`ProducerOptions::require_readers`]).
    ///
    /// ```
    /// use slipring::{Producer, RingOptions};
    ///
    /// let ring = RingOptions::new(48, 64).create_in_memory()?;
    /// let mut producer = Producer::<[u8]>::open(&ring)?;
    /// assert_eq!(producer.send(b"hello")?, 0); // of kind 0
    /// assert_eq!(producer.send((7, b"world"))?, 1); // of kind 7
    /// assert_eq!(producer.head(), 2);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError::TooLarge`] if the message does not fit a block; [`SendError::Handle`] if the
    /// ring's file was removed, replaced or cut short.
    #[inline(always)]
    pub fn send<'m>(&mut self, message: impl Into<Outgoing<'m, T>>) -> Result<u64, SendError> {
        let Outgoing { kind, message } = message.into();
        self.raw.send(kind, T::bytes_of(message), Patience::Endless)
    }

    /// As [`send`](Self::send), without waiting.
    ///
    /// ```
    /// use slipring::{Consumer, Producer, RingOptions, SendError, Start};
    ///
    /// let ring = RingOptions::of::<u64>(1).create_in_memory()?;
    /// let mut producer = Producer::<u64>::open(&ring)?;
    /// let mut consumer = Consumer::<u64>::attach(&ring, Start::Earliest)?;
    /// producer.try_send(&1)?;
    /// assert!(matches!(producer.try_send(&2), Err(SendError::Full { .. })));
    /// drop(consumer.recv()?); // released
    /// producer.try_send(&2)?;
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError::TooLarge`]; [`SendError::Full`] with the reader that holds the ring full;
    /// [`SendError::TooFewReaders`].
    #[inline(always)]
    pub fn try_send<'m>(&mut self, message: impl Into<Outgoing<'m, T>>) -> Result<u64, SendError> {
        let Outgoing { kind, message } = message.into();
        self.raw.send(kind, T::bytes_of(message), Patience::None)
    }

    /// As [`send`](Self::send), waiting at most `timeout`.
    ///
    /// ```
    /// use slipring::{Consumer, Producer, RingOptions, SendError, Start};
    /// use std::time::Duration;
    ///
    /// let ring = RingOptions::of::<u64>(1).create_in_memory()?;
    /// let mut producer = Producer::<u64>::open(&ring)?;
    /// let _slow = Consumer::<u64>::attach(&ring, Start::Earliest)?;
    /// producer.send(&1)?;
    /// match producer.send_timeout(&2, Duration::from_millis(1)) {
    ///     Err(SendError::Full { holder, .. }) => assert_eq!(holder.lag, 1),
    ///     other => panic!("the ring is full: {other:?}"),
    /// }
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); as [`try_send`](Self::try_send) when the time is up.
    #[inline(always)]
    pub fn send_timeout<'m>(
        &mut self,
        message: impl Into<Outgoing<'m, T>>,
        timeout: Duration,
    ) -> Result<u64, SendError> {
        let Outgoing { kind, message } = message.into();
        self.raw.send(kind, T::bytes_of(message), Patience::AtMost(timeout))
    }

    /// Sends bytes if they have the length of a `T`.
    pub(crate) fn send_bytes(
        &mut self,
        kind: u32,
        bytes: &[u8],
        to: Option<Redriven>,
        timeout: Duration,
    ) -> Result<u64, SendError> {
        if let Some(of) = T::CARRIES.filter(|_| !is_length_of::<T>(bytes.len())) {
            return Err(SendError::WrongLength { len: bytes.len(), expected: of.size });
        }
        match to {
            Some(to) => self.raw.redrive((kind, bytes), to, Patience::AtMost(timeout)),
            None => self.raw.send(kind, bytes, Patience::AtMost(timeout)),
        }
    }

    /// The path of the ring.
    pub(crate) fn path(&self) -> &Path {
        self.raw.attachment.path()
    }

    /// The group of this name in the producer's ring.
    pub(crate) fn group(&self, name: &str) -> Option<Group<Region>> {
        let attachment = &self.raw.attachment;
        Group::named(&attachment.region, attachment.geometry(), name)
    }

    /// Claims the next block to fill in place; waits for room without a limit. [`send`](Self::send)
    /// tells what happens while no consumer gates.
    ///
    /// The block holds an older message until the caller overwrites it. No reader sees the claim
    /// before [`Claim::publish`]; dropping it is an abort.
    ///
    /// ```
    /// use slipring::{Producer, RingOptions};
    ///
    /// let ring = RingOptions::new(48, 64).create_in_memory()?;
    /// let mut producer = Producer::<[u8]>::open(&ring)?;
    /// drop(producer.claim()?); // an abort
    /// let mut block = producer.claim()?; // the same position again
    /// block[..5].copy_from_slice(b"hello");
    /// assert_eq!(block.publish(5)?, 0);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError::Handle`] if the ring's file was removed, replaced or cut short.
    #[inline(always)]
    pub fn claim(&mut self) -> Result<Claim<'_, T>, SendError> {
        let place = self.raw.claim(Patience::Endless)?;
        Ok(Claim::new(&mut self.raw, place))
    }

    /// As [`claim`](Self::claim), without waiting.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] with the reader that holds the ring full; [`SendError::TooFewReaders`].
    #[inline(always)]
    pub fn try_claim(&mut self) -> Result<Claim<'_, T>, SendError> {
        let place = self.raw.claim(Patience::None)?;
        Ok(Claim::new(&mut self.raw, place))
    }

    /// As [`claim`](Self::claim), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`try_claim`](Self::try_claim), after the time is up.
    #[inline(always)]
    pub fn claim_timeout(&mut self, timeout: Duration) -> Result<Claim<'_, T>, SendError> {
        let place = self.raw.claim(Patience::AtMost(timeout))?;
        Ok(Claim::new(&mut self.raw, place))
    }

    /// Claims up to `max` blocks, at least one, to be published together; waits for room for one.
    ///
    /// A batch costs one claim and one store of `head` for all its messages, which readers see all
    /// at once. Readers see no message of a batch that is dropped, or whose producer dies.
    /// [`publish_batch_with`](Self::publish_batch_with) publishes by itself.
    ///
    /// ```
    /// use slipring::{Producer, RingOptions};
    ///
    /// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
    /// let mut producer = Producer::<u64>::open(&ring)?;
    /// let mut batch = producer.claim_batch(32)?;
    /// batch.push(&1)?;
    /// batch.push((3, &2))?; // of kind 3
    /// assert_eq!(batch.publish()?, 0..2); // the other 30 blocks are free again
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim).
    #[inline(always)]
    pub fn claim_batch(&mut self, max: usize) -> Result<BatchClaim<'_, T>, SendError> {
        let room = self.raw.reserve_batch(max, Patience::Endless)?;
        Ok(BatchClaim::new(&mut self.raw, room))
    }

    /// As [`claim_batch`](Self::claim_batch), without waiting.
    ///
    /// # Errors
    ///
    /// As [`try_claim`](Self::try_claim).
    #[inline(always)]
    pub fn try_claim_batch(&mut self, max: usize) -> Result<BatchClaim<'_, T>, SendError> {
        let room = self.raw.reserve_batch(max, Patience::None)?;
        Ok(BatchClaim::new(&mut self.raw, room))
    }

    /// As [`claim_batch`](Self::claim_batch), waiting at most `timeout` for room for one.
    ///
    /// # Errors
    ///
    /// As [`try_claim`](Self::try_claim), after the time is up.
    #[inline(always)]
    pub fn claim_batch_timeout(
        &mut self,
        max: usize,
        timeout: Duration,
    ) -> Result<BatchClaim<'_, T>, SendError> {
        let room = self.raw.reserve_batch(max, Patience::AtMost(timeout))?;
        Ok(BatchClaim::new(&mut self.raw, room))
    }

    /// Claims up to `max` blocks, lets `fill` push messages, and publishes the pushed messages;
    /// returns their positions. If `fill` fails or panics, no message is published.
    ///
    /// ```
    /// use slipring::{Producer, RingOptions};
    ///
    /// let ring = RingOptions::of::<u64>(1024).create_in_memory()?;
    /// let mut producer = Producer::<u64>::open(&ring)?;
    /// let positions = producer.publish_batch_with(32, |batch| {
    ///     batch.push(&1)?;
    ///     batch.push((3, &2))?;
    ///     batch.push_in_place(30, |values| values.fill(7));
    ///     Ok(())
    /// })?;
    /// assert_eq!(positions, 0..32);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`claim_batch`](Self::claim_batch), and the errors of `fill`.
    #[inline(always)]
    pub fn publish_batch_with(
        &mut self,
        max: usize,
        fill: impl FnOnce(&mut BatchClaim<'_, T>) -> Result<(), SendError>,
    ) -> Result<Range<u64>, SendError> {
        let mut batch = self.claim_batch(max)?;
        fill(&mut batch)?;
        batch.publish()
    }

    /// Sends all of `messages` in as few batches as there is room for. `push` gets a batch and the
    /// messages that fit it.
    fn in_batches<M>(
        &mut self,
        messages: &[M],
        push: impl Fn(&mut BatchClaim<'_, T>, &[M]) -> Result<(), SendError>,
    ) -> Result<Range<u64>, SendError> {
        let start = self.head();
        let mut rest = messages;
        while !rest.is_empty() {
            let mut batch = self.claim_batch(rest.len())?;
            let (now, later) = rest.split_at(batch.remaining());
            push(&mut batch, now)?;
            batch.publish()?;
            rest = later;
        }
        Ok(start..self.head())
    }

    /// Looks whether the file at the ring's path is still the ring that this producer writes. A
    /// thread of the library looks once a second in any case, and the calls that send return what
    /// it found; this call looks now.
    ///
    /// # Errors
    ///
    /// [`SendError::Handle`]: the file was removed, replaced or cut short, and a reader that
    /// attaches from now on does not see the messages of this producer; or this is a forked child.
    pub fn check(&mut self) -> Result<(), SendError> {
        self.raw.check()
    }

    /// Closes the stream: readers drain the ring and then get
    /// [`RecvError::Closed`](crate::RecvError::Closed). The next producer that opens the ring opens
    /// the stream again.
    ///
    /// ```
    /// use slipring::{Consumer, Producer, RecvError, RingOptions, Start};
    ///
    /// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
    /// let mut consumer = Consumer::<u64>::attach(&ring, Start::Earliest)?;
    /// let mut producer = Producer::<u64>::open(&ring)?;
    /// producer.send(&7)?;
    /// producer.close()?;
    /// assert_eq!(*consumer.recv()?, 7);
    /// assert!(matches!(consumer.recv(), Err(RecvError::Closed)));
    /// Producer::<u64>::open(&ring)?.send(&8)?; // opens the stream again
    /// assert_eq!(*consumer.recv()?, 8);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check), which is made first. The stream is closed to the readers of the
    /// file all the same, unless this is a forked child, which cannot speak for its parent.
    pub fn close(self) -> Result<(), SendError> {
        self.raw.close()
    }
}

impl Producer {
    /// Claims the next block, lets `fill` write a message into it, and publishes as many bytes as
    /// `fill` returns, or, with a kind, `(kind, bytes)`. Returns the position; waits for room
    /// without a limit. If `fill` panics, no message is published.
    ///
    /// ```
    /// use slipring::{Producer, RingOptions};
    ///
    /// let ring = RingOptions::new(48, 64).create_in_memory()?;
    /// let mut producer = Producer::<[u8]>::open(&ring)?;
    /// producer.publish_with(|block| {
    ///     block[..5].copy_from_slice(b"hello");
    ///     5
    /// })?;
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim); [`SendError::TooLarge`] if `fill` returns more than a block.
    #[inline(always)]
    pub fn publish_with<F: Into<Filled>>(
        &mut self,
        fill: impl FnOnce(&mut Claim<'_>) -> F,
    ) -> Result<u64, SendError> {
        let mut claim = self.claim()?;
        let filled = fill(&mut claim);
        claim.publish(filled)
    }

    /// Copies all of `messages` into the ring, in as few batches as there is room for, and returns
    /// their positions; waits for room without a limit. Readers see each batch whole, but may see
    /// the first of several batches before the last.
    ///
    /// ```
    /// use slipring::{Producer, RingOptions};
    ///
    /// let ring = RingOptions::new(48, 64).create_in_memory()?;
    /// let mut producer = Producer::<[u8]>::open(&ring)?;
    /// assert_eq!(producer.send_batch(&["one", "two", "three"])?, 0..3);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError::TooLarge`] before the first message is sent; [`SendError::Handle`] when a
    /// prefix may have been sent.
    pub fn send_batch<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Result<Range<u64>, SendError> {
        for message in messages {
            self.raw.check_len(message.as_ref().len())?;
        }
        self.in_batches(messages, |batch, now| {
            for message in now {
                batch.push(message.as_ref())?;
            }
            Ok(())
        })
    }
}

impl<T: Value> Producer<T> {
    /// Claims the next value, lets `fill` write it where it lies, and publishes it. Returns the
    /// position; waits for room without a limit. If `fill` panics, no message is published.
    ///
    /// The value holds an older message until `fill` overwrites it.
    ///
    /// ```
    /// use slipring::{Producer, RingOptions};
    ///
    /// let ring = RingOptions::of::<[f64; 2]>(64).create_in_memory()?;
    /// let mut producer = Producer::<[f64; 2]>::open(&ring)?;
    /// let position = producer.publish_with(|value| {
    ///     value[0] = 0.5;
    ///     value[1] = 1.5;
    /// })?;
    /// assert_eq!(position, 0);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim).
    #[inline(always)]
    pub fn publish_with(&mut self, fill: impl FnOnce(&mut Claim<'_, T>)) -> Result<u64, SendError> {
        let mut claim = self.claim()?;
        fill(&mut claim);
        claim.publish()
    }

    /// Claims up to `max` values, lets `fill` write them where they lie, as
    /// [`BatchClaim::push_in_place`] does, and publishes them together. Returns the positions;
    /// waits for room for one. If `fill` panics, nothing is published.
    ///
    /// # Errors
    ///
    /// As [`claim_batch`](Self::claim_batch).
    #[inline(always)]
    pub fn publish_slices_with(
        &mut self,
        max: usize,
        fill: impl FnMut(&mut [T]),
    ) -> Result<Range<u64>, SendError> {
        let mut batch = self.claim_batch(max)?;
        batch.push_in_place(max, fill);
        batch.publish()
    }

    /// Copies all of `messages` into the ring, in as few batches as there is room for, and returns
    /// their positions; waits for room without a limit. Readers see each batch whole, but may see
    /// the first of several batches before the last.
    ///
    /// ```
    /// use slipring::{Producer, RingOptions};
    ///
    /// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
    /// let mut producer = Producer::<u64>::open(&ring)?;
    /// assert_eq!(producer.send_batch(&[10, 20, 30])?, 0..3);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError::Handle`] when a prefix may have been sent.
    pub fn send_batch(&mut self, messages: &[T]) -> Result<Range<u64>, SendError> {
        self.in_batches(messages, |batch, now| {
            batch.push_slice(now);
            Ok(())
        })
    }
}
