// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Inputs for fuzz targets: seeds, changed at random.

use super::{control, frames, rules, saved, services};
use crate::vectors::json;
use crate::vectors::model::{Action, Scenario};
use std::path::Path;

/// Longest input, in bytes.
const MAX_LEN: usize = 16 << 10;

/// SplitMix64 (Steele et al., 2014): small, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Numbers that depend on `seed` alone.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, or zero.
    pub fn below(&mut self, bound: usize) -> usize {
        self.number() as usize % bound.max(1)
    }
}

/// Inputs to begin with.
#[derive(Clone, Debug)]
pub struct Corpus {
    seeds: Vec<Vec<u8>>,
}

impl Corpus {
    /// The seeds of a target; for frames those of the recorded scenarios in `vectors` as well.
    pub fn of(target: &str, vectors: Option<&Path>) -> Self {
        let mut seeds = match target {
            "control" => control::seeds(),
            "rules" => rules::seeds(),
            "saved" => saved::seeds(),
            "services" => services::seeds(),
            _ => frames::seeds(),
        };
        if let Some(folder) = vectors.filter(|_| target == "frames") {
            seeds.extend(recorded(folder));
        }
        Self { seeds }
    }

    /// Number of seeds.
    pub fn len(&self) -> usize {
        self.seeds.len()
    }

    /// Has none.
    pub fn is_empty(&self) -> bool {
        self.seeds.is_empty()
    }

    /// Some seeds in a row, changed in some places, or nothing but noise.
    pub fn input(&self, rng: &mut Rng) -> Vec<u8> {
        if rng.below(16) == 0 {
            return (0..rng.below(256)).map(|_| rng.number() as u8).collect();
        }
        let mut input = Vec::new();
        for _ in 0..=rng.below(4) {
            if let Some(seed) = self.seeds.get(rng.below(self.seeds.len())) {
                input.extend_from_slice(seed);
            }
        }
        for _ in 0..rng.below(8) {
            self.change(&mut input, rng);
        }
        input.truncate(MAX_LEN);
        input
    }

    fn change(&self, input: &mut Vec<u8>, rng: &mut Rng) {
        let at = rng.below(input.len());
        let Some(byte) = input.get_mut(at) else { return };
        match rng.below(6) {
            0 => *byte ^= 1 << rng.below(8),
            1 => *byte = rng.number() as u8,
            2 => *byte = [0, 1, 0x7f, 0x80, 0xff][rng.below(5)],
            3 => input.truncate(at),
            4 => drop(input.remove(at)),
            _ => input.insert(at, rng.number() as u8),
        }
    }
}

/// The packets of each recorded scenario, as one seed.
fn recorded(folder: &Path) -> Vec<Vec<u8>> {
    let scenarios = json::read_folder(folder).unwrap_or_default();
    let seed = |scenario: &Scenario| {
        let packet = |action: &Action| match action {
            Action::Packet(packet) => frames::steps_of(packet.direction, &packet.bytes),
            _ => Vec::new(),
        };
        scenario.steps.iter().flat_map(|step| packet(&step.action)).collect()
    };
    scenarios.iter().map(seed).collect()
}
