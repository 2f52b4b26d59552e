//! Messages whose bytes name their position and their sender.

use crate::world::block;
use kit::Dice;

/// The senders of messages.
pub(crate) const SETUP: u8 = 0;
pub(crate) const VICTIM: u8 = 1;
pub(crate) const SURVIVOR: u8 = 2;

/// The message of a position and a life: both, then bytes that follow from them, of varying length;
/// every third fills its block.
pub(crate) fn message(position: u64, life: u8) -> Vec<u8> {
    let len = 9 + usize::try_from((position * 11 + u64::from(life) * 17) % 40).unwrap();
    let len = if (position + u64::from(life)) % 3 == 0 { block() } else { len };
    let mut bytes = position.to_le_bytes().to_vec();
    bytes.push(life);
    bytes.resize(len, 0);
    Dice::new(position << 8 | u64::from(life)).fill(&mut bytes[9..]);
    bytes
}

/// True if these are the bytes of a message of this position.
pub(crate) fn is_whole(position: u64, bytes: &[u8]) -> bool {
    [SETUP, VICTIM, SURVIVOR].iter().any(|&life| message(position, life) == bytes)
}
