// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The loop that moves packets: one thread, woken when frames wait, in bursts.
//!
//! Frames of a burst go through the engine together and leave together. Nothing on this thread
//! waits for anything but frames: devices and sockets are made on other threads and handed over by
//! a [`Remote`], and whatever the kernel does not take at once is dropped and counted.

use crate::counters::{Counter, Counters};
use crate::engine::Engine;
use crate::host::Clock;
use crate::outbox::Outbox;
use crate::packet::{Packet, Pool};
use crate::poller::{Poller, Waker};
use crate::tap::Tap;
use crate::underlay::Underlay;
use opte::frame::Rewrite;
use opte::host::Moment;
use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};
use xde::host::{Egress, PortId};

/// Time between calls of [`Engine::poll`].
const TICK: Duration = Duration::from_millis(250);
/// Longest wait of a [`Remote`] for an order to be carried out: between two bursts.
const ORDER_PATIENCE: Duration = Duration::from_secs(2);

const TOKEN_ORDERS: u64 = u64::MAX;
const TOKEN_STOP: u64 = u64::MAX - 1;
const TOKEN_UNDERLAY: u64 = u64::MAX - 2;

/// How a worker goes about its work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// Frames of a port that are taken together.
    pub burst: usize,
    /// How long to look for more work before going to sleep.
    pub spin: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { burst: 64, spin: Duration::from_micros(20) }
    }
}

/// Moves packets between ports and the underlay.
pub struct Worker<E> {
    engine: Arc<E>,
    clock: Clock,
    pace: Pace,
    poller: Poller,
    orders: Orders,
    way_out: WayOut,
    underlay: Option<Box<dyn Underlay>>,
    pool: Pool,
    frames: Vec<Packet>,
}

/// What a worker can be told.
pub enum Command {
    /// Take frames of this port.
    AddPort(PortId, Tap),
    /// Forget this port; its device is closed before the order is done.
    RemovePort(PortId),
    /// Send and receive over this underlay.
    SetUnderlay(Box<dyn Underlay>),
    /// Have no underlay; it is closed before the order is done.
    ClearUnderlay,
}

struct Order {
    command: Command,
    done: Sender<io::Result<()>>,
}

/// The worker's end of a [`Remote`].
#[derive(Debug)]
pub struct Orders {
    orders: Receiver<Order>,
    waker: Waker,
}

/// Tells a worker on another thread what to do.
#[derive(Clone, Debug)]
pub struct Remote {
    orders: Sender<Order>,
    waker: Waker,
}

/// Both ends of the line to a worker.
pub fn remote() -> io::Result<(Orders, Remote)> {
    let waker = Waker::new()?;
    let (sender, orders) = mpsc::channel();
    Ok((Orders { orders, waker: waker.clone() }, Remote { orders: sender, waker }))
}

impl Remote {
    /// Has the worker carry out `command`.
    pub fn order(&self, command: Command) -> io::Result<()> {
        let stopped = || io::Error::other("the packet thread has stopped");
        let (done, outcome) = mpsc::channel();
        self.orders.send(Order { command, done }).map_err(|_| stopped())?;
        self.waker.wake()?;
        // An order that takes longer is carried out all the same.
        outcome.recv_timeout(ORDER_PATIENCE).map_err(|_| stopped())?
    }
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
        poller.add(&orders.waker, TOKEN_ORDERS)?;
        let pool = Pool::default();
        let way_out = WayOut {
            ports: HashMap::new(),
            outbox: Outbox::default(),
            has_underlay: false,
            pool: pool.clone(),
            counters,
        };
        let frames = Vec::new();
        Ok(Self { engine, clock, pace, poller, orders, way_out, underlay: None, pool, frames })
    }

    /// Moves packets until `stop` can be read.
    pub fn run(&mut self, stop: &impl AsFd) -> io::Result<()> {
        self.poller.add(stop, TOKEN_STOP)?;
        let mut ready = Vec::new();
        let mut next_tick = Instant::now() + TICK;
        let mut awake_until = None;
        loop {
            let instant = Instant::now();
            let now = self.clock.now();
            if instant >= next_tick {
                self.engine.poll(now);
                next_tick = instant + TICK;
            }
            let spins = awake_until.is_some_and(|until| instant < until);
            let timeout = if spins { Duration::ZERO } else { next_tick - instant };
            self.poller.wait(timeout, &mut ready)?;
            if ready.is_empty() {
                continue;
            }
            let now = self.clock.now();
            for token in &ready {
                match *token {
                    TOKEN_STOP => return Ok(()),
                    TOKEN_ORDERS => self.carry_out_orders(),
                    TOKEN_UNDERLAY => self.underlay_ready(now),
                    port => self.port_ready(PortId(port as u32), now),
                }
            }
            awake_until = Some(Instant::now() + self.pace.spin);
        }
    }

    fn port_ready(&mut self, port: PortId, now: Moment) {
        let Some(tap) = self.way_out.ports.get(&port) else { return };
        let counters = &self.way_out.counters;
        let read = tap.read(self.pace.burst, &self.pool, &mut self.frames, counters);
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
        underlay.receive(&self.pool, &counters, &mut |shape, frames| {
            engine.underlay_frames(shape, frames, now, way_out);
        });
        self.flush();
    }

    /// Closes a port's device, if it is still there.
    fn forget(&mut self, port: PortId) {
        if let Some(tap) = self.way_out.ports.remove(&port) {
            // Closing it takes it out, too, unless somebody else has it open.
            let _ = self.poller.remove(&tap);
        }
    }

    fn flush(&mut self) {
        if let Some(underlay) = &mut self.underlay
            && !self.way_out.outbox.is_empty()
        {
            underlay.send(&mut self.way_out.outbox, &self.way_out.counters);
        }
    }

    fn carry_out_orders(&mut self) {
        self.orders.waker.clear();
        while let Ok(Order { command, done }) = self.orders.orders.try_recv() {
            // Who gave the order may have lost patience.
            let _ = done.send(self.carry_out(command));
        }
    }

    fn carry_out(&mut self, command: Command) -> io::Result<()> {
        match command {
            Command::AddPort(port, tap) => {
                self.poller.add(&tap, port.0.into())?;
                self.way_out.ports.insert(port, tap);
            }
            Command::RemovePort(port) => {
                self.forget(port);
            }
            Command::SetUnderlay(underlay) => {
                self.poller.add(&underlay.readable(), TOKEN_UNDERLAY)?;
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

/// Where frames go when the engine is done with them.
struct WayOut {
    ports: HashMap<PortId, Tap>,
    outbox: Outbox,
    has_underlay: bool,
    pool: Pool,
    counters: Arc<Counters>,
}

impl WayOut {
    fn write(&self, port: PortId, frame: Packet) {
        match self.ports.get(&port) {
            Some(tap) => tap.write(frame, &self.counters),
            None => self.counters.count(Counter::NoSuchPort),
        }
    }
}

impl Egress<Packet> for WayOut {
    fn to_underlay(&mut self, frame: Packet, rewrite: &Rewrite) {
        if self.has_underlay {
            self.outbox.put(frame, rewrite, &self.counters);
        } else {
            self.counters.count(Counter::NoUnderlay);
        }
    }

    fn to_guest(&mut self, port: PortId, mut frame: Packet, rewrite: &Rewrite) {
        if frame.strip(rewrite.strip.into()) {
            self.write(port, frame);
        } else {
            self.counters.count(Counter::BadRewrite);
        }
    }

    fn reply(&mut self, port: PortId, bytes: Vec<u8>) {
        self.write(port, self.pool.packet_of(&bytes));
    }
}
