//! Messages that are values of one type: no bytes to parse, and a fingerprint that keeps strangers out.

mod batch;

pub use batch::{TypedBatch, TypedBatchClaim, TypedBatchIter, TypedItem, TypedSlices};

use crate::claim::Claim;
use crate::consumer::{Consumer, Received};
use crate::error::{RecvError, SendError};
use crate::layout::fnv1a;
use crate::producer::Producer;
use crate::protocol::Damage;
use std::marker::PhantomData;
use std::time::Duration;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// No message type may need more: rows of blocks begin at a multiple of this, and go on in steps of the type's size, a multiple
/// of its alignment, or of 8 or 16.
const BLOCK_ALIGN: usize = 16;

/// A type whose values may travel in a ring.
///
/// The bounds, not `Copy`, are what shared memory needs: every bit pattern is a value (`FromBytes`), no
/// byte is padding (`IntoBytes`), nothing changes behind a shared reference (`Immutable`). A `bool` or an
/// `enum` from another process would be undefined behaviour; use integers.
///
/// Declare such types with [`message!`](crate::message). Numbers and arrays of bytes are such types already. The alignment is at
/// most 16, which is looked at when such a ring is opened: what needs more does not compile.
pub trait Message: FromBytes + IntoBytes + Immutable + KnownLayout + Sized + 'static {
    /// Name, fields and their types, in order. At most 2048 bytes. Part of what must match.
    const SCHEMA: &'static str;

    /// Stands in the ring's header and is compared at attach: the schema, the size and the alignment.
    const FINGERPRINT: u64 = fingerprint(Self::SCHEMA, size_of::<Self>(), align_of::<Self>());
}

macro_rules! plain {
    ($($type:ident)*) => { $(
        /// A ring of bare numbers.
        impl Message for $type {
            const SCHEMA: &'static str = stringify!($type);
        }
    )* };
}
plain!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64);

/// Bytes of a fixed length; the fingerprint tells lengths apart.
impl<const N: usize> Message for [u8; N] {
    const SCHEMA: &'static str = "[u8]";
}

#[doc(hidden)]
pub const fn fingerprint(schema: &str, size: usize, align: usize) -> u64 {
    // Never 0, which stands for an untyped ring.
    (fnv1a(schema.as_bytes()) ^ (size as u64).rotate_left(20) ^ (align as u64).rotate_left(50)) | 1
}

/// Declares a struct that may travel in a ring: `repr(C)`, with the `zerocopy` derives, which refuse at
/// compile time padding and fields that cannot be any bits, and with its [`Message`] description.
///
/// ```
/// slipring::message! {
///     /// The best bid of an instrument.
///     pub struct Quote {
///         /// Which one.
///         pub instrument: u64,
///         /// In ticks.
///         pub price: i64,
///         /// In lots.
///         pub size: u64,
///     }
/// }
/// use slipring::Message;
/// assert_eq!(Quote::SCHEMA, "Quote{instrument:u64,price:i64,size:u64,}");
/// ```
#[macro_export]
macro_rules! message {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq,
            $crate::zerocopy::FromBytes, $crate::zerocopy::IntoBytes,
            $crate::zerocopy::Immutable, $crate::zerocopy::KnownLayout,
        )]
        #[zerocopy(crate = "slipring::zerocopy")]
        #[repr(C)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type),+
        }
        impl $crate::Message for $name {
            const SCHEMA: &'static str = concat!(
                stringify!($name), "{", $(stringify!($field), ":", stringify!($type), ",",)+ "}"
            );
        }
    };
}

/// A [`Producer`] of values of `T`.
#[derive(Debug)]
pub struct TypedProducer<T> {
    producer: Producer,
    carries: PhantomData<fn(T)>,
}

// The calls are inlined always: a result that is moved through memory on its way costs as much as the call. A stream of
// 48 B took 3 times as long.
impl<T: Message> TypedProducer<T> {
    /// Of a producer whose ring was found to carry `T`.
    pub(crate) fn new(producer: Producer) -> TypedProducer<T> {
        const { assert!(align_of::<T>() <= BLOCK_ALIGN, "a message type may need an alignment of at most 16") };
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

impl<T: Message> TypedClaim<'_, T> {
    /// Publishes the value and returns its position.
    #[inline(always)]
    pub fn publish(self) -> Result<u64, SendError> {
        self.claim.publish(size_of::<T>())
    }
}

impl<T: Message> std::ops::Deref for TypedClaim<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        value_of(&self.claim)
    }
}

impl<T: Message> std::ops::DerefMut for TypedClaim<'_, T> {
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

impl<T: Message> TypedConsumer<T> {
    /// Of a consumer whose ring was found to carry `T`.
    pub(crate) fn new(consumer: Consumer) -> TypedConsumer<T> {
        const { assert!(align_of::<T>() <= BLOCK_ALIGN, "a message type may need an alignment of at most 16") };
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
fn value_of<T: Message>(block: &[u8]) -> &T {
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
    RecvError::Damaged(Damage {
        what: "length of a typed message",
        found: found as u64,
        low: size,
        high: size,
    })
}

/// A value, in place. Released as [`Received`] is.
#[derive(Debug)]
pub struct TypedReceived<'a, T> {
    message: Received<'a>,
    carries: PhantomData<T>,
}

impl<'a, T: Message> TypedReceived<'a, T> {
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

impl<T: Message> std::ops::Deref for TypedReceived<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        value_of(&self.message)
    }
}
