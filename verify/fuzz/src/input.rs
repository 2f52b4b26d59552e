//! An input, read as a sequence of small decisions.

/// The rest of an input. Beyond its end every byte is zero.
#[derive(Debug)]
pub struct Input<'i>(pub &'i [u8]);

impl Input<'_> {
    /// True once nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        let number =
            if end > 256 { u64::from(self.byte()) << 8 | u64::from(self.byte()) } else { self.byte().into() };
        number % end
    }

    /// The next eight bytes.
    pub fn raw(&mut self) -> u64 {
        (0..8).fold(0, |value, _| value << 8 | u64::from(self.byte()))
    }

    /// A number as a damaged word may have it: near what is there, near a bound, a single bit off,
    /// or any.
    pub fn value(&mut self, old: u64) -> u64 {
        let near = u64::from(self.byte() >> 3);
        match self.byte() % 10 {
            0 => near,
            1 => old.wrapping_add(near + 1),
            2 => old.wrapping_sub(near + 1),
            3 => old ^ 1 << (near * 2 % 64),
            4 => old ^ 1 << ((near * 2 + 1) % 64),
            5 => u64::MAX - near,
            6 => (1_u64 << 63).wrapping_add(near).wrapping_sub(8),
            7 => (1_u64 << 63) - (1 << 33) + near - 16,
            8 => old ^ near << 49,
            _ => self.raw(),
        }
    }
}
