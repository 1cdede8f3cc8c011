// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The way out: Geneve packets of hypervisor hosts, to the outside.

use super::counters::{BoundaryDrop, BoundaryEvent};
use super::icmp_error::Complaint;
use super::packet::{End, Packet, Tuple, may_cross};
use super::table::NatTable;
use super::wire::{self, ETHER_LEN, ETHERTYPE_TRANSPARENT, Ethernet, Geneve, GeneveOption};
use super::{Boundary, OPTION_CLASS, State, Verdict, packet};
use core::net::Ipv6Addr;
use opte::host::{Host, Lock, Moment};
use opte_api::Vni;
use oxide_vpc_api::BoundaryNat;

/// Bit of an option's type: who does not understand the option drops the packet (RFC 8926,
/// section 3.5).
const CRITICAL: u8 = 0x80;
/// Bit of the Geneve header: the packet is for the tunnel's endpoints (RFC 8926, section 3.4).
const CONTROL: u8 = 0x80;

impl<H: Host> Boundary<H> {
    /// Decides about `datagram`, which begins with a Geneve header and was sent by the
    /// hypervisor host `source`.
    pub fn from_underlay(&self, source: Ipv6Addr, datagram: &mut [u8], now: Moment) -> Verdict {
        let decided = self.state.with(|state| self.decide_underlay(state, source, datagram, now));
        self.account(decided)
    }

    fn decide_underlay(
        &self,
        state: &mut State,
        source: Ipv6Addr,
        datagram: &mut [u8],
        now: Moment,
    ) -> Result<Verdict, BoundaryDrop> {
        let start = self.inner_start(datagram)?;
        let frame = datagram.get_mut(start..).ok_or(BoundaryDrop::Truncated)?;
        let (ether, bytes) = wire::split::<Ethernet>(frame)?;
        if ether.dst != self.config.inner_mac.0 {
            return Err(BoundaryDrop::WrongInnerMac);
        }
        let packet = Packet::in_frame(ether.kind.get(), bytes)?;
        let sender = sender(&state.table, &packet.tuple(bytes, End::Source)?, source)?;
        let destination = packet.addr(End::Destination);
        if !may_cross(destination) {
            return Err(BoundaryDrop::BadDestination);
        }
        if packet.hop_limit <= 1 {
            let (about, guest) = (Complaint::HopLimit, Some(&sender));
            return self.complain(state, about, &packet, bytes, guest, now);
        }
        // To the external address of another guest: nobody outside would send it back to us.
        if state.table.has(destination) {
            let entry = state.table.find(&packet.tuple(bytes, End::Destination)?)?;
            self.counters().add(BoundaryEvent::Hairpinned, 1);
            return self.encapsulate(&entry, &packet, frame, start);
        }
        packet::decrement_hop_limit(frame.get_mut(ETHER_LEN..).ok_or(BoundaryDrop::Truncated)?)?;
        self.counters().add(BoundaryEvent::Routed, 1);
        self.counters().add(BoundaryEvent::RoutedBytes, packet.len);
        let start = start + ETHER_LEN;
        Ok(Verdict::Route { destination, packet: start..start + packet.len })
    }

    /// Checks the Geneve header and answers where the inner frame begins.
    fn inner_start(&self, datagram: &[u8]) -> Result<usize, BoundaryDrop> {
        let (geneve, rest) = wire::split::<Geneve>(datagram)?;
        let version = geneve.version_words >> 6;
        let control = geneve.flags & CONTROL != 0;
        if version != 0 || control || geneve.protocol.get() != ETHERTYPE_TRANSPARENT {
            return Err(BoundaryDrop::GeneveHeader);
        }
        let options_len = usize::from(geneve.version_words & 0x3f) * 4;
        check_options(rest.get(..options_len).ok_or(BoundaryDrop::Truncated)?)?;
        if Vni::from_bytes(geneve.vni) != self.config.vni {
            return Err(BoundaryDrop::WrongVni);
        }
        Ok(size_of::<Geneve>() + options_len)
    }
}

/// The entry that lets the hypervisor host `source` send from `tuple`.
fn sender(table: &NatTable, tuple: &Tuple, source: Ipv6Addr) -> Result<BoundaryNat, BoundaryDrop> {
    match table.find(tuple) {
        Ok(entry) if entry.underlay_ip == source => Ok(entry),
        Err(reason @ (BoundaryDrop::Fragment | BoundaryDrop::NoPorts)) if table.has(tuple.ip) => {
            Err(reason)
        }
        _ => Err(BoundaryDrop::ForeignSource),
    }
}

/// A boundary understands the options of its own class, none of which changes what it does.
fn check_options(mut options: &[u8]) -> Result<(), BoundaryDrop> {
    while !options.is_empty() {
        let bad = |_| BoundaryDrop::GeneveOptions;
        let (option, _) = wire::split::<GeneveOption>(options).map_err(bad)?;
        let known = option.class.get() == OPTION_CLASS && option.kind & !CRITICAL <= 2;
        if option.kind & CRITICAL != 0 && !known {
            return Err(BoundaryDrop::GeneveCritical);
        }
        let len = size_of::<GeneveOption>() + usize::from(option.words & 0x1f) * 4;
        options = options.get(len..).ok_or(BoundaryDrop::GeneveOptions)?;
    }
    Ok(())
}
