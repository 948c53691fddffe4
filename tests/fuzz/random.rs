//! Numbers that follow from a seed, and the numbers that break programs.

/// A generator (splitmix64).
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of a list that is not empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Up to `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..self.below(len + 1))
            .map(|_| self.next() as u8)
            .collect()
    }

    /// A number that is small, at an edge of some width, or anything.
    pub fn edge(&mut self) -> u64 {
        let near = self.below(5) as u64;
        match self.below(8) {
            0 | 1 => self.below(64) as u64,
            2 => self.below(1 << 20) as u64,
            3 => (1u64 << self.below(64)).wrapping_sub(2).wrapping_add(near),
            4 => u64::MAX - near,
            5 => (i64::MAX as u64 - 2).wrapping_add(near),
            6 => (u64::from(u32::MAX) - 2).wrapping_add(near),
            _ => self.next(),
        }
    }
}
