// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How long to look for work before going to sleep.
//!
//! To be woken costs more than a packet does, above all on another processor. So while work
//! comes in quick succession, a worker stays awake between two pieces of it, and lets others run
//! meanwhile; once it comes late, the worker sleeps at once. The idea is that of the kernel's halt
//! polling for virtual machines (`Documentation/virt/kvm/halt-polling.rst`).

use crate::poller::Poller;
use std::io;
use std::time::{Duration, Instant};

/// What is added to the last wait, so that the next may be somewhat longer.
const MARGIN: Duration = Duration::from_micros(10);

/// Decides how long to stay awake.
#[derive(Clone, Copy, Debug)]
pub struct Vigil {
    most: Duration,
    window: Duration,
}

impl Vigil {
    /// Stays awake no longer than `most`.
    pub fn new(most: Duration) -> Self {
        Self { most, window: Duration::ZERO }
    }

    /// How long to stay awake now.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// Work came after a wait, awake or asleep.
    pub fn came_after(&mut self, wait: Duration) {
        self.window = if wait <= self.most {
            self.window.max(2 * wait + MARGIN).min(self.most)
        } else {
            self.window / 4
        };
    }
}

/// Waits for work, again and again.
#[derive(Debug)]
pub struct Rounds {
    vigil: Vigil,
    now: Instant,
}

impl Rounds {
    /// Stays awake no longer than `most` between two pieces of work.
    pub fn new(most: Duration) -> Self {
        Self { vigil: Vigil::new(most), now: Instant::now() }
    }

    /// Waits until there is work, whose tokens are put into `ready`, or it is later than `until`;
    /// answers the time now.
    pub fn wait(
        &mut self,
        poller: &mut Poller,
        until: Instant,
        ready: &mut Vec<u64>,
    ) -> io::Result<Instant> {
        poller.wait(Duration::ZERO, ready)?;
        self.now = Instant::now();
        let since = self.now;
        while ready.is_empty() {
            if self.now - since < self.vigil.window() {
                // Who would send us something may be waiting for this processor.
                rustix::thread::sched_yield();
                poller.wait(Duration::ZERO, ready)?;
            } else if self.now < until {
                poller.wait(until - self.now, ready)?;
            } else {
                break;
            }
            self.now = Instant::now();
        }
        if self.now > since {
            self.vigil.came_after(self.now - since);
        }
        Ok(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poller::Waker;

    const fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn stays_awake_only_while_work_comes_soon() {
        let mut vigil = Vigil::new(us(100));
        assert_eq!(vigil.window(), us(0));
        vigil.came_after(us(1_000_000));
        assert_eq!(vigil.window(), us(0));
        vigil.came_after(us(30));
        assert_eq!(vigil.window(), us(70));
        vigil.came_after(us(1));
        assert_eq!(vigil.window(), us(70));
        vigil.came_after(us(100));
        assert_eq!(vigil.window(), us(100));
        (0..20).for_each(|_| vigil.came_after(us(101)));
        assert!(vigil.window() < us(1));
    }

    #[test]
    fn without_allowance_it_never_stays_awake() {
        let mut vigil = Vigil::new(us(0));
        vigil.came_after(us(0));
        assert_eq!(vigil.window(), us(0));
    }

    #[test]
    fn waits_end_with_work_or_with_the_time() {
        let mut poller = Poller::new().unwrap();
        let waker = Waker::new().unwrap();
        poller.add(&waker, 7).unwrap();
        let mut rounds = Rounds::new(us(100));
        let mut ready = Vec::new();
        rounds.wait(&mut poller, Instant::now(), &mut ready).unwrap();
        assert_eq!(ready, [0; 0]);
        waker.wake().unwrap();
        let now = rounds.wait(&mut poller, Instant::now() + us(60_000_000), &mut ready).unwrap();
        assert_eq!(ready, [7]);
        assert!(now <= Instant::now());
    }
}
