// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Timing in batches, taking turns.
//!
//! A figure is made of several repetitions; each is the median of many batches of 256 packets, so
//! that a batch during which the machine did something else does not count. What is compared
//! takes turns batch by batch, so that all of it sees the same machine.

use std::time::{Duration, Instant};

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

    /// Fewer batches, where a batch takes long.
    pub const fn shorter(self, divisor: usize) -> Self {
        Self { repetitions: self.repetitions, batches: self.batches.div_ceil(divisor) }
    }
}

/// Nanoseconds for each packet: least, middle and greatest of the repetitions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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

/// The time that `f` takes.
pub fn timed(f: impl FnOnce()) -> Duration {
    let start = Instant::now();
    f();
    start.elapsed()
}

/// Figures of contenders that take turns.
pub fn compare<const N: usize>(plan: Plan, contenders: [Contender<'_>; N]) -> [Figure; N] {
    let mut contenders = contenders;
    for contender in &mut contenders {
        // Caches, branch predictors, lazily made memory.
        for _ in 0..plan.batches.div_ceil(10) {
            contender();
        }
    }
    let mut medians = [const { Vec::new() }; N];
    for _ in 0..plan.repetitions {
        let mut times = [const { Vec::new() }; N];
        for _ in 0..plan.batches {
            for (contender, times) in contenders.iter_mut().zip(&mut times) {
                times.push(contender().as_nanos() as f64 / BATCH as f64);
            }
        }
        for (times, medians) in times.into_iter().zip(&mut medians) {
            medians.push(median(times));
        }
    }
    medians.map(|medians| Figure {
        min: medians.iter().copied().fold(f64::INFINITY, f64::min),
        max: medians.iter().copied().fold(0.0, f64::max),
        median: median(medians),
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
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
        // One batch to warm up, then batches 2 to 6, 7 to 11 and 12 to 16.
        assert_eq!((a, first, second), (Figure { min: 4.0, median: 9.0, max: 14.0 }, 16, 16));
        assert_eq!(b, Figure { min: 50.0, median: 50.0, max: 50.0 });
    }

    #[test]
    fn dice_reach_everything_below_the_limit() {
        let mut dice = Dice::new(1);
        let mut seen = [false; 10];
        (0..200).for_each(|_| seen[dice.below(10)] = true);
        assert_eq!(seen, [true; 10]);
    }
}
