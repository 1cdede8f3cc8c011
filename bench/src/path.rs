// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What is measured: packets through the engine, from their first byte to outer headers that are
//! written or taken off. One by one through a port, or by batches through the whole driver.

use crate::buffer::Buffer;
use crate::world::{BenchHost, World};
use opte::drop_reason::DropReason;
use opte::frame::{Frame, Rewrite};
use opte::geneve::{Mark, OuterFacts};
use opte::headers::Headers;
use opte::outer::Outer;
use opte::policy::Policy;
use opte::port::{Batch, Port, Turn, Verdict};
use opte_api::Direction;
use oxide_vpc::overlay::DIALECT;
use xde::host::{Egress, Moment, PortId, UnderlayShape};

/// Parses a packet as it comes: from the guest as it is, from the underlay with outer headers.
#[inline]
pub fn parse(direction: Direction, frame: &Buffer) -> Result<Headers, DropReason> {
    let head = frame.head();
    let (ether, mark) = match direction {
        Direction::Out => (0, Mark::GUEST),
        Direction::In => {
            let outer = OuterFacts::parse(head, frame.len(), &DIALECT)?;
            (outer.inner, outer.mark())
        }
    };
    Headers::parse(head, frame.len(), ether, mark)
}

/// Takes a packet through a port by a policy of it, and does to the frame what the engine says. False if it is not
/// forwarded.
#[inline]
pub fn pass(
    port: &Port<BenchHost>,
    policy: &Policy,
    now: Moment,
    direction: Direction,
    frame: &mut Buffer,
    batch: &mut Batch,
) -> bool {
    let headers = parse(direction, frame);
    let headers = headers.as_ref().map_err(|reason| *reason);
    match port.process(Turn { policy, direction, now, cell: None }, frame, headers, batch) {
        Verdict::Forward => {
            frame.rewrite(&batch.rewrite);
            true
        }
        Verdict::Reply(_) | Verdict::Held | Verdict::Drop(_) => false,
    }
}

/// Batches of frames on their way through the whole driver, as a host calls it.
#[derive(Default)]
pub struct Hose {
    queues: Vec<Vec<Buffer>>,
    outbox: Outbox,
}

/// Frames of a batch that a host hands over.
pub const TOGETHER: usize = 32;

impl Hose {
    /// Takes frames in, to be handed over by 32.
    pub fn load(&mut self, frames: &mut Vec<Buffer>) {
        let batches = frames.len().div_ceil(TOGETHER);
        self.queues.resize_with(batches, || Vec::with_capacity(TOGETHER));
        self.outbox.frames.reserve(frames.len());
        let mut frames = frames.drain(..);
        for queue in &mut self.queues {
            queue.extend(frames.by_ref().take(TOGETHER));
        }
    }

    /// Hands all of them over. What goes to a guest is from the underlay.
    #[inline]
    pub fn run(&mut self, world: &World, from: PortId, direction: Direction, now: Moment) {
        for queue in &mut self.queues {
            match direction {
                Direction::Out => world.driver.from_guest(from, queue, now, &mut self.outbox),
                Direction::In => {
                    let shape = UnderlayShape::Ethernet;
                    world.driver.from_underlay(shape, queue, now, &mut self.outbox);
                }
            }
        }
    }

    /// Gives the frames back that came out, in order.
    pub fn unload(&mut self, frames: &mut Vec<Buffer>) {
        frames.append(&mut self.outbox.frames);
    }
}

/// Rewrites frames and keeps them, as a queue of a device would.
#[derive(Default)]
struct Outbox {
    frames: Vec<Buffer>,
}

impl Egress<Buffer> for Outbox {
    #[inline]
    fn to_underlay(&mut self, mut frame: Buffer, rewrite: &Rewrite) {
        frame.rewrite(rewrite);
        self.frames.push(frame);
    }

    #[inline]
    fn to_guest(&mut self, _port: PortId, mut frame: Buffer, rewrite: &Rewrite) {
        frame.rewrite(rewrite);
        self.frames.push(frame);
    }

    fn answer(&mut self, _bytes: Vec<u8>, _outer: &Outer) {
        unreachable!("no measured packet is refused");
    }

    fn reply(&mut self, _port: PortId, _bytes: Vec<u8>) {
        unreachable!("no measured packet is for the gateway");
    }
}
