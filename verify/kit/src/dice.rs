//! Numbers that look random and follow from a seed.

/// A generator of numbers: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finaliser of SplitMix64: each bit of the value decides about each bit of the result.
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

impl Dice {
    /// Dice that fall the same way for the same seed. Neighbouring seeds have nothing in common.
    #[must_use]
    pub const fn new(seed: u64) -> Dice {
        Dice(mix(seed.wrapping_mul(STEP)))
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number from 0 to `below - 1`.
    ///
    /// # Panics
    ///
    /// Panics if `below` is zero.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.any() % below
    }

    /// A number from 0 to `below - 1`.
    ///
    /// # Panics
    ///
    /// Panics if `below` is zero.
    pub fn roll32(&mut self, below: u32) -> u32 {
        u32::try_from(self.roll(below.into())).expect("less than `below`")
    }

    /// An index of something so long.
    ///
    /// # Panics
    ///
    /// Panics if `len` is zero.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.roll(len as u64)).expect("less than `len`")
    }

    /// A size from 1 to `most`.
    ///
    /// # Panics
    ///
    /// Panics if `most` is zero.
    pub fn size(&mut self, most: usize) -> usize {
        1 + self.index(most)
    }

    /// Returns true once in so many times.
    ///
    /// # Panics
    ///
    /// Panics if `times` is zero.
    pub fn hits(&mut self, times: u64) -> bool {
        self.roll(times) == 0
    }

    /// One of these.
    ///
    /// # Panics
    ///
    /// Panics if `from` is empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// Fills the bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.any().to_le_bytes()[..chunk.len()]);
        }
    }
}
