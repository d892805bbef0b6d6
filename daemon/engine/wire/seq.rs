//! TCP sequence numbers: positions modulo 2^32, compared by the shorter way round (RFC 9293, 3.4).

use std::fmt;
use std::ops::{Add, Sub};

/// A position in a TCP byte stream. Has no total order: only near positions compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// How far `self` lies behind `earlier`; negative when it lies before it.
    pub const fn distance(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// Whether `self` lies before `other`.
    pub const fn before(self, other: Self) -> bool {
        self.distance(other) < 0
    }

    /// Whether `self` lies behind `other`.
    pub const fn after(self, other: Self) -> bool {
        self.distance(other) > 0
    }

    /// The later of two near positions.
    pub const fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }
}

impl Add<u32> for SeqNumber {
    type Output = Self;

    fn add(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl Sub<u32> for SeqNumber {
    type Output = Self;

    fn sub(self, bytes: u32) -> Self {
        Self(self.0.wrapping_sub(bytes))
    }
}

impl fmt::Display for SeqNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_wraparound() {
        let before = SeqNumber(u32::MAX - 1);
        let behind = before + 4;
        assert_eq!(behind, SeqNumber(2));
        assert!(before.before(behind) && behind.after(before));
        assert_eq!(behind.distance(before), 4);
        assert_eq!(before.max(behind), behind);
        assert_eq!(behind - 4, before);
    }
}
