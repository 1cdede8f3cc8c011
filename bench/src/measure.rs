// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Timing in batches, taking turns.
//!
//! A figure is made of several repetitions; each is the median of many batches of 256 packets, so
//! that a batch during which the machine did something else does not count. What is compared
//! takes turns, one repetition each, so that all of it sees the same machine. Every turn begins
//! with batches that do not count: they bring its own memory back into the caches.

use crate::alone;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Packets of one batch.
pub const BATCH: usize = 256;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Medians that make a figure.
    pub repetitions: usize,
    /// Batches that make a median.
    pub batches: usize,
}

impl Plan {
    /// The usual plan.
    pub const FULL: Self = Self { repetitions: 9, batches: 200 };
    /// Just to see that everything runs.
    pub const SMOKE: Self = Self { repetitions: 1, batches: 2 };

    /// More than a look whether everything runs.
    pub const fn is_full(self) -> bool {
        self.repetitions > 1
    }

    /// `full`, or `smoke` where it is only to be seen that everything runs.
    pub const fn choose<T: Copy>(self, full: T, smoke: T) -> T {
        if self.is_full() { full } else { smoke }
    }

    /// Fewer batches, where a batch takes long.
    pub const fn shorter(self, divisor: usize) -> Self {
        Self { repetitions: self.repetitions, batches: self.batches.div_ceil(divisor) }
    }
}

/// Least, middle and greatest of the repetitions: nanoseconds for each packet, unless told
/// otherwise.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Figure {
    /// The least.
    pub min: f64,
    /// The middle.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

/// Something that handles a batch of [`BATCH`] packets: makes it ready, and answers how long the
/// handling alone took.
pub type Contender<'a> = &'a mut dyn FnMut() -> Duration;

/// The time that `f` takes (see [`crate::alone`]).
#[inline]
pub fn timed(f: impl FnOnce()) -> Duration {
    alone::time(f).time
}

impl Figure {
    /// The figure of these values.
    pub fn of(values: Vec<f64>) -> Self {
        Self {
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(0.0, f64::max),
            median: median(values),
        }
    }
}

/// Figures of contenders that take turns.
pub fn compare<const N: usize>(plan: Plan, contenders: [Contender<'_>; N]) -> [Figure; N] {
    let mut contenders = contenders;
    let mut medians = [const { Vec::new() }; N];
    for _ in 0..plan.repetitions {
        for (contender, medians) in contenders.iter_mut().zip(&mut medians) {
            for _ in 0..plan.batches.div_ceil(2) {
                contender();
            }
            let times = (0..plan.batches).map(|_| contender().as_nanos() as f64 / BATCH as f64);
            medians.push(median(times.collect()));
        }
    }
    medians.map(Figure::of)
}

/// The middle of some values, zero if there are none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// How times are distributed, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Half of them are below.
    pub p50: f64,
    /// One of 100 is above.
    pub p99: f64,
    /// One of 10 000 is above.
    pub p9999: f64,
    /// The greatest.
    pub max: f64,
}

impl Distribution {
    /// The distribution of these times.
    pub fn of(mut times: Vec<u32>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            times.get(index.min(times.len().saturating_sub(1))).copied().map_or(0.0, f64::from)
        };
        Self { p50: at(0.5), p99: at(0.99), p9999: at(0.9999), max: at(1.0) }
    }
}

/// Numbers that look random and are the same in each run (a linear congruence by Knuth, of which
/// the high half is used).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that give what `seed` decides.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 32) as usize * limit) >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_take_turns_and_keep_their_own_times() {
        let plan = Plan { repetitions: 3, batches: 5 };
        let (mut first, mut second) = (0, 0);
        let [a, b] = compare(
            plan,
            [
                &mut || {
                    first += 1;
                    Duration::from_nanos(BATCH as u64 * first)
                },
                &mut || {
                    second += 1;
                    Duration::from_nanos(BATCH as u64 * 50)
                },
            ],
        );
        // Three batches to warm up, then 4 to 8; so again: 12 to 16, 20 to 24.
        assert_eq!((a, first, second), (Figure { min: 6.0, median: 14.0, max: 22.0 }, 24, 24));
        assert_eq!(b, Figure { min: 50.0, median: 50.0, max: 50.0 });
    }

    #[test]
    fn a_distribution_has_its_tail() {
        let of = Distribution::of((1..=20_000).rev().collect());
        let expected = Distribution { p50: 10_001.0, p99: 19_801.0, p9999: 19_999.0, max: 2e4 };
        assert_eq!(of, expected);
        assert_eq!(Distribution::of(Vec::new()), Distribution::default());
    }

    #[test]
    fn dice_reach_everything_below_the_limit() {
        let mut dice = Dice::new(1);
        let mut seen = [false; 10];
        (0..200).for_each(|_| seen[dice.below(10)] = true);
        assert_eq!(seen, [true; 10]);
    }
}
