// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One's-complement sums of payloads.
//!
//! [`opte::checksum::Sum`] is made for headers. A payload is long, and it is summed once for each
//! segment that leaves or arrives, so here it goes four bytes at a time: as the sum does not
//! depend on the order of bytes (RFC 1071, section 2), these are added as they lie in memory.

use crate::sys::wide;
use opte::checksum::Sum;

/// The sum of `bytes` in network order; an odd last byte is padded with zero.
pub fn of(bytes: &[u8]) -> Sum {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum = wide::sum(words);
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    sum += u64::from(u32::from_ne_bytes(last));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    Sum::default().word((sum as u16).to_be())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_the_plain_sum(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(of(&bytes), Sum::default().bytes(&bytes));
        }
    }

    #[test]
    fn folds_the_largest_sum() {
        let bytes = vec![0xff; 66 * 1024];
        assert_eq!(of(&bytes).folded(), 0xffff);
    }
}
