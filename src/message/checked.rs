//! Types for which some bit patterns are no value: carried as their number, and checked when read.

use super::{Schema, Value};
use std::fmt;
use std::marker::PhantomData;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A type whose values are some of the numbers of [`Repr`](Self::Repr): `bool`, and the enums that
/// [`message_enum!`](crate::message_enum) declares.
///
/// ```
/// use slipring::{Checked, Consumer, Producer, RingOptions, Start};
///
/// slipring::message_enum! {
///     /// The side of an order.
///     enum Side: u8 { Buy = 1, Sell = 2 }
/// }
/// slipring::message! {
///     struct Order { side: Checked<Side>, urgent: Checked<bool>, lots: u16, price: u32 }
/// }
/// let ring = RingOptions::of::<Order>(64).create_in_memory()?;
/// let mut consumer = Consumer::<Order>::attach(&ring, Start::Earliest)?;
/// let (side, urgent) = (Checked::new(Side::Sell), Checked::new(true));
/// Producer::<Order>::open(&ring)?.send(&Order { side, urgent, lots: 5, price: 1001 })?;
/// let order = consumer.recv()?;
/// assert!(matches!(order.side.get(), Ok(Side::Sell))); // an error for any other number
/// # drop(order);
/// # Ok::<(), slipring::Error>(())
/// ```
pub trait Code: Copy + 'static {
    /// The number's type, as it lies in the ring.
    type Repr: Value + Copy + Eq + Into<i128>;
    /// The description.
    #[doc(hidden)]
    const DESCRIPTION: &'static Schema;
    /// The number of a value.
    fn to_repr(self) -> Self::Repr;
    /// The value that has this number; none if no value has it.
    fn from_repr(repr: Self::Repr) -> Option<Self>;
}

impl Code for bool {
    type Repr = u8;
    const DESCRIPTION: &'static Schema = &Schema::of_name("bool");
    #[inline]
    fn to_repr(self) -> u8 {
        u8::from(self)
    }
    #[inline]
    fn from_repr(repr: u8) -> Option<bool> {
        match repr {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// A `bool` or an enum as a field of a message: its number, which [`get`](Self::get) checks.
/// Another process may have written a number that no value has: `get` then returns an error.
///
/// ```
/// use slipring::Checked;
///
/// slipring::message_enum! {
///     /// The side of an order.
///     pub enum Side: u32 {
///         /// The sender of the order.
///         Buy = 1,
///         /// The other side.
///         Sell = 2,
///     }
/// }
/// slipring::message! {
///     /// An order.
///     pub struct Order {
///         /// In ticks.
///         pub price: i64,
///         /// Buy or sell.
///         pub side: Checked<Side>,
///         /// Three tags, and whether the order may be matched in part.
///         pub tags: [u8; 3],
///         /// The last.
///         pub partial: Checked<bool>,
///     }
/// }
///
/// let order = Order { price: 7, side: Side::Sell.into(), tags: [0; 3], partial: true.into() };
/// assert_eq!((order.side.get()?, order.partial.get()?), (Side::Sell, true));
/// let strange = slipring::zerocopy::transmute!([7_u64, 9]);
/// let Order { side, .. } = strange;
/// assert_eq!(side.get().unwrap_err().to_string(), "9 is no value of Side:u32(Buy=1,Sell=2)");
/// # Ok::<(), slipring::InvalidCode>(())
/// ```
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Checked<C: Code> {
    number: C::Repr,
    of: PhantomData<C>,
}

impl<C: Code> Checked<C> {
    /// The value as a field of a message.
    #[inline]
    pub fn new(value: C) -> Checked<C> {
        Checked { number: value.to_repr(), of: PhantomData }
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// [`InvalidCode`] with the number, if no value has it.
    #[inline]
    pub fn get(self) -> Result<C, InvalidCode> {
        C::from_repr(self.number)
            .ok_or(InvalidCode { number: self.number.into(), of: C::DESCRIPTION.as_str() })
    }

    /// The number, also if no value has it.
    #[inline]
    pub fn number(self) -> C::Repr {
        self.number
    }
}

impl<C: Code> Value for Checked<C> {
    const DESCRIPTION: &'static Schema = C::DESCRIPTION;
}

impl<C: Code> From<C> for Checked<C> {
    fn from(value: C) -> Checked<C> {
        Checked::new(value)
    }
}

impl<C: Code> Clone for Checked<C> {
    fn clone(&self) -> Checked<C> {
        *self
    }
}

impl<C: Code> Copy for Checked<C> {}

impl<C: Code> PartialEq for Checked<C> {
    fn eq(&self, other: &Checked<C>) -> bool {
        self.number == other.number
    }
}

impl<C: Code> Eq for Checked<C> {}

impl<C: Code + fmt::Debug> fmt::Debug for Checked<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Ok(value) => value.fmt(f),
            Err(invalid) => write!(f, "{}?", invalid.number),
        }
    }
}

/// The error for a number that no value of its type has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{number} is no value of {of}")]
#[non_exhaustive]
pub struct InvalidCode {
    /// The number.
    pub number: i128,
    /// The type, as its schema describes it.
    pub of: &'static str,
}

/// Declares an enum over an integer, for [`Checked`] fields of messages. Every variant has its
/// number written out: the number travels, not the name.
///
/// ```
/// slipring::message_enum! {
///     /// Of an order.
///     #[derive(Hash)]
///     pub enum State: u8 {
///         /// In the book.
///         Open = 0,
///         /// Traded.
///         Filled = 1,
///         /// Taken back.
///         Cancelled = 0x80,
///     }
/// }
/// use slipring::{Checked, Value};
/// assert_eq!(Checked::<State>::SCHEMA, "State:u8(Open=0,Filled=1,Cancelled=128)");
/// ```
#[macro_export]
macro_rules! message_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident : $repr:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $number:expr),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr($repr)]
        $vis enum $name {
            $($(#[$variant_meta])* $variant = $number),+
        }
        impl $crate::Code for $name {
            type Repr = $repr;
            const DESCRIPTION: &'static $crate::Schema = &$crate::Schema::of_enum(
                stringify!($name),
                <$repr as $crate::Value>::DESCRIPTION,
                &[$((stringify!($variant), $name::$variant as i128)),+],
            );
            #[inline]
            fn to_repr(self) -> $repr {
                self as $repr
            }
            #[inline]
            fn from_repr(repr: $repr) -> Option<$name> {
                [$($name::$variant),+].into_iter().find(|&value| value as $repr == repr)
            }
        }
    };
}
