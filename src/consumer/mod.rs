//! The gating consumer's handle: reads in place, in order, and holds the producer until it
//! releases.

mod ahead;
mod membership;
mod options;
mod pace;
mod raw;
mod received;
pub(crate) mod selector;

pub use ahead::{AheadBatch, AheadIter, AheadSlices, ReadAhead};
pub(crate) use membership::Membership;
pub use options::ConsumerOptions;
pub use received::{Batch, BatchIter, Item, Received, Slices};

use crate::error::{AtPath, AttachError, RecvError};
use crate::id::RingId;
use crate::message::{Message, is_length_of, wrong_length};
use crate::region::Region;
use crate::ring::place::Place;
use raw::RawConsumer;
use slipring_core::format;
use slipring_core::protocol::table::Start;
use std::marker::PhantomData;
use std::time::Duration;

/// A gating broadcast reader: it sees every message from its start on, in order, in place.
///
/// The producer never overwrites a message that a consumer has not released: a consumer that stops
/// reading stops the producer when the ring is full, until the consumer reads on, is dropped, or
/// its process dies. Dropping the handle frees its entry. A durable consumer's entry stays, and its
/// tail goes on gating the producer.
///
/// A consumer does not survive `fork`: in the child it fails with
/// [`HandleError::Forked`](crate::HandleError::Forked).
///
/// ```
/// use slipring::{Consumer, Producer, RecvError, RingOptions, Start};
/// use std::time::Duration;
///
/// let ring = RingOptions::new(48, 1024).create_in_memory()?;
/// let mut producer = Producer::<[u8]>::open(&ring)?;
/// let mut consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest)?;
/// producer.send(b"hello")?;
/// producer.close()?;
///
/// assert_eq!(*consumer.recv()?, *b"hello");
/// match consumer.recv_timeout(Duration::from_millis(10)) {
///     Ok(message) => println!("{} bytes", message.len()),
///     Err(RecvError::TimedOut(_)) => println!("nothing yet"),
///     Err(RecvError::Closed) => println!("the end"), // this one
///     Err(error) => return Err(error.into()),
/// }
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a consumer leaves the ring"]
pub struct Consumer<T: ?Sized + Message = [u8]> {
    raw: RawConsumer,
    carries: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized + Message> Consumer<T> {
    /// Attaches anonymously to the ring at `place`; [`ConsumerOptions`] has the other ways.
    ///
    /// # Errors
    ///
    /// As [`ConsumerOptions::attach`].
    pub fn attach(place: impl Place, start: Start) -> Result<Consumer<T>, AtPath<AttachError>> {
        ConsumerOptions::new().start(start).attach(place)
    }

    /// The next position to read: the consumer's tail.
    pub fn position(&self) -> u64 {
        self.raw.reader.tail()
    }

    /// The ring's identity. A program that saves positions saves it beside them.
    pub fn ring_id(&self) -> RingId {
        self.raw.membership.attachment.header.ring_id
    }

    // Inlined always, as those of `RawConsumer`.

    /// The next message, if it is published. Never waits, and makes no system call while it finds
    /// messages.
    ///
    /// ```
    /// use slipring::{Consumer, Producer, RecvError, RingOptions, Start};
    ///
    /// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
    /// let mut consumer = Consumer::<u64>::attach(&ring, Start::Earliest)?;
    /// assert!(matches!(consumer.try_recv(), Err(RecvError::Empty)));
    /// Producer::<u64>::open(&ring)?.send(&7)?;
    /// assert_eq!(*consumer.try_recv()?, 7);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`]; [`RecvError::Closed`] once the stream is closed and drained;
    /// [`RecvError::WrongLength`] if the message is no `T`: it is released, and the next receive
    /// returns the message behind it; [`RecvError::Damaged`]. A call that finds nothing looks at
    /// the path if none did so for 100 ms, and returns then what [`recv`](Self::recv) returns.
    #[inline(always)]
    pub fn try_recv(&mut self) -> Result<Received<'_, T>, RecvError> {
        self.raw.look_once()?;
        self.take()
    }

    /// The next message; waits without a limit, as [`ConsumerOptions::wait`] says.
    ///
    /// ```
    /// use slipring::{Consumer, Producer, RecvError, RingOptions, Start};
    ///
    /// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
    /// let mut producer = Producer::<u64>::open(&ring)?;
    /// let mut consumer = Consumer::<u64>::attach(&ring, Start::Earliest)?;
    /// producer.send_batch(&[1, 2])?;
    /// producer.close()?;
    /// let mut sum = 0;
    /// loop {
    ///     match consumer.recv() {
    ///         Ok(message) => sum += *message, // released at the end of the arm
    ///         Err(RecvError::Closed) => break,
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// assert_eq!(sum, 3);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] once the stream is closed and drained; [`RecvError::Handle`] when
    /// the file at the path is no longer this ring's; [`RecvError::ProducerAway`] if the options
    /// [ask for it](ConsumerOptions::notice_producer_away). The last two are noticed within 100 ms.
    /// [`RecvError::WrongLength`], as [`try_recv`](Self::try_recv).
    #[inline(always)]
    pub fn recv(&mut self) -> Result<Received<'_, T>, RecvError> {
        self.raw.await_message(None)?;
        self.take()
    }

    /// As [`recv`](Self::recv), waiting at most `timeout`.
    ///
    /// ```
    /// use slipring::{Consumer, RecvError, RingOptions, Start};
    /// use std::time::Duration;
    ///
    /// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
    /// let mut consumer = Consumer::<u64>::attach(&ring, Start::Earliest)?;
    /// let error = consumer.recv_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert!(matches!(error, RecvError::TimedOut(_)));
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    #[inline(always)]
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Received<'_, T>, RecvError> {
        self.raw.await_message(Some(timeout))?;
        self.take()
    }

    /// Up to `max` messages that are published, at least one. A batch ends before a message that is
    /// no `T`.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    #[inline(always)]
    pub fn try_recv_batch(&mut self, max: usize) -> Result<Batch<'_, T>, RecvError> {
        let count = self.raw.try_count()?;
        Batch::new(&mut self.raw.reader, count, max)
    }

    /// Up to `max` messages; waits for the first one without a limit. Otherwise as
    /// [`try_recv_batch`](Self::try_recv_batch).
    ///
    /// ```
    /// use slipring::{Consumer, Producer, RingOptions, Start};
    ///
    /// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
    /// let mut producer = Producer::<u64>::open(&ring)?;
    /// let mut consumer = Consumer::<u64>::attach(&ring, Start::Earliest)?;
    /// producer.send_batch(&[1, 2, 3])?;
    /// let batch = consumer.recv_batch(32)?; // does not wait until there are 32
    /// assert_eq!(batch.iter().map(|value| *value).collect::<Vec<_>>(), [1, 2, 3]);
    /// # drop(batch);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    #[inline(always)]
    pub fn recv_batch(&mut self, max: usize) -> Result<Batch<'_, T>, RecvError> {
        let count = self.raw.count(None)?;
        Batch::new(&mut self.raw.reader, count, max)
    }

    /// As [`recv_batch`](Self::recv_batch), waiting at most `timeout` for the first.
    ///
    /// # Errors
    ///
    /// Besides those of `recv_batch`, [`RecvError::TimedOut`].
    #[inline(always)]
    pub fn recv_batch_timeout(&mut self, max: usize, timeout: Duration) -> Result<Batch<'_, T>, RecvError> {
        let count = self.raw.count(Some(timeout))?;
        Batch::new(&mut self.raw.reader, count, max)
    }

    /// A cursor that begins at the consumer's position and reads ahead of what is released. The
    /// consumer itself receives again once the cursor is dropped.
    pub fn read_ahead(&mut self) -> ReadAhead<'_, T> {
        let RawConsumer { reader, membership, .. } = &mut self.raw;
        ReadAhead::new(reader.ahead(), membership)
    }

    /// The message at the tail, which may be read.
    #[inline(always)]
    fn take(&mut self) -> Result<Received<'_, T>, RecvError> {
        match self.raw.reader.next_single() {
            Some(message) => self.hand_out(message),
            None => {
                let message = self.raw.next_of_batch()?;
                self.hand_out(message)
            }
        }
    }

    #[inline(always)]
    fn hand_out(&mut self, message: format::Message) -> Result<Received<'_, T>, RecvError> {
        if !is_length_of::<T>(message.meta.len()) {
            return Err(self.pass(message));
        }
        Ok(Received::new(&mut self.raw.reader, message))
    }

    /// Releases a message that is no `T`, and returns the error for it.
    #[cold]
    fn pass(&mut self, message: format::Message) -> RecvError {
        let position = self.raw.reader.tail();
        received::release(&mut self.raw.reader, 1);
        wrong_length::<T>(position, message.meta.len())
    }

    pub(crate) fn raw(&mut self) -> &mut RawConsumer {
        &mut self.raw
    }

    /// The memory of its ring.
    fn region(&self) -> &Region {
        self.raw.region()
    }
}
