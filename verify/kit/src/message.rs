//! A message whose bytes name its position.

/// The message of a position: the position, then a number that follows from it.
#[must_use]
pub fn message(position: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&position.to_le_bytes());
    bytes[8..].copy_from_slice(&crate::mix(position + 1).to_le_bytes());
    bytes
}
