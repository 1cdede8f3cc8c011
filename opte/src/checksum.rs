// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One's-complement sums (RFC 1071) and their incremental update (RFC 1624).

/// A running one's-complement sum, not yet complemented.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sum(u32);

impl Sum {
    /// Adds one 16-bit word.
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        // 65 535 words fit before the high half can overflow; fold keeps far below.
        Self(fold(self.0) as u32 + word as u32)
    }

    /// Adds the words of `bytes`; an odd last byte is padded with zero.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, last) = bytes.as_chunks::<2>();
        let mut sum = u64::from(self.0);
        for word in words {
            sum += u64::from(u16::from_be_bytes(*word));
        }
        if let [byte] = last {
            sum += u64::from(*byte) << 8;
        }
        Self(u32::from(fold64(sum)))
    }

    /// The sum in 16 bits.
    pub const fn folded(self) -> u16 {
        fold(self.0)
    }

    /// The checksum: the complement of the sum.
    pub const fn complement(self) -> u16 {
        !fold(self.0)
    }
}

/// The one's-complement sum of two words.
const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    // Where there was a carry, the rest is at most 0xfffe.
    sum.wrapping_add(carry as u16)
}

/// What a rewrite adds to the sum of the bytes it rewrites.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Delta(u16);

impl Delta {
    /// Also replaces the bytes `old` by `new`, which are as long and begin at an even offset.
    #[must_use]
    pub fn replace(self, old: &[u8], new: &[u8]) -> Self {
        let minus = Sum::default().bytes(old).complement();
        let delta = Sum::default().word(self.0).word(minus).bytes(new).folded();
        // Minus zero changes nothing either, but would turn a sum of one zero into the other.
        Self(if delta == u16::MAX { 0 } else { delta })
    }

    /// A stored checksum after the rewrite (RFC 1624, equation 3).
    #[must_use]
    #[inline]
    pub const fn update(self, checksum: u16) -> u16 {
        !add(!checksum, self.0)
    }

    /// A stored pseudo-header sum, which is not complemented, after the rewrite.
    #[must_use]
    pub const fn update_partial(self, sum: u16) -> u16 {
        add(sum, self.0)
    }
}

const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

const fn fold64(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    fold(sum as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn example_of_rfc_1071() {
        let sum = Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.folded(), 0xddf2);
    }

    #[test]
    fn example_of_rfc_1624() {
        assert_eq!(Delta::default().replace(&[0x55, 0x55], &[0x32, 0x85]).update(0xdd2f), 0x0000);
    }

    proptest! {
        #[test]
        fn update_equals_a_new_sum(
            mut bytes in proptest::collection::vec(any::<u8>(), 24..64),
            new in proptest::collection::vec(any::<u8>(), 8),
            at in 0usize..8,
        ) {
            bytes[0] |= 1; // A sum of nothing but zeros has two representations.
            let at = 2 + at * 2;
            let before = Sum::default().bytes(&bytes);
            let delta = Delta::default().replace(&bytes[at..at + 8], &new);
            bytes[at..at + 8].copy_from_slice(&new);
            let after = Sum::default().bytes(&bytes);
            prop_assert_eq!(delta.update(before.complement()) % 0xffff, after.complement() % 0xffff);
            prop_assert_eq!(delta.update_partial(before.folded()) % 0xffff, after.folded() % 0xffff);
        }
    }
}
