// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The way in: frames of the outside link, to hypervisor hosts.

use super::counters::{BoundaryDrop, BoundaryEvent};
use super::fragments::Waited;
use super::icmp_error::Complaint;
use super::packet::{End, Packet, may_cross};
use super::{Answer, Boundary, State, Verdict, neighbour, wire};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use opte::host::{Host, Lock, Moment};
use opte::wire::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ether, Ipv4, Ipv6};
use opte_api::MacAddr;

impl<H: Host> Boundary<H> {
    /// Decides about a frame that has come in on the outside link.
    pub fn from_outside(&self, frame: &mut [u8], now: Moment) -> Verdict {
        let decided = self.state.with(|state| self.decide_outside(state, frame, now));
        if decided == Ok(Verdict::Ignore) {
            self.counters().add(BoundaryEvent::Ignored, 1);
        }
        self.account(decided)
    }

    fn decide_outside(
        &self,
        state: &mut State,
        frame: &mut [u8],
        now: Moment,
    ) -> Result<Verdict, BoundaryDrop> {
        let Ok((ether, payload)) = wire::split::<Ether>(frame) else {
            return Ok(Verdict::Ignore);
        };
        let mac = state.outside.mac;
        let to_us = ether.dst == mac.0;
        let to_many = MacAddr(ether.dst).is_multicast();
        match ether.ether_type.get() {
            ETHERTYPE_ARP if to_us || to_many => {
                let reply = neighbour::answer_arp(mac, &state.table, payload)?;
                Ok(self.link_answer(reply, BoundaryEvent::ArpReplied))
            }
            ETHERTYPE_IPV6 if to_many => self.solicited(state, frame),
            kind @ (ETHERTYPE_IPV4 | ETHERTYPE_IPV6) if to_us => match destination(kind, payload) {
                Some(ip) if state.table.has(ip) => self.way_in(state, frame, ip, now),
                _ => Ok(Verdict::Ignore),
            },
            _ => Ok(Verdict::Ignore),
        }
    }

    /// A packet to an address of the table.
    fn way_in(
        &self,
        state: &mut State,
        frame: &mut [u8],
        ip: IpAddr,
        now: Moment,
    ) -> Result<Verdict, BoundaryDrop> {
        // One who knows our MAC address already asks us alone (RFC 4861, section 7.3.1).
        if ip.is_ipv6() {
            let answer = self.solicited(state, frame)?;
            if answer != Verdict::Ignore {
                return Ok(answer);
            }
        }
        let (ether, bytes) = wire::split::<Ether>(frame)?;
        let packet = Packet::in_frame(ether.ether_type.get(), bytes)?;
        if !may_cross(packet.addr(End::Source)) {
            return Err(BoundaryDrop::BadSource);
        }
        let entry = match Self::entry(state, (&packet, bytes), End::Destination, None, now) {
            Err(BoundaryDrop::Fragment) => {
                let waited = Waited { bytes: frame.to_vec(), from: None };
                return self.hold(state, &packet, waited, now);
            }
            found => found?,
        };
        if packet.hop_limit <= 1 {
            return self.complain(state, Complaint::HopLimit, &packet, bytes, None, now);
        }
        self.passed(state, (&packet, bytes), None, now);
        self.encapsulate(&entry, &packet, frame, 0)
    }

    fn solicited(&self, state: &State, frame: &[u8]) -> Result<Verdict, BoundaryDrop> {
        let reply = neighbour::answer_solicitation(state.outside.mac, &state.table, frame)?;
        Ok(self.link_answer(reply, BoundaryEvent::Advertised))
    }

    fn link_answer(&self, reply: Option<Vec<u8>>, event: BoundaryEvent) -> Verdict {
        reply.map_or(Verdict::Ignore, |frame| {
            self.counters().add(event, 1);
            Verdict::Answer(Answer::Frame(frame))
        })
    }
}

/// The destination of an IP packet of which nothing has been checked yet.
fn destination(kind: u16, bytes: &[u8]) -> Option<IpAddr> {
    Some(if kind == ETHERTYPE_IPV4 {
        Ipv4Addr::from(wire::split::<Ipv4>(bytes).ok()?.0.dst).into()
    } else {
        Ipv6Addr::from(wire::split::<Ipv6>(bytes).ok()?.0.dst).into()
    })
}
