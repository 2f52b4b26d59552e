//! The argument of the sending calls: a message, and perhaps its kind.

use super::Message;

/// A message to be sent, with its kind. Every call that sends takes `impl Into<Outgoing>`: a
/// reference to a message (kind 0), or a pair `(kind, message)`.
///
/// ```
/// use slipring::{Producer, RingOptions};
///
/// let ring = RingOptions::new(48, 8).create_in_memory()?;
/// let mut producer = Producer::<[u8]>::open(&ring)?;
/// producer.send(b"hello")?; // of kind 0
/// producer.send("hello")?;
/// producer.send((3, b"hello"))?; // of kind 3
/// producer.send((3, &vec![0; 48]))?;
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
pub struct Outgoing<'a, T: ?Sized> {
    pub(crate) kind: u32,
    pub(crate) message: &'a T,
}

impl<'a, T: ?Sized + Message> From<&'a T> for Outgoing<'a, T> {
    #[inline(always)]
    fn from(message: &'a T) -> Outgoing<'a, T> {
        Outgoing { kind: 0, message }
    }
}

impl<'a, T: ?Sized + Message> From<(u32, &'a T)> for Outgoing<'a, T> {
    #[inline(always)]
    fn from((kind, message): (u32, &'a T)) -> Outgoing<'a, T> {
        Outgoing { kind, message }
    }
}

macro_rules! bytes {
    ($({$($generics:tt)*} $bytes:ty),*) => {$(
        impl<'a, $($generics)*> From<&'a $bytes> for Outgoing<'a, [u8]> {
            #[inline(always)]
            fn from(message: &'a $bytes) -> Outgoing<'a, [u8]> {
                Outgoing { kind: 0, message: message.as_ref() }
            }
        }
        impl<'a, $($generics)*> From<(u32, &'a $bytes)> for Outgoing<'a, [u8]> {
            #[inline(always)]
            fn from((kind, message): (u32, &'a $bytes)) -> Outgoing<'a, [u8]> {
                Outgoing { kind, message: message.as_ref() }
            }
        }
    )*};
}
bytes!({const N: usize} [u8; N], {} Vec<u8>, {} str, {} String);
