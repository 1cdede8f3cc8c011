// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How many answers are sent (RFC 4443, section 2.4 f; RFC 1812, section 4.3.2.8).

use crate::host::Moment;

/// How many answers may be sent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Rate {
    /// In each second, in the long run. Zero: none at all.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

impl Rate {
    /// None at all.
    pub const NONE: Self = Self { per_second: 0, burst: 0 };
}

impl Default for Rate {
    /// As RFC 4443, section 2.4 f, has in mind for a router with fast links.
    fn default() -> Self {
        Self { per_second: 1000, burst: 50 }
    }
}

/// A token bucket. It has no clock: who asks says when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// Tokens that are missing, in thousandths: each millisecond brings one thousandth for each
    /// answer that a second allows.
    missing: u64,
    filled: Moment,
}

impl Bucket {
    const ONE: u64 = 1000;

    /// Nothing is missing at `now`: it is as if nothing had been sent.
    pub fn is_full(&self, rate: Rate, now: Moment) -> bool {
        self.missing <= self.earned(rate, now)
    }

    fn earned(&self, rate: Rate, now: Moment) -> u64 {
        now.since(self.filled).saturating_mul(rate.per_second.into())
    }

    /// Whether one more may be sent at `now`; if so, it counts as sent.
    pub fn take(&mut self, rate: Rate, now: Moment) -> bool {
        let earned = self.earned(rate, now);
        self.filled = self.filled.max(now);
        self.missing = self.missing.saturating_sub(earned);
        let room = u64::from(rate.burst) * Self::ONE;
        let after = self.missing.saturating_add(Self::ONE);
        if after > room {
            return false;
        }
        self.missing = after;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let (rate, mut bucket) = (Rate::default(), Bucket::default());
        let mut take = |at| (0..100).filter(|_| bucket.take(rate, Moment::from_millis(at))).count();
        assert_eq!(take(5), 50);
        assert_eq!(take(5), 0);
        assert_eq!(take(15), 10);
        assert_eq!(take(4), 0, "time never earns twice");
        assert_eq!(take(u64::MAX), 50);
    }

    #[test]
    fn what_was_sent_is_forgotten_with_time() {
        let (rate, mut bucket) = (Rate { per_second: 2, burst: 3 }, Bucket::default());
        let now = Moment::from_millis(9);
        assert!(bucket.is_full(rate, now));
        assert!(bucket.take(rate, now) && bucket.take(rate, now));
        assert!(!bucket.is_full(rate, now.plus_millis(999)));
        assert!(bucket.is_full(rate, now.plus_millis(1000)));
    }

    #[test]
    fn a_rate_of_none_sends_none() {
        let mut bucket = Bucket::default();
        assert!((0..9).all(|at| !bucket.take(Rate::NONE, Moment::from_millis(at * 1_000_000))));
    }

    #[test]
    fn a_lower_rate_counts_what_was_sent_before() {
        let mut bucket = Bucket::default();
        let now = Moment::from_millis(1);
        (0..50).for_each(|_| assert!(bucket.take(Rate::default(), now)));
        let low = Rate { per_second: 1, burst: 10 };
        assert!(!bucket.take(low, now));
        assert!(!bucket.take(low, now.plus_millis(40_000)));
        assert!(bucket.take(low, now.plus_millis(41_000)));
    }
}
