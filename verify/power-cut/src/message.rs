//! The messages: each says its position and which of the rings it was sent in.

use kit::{Dice, mix};

/// The bytes of the message at a position, sent in the ring of this number.
pub(crate) fn message(position: u64, ring: u64) -> Vec<u8> {
    let mut dice = Dice::new(mix(position ^ ring << 48));
    let mut bytes = [position.to_le_bytes(), ring.to_le_bytes()].concat();
    bytes.resize(16 + usize::try_from(dice.roll(97)).expect("less than a block"), 0);
    dice.fill(&mut bytes[16..]);
    bytes
}

/// The kind of the message at a position.
pub(crate) fn kind(position: u64) -> u32 {
    u32::try_from(position % 11).expect("less than eleven")
}
