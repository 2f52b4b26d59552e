//! Identities: of a ring, and of a message.

use std::fmt;
use std::str::FromStr;

/// The identity of a ring: 128 random bits, which differ from those of a ring that is created later
/// at the same path. A program that saves a position outside the ring saves the ring id beside it,
/// and attaches with [`At::only_ring`](crate::At::only_ring).
///
/// Displays as, and parses from, 32 hexadecimal digits.
///
/// ```
/// use slipring::{At, Consumer, RingId, RingOptions, Start};
///
/// let ring = RingOptions::new(48, 64).create_in_memory()?;
/// let saved = ring.id().to_string(); // beside a position
/// let id: RingId = saved.parse().expect("saved above");
/// let consumer: Consumer = Consumer::attach(At::ring(&ring).only_ring(id), Start::At(0))?;
/// assert_eq!(consumer.ring_id(), id);
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RingId(pub(crate) [u8; 16]);

impl RingId {
    /// The id as 16 bytes, most significant first.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
    /// The id of these 16 bytes, as [`to_bytes`](Self::to_bytes) returned them.
    pub const fn from_bytes(bytes: [u8; 16]) -> RingId {
        RingId(bytes)
    }
}

impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingId({self})")
    }
}

/// The error for a text that is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a ring id is 32 hexadecimal digits")]
pub struct ParseRingIdError;

impl FromStr for RingId {
    type Err = ParseRingIdError;
    fn from_str(text: &str) -> Result<RingId, ParseRingIdError> {
        let valid = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = u128::from_str_radix(text, 16).ok().filter(|_| valid).ok_or(ParseRingIdError)?;
        Ok(RingId(value.to_be_bytes()))
    }
}

/// The identity of a message among the messages of all rings. It is the same at every delivery: a
/// handler that deduplicates by it has each effect exactly once. A ring that was
/// [restored](crate::Restoration) in the place of a lost one delivers the lost ring's messages with
/// the identity that they had there.
///
/// Displays as, and parses from, the ring id, a colon, and the position.
///
/// ```
/// use slipring::{GroupSettings, MessageId, Producer, RingOptions, Worker};
///
/// let ring = RingOptions::new(48, 16).group("sms", GroupSettings::new()).create_in_memory()?;
/// Producer::<[u8]>::open(&ring)?.send(b"order 17 is paid")?;
/// let worker = Worker::<[u8]>::join(&ring, "sms")?;
/// let first = worker.recv()?.id(); // dropped: the attempt failed
/// assert_eq!(worker.recv()?.id(), first); // delivered again, with the same id
/// assert_eq!(first.to_string().parse(), Ok(first));
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    /// The ring that the message was published in.
    pub ring: RingId,
    /// The message's position in that ring.
    pub position: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.ring, self.position)
    }
}

/// The error for a text that is not a ring id, a colon, and a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message id is a ring id of 32 hexadecimal digits, a colon, and a position")]
pub struct ParseMessageIdError;

impl FromStr for MessageId {
    type Err = ParseMessageIdError;
    fn from_str(text: &str) -> Result<MessageId, ParseMessageIdError> {
        let (ring, position) = text.split_once(':').ok_or(ParseMessageIdError)?;
        Ok(MessageId {
            ring: ring.parse().map_err(|_| ParseMessageIdError)?,
            position: position.parse().map_err(|_| ParseMessageIdError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_reads_as_it_was_written() {
        let id = MessageId { ring: RingId([7; 16]), position: u64::MAX };
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", ":", "07:1", &id.to_string()[1..], &format!("{id} ")] {
            assert_eq!(wrong.parse::<MessageId>(), Err(ParseMessageIdError));
        }
    }
}
