// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! When to look at a flow again: timer wheels, each behind its own lock.
//!
//! Whoever sets or takes out the time of a number holds the lock of a shard that the number's flow
//! is in, so that the number cannot go to another flow meanwhile.

use crate::host::{Host, Lock, Moment};
use crate::wheel::{Link, Links, Wheel};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

/// Links that are made together.
const CHUNK: usize = 128;
/// Wheels of a large table.
const WHEELS: u32 = 8;
/// Flows of a table that has more than one wheel.
const LARGE: u32 = 4096;

/// Timer ticks of 64 ms: fine enough for limits of seconds.
const fn tick(moment: Moment) -> u64 {
    moment.as_millis() >> 6
}

/// Links by number. A vector of them would be copied when it grows.
#[derive(Default)]
struct Chunks(Vec<Box<[Link]>>);

impl Chunks {
    fn make_room(&mut self, id: u32) {
        while self.0.len() <= id as usize / CHUNK {
            // Made where it stays: on the way there it would take 3 KiB of a kernel's stack.
            self.0.push((0..CHUNK).map(|_| Link::default()).collect());
        }
    }
}

impl Links for Chunks {
    fn get(&self, id: u32) -> Option<Link> {
        self.0.get(id as usize / CHUNK)?.get(id as usize % CHUNK).copied()
    }

    fn set(&mut self, id: u32, link: Link) {
        let chunk = self.0.get_mut(id as usize / CHUNK);
        if let Some(place) = chunk.and_then(|chunk| chunk.get_mut(id as usize % CHUNK)) {
            *place = link;
        }
    }
}

#[derive(Default)]
struct Timed {
    wheel: Box<Wheel>,
    links: Chunks,
}

/// Times of all flows of a table, by their numbers.
pub struct Timers<H: Host> {
    wheels: Box<[H::Lock<Timed>]>,
    /// No time comes before this tick: so there is nothing to look for in a table that is idle.
    quiet_until: AtomicU64,
}

/// How much is done at once to look for flows that have been idle for too long. A packet that
/// comes meanwhile waits for as long as that takes.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Flows that are looked at.
    pub looks: u32,
    /// Flows that are filed anew as their time comes nearer.
    pub moves: u32,
}

impl Budget {
    /// No end.
    pub const ALL: Self = Self { looks: u32::MAX, moves: u32::MAX };

    /// Nothing is left.
    pub const fn is_spent(&self) -> bool {
        self.looks == 0 || self.moves == 0
    }
}

impl<H: Host> Timers<H> {
    /// Timers of a table of `limit` flows.
    pub fn new(limit: u32) -> Self {
        let wheels = if limit < LARGE { 1 } else { WHEELS };
        Self {
            wheels: (0..wheels).map(|_| Self::wheel()).collect(),
            quiet_until: AtomicU64::new(u64::MAX),
        }
    }

    /// One of them. Apart, since it is large and a kernel's stack is short.
    #[inline(never)]
    fn wheel() -> H::Lock<Timed> {
        H::Lock::new(Timed::default())
    }

    /// How many wheels there are.
    pub fn wheels(&self) -> u32 {
        self.wheels.len() as u32
    }

    /// Runs `f` with the wheel of `number`, and its name there.
    fn with<R>(&self, number: u32, f: impl FnOnce(&mut Timed, u32) -> R) -> Option<R> {
        let wheels = self.wheels();
        let wheel = self.wheels.get((number % wheels) as usize)?;
        Some(wheel.with(|timed| f(timed, number / wheels)))
    }

    /// Sets when to look at `number`.
    pub fn schedule(&self, number: u32, at: Moment) {
        self.with(number, |Timed { wheel, links }, id| {
            links.make_room(id);
            // Rounded up: a flow is never looked at before its time.
            wheel.insert(links, id, tick(at) + 1);
        });
        self.wake(tick(at) + 1);
    }

    /// The same, behind all whose time is about the same.
    pub fn defer(&self, number: u32, at: Moment) {
        self.cancel(number);
        self.schedule(number, at);
    }

    /// Forgets `number`.
    pub fn cancel(&self, number: u32) {
        self.with(number, |Timed { wheel, links }, id| wheel.remove(links, id));
    }

    /// No time comes before later.
    pub fn is_quiet(&self, now: Moment) -> bool {
        tick(now) < self.quiet_until.load(Ordering::Relaxed)
    }

    /// There is something to look for at `tick`.
    fn wake(&self, tick: u64) {
        if tick < self.quiet_until.load(Ordering::Relaxed) {
            self.quiet_until.fetch_min(tick, Ordering::Relaxed);
        }
    }

    /// Takes out numbers whose time has come and gives them to `f`, as far as `budget` goes. True
    /// if there may be more.
    pub fn poll(&self, now: Moment, budget: &mut Budget, mut f: impl FnMut(u32)) -> bool {
        if self.is_quiet(now) {
            return false;
        }
        // Who sets a time from here on lowers it again.
        self.quiet_until.store(u64::MAX, Ordering::Relaxed);
        for (wheel, timed) in (0..).zip(&self.wheels) {
            loop {
                if budget.is_spent() {
                    self.wake(0);
                    return true;
                }
                let (id, quiet_until) = timed.with(|Timed { wheel, links }| {
                    let id = wheel.poll_some(links, tick(now), &mut budget.moves);
                    (id, wheel.quiet_until())
                });
                match id {
                    Some(id) => {
                        budget.looks -= 1;
                        f(id * self.wheels() + wheel);
                    }
                    None if budget.moves == 0 => {}
                    None => {
                        self.wake(quiet_until.unwrap_or(u64::MAX));
                        break;
                    }
                }
            }
        }
        false
    }

    /// About the number whose time comes next, of one wheel.
    pub fn soonest(&self, wheel: u32) -> Option<u32> {
        let timed = self.wheels.get(wheel as usize)?;
        let id = timed.with(|Timed { wheel, links }| wheel.soonest(links))?;
        Some(id * self.wheels() + wheel)
    }
}
