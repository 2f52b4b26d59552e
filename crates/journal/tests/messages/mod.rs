//! What the tests publish.

/// The message of a position: of its own length and content.
pub(crate) fn message(position: u64) -> Vec<u8> {
    let len = usize::try_from(position % 97).unwrap();
    (0..len as u64).map(|n| kit::mix(position ^ n << 32).to_le_bytes()[0]).collect()
}
