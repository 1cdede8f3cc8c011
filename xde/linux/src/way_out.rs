// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Where frames go when the engine is done with them: gathered during a burst, for the underlay in
//! an [`Outbox`], for guests beside their ports.

use crate::counters::{Counter, Counters};
use crate::outbox::Outbox;
use crate::packet::{Packet, Pool};
use crate::port::PortQueue;
use opte::frame::Rewrite;
use opte::outer::Outer;
use std::collections::HashMap;
use std::sync::Arc;
use xde::host::{Egress, PortId};

/// A port's queue, and the frames of this burst that are for its guest.
pub struct Port {
    /// The queue.
    pub queue: Box<dyn PortQueue>,
    /// The frames.
    pub frames: Vec<Packet>,
}

/// All ways out of a worker.
pub struct WayOut {
    /// All ports.
    pub ports: HashMap<PortId, Port>,
    /// Ports whose guests get something in this burst.
    waiting: Vec<PortId>,
    /// What is to leave over the underlay.
    pub outbox: Outbox,
    /// There is an underlay.
    pub has_underlay: bool,
    pool: Pool,
    /// Where losses are counted.
    pub counters: Arc<Counters>,
}

impl WayOut {
    /// Without ports and underlay.
    pub fn new(pool: Pool, counters: Arc<Counters>) -> Self {
        Self {
            ports: HashMap::new(),
            waiting: Vec::new(),
            outbox: Outbox::default(),
            has_underlay: false,
            pool,
            counters,
        }
    }

    fn write(&mut self, id: PortId, frame: Packet) {
        let Some(port) = self.ports.get_mut(&id) else {
            return self.counters.count(Counter::NoSuchPort);
        };
        if port.frames.is_empty() {
            self.waiting.push(id);
        }
        port.frames.push(frame);
    }

    /// Hands guests what they get in this burst.
    pub fn flush_ports(&mut self) {
        for id in self.waiting.drain(..) {
            if let Some(port) = self.ports.get_mut(&id) {
                port.queue.write(&mut port.frames, &self.counters);
            }
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

    fn answer(&mut self, bytes: Vec<u8>, outer: &Outer) {
        let rewrite = Rewrite { strip: 0, outer: Some(*outer) };
        self.to_underlay(self.pool.packet_of(&bytes), &rewrite);
    }

    fn reply(&mut self, port: PortId, bytes: Vec<u8>) {
        self.write(port, self.pool.packet_of(&bytes));
    }
}
