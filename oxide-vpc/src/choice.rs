// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One of several equals, for the whole life of a connection.

/// Bits behind the binary point of a [`distance`].
const FRACTION: u32 = 24;

/// Rendezvous hashing (Thaler and Ravishankar, 1998): taking one choice away moves only the
/// connections that had it. `hash` is keyed and constant for the connection; `name` tells the
/// choices apart.
pub fn choose<T>(choices: &[T], hash: u64, name: impl Fn(&T) -> u64) -> Option<&T> {
    choices.iter().max_by_key(|choice| score(hash, name(choice)))
}

/// The same, by weight: a choice gets its part of the connections, and changing a weight moves
/// connections only from or to that choice. Each choice draws a number that is distributed
/// exponentially by its weight, and the smallest wins (Schindelhauer and Schomaker, 2005).
pub fn choose_by_weight<T>(
    choices: &[T],
    hash: u64,
    name: impl Fn(&T) -> u64,
    weight: impl Fn(&T) -> u16,
) -> Option<&T> {
    let mut best: Option<(&T, u64, u64)> = None;
    for choice in choices {
        let (distance, weight) = (distance(score(hash, name(choice))), weight(choice).into());
        // Compares distance by weight without dividing. Of equals the first is taken.
        if best.is_none_or(|(_, least, its)| distance * its < least * weight) {
            best = Some((choice, distance, weight));
        }
    }
    best.map(|(choice, ..)| choice)
}

fn score(hash: u64, name: u64) -> u64 {
    let product = u128::from(hash ^ name.rotate_left(23))
        * u128::from(name.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    product as u64 ^ (product >> 64) as u64
}

/// The negative binary logarithm of `score` as a fraction of all there are, in fixed point, at
/// most 64: by squaring, one bit for each.
fn distance(score: u64) -> u64 {
    let score = score.max(1);
    let zeros = score.leading_zeros();
    // One point and 63 bits behind it.
    let mut mantissa = score << zeros;
    let mut logarithm = 0;
    for _ in 0..FRACTION {
        let square = u128::from(mantissa) * u128::from(mantissa);
        let carry = (square >> 127) as u64;
        mantissa = (square >> (63 + carry)) as u64;
        logarithm = logarithm << 1 | carry;
    }
    (u64::from(zeros + 1) << FRACTION) - logarithm
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn hashes() -> impl Iterator<Item = u64> {
        (0..4000u64).map(|connection| connection.wrapping_mul(0xd134_2543_de82_ef95))
    }

    #[test]
    fn removal_moves_only_its_own() {
        let all: [u64; 4] = [11, 22, 33, 44];
        let mut seen = [0; 4];
        for hash in hashes() {
            let before = *choose(&all, hash, |name| *name).unwrap();
            let after = *choose(&all[..3], hash, |name| *name).unwrap();
            assert!(before == 44 || before == after);
            seen[all.iter().position(|name| *name == before).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
    }

    #[test]
    fn weights_share_out_and_move_little() {
        let all: [(u64, u16); 4] = [(11, 1), (22, 2), (33, 5), (44, 2)];
        let pick = |all: &[(u64, u16)], hash| {
            choose_by_weight(all, hash, |choice| choice.0, |choice| choice.1).unwrap().0
        };
        let mut heavier = all;
        heavier[0].1 = 10;
        let mut seen = [0u16; 4];
        for hash in hashes() {
            let before = pick(&all, hash);
            let after = pick(&all[..3], hash);
            assert!(before == 44 || before == after);
            let after = pick(&heavier, hash);
            assert!(after == 11 || before == after);
            seen[all.iter().position(|choice| choice.0 == before).unwrap()] += 1;
        }
        for ((_, weight), seen) in all.iter().zip(seen) {
            let fair = 4000 / 10 * weight;
            assert!(seen.abs_diff(fair) < fair / 5, "{weight}: {seen} of {fair}");
        }
        // Equal weights are no weights.
        let names = all.map(|(name, _)| name);
        let weighted = |hash| choose_by_weight(&names, hash, |name| *name, |_| 7);
        let differ: Vec<u64> =
            hashes().filter(|hash| weighted(*hash) != choose(&names, *hash, |n| *n)).collect();
        assert_eq!(differ, []);
        assert_eq!(choose_by_weight(&[0u64; 0], 1, |name| *name, |_| 1), None);
    }

    #[test]
    fn distances_are_logarithms() {
        for (score, expected) in [
            (1 << 63, 1 << FRACTION),
            (1 << 62, 2 << FRACTION),
            (1, 64 << FRACTION),
            (0, 64 << FRACTION),
            // The logarithm of three quarters.
            (3 << 62, 6_963_173),
            (u64::MAX, 1),
        ] {
            assert!(distance(score).abs_diff(expected) <= 1, "{score}: {}", distance(score));
        }
    }
}
