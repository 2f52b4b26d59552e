//! Messages that are values of one type: no bytes to parse, and a fingerprint that keeps strangers out.

mod batch;

pub use batch::{TypedBatch, TypedBatchClaim, TypedBatchIter, TypedItem, TypedSlices};

use crate::consumer::{Consumer, ConsumerOptions, Received};
use crate::error::{AtPath, AttachError, RecvError, SendError};
use crate::message::{MessageType, Value};
use crate::producer::claim::Claim;
use crate::producer::{Producer, ProducerOptions};
use crate::ring::attach::Place;
use slipring_core::protocol::Damage;
use std::marker::PhantomData;
use std::time::Duration;
use zerocopy::IntoBytes;

/// A [`Producer`] of values of `T`.
#[derive(Debug)]
pub struct TypedProducer<T> {
    producer: Producer,
    carries: PhantomData<fn(T)>,
}

// The calls are inlined always: a result that is moved through memory on its way costs as much as the call. A stream of
// 48 B took 3 times as long.
impl<T: Value> TypedProducer<T> {
    /// Of a producer whose ring was found to carry `T`.
    pub(crate) fn new(producer: Producer) -> TypedProducer<T> {
        TypedProducer { producer, carries: PhantomData }
    }

    /// Publishes a value; waits for room. As [`Producer::send`].
    #[inline(always)]
    pub fn send(&mut self, message: &T) -> Result<u64, SendError> {
        self.producer.send(message.as_bytes())
    }

    /// As [`send`](Self::send), without waiting, with a kind. Errors as [`Producer::try_send`].
    #[inline(always)]
    pub fn try_send(&mut self, kind: u32, message: &T) -> Result<u64, SendError> {
        self.producer.try_send(kind, message.as_bytes())
    }

    /// As [`try_send`](Self::try_send), waiting at most `timeout`.
    #[inline(always)]
    pub fn send_timeout(&mut self, kind: u32, message: &T, timeout: Duration) -> Result<u64, SendError> {
        self.producer.send_timeout(kind, message.as_bytes(), timeout)
    }

    /// Claims the next value to fill in place; waits for room. As [`Producer::claim`].
    #[inline(always)]
    pub fn claim(&mut self) -> Result<TypedClaim<'_, T>, SendError> {
        Ok(TypedClaim { claim: self.producer.claim()?, carries: PhantomData })
    }

    /// As [`Producer::claim_batch`].
    #[inline(always)]
    pub fn claim_batch(&mut self, max: usize) -> Result<TypedBatchClaim<'_, T>, SendError> {
        self.producer.claim_batch(max).map(TypedBatchClaim::new)
    }

    /// As [`Producer::try_claim_batch`].
    #[inline(always)]
    pub fn try_claim_batch(&mut self, max: usize) -> Result<TypedBatchClaim<'_, T>, SendError> {
        self.producer.try_claim_batch(max).map(TypedBatchClaim::new)
    }

    /// As [`Producer::claim_batch_timeout`].
    #[inline(always)]
    pub fn claim_batch_timeout(
        &mut self,
        max: usize,
        timeout: Duration,
    ) -> Result<TypedBatchClaim<'_, T>, SendError> {
        self.producer.claim_batch_timeout(max, timeout).map(TypedBatchClaim::new)
    }

    /// Copies all of `messages` into the ring. As [`Producer::send_batch`].
    pub fn send_batch(&mut self, messages: &[T]) -> Result<std::ops::Range<u64>, SendError> {
        self.producer.in_batches(messages, |batch, now| {
            batch.push_copies(now.len(), now.as_bytes());
            Ok(())
        })
    }

    /// As [`Producer::close`].
    pub fn close(self) {
        self.producer.close();
    }

    /// The producer of bytes that this one is made of.
    pub fn into_inner(self) -> Producer {
        self.producer
    }
}

/// A claimed value. It holds an older message until it is written over. Dropping it is an abort.
#[derive(Debug)]
pub struct TypedClaim<'a, T> {
    claim: Claim<'a>,
    carries: PhantomData<T>,
}

impl<T: Value> TypedClaim<'_, T> {
    /// Publishes the value and returns its position.
    #[inline(always)]
    pub fn publish(self) -> Result<u64, SendError> {
        self.claim.publish(size_of::<T>())
    }
}

impl<T: Value> std::ops::Deref for TypedClaim<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        value_of(&self.claim)
    }
}

impl<T: Value> std::ops::DerefMut for TypedClaim<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        match T::mut_from_bytes(&mut self.claim) {
            Ok(value) => value,
            Err(_) => unreachable!("a block of a typed ring is a value of its type"),
        }
    }
}

/// A [`Consumer`] of values of `T`.
#[derive(Debug)]
pub struct TypedConsumer<T> {
    consumer: Consumer,
    carries: PhantomData<fn() -> T>,
}

impl<T: Value> TypedConsumer<T> {
    /// Of a consumer whose ring was found to carry `T`.
    pub(crate) fn new(consumer: Consumer) -> TypedConsumer<T> {
        TypedConsumer { consumer, carries: PhantomData }
    }

    /// Releases the next message unread, whatever it is: the way past one of another length, which an
    /// untyped producer sent. True if there was one. Errors as [`Consumer::try_recv`], but for `Empty`.
    pub fn skip(&mut self) -> Result<bool, RecvError> {
        match self.consumer.try_recv() {
            Ok(_) => Ok(true),
            Err(RecvError::Empty) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// As [`Consumer::try_recv`].
    ///
    /// # Errors
    ///
    /// Besides those, as of every call that receives, [`RecvError::Damaged`] if the message is of another length: again and
    /// again, until it is [skipped](Self::skip).
    #[inline(always)]
    pub fn try_recv(&mut self) -> Result<TypedReceived<'_, T>, RecvError> {
        TypedReceived::new(self.consumer.try_recv()?)
    }

    /// As [`Consumer::recv`].
    #[inline(always)]
    pub fn recv(&mut self) -> Result<TypedReceived<'_, T>, RecvError> {
        TypedReceived::new(self.consumer.recv()?)
    }

    /// As [`Consumer::recv_timeout`].
    #[inline(always)]
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<TypedReceived<'_, T>, RecvError> {
        TypedReceived::new(self.consumer.recv_timeout(timeout)?)
    }

    /// As [`Consumer::try_recv_batch`]. The batch ends before the first message of another length.
    #[inline(always)]
    pub fn try_recv_batch(&mut self, max: usize) -> Result<TypedBatch<'_, T>, RecvError> {
        TypedBatch::new(self.consumer.try_recv_batch(max)?)
    }

    /// As [`Consumer::recv_batch`], and [`try_recv_batch`](Self::try_recv_batch).
    #[inline(always)]
    pub fn recv_batch(&mut self, max: usize) -> Result<TypedBatch<'_, T>, RecvError> {
        TypedBatch::new(self.consumer.recv_batch(max)?)
    }

    /// As [`Consumer::recv_batch_timeout`], and [`try_recv_batch`](Self::try_recv_batch).
    #[inline(always)]
    pub fn recv_batch_timeout(
        &mut self,
        max: usize,
        timeout: Duration,
    ) -> Result<TypedBatch<'_, T>, RecvError> {
        TypedBatch::new(self.consumer.recv_batch_timeout(max, timeout)?)
    }

    /// The consumer of bytes that this one is made of.
    pub fn into_inner(self) -> Consumer {
        self.consumer
    }
}

/// The value in a whole block of a ring that carries such.
#[inline(always)]
fn value_of<T: Value>(block: &[u8]) -> &T {
    match T::ref_from_bytes(block) {
        Ok(value) => value,
        // The attach compared the block with the type: its size, and an alignment of at most 16.
        Err(_) => unreachable!("a block of a typed ring is a value of its type"),
    }
}

/// An untyped producer sent a message of another length.
#[cold]
fn wrong_length<T>(found: usize) -> RecvError {
    let size = size_of::<T>() as u64;
    RecvError::Damaged(Damage::new("length of a typed message", found as u64, size, size))
}

/// A value, in place. Released as [`Received`] is.
#[derive(Debug)]
pub struct TypedReceived<'a, T> {
    message: Received<'a>,
    carries: PhantomData<T>,
}

impl<'a, T: Value> TypedReceived<'a, T> {
    /// # Errors
    ///
    /// [`RecvError::Damaged`] if an untyped producer sent something of another length. The message is not
    /// released: see [`TypedConsumer::skip`].
    #[inline(always)]
    fn new(message: Received<'a>) -> Result<TypedReceived<'a, T>, RecvError> {
        if message.len() == size_of::<T>() {
            return Ok(TypedReceived { message, carries: PhantomData });
        }
        let found = message.len();
        message.keep();
        Err(wrong_length::<T>(found))
    }
    /// Gives the message up without releasing it, as [`Received::keep`] does.
    pub fn keep(self) {
        self.message.keep();
    }
    /// The message's position.
    pub fn position(&self) -> u64 {
        self.message.position()
    }
    /// What the producer said it is; 0 by default.
    pub fn kind(&self) -> u32 {
        self.message.kind()
    }
}

impl<T: Value> std::ops::Deref for TypedReceived<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        value_of(&self.message)
    }
}

impl ProducerOptions {
    /// As [`open`](Self::open), for a ring whose messages are values of `T`.
    pub fn open_typed<T: Value>(&self, place: impl Place) -> Result<TypedProducer<T>, AtPath<AttachError>> {
        let mut options = *self;
        options.demands = self.demands.carrying(MessageType::of::<T>());
        options.open(place).map(TypedProducer::new)
    }
}

impl ConsumerOptions {
    /// Attaches for values of `T`.
    ///
    /// # Errors
    ///
    /// [`OpenError::TypeMismatch`](crate::OpenError::TypeMismatch) if the ring carries another type; those of [`attach`](Self::attach).
    pub fn attach_typed<T: Value>(&self, place: impl Place) -> Result<TypedConsumer<T>, AtPath<AttachError>> {
        let mut options = self.clone();
        options.demands = self.demands.carrying(MessageType::of::<T>());
        options.attach(place).map(TypedConsumer::new)
    }
}
