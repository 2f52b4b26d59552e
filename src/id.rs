//! Identities: of a ring, and of a message for ever.

use std::fmt;
use std::str::FromStr;

/// What tells one ring from every other, also from one that was made later at the same path: 128
/// random bits. Keep it beside every position that is saved outside the ring.
///
/// Displays as, and parses from, 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RingId(pub(crate) [u8; 16]);

impl RingId {
    /// The 16 bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
    /// From the 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> RingId {
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

/// Not 32 hexadecimal digits.
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

/// What tells one message from every other, in this ring and in all others, for ever: the same at
/// every delivery. What a handler keeps, so that doing a thing twice has its effect once.
///
/// Displays as, and parses from, the ring id, a colon, and the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    /// The ring it was published in.
    pub ring: RingId,
    /// Its position there.
    pub position: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.ring, self.position)
    }
}

/// Not a ring id, a colon, and a position.
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
