//! The contents of a message: its own number, in every word, so that a receiver can tell a whole
//! message from a torn, lost, doubled or swapped one. Filling and checking are plain loops over
//! words, which compilers vectorise. They are the same for every system, long messages down to the
//! instructions: inlined, the loops come out with wider or narrower stores as the code around them
//! has it, which was 4 % of a stream of 1 KiB.

use std::mem::MaybeUninit;

/// The number that ends a run.
pub(crate) const STOP: u64 = u64::MAX;

/// A message of `N` bytes, a multiple of 8, for systems that carry values of a type.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(crate) struct Payload<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Payload<N> {
    /// Message number `n`.
    #[inline(always)]
    pub(crate) fn numbered(n: u64) -> Payload<N> {
        let mut payload = Payload([0; N]);
        fill(&mut payload.0, n);
        payload
    }
}

/// Messages of more bytes are filled and checked out of line.
const INLINE_MAX: usize = 256;

/// Makes message number `n` of these bytes.
#[inline(always)]
pub(crate) fn fill<const N: usize>(bytes: &mut [u8; N], n: u64) {
    // SAFETY: a byte is laid out as one that may hold nothing, and those that are written hold
    // something.
    fill_memory(unsafe { &mut *std::ptr::from_mut(bytes).cast::<[MaybeUninit<u8>; N]>() }, n);
}

/// Makes message number `n` of memory that holds nothing yet.
#[inline(always)]
pub(crate) fn fill_uninit<const N: usize>(memory: &mut MaybeUninit<Payload<N>>, n: u64) -> &mut Payload<N> {
    // SAFETY: a payload is its bytes.
    fill_memory(unsafe { &mut *memory.as_mut_ptr().cast::<[MaybeUninit<u8>; N]>() }, n);
    // SAFETY: every word was written.
    unsafe { memory.assume_init_mut() }
}

#[inline(always)]
fn fill_memory<const N: usize>(memory: &mut [MaybeUninit<u8>; N], n: u64) {
    const { assert!(N > 0 && N.is_multiple_of(8), "messages are made of words") };
    if N > INLINE_MAX { fill_out_of_line(memory, n) } else { fill_words(memory, n) }
}

#[inline(never)]
fn fill_out_of_line<const N: usize>(memory: &mut [MaybeUninit<u8>; N], n: u64) {
    fill_words(memory, n);
}

#[inline(always)]
fn fill_words<const N: usize>(memory: &mut [MaybeUninit<u8>; N], n: u64) {
    for word in memory.as_chunks_mut::<8>().0 {
        *word = n.to_ne_bytes().map(MaybeUninit::new);
    }
}

/// The result of a receiver's check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The message that was due, whole.
    Expected,
    /// The end.
    Stop,
    /// Something else; its first word.
    Wrong(u64),
}

/// Looks at every word of a message that should have number `n`.
#[inline(always)]
pub(crate) fn look<const N: usize>(bytes: &[u8; N], n: u64) -> Seen {
    if differences(bytes, n) == 0 { Seen::Expected } else { other(bytes) }
}

/// The number of a message that may have any, if it is whole.
#[inline(always)]
pub(crate) fn number<const N: usize>(bytes: &[u8; N]) -> Option<u64> {
    let first = first_word(bytes);
    (differences(bytes, first) == 0).then_some(first)
}

#[inline(always)]
fn differences<const N: usize>(bytes: &[u8; N], n: u64) -> u64 {
    if N > INLINE_MAX { differences_out_of_line(bytes, n) } else { differing_bits(bytes, n) }
}

#[inline(never)]
fn differences_out_of_line<const N: usize>(bytes: &[u8; N], n: u64) -> u64 {
    differing_bits(bytes, n)
}

#[inline(always)]
fn differing_bits<const N: usize>(bytes: &[u8; N], n: u64) -> u64 {
    bytes.as_chunks::<8>().0.iter().fold(0, |found, word| found | (u64::from_ne_bytes(*word) ^ n))
}

#[inline(always)]
fn first_word<const N: usize>(bytes: &[u8; N]) -> u64 {
    u64::from_ne_bytes(bytes.as_chunks::<8>().0[0])
}

#[cold]
fn other<const N: usize>(bytes: &[u8; N]) -> Seen {
    if number(bytes) == Some(STOP) { Seen::Stop } else { Seen::Wrong(first_word(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_looked_at() {
        for word in 0..6 {
            let mut message = Payload::<48>::numbered(7);
            assert_eq!(look(&message.0, 7), Seen::Expected);
            message.0[word * 8 + 3] ^= 1;
            assert!(matches!(look(&message.0, 7), Seen::Wrong(_)), "word {word}");
            assert_eq!(number(&message.0), None, "word {word}");
        }
    }

    #[test]
    fn the_end_is_known_only_whole() {
        let mut message = Payload::<64>::numbered(STOP);
        assert_eq!(look(&message.0, 7), Seen::Stop);
        message.0[63] = 0;
        assert!(matches!(look(&message.0, 7), Seen::Wrong(_)));
    }

    #[test]
    fn both_ways_to_fill_agree() {
        let mut memory = MaybeUninit::uninit();
        assert_eq!(fill_uninit::<1024>(&mut memory, 99).0, Payload::<1024>::numbered(99).0);
    }
}
