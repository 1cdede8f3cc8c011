// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The way out: Geneve packets of hypervisor hosts, to the outside.

use super::counters::{BoundaryDrop, BoundaryEvent};
use super::fragments::Waited;
use super::icmp_error::Complaint;
use super::packet::{End, Packet, may_cross};
use super::table::NatTable;
use super::{Boundary, State, Verdict, packet, wire};
use core::net::{IpAddr, Ipv6Addr};
use opte::drop_reason::DropReason;
use opte::ecn;
use opte::geneve::OuterFacts;
use opte::host::{Host, Lock, Moment};
use opte::wire::{ETHER_LEN, Ether};
use opte_api::Vni;
use oxide_vpc::overlay::DIALECT;
use oxide_vpc_api::BoundaryNat;

impl<H: Host> Boundary<H> {
    /// Decides about `datagram`, which begins with a Geneve header and was sent by the
    /// hypervisor host `source` with this outer traffic class.
    pub fn from_underlay(
        &self,
        (source, class): (Ipv6Addr, u8),
        datagram: &mut [u8],
        now: Moment,
    ) -> Verdict {
        let decided =
            self.state.with(|state| self.decide_underlay(state, (source, class), datagram, now));
        self.account(decided)
    }

    fn decide_underlay(
        &self,
        state: &mut State,
        (source, class): (Ipv6Addr, u8),
        datagram: &mut [u8],
        now: Moment,
    ) -> Result<Verdict, BoundaryDrop> {
        let start = inner_start(self.config.vni, source, datagram)?;
        let frame = datagram.get_mut(start..).ok_or(BoundaryDrop::Truncated)?;
        let (ether, bytes) = wire::split::<Ether>(frame)?;
        if ether.dst != self.config.inner_mac.0 {
            return Err(BoundaryDrop::WrongInnerMac);
        }
        let packet = Packet::in_frame(ether.ether_type.get(), bytes)?;
        let host = Some(source);
        let whole = (&packet, bytes);
        let found = Self::entry(state, whole, End::Source, host, now);
        let sender = sender(&state.table, packet.addr(End::Source), found, source);
        if sender == Err(BoundaryDrop::Fragment) {
            let waited = Waited { bytes: datagram.to_vec(), from: Some((source, class)) };
            return self.hold(state, &packet, waited, now);
        }
        let sender = sender?;
        let destination = packet.addr(End::Destination);
        if !may_cross(destination) {
            return Err(BoundaryDrop::BadDestination);
        }
        if packet.hop_limit <= 1 {
            let (about, guest) = (Complaint::HopLimit, Some(&sender));
            return self.complain(state, about, &packet, bytes, guest, now);
        }
        // To the external address of another guest: nobody outside would send it back to us.
        let hairpin = state.table.has(destination);
        let hairpin = hairpin.then(|| Self::entry(state, whole, End::Destination, host, now));
        if hairpin == Some(Err(BoundaryDrop::Fragment)) {
            let waited = Waited { bytes: datagram.to_vec(), from: Some((source, class)) };
            return self.hold(state, &packet, waited, now);
        }
        let hairpin = hairpin.transpose()?;
        self.passed(state, whole, host, now);
        if ecn::matters(class) {
            ecn::decapsulate(frame, ETHER_LEN, class).map_err(|_| BoundaryDrop::Congestion)?;
        }
        if let Some(entry) = hairpin {
            self.counters().add(BoundaryEvent::Hairpinned, 1);
            return self.encapsulate(&entry, &packet, frame, start);
        }
        packet::decrement_hop_limit(frame.get_mut(ETHER_LEN..).ok_or(BoundaryDrop::Truncated)?)?;
        self.counters().add(BoundaryEvent::Routed, 1);
        self.counters().add(BoundaryEvent::RoutedBytes, packet.len);
        let start = start + ETHER_LEN;
        Ok(Verdict::Route { destination, packet: start..start + packet.len })
    }
}

/// The entry that lets the hypervisor host `source` send from `ip`, if what was found does.
fn sender(
    table: &NatTable,
    ip: IpAddr,
    found: Result<BoundaryNat, BoundaryDrop>,
    source: Ipv6Addr,
) -> Result<BoundaryNat, BoundaryDrop> {
    match found {
        Ok(entry) if entry.underlay_ip == source => Ok(entry),
        Err(reason @ (BoundaryDrop::Fragment | BoundaryDrop::NoPorts)) if table.has(ip) => {
            Err(reason)
        }
        _ => Err(BoundaryDrop::ForeignSource),
    }
}

/// Checks the Geneve header and answers where the inner frame begins. None of the options that
/// are understood changes what a boundary does.
fn inner_start(vni: Vni, source: Ipv6Addr, datagram: &[u8]) -> Result<usize, BoundaryDrop> {
    let nobody = Ipv6Addr::UNSPECIFIED;
    let outer = OuterFacts::parse_geneve(datagram, 0, source, nobody, &DIALECT);
    let outer = outer.map_err(|reason| match reason {
        DropReason::GeneveHeader => BoundaryDrop::GeneveHeader,
        DropReason::GeneveOptions => BoundaryDrop::GeneveOptions,
        DropReason::GeneveCritical => BoundaryDrop::GeneveCritical,
        _ => BoundaryDrop::Truncated,
    })?;
    if outer.vni == vni { Ok(outer.inner) } else { Err(BoundaryDrop::WrongVni) }
}
