// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One of several equals, for the whole life of a connection.

/// Rendezvous hashing (Thaler and Ravishankar, 1998): taking one choice away moves only the
/// connections that had it. `hash` is keyed and constant for the connection; `name` tells the
/// choices apart.
pub fn choose<T>(choices: &[T], hash: u64, name: impl Fn(&T) -> u64) -> Option<&T> {
    choices.iter().max_by_key(|choice| weight(hash, name(choice)))
}

fn weight(hash: u64, name: u64) -> u64 {
    let product = u128::from(hash ^ name.rotate_left(23))
        * u128::from(name.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_moves_only_its_own() {
        let all: [u64; 4] = [11, 22, 33, 44];
        let mut seen = [0; 4];
        for connection in 0..4000u64 {
            let hash = connection.wrapping_mul(0xd134_2543_de82_ef95);
            let before = *choose(&all, hash, |name| *name).unwrap();
            let after = *choose(&all[..3], hash, |name| *name).unwrap();
            assert!(before == 44 || before == after);
            seen[all.iter().position(|name| *name == before).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
    }
}
