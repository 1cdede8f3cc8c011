// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Answers to packets that a port did not let in: they go back to where the packet came from.

use crate::host::{Egress, Moment, UnderlayShape};
use crate::snapshot::Place;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte::drop_reason::DropReason;
use opte::frame::{FlatFrame, Frame};
use opte::geneve::{Mark, OuterFacts};
use opte::headers::Headers;
use opte::host::Host;
use opte::outer::{GeneveOptions, Outer};
use opte::port::{Batch, Turn, Verdict};
use opte_api::Direction;
use oxide_vpc::Mappings;
use oxide_vpc::overlay::DIALECT;

/// Outer source port of answers: one of the dynamic range (RFC 6335). Each is alone, so that there
/// is no flow to be spread.
const SOURCE_PORT: u16 = 0xc000;

/// A packet that a port did not let in, and what its sender is told.
pub(crate) struct Refused<F> {
    pub frame: F,
    pub answer: Vec<u8>,
}

impl<F: Frame> Refused<F> {
    /// Sends the answer to the host that the packet came from.
    pub fn answer<H: Host>(
        self,
        place: Place<'_, H>,
        shape: UnderlayShape,
        out: &mut impl Egress<F>,
    ) {
        let from = outer_facts(&self.frame, shape).ok();
        let outer = from.and_then(|from| way_back(place, &from, &self.answer));
        outer.iter().for_each(|outer| out.answer(self.answer.clone(), outer));
    }

    /// Gives the answer to a guest of this host, as a packet that comes in.
    pub fn answer_guest<H: Host>(
        self,
        sender: Place<'_, H>,
        mark: Mark,
        now: Moment,
        out: &mut impl Egress<F>,
    ) {
        give(sender, self.answer, (mark, 0), now, out);
    }
}

/// Gives an inner frame to a guest of this host, as a packet that comes in. Beside its mark, the ECN
/// field that the outer headers had.
pub(crate) fn give<H: Host, F: Frame>(
    Place { device, policy }: Place<'_, H>,
    bytes: Vec<u8>,
    (mark, ecn): (Mark, u8),
    now: Moment,
    out: &mut impl Egress<F>,
) {
    let (mut frame, mut batch) = (FlatFrame::new(bytes), Batch::default());
    let headers = Headers::parse(frame.head(), frame.len(), 0, mark);
    let headers = headers.map(|headers| Headers { ecn, ..headers });
    let turn = Turn { policy, direction: Direction::In, now, cell: None };
    let headers = headers.as_ref().map_err(|reason| *reason);
    let verdict = device.port.process(turn, &mut frame, headers, &mut batch);
    device.port.finish(&mut batch);
    if verdict == Verdict::Forward {
        out.reply(device.id, frame.rewritten(&batch.rewrite));
        let released = batch.released.iter().map(|(frame, rewrite)| frame.rewritten(rewrite));
        released.for_each(|bytes| out.reply(device.id, bytes));
    }
}

/// What the outer headers of a frame from the underlay say.
pub(crate) fn outer_facts(
    frame: &impl Frame,
    shape: UnderlayShape,
) -> Result<OuterFacts, DropReason> {
    let head = frame.head();
    match shape {
        UnderlayShape::Ethernet => OuterFacts::parse(head, frame.len(), &DIALECT),
        UnderlayShape::Geneve { src, dst, traffic_class } => {
            let facts = OuterFacts::parse_geneve(head, 0, src, dst, &DIALECT)?;
            Ok(OuterFacts { traffic_class, ..facts })
        }
    }
}

/// Outer headers towards the host that a packet came from. To the boundary they are those that
/// lead to its other end.
fn way_back<H: Host>(place: Place<'_, H>, from: &OuterFacts, answer: &[u8]) -> Option<Outer> {
    let (dst, vni) = if from.external {
        let maps = place.policy.rules.host_tables.downcast_ref::<Mappings>()?;
        let endpoints = maps.boundary(destination(answer)?)?;
        let same = endpoints.iter().find(|endpoint| endpoint.underlay_ip == from.src);
        let endpoint = same.or(endpoints.first())?;
        (endpoint.underlay_ip, endpoint.vni)
    } else {
        (from.src, from.vni)
    };
    let options = GeneveOptions::NONE;
    let src = place.device.underlay_ip();
    Some(Outer { src, dst, source_port: SOURCE_PORT, vni, options, traffic_class: 0 })
}

fn destination(answer: &[u8]) -> Option<IpAddr> {
    let headers = Headers::parse(answer, answer.len(), 0, Mark::GUEST).ok()?;
    headers.key().map(|key| key.dst())
}
