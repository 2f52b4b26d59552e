//! Lengths and counts, as the machine counts them.

const _: () = assert!(size_of::<usize>() == size_of::<u64>(), "slipring runs on 64-bit targets only");

/// A length or a count as a `usize`: the same number on every supported target.
#[inline(always)]
pub const fn to_usize(n: u64) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits on every supported target")]
    {
        n as usize
    }
}
