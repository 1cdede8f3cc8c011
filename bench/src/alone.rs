// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Times of single things, without those during which the processor was taken away.
//!
//! A thread that has to make room for another one waits for milliseconds, which would be all
//! that is seen of the greatest times on a machine that does other work. The kernel counts how
//! often that happened to a thread, so such times are left out, and their share is told. What is
//! left are waits of the program's own making: its work, its locks.

use crate::measure::Distribution;
use nix::sys::resource::{UsageWho, getrusage};
use std::time::{Duration, Instant};

/// One thing that was timed.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    start: Instant,
    /// How long it took.
    pub time: Duration,
    /// The processor was taken away meanwhile.
    pub disturbed: bool,
}

/// How often this thread had to make room for another one.
fn preemptions() -> i64 {
    // It cannot fail for the calling thread; if it did, nothing would be left out.
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

/// Times `f`.
#[inline]
pub fn time(f: impl FnOnce()) -> Sample {
    let before = preemptions();
    let start = Instant::now();
    f();
    let time = start.elapsed();
    Sample { start, time, disturbed: before != preemptions() }
}

impl Sample {
    /// Two things, one after the other, as one.
    #[must_use]
    pub fn after(self, before: Self) -> Self {
        let time = before.time + self.time;
        Self { start: before.start, time, disturbed: before.disturbed || self.disturbed }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start < other.start + other.time && other.start < self.start + self.time
    }
}

/// The distribution of undisturbed times, and the share that was left out. What happened during
/// a disturbed one of `others` is disturbed as well: it may have waited for that.
pub fn distribution(samples: &[Sample], others: &[Sample]) -> (Distribution, f64) {
    let others: Vec<&Sample> = others.iter().filter(|other| other.disturbed).collect();
    let good =
        |sample: &&Sample| !sample.disturbed && !others.iter().any(|other| sample.overlaps(other));
    let nanos = |sample: &Sample| sample.time.as_nanos().try_into().unwrap_or(u32::MAX);
    let times: Vec<u32> = samples.iter().filter(good).map(nanos).collect();
    let left_out = samples.len() - times.len();
    (Distribution::of(times), left_out as f64 / samples.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_disturbed_is_left_out_and_what_waited_for_it() {
        let begin = Instant::now();
        let sample = |start: u64, time: u64, disturbed| Sample {
            start: begin + Duration::from_nanos(start),
            time: Duration::from_nanos(time),
            disturbed,
        };
        let samples = [
            sample(0, 10, false),
            sample(20, 500, true),
            sample(100, 300, false),
            sample(500, 20, false),
        ];
        let others = [sample(0, 90, false), sample(200, 100, true)];
        let (of, left_out) = distribution(&samples, &others);
        assert_eq!((of.p50, of.max, left_out), (20.0, 20.0, 0.5));
        let both = samples[3].after(samples[1]);
        assert!(both.disturbed && both.time == Duration::from_nanos(520));
    }
}
