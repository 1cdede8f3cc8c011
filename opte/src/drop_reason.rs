// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Why a packet ended here. Every drop has one of these names, and every name a counter.

crate::named! {
    /// Why a packet was dropped.
    pub enum DropReason {
        /// A header, or data that a length promises, lies beyond the end of the frame.
        Truncated = "truncated",
        /// Neither ARP, IPv4 nor IPv6 (a VLAN tag, for instance).
        EtherType = "ethertype",
        /// The IP version does not fit the EtherType.
        IpVersion = "ip_version",
        /// An IP header contradicts itself on its length.
        IpLength = "ip_length",
        /// A fragment of a tunnel's packet, or one whose first fragment did not pass, or passed under
        /// another policy.
        Fragment = "fragment",
        /// A fragment whose length is wrong, or a first one without its transport header.
        FragmentMalformed = "fragment_malformed",
        /// A fragment that has come already, or overlaps with others, or belongs to those that did.
        FragmentOverlap = "fragment_overlap",
        /// More fragments of one packet, or waiting for the first, than there is room for.
        FragmentLimit = "fragment_limit",
        /// IPv6 extension headers are too many, too long or out of place.
        ExtensionHeaders = "extension_headers",
        /// A protocol that is not carried.
        Protocol = "protocol",
        /// A TCP or UDP header contradicts the packet on its length.
        TransportLength = "transport_length",
        /// TCP flags that no connection has (neither SYN, ACK nor RST).
        TcpFlags = "tcp_flags",
        /// A TCP segment of a connection that is not known, and the port picks none up.
        TcpMidStream = "tcp_mid_stream",
        /// From the underlay, but no Geneve packet over IPv6 and UDP.
        NotGeneve = "not_geneve",
        /// Geneve of another version, or of a payload other than Ethernet.
        GeneveHeader = "geneve_header",
        /// Geneve options that contradict the header on their length.
        GeneveOptions = "geneve_options",
        /// A critical Geneve option that is not understood (RFC 8926, section 3.5).
        GeneveCritical = "geneve_critical",
        /// The underlay has met congestion, and the packet inside cannot say so (RFC 6040, section 4.2).
        Congestion = "congestion",
        /// No port of this host has that VNI and MAC address.
        NoPort = "no_port",
        /// From a host of the underlay that no mapping knows as one with senders of that network.
        OuterSource = "outer_source",
        /// The port does not take packets now.
        PortState = "port_state",
        /// The source address or MAC is not the guest's.
        Spoofed = "spoofed",
        /// The destination address or MAC is not the guest's.
        NotForGuest = "not_for_guest",
        /// A control message that must not cross the gateway, or that it does not answer.
        GatewayDeny = "gateway_deny",
        /// A firewall rule says deny.
        FirewallRule = "firewall_rule",
        /// A firewall rule says reject, and its sender is told.
        FirewallReject = "firewall_reject",
        /// No firewall rule lets the packet open a connection.
        FirewallDefault = "firewall_default",
        /// No route to the destination.
        NoRoute = "no_route",
        /// The route to the destination says drop.
        RouteDrop = "route_drop",
        /// The route to the destination is a black hole.
        RouteBlackhole = "route_blackhole",
        /// The gateway of the route has no external address for this port.
        NoExternalAddress = "no_external_address",
        /// Source NAT does not translate this message or protocol.
        NatProtocol = "nat_protocol",
        /// All ports of the external address are on loan.
        NatExhausted = "nat_exhausted",
        /// The guest, or its port, has as many external ports as it may have.
        NatLimit = "nat_limit",
        /// The destination is an external tuple of an address that ports of this host share, and nobody
        /// has it.
        NatUnmapped = "nat_unmapped",
        /// New external ports of the guest, or of its port, come faster than they may.
        NatRate = "nat_rate",
        /// An ICMP error that follows a connection or is translated, and its checksum is wrong.
        IcmpChecksum = "icmp_checksum",
        /// The same, and the checksum of the IPv4 header that it quotes is wrong.
        QuoteChecksum = "quote_checksum",
        /// An ICMP error that would be translated, but quotes nothing that is.
        IcmpUnrelated = "icmp_unrelated",
        /// The destination is mapped, but the mapping's filter does not let this remote side in.
        NatFiltered = "nat_filtered",
        /// No guest of the VPC has the destination address.
        NoMapping = "no_mapping",
        /// No boundary serves the destination.
        NoBoundary = "no_boundary",
        /// A translated packet must not go to a guest of the VPC.
        TranslatedInside = "translated_inside",
        /// An untranslated packet must not leave the VPC.
        UntranslatedOutside = "untranslated_outside",
        /// A packet from a subnet that is attached as external must not go to a guest of the VPC.
        ExternalInside = "external_inside",
        /// The packet has made as many hops as it may.
        HopLimit = "hop_limit",
        /// It is longer than the virtual network takes, and must not be cut.
        TooBigInside = "too_big_inside",
        /// It is longer than the outside takes, and must not be cut.
        TooBigOutside = "too_big_outside",
        /// Multicast of a kind that is not carried: TCP, a broadcast, or a group MAC without a group.
        Multicast = "multicast",
        /// No underlay group carries the multicast group.
        NoGroup = "no_group",
        /// Nobody hears the multicast group, or nobody hears this source: no port, no next hop.
        NoListener = "no_listener",
        /// A packet to a multicast group has a VNI in which nobody here hears it.
        MulticastVni = "multicast_vni",
        /// The policy has ended the connection that it belongs to, and both ends are told.
        ConnectionCut = "connection_cut",
        /// Another connection has the same addresses and ports at one of its ends.
        FlowConflict = "flow_conflict",
        /// The flow table is full, and nothing in it may be given up.
        FlowTableFull = "flow_table_full",
    }
}

impl DropReason {
    /// Index of the reason's counter in [`DropReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_order() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            let same = DropReason::ALL.iter().filter(|other| other.name() == reason.name());
            assert_eq!(same.count(), 1, "{}", reason.name());
        }
    }
}
