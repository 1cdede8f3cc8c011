// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What is measured: one packet through the engine, from its first byte to outer headers that are
//! written or taken off.

use crate::buffer::Buffer;
use crate::world::World;
use opte::counters::Tally;
use opte::drop_reason::DropReason;
use opte::frame::{Frame, Rewrite};
use opte::geneve::{Mark, OuterFacts};
use opte::headers::Headers;
use opte::port::{Turn, Verdict};
use opte_api::Direction;
use oxide_vpc::overlay::DIALECT;

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

/// Takes a packet through the guest's port, and does to the frame what the engine says. False if
/// it is not forwarded.
#[inline]
pub fn pass(world: &World, direction: Direction, frame: &mut Buffer, tally: &mut Tally) -> bool {
    let headers = parse(direction, frame);
    let headers = headers.as_ref().map_err(|reason| *reason);
    let mut rewrite = Rewrite::default();
    let turn = Turn { direction, now: world.now, cell: None };
    match world.device.port.process(turn, frame, headers, tally, &mut rewrite) {
        Verdict::Forward => {
            frame.rewrite(&rewrite);
            true
        }
        Verdict::Reply(_) | Verdict::Drop(_) => false,
    }
}
