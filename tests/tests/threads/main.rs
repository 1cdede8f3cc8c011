// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Real threads on one flow table, on one port of a driver, and on two ports that change together.
//!
//! Each thread takes so many steps, chosen by a seed of its own; each step moves the time. How the
//! steps of different threads mix is up to the machine, so what is checked are invariants: some
//! during the run, the rest when all threads are done.

mod driver;
mod generation;
mod table;

use opte::host::Moment;
use std::sync::atomic::{AtomicU64, Ordering};

/// Time that all threads share and that each of them moves.
struct Clock(AtomicU64);

impl Clock {
    const fn new() -> Self {
        Self(AtomicU64::new(1_000_000))
    }

    /// Moves the time by so many milliseconds.
    fn step(&self, millis: u64) -> Moment {
        Moment::from_millis(self.0.fetch_add(millis, Ordering::Relaxed))
    }
}

/// Numbers that look random (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014).
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % sides
    }

    /// One of these.
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize]
    }
}
