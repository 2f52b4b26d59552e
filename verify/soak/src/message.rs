//! The content of a message: its position, the publisher that wrote it, and a checksum over both.
//!
//! | word | meaning |
//! |---|---|
//! | 0 | position |
//! | 1 | number of the publisher: each that takes over counts one up |
//! | 2.. | checksum of the two and of the stream; its last one to four words are there or not, by position |

use kit::mix;

/// Bytes of a block: of one that has a place beside its header, and of one that has not.
pub(crate) const BLOCKS: [usize; 2] = [48, 160];
pub(crate) const BLOCK_MAX: usize = BLOCKS[1];

/// One of the streams of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Read by consumers.
    Broadcast,
    /// Worked off by groups.
    Groups,
    /// Of a ring with fleeting files. The number of its publisher is that of the file.
    Fleeting,
}

pub(crate) fn kind_of(position: u64) -> u32 {
    (position % 7) as u32 // below 7
}

fn words_of(position: u64, block: usize) -> usize {
    let less = position.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 4;
    block / 8 - usize::try_from(less).unwrap_or(0)
}

fn checksum(stream: Stream, position: u64, publisher: u64) -> u64 {
    mix(position ^ publisher.rotate_left(40) ^ (stream as u64 + 1) << 60)
}

/// Writes the message at a position and returns its length.
#[inline]
pub(crate) fn fill(block: &mut [u8], stream: Stream, position: u64, publisher: u64) -> usize {
    let sum = checksum(stream, position, publisher);
    let words = words_of(position, block.len());
    let checksums = (0..).map(|nth| sum.rotate_left(8 * nth));
    let values = [position, publisher].into_iter().chain(checksums);
    let mut len = 0;
    for (to, value) in block.chunks_exact_mut(8).zip(values).take(words) {
        to.copy_from_slice(&value.to_le_bytes());
        len += 8;
    }
    len
}

/// The number of the publisher of a message that is whole and where it belongs. None of any other.
#[inline]
pub(crate) fn verify(bytes: &[u8], kind: u32, stream: Stream, position: u64) -> Option<u64> {
    let word = |nth: usize| bytes[8 * nth..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let has_len = |&block: &usize| bytes.len() == 8 * words_of(position, block);
    if !BLOCKS.iter().any(has_len) || kind != kind_of(position) || word(0)? != position {
        return None;
    }
    let publisher = word(1)?;
    let sum = checksum(stream, position, publisher);
    let whole = (2..bytes.len() / 8).zip(0..).all(|(nth, turn)| word(nth) == Some(sum.rotate_left(8 * turn)));
    whole.then_some(publisher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_byte_is_seen() {
        for (position, size) in (0..64).flat_map(|position| BLOCKS.map(|size| (position, size))) {
            let mut block = [0; BLOCK_MAX];
            let len = fill(&mut block[..size], Stream::Groups, position, 3);
            let is_sound =
                |bytes: &[u8]| verify(bytes, kind_of(position), Stream::Groups, position) == Some(3);
            assert!(is_sound(&block[..len]));
            assert!(verify(&block[..len], kind_of(position), Stream::Broadcast, position).is_none());
            assert!(
                !is_sound(&block[..len - 8]) && verify(&block[..len], 9, Stream::Groups, position).is_none()
            );
            for byte in 0..len {
                block[byte] ^= 0x10;
                assert!(!is_sound(&block[..len]), "byte {byte}");
                block[byte] ^= 0x10;
            }
        }
    }
}
