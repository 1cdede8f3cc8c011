// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Times of things, as if the machine did nothing else.
//!
//! A thread that has to make room for another one waits for milliseconds, which would be most of
//! what is seen on a machine that does other work. The kernel counts how often that happened to a
//! thread; where it did, the time that the thread had the processor stands for the time that
//! passed. Waits of the program's own making (its work, its locks) are seen as they are.

use crate::measure::Distribution;
use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// One thing that was timed.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    start: Instant,
    /// How long it took; without what other programs took, if it was disturbed.
    pub time: Duration,
    passed: Duration,
    /// The processor was taken away meanwhile.
    pub disturbed: bool,
}

/// How often this thread had to make room for another one.
pub fn preemptions() -> i64 {
    // It cannot fail for the calling thread; if it did, nothing would look disturbed.
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

/// How long this thread had a processor.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Times `f`.
#[inline]
pub fn time(f: impl FnOnce()) -> Sample {
    let (used, preempted) = (processor_time(), preemptions());
    let start = Instant::now();
    f();
    let passed = start.elapsed();
    let disturbed = preempted != preemptions();
    let time = if disturbed { passed.min(processor_time() - used) } else { passed };
    Sample { start, time, passed, disturbed }
}

impl Sample {
    /// Two things, one after the other, as one.
    #[must_use]
    pub fn after(self, before: Self) -> Self {
        Self {
            start: before.start,
            time: before.time + self.time,
            passed: before.passed + self.passed,
            disturbed: before.disturbed || self.disturbed,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start < other.start + other.passed && other.start < self.start + self.passed
    }
}

/// The distribution of times, and the share that was left out: what happened during a disturbed
/// one of `others`, for it may have waited for that.
pub fn distribution(samples: &[Sample], others: &[Sample]) -> (Distribution, f64) {
    let others: Vec<&Sample> = others.iter().filter(|other| other.disturbed).collect();
    let good = |sample: &&Sample| !others.iter().any(|other| sample.overlaps(other));
    let nanos = |sample: &Sample| sample.time.as_nanos().try_into().unwrap_or(u32::MAX);
    let times: Vec<u32> = samples.iter().filter(good).map(nanos).collect();
    let left_out = samples.len() - times.len();
    (Distribution::of(times), left_out as f64 / samples.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_for_something_disturbed_is_left_out() {
        let begin = Instant::now();
        let sample = |start: u64, time: u64, disturbed| Sample {
            start: begin + Duration::from_nanos(start),
            time: Duration::from_nanos(time),
            passed: Duration::from_nanos(time),
            disturbed,
        };
        let samples = [sample(0, 10, false), sample(100, 300, false), sample(500, 20, true)];
        let others = [sample(0, 90, false), sample(200, 100, true)];
        let (of, left_out) = distribution(&samples, &others);
        assert_eq!((of.p50, of.max, left_out), (20.0, 20.0, 1.0 / 3.0));
        let both = samples[2].after(samples[1]);
        assert!(both.disturbed && both.time == Duration::from_nanos(320));
    }
}
