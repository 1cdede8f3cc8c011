// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Every request, its command number, and its answer.
//!
//! Numbers are never used twice. A request that changes something answers `()`, or [`Removal`]
//! where the thing to remove may be gone already. `since N` stands behind the name of a command
//! whose request or answer got another form in version N; without it, the form is that with which
//! the command came: in version 1 up to number 62, later in version 2.

use crate::dump::{
    CounterSet, FlowTableDump, KilledFlows, LayerDump, LayerInfo, PortInfo, TcpFlowDump,
    UnderlayInfo, V2bDump, V2pDump,
};
use crate::filter::{FlowFilter, MappingFilter, Page};
use crate::multicast::{ForwardingEntry, M2pEntry, SourceFilter, SubscriptionEntry};
use crate::pools::{LeasePlace, NatLeasePage, NatPoolInfo};
use crate::trace::{Origin, PacketTrace, TracedPacket};
use crate::{
    Attachment, BoundaryNat, ChangeReport, DhcpConfig, DrainAddresses, ExternalIps, FirewallRule,
    GatewayInfo, GatewayMap, PortConfig, PortName, PortSettings, Prefixes, RouteEntry, RouteInfo,
    Step, V2bEntry, V2pEntry, WeightedRoute,
};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use opte_api::frame::Request;
use opte_api::{Direction, IpCidr, Vni};
use serde::{Deserialize, Serialize};

/// The name of a command.
pub fn name(code: u16) -> Option<&'static str> {
    COMMANDS.iter().find(|(known, _)| *known == code).map(|(_, name)| *name)
}

/// Whether there was anything to remove.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    /// It was there and is gone.
    Removed,
    /// It was not there.
    Absent,
}

/// Whether a request that says how things are to be found them so.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ensured {
    /// They were otherwise, and are so now.
    Changed,
    /// They were so; nothing was touched.
    Unchanged,
}

/// Where to go on saving a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct SaveFrom {
    /// The next flow, by the number it has on its host.
    pub number: u32,
    /// Flows so far.
    pub flows: u64,
    /// When the port was paused, on its host's clock.
    pub since_ms: u64,
}

/// A part of a saved port.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct SavedPart {
    /// The next bytes of it.
    pub bytes: Vec<u8>,
    /// Where to go on; `None` after the last part.
    pub next: Option<SaveFrom>,
}

/// What has become of a saved port.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Restored {
    /// Its name.
    pub port: PortName,
    /// How many flows it has.
    pub flows: u64,
}

macro_rules! requests {
    ($($(#[$doc:meta])* $code:literal $name:ident $(since $since:literal)? { $($(#[$fdoc:meta])* $field:ident: $ty:ty),* $(,)? } -> $response:ty;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
            #[serde(deny_unknown_fields)]
            pub struct $name { $($(#[$fdoc])* pub $field: $ty),* }

            impl Request for $name {
                const CODE: u16 = $code;
                const NAME: &'static str = stringify!($name);
                const SINCE: u16 = [$($since,)? if $code <= 62 { 1 } else { 2 }][0];
                type Response = $response;
            }
        )*

        /// Command numbers and names, in order.
        pub const COMMANDS: &[(u16, &str)] = &[$(($code, stringify!($name))),*];

        /// Since which version request and answer of a command have their form.
        pub fn since(code: u16) -> Option<u16> {
            Some(match code {
                $($code => $name::SINCE,)*
                _ => return None,
            })
        }
    };
}

requests! {
    /// Lists all ports.
    1 ListPorts {} -> Vec<PortInfo>;
    /// Makes a port and its device.
    2 CreatePort since 2 {
        /// Its name.
        name: PortName,
        /// Everything else.
        config: PortConfig,
    } -> ();
    /// Removes a port, its device, its flows and its leases.
    3 DeletePort {
        /// Its name.
        name: PortName,
    } -> ();
    /// Names the links of the underlay, at least one.
    4 SetUnderlay {
        /// Interface names.
        links: Vec<String>,
    } -> ();
    /// Takes the underlay away; refused while ports exist.
    5 ClearUnderlay {} -> ();
    /// Shows the underlay.
    6 ShowUnderlay {} -> UnderlayInfo;

    /// Lists the layers of a port.
    10 ListLayers {
        /// The port.
        port: PortName,
    } -> Vec<LayerInfo>;
    /// Shows one layer.
    11 DumpLayer since 2 {
        /// The port.
        port: PortName,
        /// The layer.
        layer: String,
        /// Which flows.
        filter: FlowFilter,
        /// Which part of them.
        page: Page<u32>,
    } -> LayerDump;
    /// Shows flows of a port.
    12 DumpUft since 2 {
        /// The port.
        port: PortName,
        /// Which flows.
        filter: FlowFilter,
        /// Which part of them.
        page: Page<u32>,
    } -> FlowTableDump;
    /// Removes all flows of a port.
    13 ClearUft {
        /// The port.
        port: PortName,
    } -> ();
    /// Shows TCP connections of a port.
    14 DumpTcpFlows since 2 {
        /// The port.
        port: PortName,
        /// Which connections.
        filter: FlowFilter,
        /// Which part of them.
        page: Page<u32>,
    } -> TcpFlowDump;
    /// Shows counters: the host's and every port's, or one port's.
    15 DumpCounters {
        /// Only this port.
        port: Option<PortName>,
    } -> Vec<CounterSet>;

    /// Adds a firewall rule; answers its number.
    20 AddFwRule since 2 {
        /// The port.
        port: PortName,
        /// The rule.
        rule: FirewallRule,
    } -> u64;
    /// Removes a firewall rule.
    21 RemFwRule {
        /// The port.
        port: PortName,
        /// Direction of the rule.
        direction: Direction,
        /// Number of the rule.
        id: u64,
    } -> Removal;
    /// Replaces all firewall rules in one step.
    22 SetFwRules since 2 {
        /// The port.
        port: PortName,
        /// The rules.
        rules: Vec<FirewallRule>,
    } -> ();

    /// Adds a route; adding it again changes nothing.
    30 AddRoute {
        /// The port.
        port: PortName,
        /// The route.
        route: RouteEntry,
    } -> ();
    /// Removes a route, found by all of its fields.
    31 DelRoute {
        /// The port.
        port: PortName,
        /// The route.
        route: RouteEntry,
    } -> Removal;

    /// Says where a guest is; replaces what was said before.
    40 SetV2p {
        /// The mapping.
        entry: V2pEntry,
    } -> ();
    /// Forgets where a guest is.
    41 ClearV2p {
        /// The mapping; it is removed only if all of it agrees.
        entry: V2pEntry,
    } -> Removal;
    /// Shows where guests are.
    42 DumpV2p since 2 {
        /// Which guests.
        filter: MappingFilter,
        /// Which part of them.
        page: Page<(Vni, IpAddr)>,
    } -> V2pDump;
    /// Adds ways out towards a prefix.
    43 SetV2b {
        /// The prefix and its endpoints.
        entry: V2bEntry,
    } -> ();
    /// Removes ways out towards a prefix.
    44 ClearV2b {
        /// The prefix and the endpoints to remove.
        entry: V2bEntry,
    } -> Removal;
    /// Shows ways out.
    45 DumpV2b since 2 {
        /// Which prefixes.
        filter: MappingFilter,
        /// Which part of them.
        page: Page<IpCidr>,
    } -> V2bDump;

    /// Replaces the external addresses of both families and the gateways they serve.
    50 SetExternalIps {
        /// The port.
        port: PortName,
        /// IPv4; `None` means none.
        ipv4: Option<ExternalIps>,
        /// IPv6; `None` means none.
        ipv6: Option<ExternalIps>,
        /// Which gateways each address serves.
        gateways: GatewayMap,
    } -> ();

    /// Shows pools: all ports', or one port's.
    70 DumpNatPools {
        /// Only this port.
        port: Option<PortName>,
    } -> Vec<NatPoolInfo>;
    /// Shows external tuples on loan, in order, a part at a time.
    71 DumpNatLeases {
        /// The port.
        port: PortName,
        /// Only those behind this one.
        after: Option<LeasePlace>,
        /// At most so many, and never more than 4 096.
        limit: u32,
    } -> NatLeasePage;

    /// Adds an entry to a boundary's NAT table.
    60 AddBoundaryNat {
        /// The entry.
        entry: BoundaryNat,
    } -> ();
    /// Removes an entry from a boundary's NAT table.
    61 RemBoundaryNat {
        /// The entry; it is removed only if all of it agrees.
        entry: BoundaryNat,
    } -> Removal;
    /// Shows a boundary's NAT table.
    62 ListBoundaryNat {} -> Vec<BoundaryNat>;

    /// Says what a change would do, and does nothing.
    90 Plan {
        /// The change.
        change: Vec<Step>,
        /// Most connections that are listed of each class.
        listed: u32,
    } -> ChangeReport;
    /// Makes a change as a whole, or not at all; answers as [`Plan`] would have done just before.
    91 Apply {
        /// The change.
        change: Vec<Step>,
        /// Refused if another generation is in force.
        expected: Option<u64>,
        /// Most connections that are listed of each class.
        listed: u32,
    } -> ChangeReport;
    /// Takes external addresses away, and lets connections on them go on for a while; as a change
    /// of this one step.
    92 Drain {
        /// What is taken away.
        step: DrainAddresses,
        /// Most connections that are listed.
        listed: u32,
    } -> ChangeReport;

    /// Replaces what may be set for a port; live flows go by it at once.
    100 SetPortSettings {
        /// The port.
        port: PortName,
        /// All settings.
        settings: PortSettings,
    } -> ();
    /// Shows what is set for a port.
    101 ShowPortSettings {
        /// The port.
        port: PortName,
    } -> PortSettings;
    /// Changes the MTU of a port and of its device; guests learn of it by DHCP and NDP.
    102 SetMtu {
        /// The port.
        port: PortName,
        /// Largest IP packet of the guest's link, in bytes.
        mtu: u16,
    } -> ();
    /// Replaces what DHCP and DHCPv6 tell the guest of a port.
    103 SetDhcp {
        /// The port.
        port: PortName,
        /// All that they tell.
        dhcp: DhcpConfig,
    } -> ();
    /// Changes the outer source address of what a port sends; other hosts must be told by
    /// [`SetV2p`], boundaries by [`AddBoundaryNat`].
    104 SetUnderlayAddress {
        /// The port.
        port: PortName,
        /// The address.
        underlay_ip: Ipv6Addr,
    } -> ();
    /// Lets a port take packets, whatever its state.
    105 StartPort {
        /// The port.
        port: PortName,
    } -> ();
    /// Lets a running port take no packets, and keep all its flows as they are.
    106 PausePort {
        /// The port.
        port: PortName,
    } -> ();
    /// Stops a port and removes its flows; all that it was told stays.
    107 ResetPort {
        /// The port.
        port: PortName,
    } -> ();

    /// A part of what a port is, to be kept. A running port is paused by the first of these, and
    /// must stay so until the last.
    110 SavePort {
        /// The port.
        port: PortName,
        /// What the part before has said; `None` for the first.
        from: Option<SaveFrom>,
    } -> SavedPart;
    /// Hands over a part of a saved port; answers how many bytes there are now. Offset zero begins
    /// anew; the same part again does no harm.
    111 StageRestore {
        /// Bytes that come before these.
        offset: u64,
        /// At most [`STAGE_BYTES`](crate::saved::STAGE_BYTES).
        bytes: Vec<u8>,
    } -> u64;
    /// Makes a port of what was handed over, in one step. It must be started.
    112 RestorePort {
        /// Another name.
        name: Option<PortName>,
        /// Another underlay address: that of this host.
        underlay_ip: Option<Ipv6Addr>,
        /// Number of bytes that were handed over.
        bytes: u64,
    } -> Restored;
    /// Attaches a subnet to the guest of a port, or attaches it in another way.
    120 AttachSubnet {
        /// The port.
        port: PortName,
        /// The subnet.
        subnet: IpCidr,
        /// How it is attached.
        attachment: Attachment,
    } -> ();
    /// Detaches a subnet.
    121 DetachSubnet {
        /// The port.
        port: PortName,
        /// The subnet.
        subnet: IpCidr,
    } -> Removal;
    /// Lets the guest of a port use a prefix.
    122 AllowCidr {
        /// The port.
        port: PortName,
        /// The prefix.
        cidr: IpCidr,
        /// `Out`: as source; `In`: as destination; `None`: both.
        direction: Option<Direction>,
    } -> ();
    /// Takes that back.
    123 RemoveCidr {
        /// The port.
        port: PortName,
        /// The prefix.
        cidr: IpCidr,
        /// The direction; `None`: both.
        direction: Option<Direction>,
    } -> Removal;
    /// Shows what the guest of a port may use besides its own addresses.
    124 ListPrefixes {
        /// The port.
        port: PortName,
    } -> Prefixes;

    /// Adds a route with its share; for one that is there already, changes its share.
    140 AddWeightedRoute {
        /// The port.
        port: PortName,
        /// The route.
        route: WeightedRoute,
    } -> ();
    /// Shows all routes.
    141 ListRoutes {
        /// The port.
        port: PortName,
    } -> Vec<RouteInfo>;
    /// Replaces routes, external addresses and gateway map in one step.
    142 SetRouting {
        /// The port.
        port: PortName,
        /// Number of this content, from where it was made: a lower one than the last is refused,
        /// and so is the last one with other content.
        revision: Option<u64>,
        /// All routes.
        routes: Vec<WeightedRoute>,
        /// External addresses of IPv4; `None` means none.
        ipv4: Option<ExternalIps>,
        /// External addresses of IPv6; `None` means none.
        ipv6: Option<ExternalIps>,
        /// Which gateways each address serves.
        gateways: GatewayMap,
    } -> Ensured;
    /// Shows the gateways of a port.
    143 DumpGateways {
        /// The port.
        port: PortName,
    } -> Vec<GatewayInfo>;

    /// Says which underlay group carries a group; replaces what was said before.
    150 SetM2p {
        /// The mapping.
        entry: M2pEntry,
    } -> ();
    /// Forgets which underlay group carries a group.
    151 ClearM2p {
        /// The mapping; it is removed only if all of it agrees.
        entry: M2pEntry,
    } -> Removal;
    /// Shows which underlay groups carry groups.
    152 DumpM2p {} -> Vec<M2pEntry>;
    /// Adds next hops to an underlay group, or changes some.
    153 SetMulticastForwarding {
        /// The underlay group and its next hops.
        entry: ForwardingEntry,
    } -> ();
    /// Takes all next hops of an underlay group away.
    154 ClearMulticastForwarding {
        /// The underlay group.
        underlay: Ipv6Addr,
    } -> Removal;
    /// Shows the next hops of all underlay groups.
    155 DumpMulticastForwarding {} -> Vec<ForwardingEntry>;
    /// Lets a port hear a group, or changes whom it hears there.
    156 MulticastSubscribe {
        /// The port.
        port: PortName,
        /// The group.
        group: IpAddr,
        /// Whom it hears.
        filter: SourceFilter,
    } -> ();
    /// Lets a port hear a group no longer.
    157 MulticastUnsubscribe {
        /// The port.
        port: PortName,
        /// The group.
        group: IpAddr,
    } -> Removal;
    /// Lets no port hear a group any longer.
    158 MulticastUnsubscribeAll {
        /// The group.
        group: IpAddr,
    } -> Removal;
    /// Shows who hears what.
    159 DumpMulticastSubscriptions {} -> Vec<SubscriptionEntry>;

    /// Tells what a port would do with a packet, and does nothing.
    170 TracePacket {
        /// The port.
        port: PortName,
        /// Which way the packet goes.
        direction: Direction,
        /// The packet.
        packet: TracedPacket,
        /// Where a packet that reaches the guest comes from; `None` is the port's VPC.
        origin: Option<Origin>,
    } -> PacketTrace;
    /// Removes some flows of a port; a later packet of such a connection is decided anew.
    171 KillFlows {
        /// The port.
        port: PortName,
        /// Which flows.
        filter: FlowFilter,
        /// How many of them are to be listed.
        list: u32,
    } -> KilledFlows;
    /// Removes the flows on which a layer decided; later packets are decided anew.
    172 ClearLft {
        /// The port.
        port: PortName,
        /// The layer.
        layer: String,
    } -> KilledFlows;
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn command_numbers_are_unique() {
        let numbers: BTreeSet<u16> = COMMANDS.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers.len(), COMMANDS.len());
    }
}
