// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Where packets go when the engine is done with them: gathered during a burst, handed over at its
//! end or when a basket is needed for another, in order.
//!
//! The engine holds no lock when it calls, so a basket may be emptied at any time.

use crate::counters::Counter;
use crate::guest::Guest;
use crate::message::{Chain, Message};
use crate::packet::Packet;
use crate::routes::{self, Hop, Query};
use crate::state::State;
use crate::underlay::{Link, Underlay};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use opte::frame::Rewrite;
use opte::host::Moment;
use opte::outer::Outer;
use opte_api::MacAddr;
use xde::host::{Egress, PortId};

/// Guests that get something at the same time.
const BASKETS: usize = 4;

/// All ways out of this host: a snapshot, which a burst takes once.
#[derive(Clone, Default)]
pub struct Ways {
    /// Links of ports.
    pub guests: BTreeMap<PortId, Arc<Guest>>,
    /// Links between hosts.
    pub underlay: Option<Arc<Underlay>>,
}

/// Packets that wait for one link of the underlay, all of one flow.
struct Departures {
    link: Arc<Link>,
    hint: usize,
    chain: Chain,
}

/// What a burst sends.
pub struct WayOut<'a> {
    state: &'a State,
    ways: Arc<Ways>,
    now: Moment,
    baskets: [Option<(Arc<Guest>, Chain)>; BASKETS],
    departures: Option<Departures>,
    /// The next hop of the last packet.
    last: Option<(Query, Hop)>,
}

impl<'a> WayOut<'a> {
    /// Nothing yet.
    pub fn new(state: &'a State, ways: Arc<Ways>, now: Moment) -> Self {
        let baskets = [const { None }; BASKETS];
        Self { state, ways, now, baskets, departures: None, last: None }
    }

    /// Hands everything over.
    pub fn flush(&mut self) {
        for at in 0..BASKETS {
            self.empty(at);
        }
        self.depart();
    }

    fn empty(&mut self, basket: usize) {
        let Some((guest, chain)) = self.baskets.get_mut(basket).and_then(Option::take) else {
            return;
        };
        let count = chain.count();
        if let Err(counter) = guest.deliver(chain) {
            self.state.counters.add(counter, count.into());
        }
    }

    fn depart(&mut self) {
        let Some(Departures { link, hint, chain }) = self.departures.take() else { return };
        let count = chain.count();
        if let Err(counter) = link.send(chain, hint) {
            self.state.counters.add(counter, count.into());
        }
    }

    /// Messages for the guest of a port.
    fn put(&mut self, port: PortId, mut messages: Chain) -> Result<(), Counter> {
        let is = |basket: &Option<(Arc<Guest>, Chain)>| {
            basket.as_ref().is_none_or(|(guest, _)| guest.id == port)
        };
        let at = match self.baskets.iter().position(is) {
            Some(at) => at,
            None => {
                self.empty(0);
                0
            }
        };
        let Some(basket) = self.baskets.get_mut(at) else { return Ok(()) };
        if basket.is_none() {
            let guest = self.ways.guests.get(&port).ok_or(Counter::NoSuchPort)?;
            *basket = Some((guest.clone(), Chain::default()));
        }
        if let Some((_, chain)) = basket {
            while let Some(message) = messages.pop() {
                chain.push(message);
            }
        }
        Ok(())
    }

    fn hop(&mut self, underlay: &Underlay, query: Query) -> Result<Hop, Counter> {
        if let Some((_, hop)) = self.last.filter(|(last, _)| *last == query) {
            return Ok(hop);
        }
        let state = self.state;
        let hop = state.routes.hop(query, self.now, || {
            let ask = |way: u8| {
                state.counters.count(Counter::RouteLookups);
                routes::ip::look_up(&underlay.stack, &underlay.links, query.dst, way.into())
            };
            let is_up = |link| underlay.links.get(usize::from(link)).is_some_and(|it| it.is_up());
            match underlay.links.iter().all(|link| link.is_up()) {
                true => ask(query.way),
                false => routes::around(query.way, is_up, ask),
            }
        })?;
        self.last = Some((query, hop));
        Ok(hop)
    }

    /// Sends a packet to the host that its outer headers name, or by way of another.
    fn leave(
        &mut self,
        packet: Packet,
        rewrite: &Rewrite,
        way: Option<Ipv6Addr>,
    ) -> Result<(), Counter> {
        let outer = rewrite.outer.as_ref().ok_or(Counter::BadMessage)?;
        let ways = self.ways.clone();
        let underlay = ways.underlay.as_ref().ok_or(Counter::NoUnderlay)?;
        let query = Query::new(way.unwrap_or(outer.dst), outer.source_port);
        let mut hop = self.hop(underlay, query)?;
        if outer.dst.is_multicast() {
            // The way is the next hop's, but the frame is addressed to the group (RFC 2464,
            // section 7).
            let group = MacAddr::from_ipv6_group(outer.dst);
            hop.macs.iter_mut().zip(group.0).for_each(|(to, from)| *to = from);
        }
        let link = underlay.links.get(usize::from(hop.link)).ok_or(Counter::NoUnderlay)?;
        let (exports, counters) = (&self.state.exports, &self.state.counters);
        let mut messages =
            packet.for_underlay(rewrite.strip, outer, &hop.macs, link.facts, exports, counters)?;
        // Packets with one hint keep their order, so each flow has one of its own.
        let hint = usize::from(outer.source_port) + 1;
        let same = |it: &Departures| it.hint == hint && Arc::ptr_eq(&it.link, link);
        if !self.departures.as_ref().is_some_and(same) {
            self.depart();
            self.departures =
                Some(Departures { link: link.clone(), hint, chain: Chain::default() });
        }
        if let Some(departures) = &mut self.departures {
            while let Some(message) = messages.pop() {
                departures.chain.push(message);
            }
        }
        Ok(())
    }

    fn count(&self, outcome: Result<(), Counter>) {
        if let Err(counter) = outcome {
            self.state.counters.count(counter);
        }
    }
}

impl Egress<Packet> for WayOut<'_> {
    fn to_underlay(&mut self, frame: Packet, rewrite: &Rewrite) {
        let outcome = self.leave(frame, rewrite, None);
        self.count(outcome);
    }

    fn to_next_hop(&mut self, frame: Packet, rewrite: &Rewrite, next_hop: Ipv6Addr) {
        let outcome = self.leave(frame, rewrite, Some(next_hop));
        self.count(outcome);
    }

    fn to_guest(&mut self, port: PortId, frame: Packet, rewrite: &Rewrite) {
        let (exports, counters) = (&self.state.exports, &self.state.counters);
        let messages = frame.for_guest(rewrite.strip, exports, counters);
        let outcome = messages.and_then(|messages| self.put(port, messages));
        self.count(outcome);
    }

    fn answer(&mut self, bytes: Vec<u8>, outer: &Outer) {
        let rewrite = Rewrite { strip: 0, outer: Some(*outer) };
        let message = Message::of(&bytes).map_err(|_| Counter::NoMemory);
        let outcome =
            message.and_then(|message| self.leave(Packet::of_ours(message), &rewrite, None));
        self.count(outcome);
    }

    fn reply(&mut self, port: PortId, bytes: Vec<u8>) {
        let outcome = Message::of(&bytes).map_err(|_| Counter::NoMemory).and_then(|message| {
            let mut chain = Chain::default();
            chain.push(message);
            self.put(port, chain)
        });
        self.count(outcome);
    }
}
