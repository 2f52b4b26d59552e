//! The messages of a ring: bytes, or values of one type, with the fingerprint of the type.

mod checked;
pub(crate) mod described;
mod outgoing;
mod schema;

pub use checked::{Checked, Code, InvalidCode};
pub use outgoing::Outgoing;
pub use schema::Schema;

use crate::error::RecvError;
use slipring_core::format::fnv1a;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The largest alignment of a message type, in bytes: rows of blocks begin at a multiple of this,
/// and go on in steps of the type's size, which is a multiple of its alignment, or of 8 or 16.
const BLOCK_ALIGN: usize = 16;

/// The type of a ring's messages, the parameter of every handle: `[u8]`, bytes of any length up to
/// a block, or a [`Value`], one per block.
///
/// Implemented for `[u8]` and for every [`Value`]; declare further ones with
/// [`message!`](macro@crate::message).
///
/// ```
/// use slipring::{Message, Producer, RingOptions, SendError};
///
/// fn send_twice<T: ?Sized + Message>(
///     producer: &mut Producer<T>,
///     message: &T,
/// ) -> Result<u64, SendError> {
///     producer.send(message)?;
///     producer.send(message)
/// }
///
/// let ring = RingOptions::new(48, 8).create_in_memory()?;
/// assert_eq!(send_twice(&mut Producer::<[u8]>::open(&ring)?, b"hello")?, 1);
/// # Ok::<(), slipring::Error>(())
/// ```
pub trait Message: sealed::Sealed + 'static {
    /// The type as an attach compares it; none for bytes.
    #[doc(hidden)]
    const CARRIES: Option<MessageType>;
    /// The bytes of a message.
    #[doc(hidden)]
    fn bytes_of(message: &Self) -> &[u8];
    /// The message in a block's bytes, whose length was checked.
    #[doc(hidden)]
    fn in_block(bytes: &[u8]) -> &Self;
    /// The message in a block's bytes, to be written.
    #[doc(hidden)]
    fn in_block_mut(bytes: &mut [u8]) -> &mut Self;
}

mod sealed {
    #[expect(unnameable_types, reason = "sealed")]
    pub trait Sealed {}
    impl Sealed for [u8] {}
    impl<T: super::Value> Sealed for T {}
}

/// The description of a type, which an attach compares with the ring's.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct MessageType {
    pub(crate) fingerprint: u64,
    pub(crate) size: u64,
    pub(crate) align: u64,
    pub(crate) schema: &'static str,
}

impl MessageType {
    pub(crate) const fn of<T: Value>() -> MessageType {
        assert!(align_of::<T>() <= BLOCK_ALIGN, "a message type may need an alignment of at most 16");
        let (size, align) = (size_of::<T>() as u64, align_of::<T>() as u64);
        MessageType { fingerprint: T::FINGERPRINT, size, align, schema: T::SCHEMA }
    }
}

/// True if a message of this many bytes is a `T`.
#[inline(always)]
pub(crate) fn is_length_of<T: ?Sized + Message>(len: usize) -> bool {
    T::CARRIES.is_none_or(|of| of.size == len as u64)
}

/// The error for a message at a position that is no `T`.
#[cold]
pub(crate) fn wrong_length<T: ?Sized + Message>(position: u64, found: usize) -> RecvError {
    let expected = T::CARRIES.map_or(0, |of| of.size);
    RecvError::WrongLength { position, found: found as u64, expected }
}

impl Message for [u8] {
    const CARRIES: Option<MessageType> = None;
    #[inline(always)]
    fn bytes_of(message: &[u8]) -> &[u8] {
        message
    }
    #[inline(always)]
    fn in_block(bytes: &[u8]) -> &[u8] {
        bytes
    }
    #[inline(always)]
    fn in_block_mut(bytes: &mut [u8]) -> &mut [u8] {
        bytes
    }
}

impl<T: Value> Message for T {
    const CARRIES: Option<MessageType> = Some(MessageType::of::<T>());
    #[inline(always)]
    fn bytes_of(message: &T) -> &[u8] {
        message.as_bytes()
    }
    #[inline(always)]
    fn in_block(bytes: &[u8]) -> &T {
        match T::ref_from_bytes(bytes) {
            Ok(value) => value,
            // An attach compared the block with the type, and a receive the length.
            Err(_) => unreachable!("a block of a typed ring is a value of its type"),
        }
    }
    #[inline(always)]
    fn in_block_mut(bytes: &mut [u8]) -> &mut T {
        match T::mut_from_bytes(bytes) {
            Ok(value) => value,
            Err(_) => unreachable!("a block of a typed ring is a value of its type"),
        }
    }
}

/// A type of fixed size whose values may travel in a ring.
///
/// The bounds, not `Copy`, are what shared memory needs: every bit pattern is a value
/// (`FromBytes`), no byte is padding (`IntoBytes`), nothing changes behind a shared reference
/// (`Immutable`). A `bool` or an `enum` from another process would be undefined behaviour:
/// [`Checked`] carries them.
///
/// Numbers, arrays of values, [`Checked`] and structs declared with
/// [`message!`](macro@crate::message) are values. The alignment is at most 16: a handle for a type
/// that needs more does not compile.
///
/// ```
/// use slipring::{Consumer, Producer, RingOptions, Start, Value};
///
/// fn last<T: Value + Copy>(consumer: &mut Consumer<T>) -> Option<T> {
///     std::iter::from_fn(|| consumer.try_recv().ok().map(|value| *value)).last()
/// }
///
/// let ring = RingOptions::of::<[f32; 4]>(64).create_in_memory()?;
/// let mut consumer = Consumer::<[f32; 4]>::attach(&ring, Start::Earliest)?;
/// Producer::<[f32; 4]>::open(&ring)?.send(&[0.5; 4])?;
/// assert_eq!(last(&mut consumer), Some([0.5; 4]));
/// # Ok::<(), slipring::Error>(())
/// ```
pub trait Value: FromBytes + IntoBytes + Immutable + KnownLayout + Sized + 'static {
    /// The description, built from the descriptions of the fields.
    #[doc(hidden)]
    const DESCRIPTION: &'static Schema;

    /// The type as a text: name, fields and their types in order, with nested types written out. At
    /// most 2048 bytes; `docs/format.md` has the grammar.
    const SCHEMA: &'static str = Self::DESCRIPTION.as_str();

    /// 64 bits over schema, size and alignment. The ring's header has them, and every attach
    /// compares them.
    const FINGERPRINT: u64 = fingerprint(Self::SCHEMA, size_of::<Self>(), align_of::<Self>());
}

macro_rules! numbers {
    ($($type:ident)*) => { $(
        /// A ring of plain numbers.
        impl Value for $type {
            const DESCRIPTION: &'static Schema = &Schema::of_name(stringify!($type));
        }
    )* };
}
numbers!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64);

/// `N` values of one type in a row; the length is part of the type.
impl<T: Value, const N: usize> Value for [T; N] {
    const DESCRIPTION: &'static Schema = &Schema::of_array(T::DESCRIPTION, N);
}

const fn fingerprint(schema: &str, size: usize, align: usize) -> u64 {
    // Never 0, which stands for an untyped ring.
    (fnv1a(schema.as_bytes()) ^ (size as u64).rotate_left(20) ^ (align as u64).rotate_left(50)) | 1
}

/// Declares structs that may travel in a ring: `repr(C)`, with the [`Value`] description and the
/// `zerocopy` derives. The derives refuse padding, and fields for which some bit patterns are no
/// value, at compile time.
///
/// ```
/// slipring::message! {
///     /// A price and a quantity.
///     pub struct Level {
///         /// In ticks.
///         pub price: i64,
///         /// In lots.
///         pub size: u64,
///     }
///
///     /// The best prices of an instrument.
///     pub struct Book {
///         /// The number of the instrument.
///         pub instrument: u64,
///         /// The three best bids.
///         pub bids: [Level; 3],
///     }
/// }
/// use slipring::Value;
/// assert_eq!(Book::SCHEMA, "Book{instrument:u64,bids:[Level{price:i64,size:u64};3]}");
/// ```
///
/// The description is built from the types of the fields, not from their names in the source: an
/// alias counts as the type that it stands for, and a nested struct whose fields change is another
/// type.
///
/// `repr(packed)` and `repr(align)` may stand before a struct: as no type of a message has padding,
/// its fields lie one behind the other in any case, and a program in which the same fields have
/// another alignment does not match. No reference can be made to a field of a packed struct; copy
/// it.
///
/// ```
/// slipring::message! {
///     /// A trade, as a feed sends it: 13 bytes.
///     #[repr(packed)]
///     pub struct Trade {
///         /// Buy or sell.
///         pub side: u8,
///         /// In ticks.
///         pub price: i64,
///         /// In lots.
///         pub size: u32,
///     }
/// }
/// assert_eq!((size_of::<Trade>(), align_of::<Trade>()), (13, 1));
/// ```
///
/// A program that depends on this crate under another name says where to find `zerocopy`:
///
/// ```
/// slipring::message! {
///     // "ring::zerocopy" in a crate that depends on this one as `ring`
///     crate = "slipring::zerocopy";
///     /// A price and a quantity.
///     pub struct Level {
///         /// In ticks.
///         pub price: i64,
///         /// In lots.
///         pub size: u64,
///     }
/// }
/// ```
#[macro_export]
macro_rules! message {
    (crate = $zerocopy:tt; $($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty),+ $(,)?
    })+) => {$(
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq,
            $crate::zerocopy::FromBytes, $crate::zerocopy::IntoBytes,
            $crate::zerocopy::Immutable, $crate::zerocopy::KnownLayout,
        )]
        #[zerocopy(crate = $zerocopy)]
        #[repr(C)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type),+
        }
        impl $crate::Value for $name {
            const DESCRIPTION: &'static $crate::Schema = &$crate::Schema::of_struct(
                stringify!($name),
                &[$((stringify!($field), <$type as $crate::Value>::DESCRIPTION)),+],
            );
        }
    )+};
    ($($struct:tt)+) => {
        $crate::message! { crate = "slipring::zerocopy"; $($struct)+ }
    };
}
