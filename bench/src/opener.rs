// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Connections that are opened for ever, and expire as time goes on.
//!
//! The clock moves with the connections: as many as shall be alive are opened while one lives
//! without packets. So their number stays the same, their memory is used again and again, and
//! nothing but the driver's own upkeep takes them out.

use crate::buffer::Buffer;
use crate::flows::Traffic;
use crate::measure::BATCH;
use crate::packet::Stage;
use crate::path::pass;
use crate::world::{IDLE, World};
use opte::port::Batch;
use opte_api::Direction;
use xde::host::Moment;

/// How often a host calls [`xde::Driver::poll`], in milliseconds.
pub const POLL_EVERY: u64 = 250;

/// Opens connections of one guest.
pub struct Opener<'a> {
    world: &'a World,
    traffic: Traffic,
    next: usize,
    clock: Clock,
    /// First packets of connections that there have not been yet.
    pub frames: Vec<Buffer>,
}

/// Time that passes with each connection.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    micros: u64,
    polled: u64,
    pace: u64,
}

impl Clock {
    /// A clock by which `live` connections are opened while one of them lives.
    pub fn new(start: Moment, live: usize) -> Self {
        let micros = start.as_millis() * 1000;
        Self { micros, polled: micros, pace: IDLE * 1000 / live.max(1) as u64 }
    }

    /// The time.
    pub const fn now(self) -> Moment {
        Moment::from_millis(self.micros / 1000)
    }

    /// Lets so many connections be opened, but no more time pass than all of them live.
    pub fn opened(&mut self, count: usize) {
        self.micros += (self.pace * count as u64).min((IDLE + 1000) * 1000);
    }

    /// It is time to call [`xde::Driver::poll`]. Said once.
    pub fn is_poll_due(&mut self) -> bool {
        let due = self.micros - self.polled >= POLL_EVERY * 1000;
        if due {
            self.polled = self.micros;
        }
        due
    }
}

impl<'a> Opener<'a> {
    /// Opens connections until `live` of them are alive, and keeps to this number.
    pub fn new(world: &'a World, traffic: Traffic, live: usize) -> Self {
        let clock = Clock::new(world.now, live);
        let frames = vec![Buffer::default(); BATCH];
        let mut opener = Self { world, traffic, next: 0, clock, frames };
        while opener.next < live {
            opener.fill();
            opener.open();
            opener.end();
        }
        opener
    }

    /// Makes packets for the next batch.
    pub fn fill(&mut self) {
        let mut bytes = Vec::new();
        for (index, frame) in (self.next..).zip(&mut self.frames) {
            bytes.clear();
            self.traffic.write_out(index, Stage::Syn, &mut bytes);
            frame.fill(&bytes);
        }
        self.next += BATCH;
    }

    /// The time.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Opens the connections of a batch.
    #[inline]
    pub fn open(&mut self) {
        let mut batch = Batch::default();
        let port = &self.world.devices[self.traffic.guest].port;
        let policy = port.policy();
        for frame in &mut self.frames {
            assert!(pass(port, &policy, self.clock.now(), Direction::Out, frame, &mut batch));
        }
        let side = *batch.tally.side(Direction::Out);
        assert_eq!((side.hits, side.misses), (0, self.frames.len() as u64));
    }

    /// Lets time go on, and has the driver remove what is too old.
    pub fn end(&mut self) {
        self.clock.opened(BATCH);
        if self.clock.is_poll_due() {
            self.world.driver.poll(self.clock.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_with_connections() {
        let mut clock = Clock::new(Moment::from_millis(1000), 60_000);
        clock.opened(249);
        assert!(!clock.is_poll_due());
        clock.opened(1);
        assert!(clock.is_poll_due() && !clock.is_poll_due());
        assert_eq!(clock.now(), Moment::from_millis(1250));
        let mut lonely = Clock::new(Moment::from_millis(0), 0);
        lonely.opened(BATCH);
        assert_eq!(lonely.now(), Moment::from_millis(IDLE + 1000));
    }
}
