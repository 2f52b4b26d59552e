//! What a type must be to travel in a ring, and how it is told from others.

use crate::ring::attach::MessageType;
use slipring_core::format::fnv1a;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// No message type may need more: rows of blocks begin at a multiple of this, and go on in steps of the type's size, a multiple
/// of its alignment, or of 8 or 16.
pub(crate) const BLOCK_ALIGN: usize = 16;

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

/// The type as an attach compares it.
pub(crate) fn type_of<T: Message>() -> MessageType {
    MessageType { fingerprint: T::FINGERPRINT, size: size_of::<T>() as u64, schema: T::SCHEMA }
}
