//! Numbers that look random and follow from a seed.

/// xorshift64 (Marsaglia 2003).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) const fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(mix(seed).max(1))
    }

    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    /// From 1 to `most`.
    pub(crate) fn size(&mut self, most: usize) -> usize {
        1 + usize::try_from(self.roll(most as u64)).unwrap_or(0)
    }

    /// Once in so many times.
    pub(crate) fn hits(&mut self, times: u64) -> bool {
        self.roll(times) == 0
    }
}
