// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Arithmetic on sequence numbers: modulo 2^32, compared as in RFC 1982, section 3.2, and
//! RFC 9293, section 3.4.

/// A sequence or acknowledgment number. It wraps, so it has no total order: ask
/// [`precedes`](Self::precedes).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// The number `octets` further on.
    #[must_use]
    pub const fn add(self, octets: u32) -> Self {
        Self(self.0.wrapping_add(octets))
    }

    /// How far this number is ahead of `other`; negative if it is behind. A distance of 2^31,
    /// which is neither, is given as negative.
    pub const fn diff(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// This number comes before `other`. Of two numbers that are 2^31 apart, neither does
    /// (RFC 1982 leaves that case open).
    pub const fn precedes(self, other: Self) -> bool {
        other.diff(self) > 0
    }

    /// The one of the two that comes later; `self` if neither does.
    #[must_use]
    pub const fn later(self, other: Self) -> Self {
        if self.precedes(other) { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_survives_the_wrap() {
        let last = SeqNumber(u32::MAX);
        assert_eq!(last.add(1), SeqNumber(0));
        assert!(last.precedes(SeqNumber(0)));
        assert!(!SeqNumber(0).precedes(last));
        assert_eq!(SeqNumber(4).diff(last), 5);
        assert_eq!(last.diff(SeqNumber(4)), -5);
        assert_eq!(last.later(SeqNumber(3)), SeqNumber(3));
        assert_eq!(SeqNumber(3).later(last), SeqNumber(3));
    }

    #[test]
    fn nothing_precedes_itself_or_its_opposite() {
        for at in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX].map(SeqNumber) {
            assert!(!at.precedes(at));
            let opposite = at.add(1 << 31);
            assert!(!at.precedes(opposite) && !opposite.precedes(at));
        }
    }

    proptest! {
        #[test]
        fn a_number_precedes_all_of_the_half_circle_ahead(
            base: u32,
            ahead in 1..1_u32 << 31,
        ) {
            let (base, later) = (SeqNumber(base), SeqNumber(base).add(ahead));
            prop_assert!(base.precedes(later));
            prop_assert!(!later.precedes(base));
            prop_assert_eq!(later.diff(base), i32::try_from(ahead).unwrap());
            prop_assert_eq!(base.later(later), later);
            prop_assert_eq!(later.later(base), later);
        }
    }
}
