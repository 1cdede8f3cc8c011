// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The loop that moves packets: a thread, woken when frames wait, that works in bursts.
//!
//! Frames of a burst go through the engine together and leave together. There may be several
//! workers: each has its own queue of every port and its own socket of the underlay, and the kernel
//! keeps a flow on one of them. Nothing on this thread
//! waits for anything but frames: devices and sockets are made on other threads and handed over by
//! a [`Remote`](crate::crew::Remote), and whatever the kernel does not take at once is dropped and counted.

use crate::counters::Counters;
use crate::crew::{Command, Order, Orders};
use crate::engine::Engine;
use crate::host::Clock;
use crate::packet::{Landings, Packet, Pool};
use crate::poller::Poller;
use crate::underlay::Underlay;
use crate::vigil::Rounds;
use crate::way_out::{Port, WayOut};
use opte::host::Moment;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use xde::host::PortId;

/// Time between rounds of [`Engine::upkeep`].
const TICK: Duration = Duration::from_millis(250);

const TOKEN_ORDERS: u64 = u64::MAX;
const TOKEN_STOP: u64 = u64::MAX - 1;
const TOKEN_UNDERLAY: u64 = u64::MAX - 2;

/// How a worker goes about its work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// Frames of a port that are taken together.
    pub burst: usize,
    /// How long to look for more work before going to sleep, at most.
    pub spin: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { burst: 64, spin: Duration::from_micros(100) }
    }
}

/// Places for frames that arrive together.
const PLACES: usize = 64;

/// Moves packets between ports and the underlay.
pub struct Worker<E> {
    engine: Arc<E>,
    clock: Clock,
    pace: Pace,
    poller: Poller,
    orders: Orders,
    way_out: WayOut,
    underlay: Option<Box<dyn Underlay>>,
    landings: Landings,
    frames: Vec<Packet>,
}

impl<E: Engine> Worker<E> {
    /// A worker without ports and underlay. It belongs to the thread that runs it.
    pub fn new(
        orders: Orders,
        engine: Arc<E>,
        clock: Clock,
        pace: Pace,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&orders, TOKEN_ORDERS)?;
        let pool = Pool::default();
        let way_out = WayOut::new(pool.clone(), counters);
        let (landings, frames) = (Landings::new(&pool, PLACES), Vec::new());
        Ok(Self { engine, clock, pace, poller, orders, way_out, underlay: None, landings, frames })
    }

    /// Moves packets until `stop` can be read.
    pub fn run(&mut self, stop: &impl AsFd) -> io::Result<()> {
        self.poller.add(stop, TOKEN_STOP)?;
        let mut ready = Vec::new();
        let mut rounds = Rounds::new(self.pace.spin);
        let mut next_tick = Instant::now() + TICK;
        loop {
            let now = rounds.wait(&mut self.poller, next_tick, &mut ready)?;
            if now >= next_tick {
                let more = self.engine.upkeep(self.clock.at(now));
                next_tick = if more { now } else { now + TICK };
            }
            for token in &ready {
                match *token {
                    TOKEN_STOP => return Ok(()),
                    TOKEN_ORDERS => self.carry_out_orders(),
                    TOKEN_UNDERLAY => self.underlay_ready(self.clock.at(now)),
                    port => self.port_ready(PortId(port as u32), self.clock.at(now)),
                }
            }
        }
    }

    fn port_ready(&mut self, port: PortId, now: Moment) {
        let Some(source) = self.way_out.ports.get_mut(&port) else { return };
        let (burst, counters) = (self.pace.burst, &self.way_out.counters);
        let read = source.queue.read(burst, &mut self.landings, &mut self.frames, counters);
        self.engine.guest_frames(port, &mut self.frames, now, &mut self.way_out);
        self.frames.clear();
        self.flush();
        if let Err(error) = read {
            let number = port.0;
            tracing::error!("device of port number {number} is lost, the port is dead: {error}");
            self.forget(port);
        }
    }

    fn underlay_ready(&mut self, now: Moment) {
        let Some(underlay) = &mut self.underlay else { return };
        let (engine, way_out) = (&self.engine, &mut self.way_out);
        let counters = way_out.counters.clone();
        underlay.receive(&mut self.landings, &counters, &mut |shape, frames| {
            engine.underlay_frames(shape, frames, now, way_out);
        });
        self.flush();
    }

    /// Closes a port's device, if it is still there.
    fn forget(&mut self, port: PortId) {
        if let Some(gone) = self.way_out.ports.remove(&port) {
            // Closing it takes it out, too, unless somebody else has it open.
            let _ = self.poller.remove(&gone.queue.readable());
        }
    }

    fn flush(&mut self) {
        if let Some(underlay) = &mut self.underlay
            && !self.way_out.outbox.is_empty()
        {
            underlay.send(&mut self.way_out.outbox, &self.way_out.counters);
            self.way_out.outbox.set_largest(underlay.largest());
        }
        self.way_out.flush_ports();
    }

    fn carry_out_orders(&mut self) {
        while let Some(Order { command, done }) = self.orders.next() {
            // Who gave the order may have lost patience.
            let _ = done.send(self.carry_out(command));
        }
    }

    fn carry_out(&mut self, command: Command) -> io::Result<()> {
        match command {
            Command::AddPort(port, queue) => {
                self.poller.add(&queue.readable(), port.0.into())?;
                self.way_out.ports.insert(port, Port { queue, frames: Vec::new() });
            }
            Command::RemovePort(port) => {
                self.forget(port);
            }
            Command::SetUnderlay(underlay) => {
                self.poller.add(&underlay.readable(), TOKEN_UNDERLAY)?;
                self.way_out.outbox.set_largest(underlay.largest());
                self.underlay = Some(underlay);
            }
            Command::ClearUnderlay => {
                if let Some(underlay) = self.underlay.take() {
                    self.poller.remove(&underlay.readable())?;
                }
            }
        }
        self.way_out.has_underlay = self.underlay.is_some();
        Ok(())
    }
}
