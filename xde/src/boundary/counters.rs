// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What became of packets: one name and one counter for each way they end.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use oxide_vpc_api::dump::Counter;

opte::named! {
    /// Why a boundary dropped a packet. A reason is about the packet (nothing of it was sent) or,
    /// for the last ones, about the host that could not send it.
    pub enum BoundaryDrop {
        /// A header, or data that a length promises, lies beyond the end of the frame.
        Truncated = "drop_truncated",
        /// The inner frame of a packet from the underlay is neither IPv4 nor IPv6.
        EtherType = "drop_ethertype",
        /// The IP version does not fit the EtherType.
        IpVersion = "drop_ip_version",
        /// An IP header contradicts itself on its length.
        IpLength = "drop_ip_length",
        /// The checksum of an IPv4 header is wrong.
        IpChecksum = "drop_ip_checksum",
        /// IPv6 extension headers are too many.
        ExtensionHeaders = "drop_extension_headers",
        /// A source address that must not cross a router.
        BadSource = "drop_bad_source",
        /// A destination address that must not cross a router.
        BadDestination = "drop_bad_destination",
        /// A message for one link only: a redirect or neighbour discovery.
        LinkOnly = "drop_link_only",
        /// An ARP request or neighbour solicitation, for an address of the table, that is ill-formed.
        BadNeighbour = "drop_bad_neighbour",
        /// No entry of the address has this port or echo identifier.
        NoEntry = "drop_no_entry",
        /// A protocol or message without ports; no entry takes all of the address.
        NoPorts = "drop_no_ports",
        /// A later fragment of a shared address, of which the first has not come in time.
        Fragment = "drop_fragment",
        /// The packet quoted inside an ICMP error does not fit the error.
        BadQuote = "drop_bad_quote",
        /// Its hops are used up.
        HopLimit = "drop_hop_limit",
        /// The underlay has met congestion, and the packet cannot say so (RFC 6040, section 4.2).
        Congestion = "drop_congestion",
        /// Geneve of another version, a control packet, or a payload other than Ethernet.
        GeneveHeader = "drop_geneve_header",
        /// Geneve options that contradict the header on their length.
        GeneveOptions = "drop_geneve_options",
        /// A critical Geneve option that is not understood (RFC 8926, section 3.5).
        GeneveCritical = "drop_geneve_critical",
        /// A VNI other than the boundary's.
        WrongVni = "drop_wrong_vni",
        /// The inner frame is not for the boundary's MAC address.
        WrongInnerMac = "drop_wrong_inner_mac",
        /// The hypervisor host sends from an address and port that it does not own.
        ForeignSource = "drop_foreign_source",
        /// The packet is larger than the next link takes.
        TooBig = "drop_too_big",
        /// The host has no way to the destination outside.
        NoRoute = "drop_no_route",
        /// The frame cannot be cut into segments, or its checksum not be finished.
        Offload = "drop_offload",
        /// The host could not send the packet: no room, or no link.
        SendFailed = "drop_send_failed",
    }
}

opte::named! {
    /// What a boundary did, other than drop.
    pub enum BoundaryEvent {
        /// Packets taken from outside to a hypervisor host.
        Encapsulated = "to_underlay_packets",
        /// Bytes of their inner frames.
        EncapsulatedBytes = "to_underlay_bytes",
        /// Packets of hypervisor hosts sent out.
        Routed = "to_outside_packets",
        /// Bytes of these packets, from the IP header on.
        RoutedBytes = "to_outside_bytes",
        /// Of those taken to a hypervisor host: packets that came from one.
        Hairpinned = "hairpin_packets",
        /// Frames on the outside link that are not for the table: left to the kernel.
        Ignored = "ignored_frames",
        /// ARP requests answered.
        ArpReplied = "arp_replies",
        /// Neighbour solicitations answered.
        Advertised = "neighbour_advertisements",
        /// Packets whose hops were used up, answered with an ICMP error.
        TimeExceeded = "icmp_time_exceeded",
        /// Packets that were too large, answered with an ICMP error.
        TooBigTold = "icmp_too_big",
        /// ICMP errors not sent, because there were too many.
        ErrorsLimited = "icmp_rate_limited",
        /// Later fragments that came before the first, and waited for it.
        FragmentsHeld = "fragments_held",
        /// Datagrams of which the first fragment was forgotten early, because there were too many.
        FragmentsForgotten = "fragments_forgotten",
    }
}

/// All counters of a boundary.
#[derive(Debug)]
pub struct Counters {
    drops: [AtomicU64; BoundaryDrop::ALL.len()],
    events: [AtomicU64; BoundaryEvent::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            drops: [const { AtomicU64::new(0) }; BoundaryDrop::ALL.len()],
            events: [const { AtomicU64::new(0) }; BoundaryEvent::ALL.len()],
        }
    }
}

impl Counters {
    /// Counts a dropped packet.
    pub fn dropped(&self, reason: BoundaryDrop) {
        add(&self.drops, reason as usize, 1);
    }

    /// Counts `amount` of `event`.
    pub fn add(&self, event: BoundaryEvent, amount: usize) {
        add(&self.events, event as usize, amount);
    }

    /// How many packets were dropped for `reason`.
    pub fn drops(&self, reason: BoundaryDrop) -> u64 {
        load(&self.drops, reason as usize)
    }

    /// How much of `event` there was.
    pub fn events(&self, event: BoundaryEvent) -> u64 {
        load(&self.events, event as usize)
    }

    /// All counters, events first.
    pub fn dump(&self) -> Vec<Counter> {
        let events = BoundaryEvent::ALL.iter().map(|event| (event.name(), self.events(*event)));
        let drops = BoundaryDrop::ALL.iter().map(|reason| (reason.name(), self.drops(*reason)));
        events.chain(drops).map(|(name, value)| Counter { name: name.into(), value }).collect()
    }
}

fn add(counters: &[AtomicU64], index: usize, amount: usize) {
    if let Some(counter) = counters.get(index) {
        counter.fetch_add(amount as u64, Ordering::Relaxed);
    }
}

fn load(counters: &[AtomicU64], index: usize) -> u64 {
    counters.get(index).map_or(0, |counter| counter.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_every_counter_is_shown() {
        let counters = Counters::default();
        BoundaryDrop::ALL.iter().for_each(|reason| counters.dropped(*reason));
        BoundaryEvent::ALL.iter().for_each(|event| counters.add(*event, 1));
        let dump = counters.dump();
        let names: BTreeSet<_> = dump.iter().map(|counter| &counter.name).collect();
        assert_eq!(names.len(), BoundaryDrop::ALL.len() + BoundaryEvent::ALL.len());
        assert!(dump.iter().all(|counter| counter.value == 1));
        assert!(BoundaryDrop::ALL.iter().all(|reason| reason.text().ends_with('.')));
    }
}
