// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Changes of the configuration, as random histories make them.

use super::settings::settings;
use crate::hypervisor::Hypervisor;
use crate::setting::{
    BOUNDARY, FAMILIES, Guest, HOSTS, VPC, add_guest, everywhere, gateway, outside, subnet, vni,
};
use opte_api::{Direction, IpCidr, OpteError};
use oxide_vpc_api::change::Step;
use oxide_vpc_api::multicast::{
    FilterMode, ForwardingEntry, M2pEntry, MULTICAST_VNI, NextHop, Replication, SourceFilter,
};
use oxide_vpc_api::request::{
    AddFwRule, AddWeightedRoute, ClearM2p, ClearMulticastForwarding, ClearUft, ClearV2b, ClearV2p,
    DelRoute, DeletePort, MulticastSubscribe, MulticastUnsubscribe, RemFwRule, SetDhcp,
    SetExternalIps, SetFwRules, SetM2p, SetMtu, SetMulticastForwarding, SetPortSettings,
    SetRouting, SetV2b, SetV2p,
};
use oxide_vpc_api::{
    BoundaryEndpoint, DhcpConfig, DrainAddresses, ExternalIps, FirewallRule, GatewayMap,
    PortSettings, RouteEntry, RouterClass, RouterTarget, SnatRange, V2bEntry, V2pEntry,
    WeightedRoute,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv6Addr};
use uuid::Uuid;

/// A change.
#[derive(Clone, Debug)]
pub enum Change {
    /// A firewall rule more.
    AddRule(usize, FirewallRule),
    /// These firewall rules instead.
    SetRules(usize, Vec<FirewallRule>),
    /// A firewall rule less.
    RemoveRule(usize, Direction, u64),
    /// A route more, or one with another share.
    AddRoute(usize, WeightedRoute),
    /// A route less.
    RemoveRoute(usize, RouteEntry),
    /// Other external addresses, or the same again.
    External(usize, External),
    /// Says where a guest is, or forgets it.
    Guest(bool, V2pEntry),
    /// Says where the outside is, or forgets it.
    Boundary(bool, V2bEntry),
    /// These routes, external addresses and gateway map instead.
    Routing(usize, Vec<WeightedRoute>, External),
    /// These settings instead.
    Settings(usize, Box<PortSettings>),
    /// Takes an address of a port's choice away, and lets its connections go on for some seconds.
    Drain(usize, usize, u64),
    /// Another MTU.
    Mtu(usize, u16),
    /// Another name server.
    Dhcp(usize, u8),
    /// Says which underlay group carries the group that guests talk to, or forgets it.
    Group(bool, M2pEntry),
    /// Says where an underlay group is forwarded to, or forgets it.
    Forward(bool, ForwardingEntry),
    /// A port hears a group, or does so no longer.
    Hear(usize, IpAddr, Option<SourceFilter>),
    /// Forgets all flows of a port.
    Clear(usize),
    /// Makes a port anew.
    Again(usize),
}

/// External addresses, as a choice.
#[derive(Clone, Debug)]
pub struct External {
    floating: [bool; 2],
    ephemeral: bool,
    snat: Vec<usize>,
    /// Which of its addresses serve which gateways.
    gateways: Vec<(usize, u8)>,
}

/// Gateways that routes and addresses name.
pub fn gateway_id(number: u8) -> Uuid {
    Uuid::from_u128(0xfeed_0000 + u128::from(number))
}

/// The two guests with ports on the host.
pub const GUESTS: [Guest; 2] = [Guest(5), Guest(6)];
/// A guest of the other host.
pub const REMOTE: Guest = Guest(7);

impl Change {
    /// Asks the host for this change.
    pub fn make(&self, host: &mut Hypervisor) -> Result<(), OpteError> {
        let port = |number: &usize| GUESTS[*number].port();
        match self.clone() {
            Self::Drain(at, which, seconds) => {
                let step = drain(at, which, seconds);
                host.request(&oxide_vpc_api::request::Drain { step, listed: 0 }).map(drop)
            }
            Self::AddRule(at, rule) => host.request(&AddFwRule { port: port(&at), rule }).map(drop),
            Self::SetRules(at, rules) => host.request(&SetFwRules { port: port(&at), rules }),
            Self::RemoveRule(at, direction, id) => {
                host.request(&RemFwRule { port: port(&at), direction, id }).map(drop)
            }
            Self::AddRoute(at, route) => host.request(&AddWeightedRoute { port: port(&at), route }),
            Self::RemoveRoute(at, route) => {
                host.request(&DelRoute { port: port(&at), route }).map(drop)
            }
            Self::External(at, external) => host.request(&external.request(GUESTS[at])),
            Self::Routing(at, routes, external) => {
                host.request(&routing(at, routes, &external)).map(drop)
            }
            Self::Settings(at, settings) => {
                host.request(&SetPortSettings { port: port(&at), settings: *settings })
            }
            Self::Dhcp(at, last) => host.request(&SetDhcp { port: port(&at), dhcp: dhcp(last) }),
            Self::Guest(true, entry) => host.request(&SetV2p { entry }),
            Self::Guest(false, entry) => host.request(&ClearV2p { entry }).map(drop),
            Self::Boundary(true, entry) => host.request(&SetV2b { entry }),
            Self::Boundary(false, entry) => host.request(&ClearV2b { entry }).map(drop),
            Self::Group(true, entry) => host.request(&SetM2p { entry }),
            Self::Group(false, entry) => host.request(&ClearM2p { entry }).map(drop),
            Self::Forward(true, entry) => host.request(&SetMulticastForwarding { entry }),
            Self::Forward(false, ForwardingEntry { underlay, .. }) => {
                host.request(&ClearMulticastForwarding { underlay }).map(drop)
            }
            Self::Hear(at, group, Some(filter)) => {
                host.request(&MulticastSubscribe { port: port(&at), group, filter })
            }
            Self::Hear(at, group, None) => {
                host.request(&MulticastUnsubscribe { port: port(&at), group }).map(drop)
            }
            Self::Mtu(at, mtu) => host.request(&SetMtu { port: port(&at), mtu }),
            Self::Clear(at) => host.request(&ClearUft { port: port(&at) }),
            Self::Again(at) => {
                host.request(&DeletePort { name: port(&at) })?;
                add_guest(host, GUESTS[at], 0);
                Ok(())
            }
        }
    }
}

impl Change {
    /// The same as a step among others; `None` if it cannot be one.
    pub fn step(&self) -> Option<Step> {
        let port = |number: &usize| GUESTS[*number].port();
        Some(match self.clone() {
            Self::AddRule(at, rule) => AddFwRule { port: port(&at), rule }.into(),
            Self::SetRules(at, rules) => SetFwRules { port: port(&at), rules }.into(),
            Self::RemoveRule(at, direction, id) => {
                RemFwRule { port: port(&at), direction, id }.into()
            }
            Self::AddRoute(at, route) => AddWeightedRoute { port: port(&at), route }.into(),
            Self::RemoveRoute(at, route) => DelRoute { port: port(&at), route }.into(),
            Self::External(at, external) => external.request(GUESTS[at]).into(),
            Self::Routing(at, routes, external) => routing(at, routes, &external).into(),
            Self::Settings(at, settings) => {
                SetPortSettings { port: port(&at), settings: *settings }.into()
            }
            Self::Drain(at, which, seconds) => drain(at, which, seconds).into(),
            Self::Dhcp(at, last) => SetDhcp { port: port(&at), dhcp: dhcp(last) }.into(),
            Self::Guest(true, entry) => SetV2p { entry }.into(),
            Self::Guest(false, entry) => ClearV2p { entry }.into(),
            Self::Boundary(true, entry) => SetV2b { entry }.into(),
            Self::Boundary(false, entry) => ClearV2b { entry }.into(),
            Self::Mtu(..)
            | Self::Group(..)
            | Self::Forward(..)
            | Self::Hear(..)
            | Self::Clear(_)
            | Self::Again(_) => return None,
        })
    }
}

fn routing(at: usize, routes: Vec<WeightedRoute>, external: &External) -> SetRouting {
    let SetExternalIps { port, ipv4, ipv6, gateways } = external.request(GUESTS[at]);
    SetRouting { port, revision: None, routes, ipv4, ipv6, gateways }
}

fn drain(at: usize, which: usize, seconds: u64) -> DrainAddresses {
    let guest = GUESTS[at];
    let addresses = [guest.floating(true), guest.floating(false), guest.snat(true).ip];
    DrainAddresses { port: guest.port(), addresses: vec![addresses[which]], seconds }
}

fn dhcp(last: u8) -> DhcpConfig {
    DhcpConfig { dns4: vec![[192, 0, 2, last].into()], ..DhcpConfig::default() }
}

impl External {
    fn ips(&self, guest: Guest, ipv4: bool) -> ExternalIps {
        let own = [guest, Guest(guest.0 + 100)].map(|guest| guest.floating(ipv4));
        let floating = own.into_iter().zip(self.floating).filter(|(_, on)| *on);
        ExternalIps {
            floating: floating.map(|(ip, _)| ip).collect(),
            ephemeral: self.ephemeral.then(|| Guest(guest.0 + 50).floating(ipv4)),
            snat: self.snat.iter().map(|at| range(guest, ipv4, *at)).collect(),
        }
    }

    fn request(&self, guest: Guest) -> SetExternalIps {
        let mut map = GatewayMap::new();
        for (at, id) in &self.gateways {
            for ipv4 in FAMILIES {
                let all: Vec<IpAddr> = self.ips(guest, ipv4).addresses().collect();
                if let Some(ip) = all.get(at % all.len().max(1)) {
                    map.entry(*ip).or_default().insert(gateway_id(*id));
                }
            }
        }
        SetExternalIps {
            port: guest.port(),
            ipv4: Some(self.ips(guest, true)),
            ipv6: Some(self.ips(guest, false)),
            gateways: map,
        }
    }
}

/// The whole range that a guest has at first, ranges that are soon used up, and one that begins
/// within the first.
fn range(guest: Guest, ipv4: bool, at: usize) -> SnatRange {
    let whole = guest.snat(ipv4);
    let part = |from: u16, count: u16| {
        let first_port = whole.first_port + from;
        SnatRange { first_port, last_port: first_port + count - 1, ..whole }
    };
    let other = Guest(9).floating(ipv4);
    [whole, part(0, 2), part(4, 1), SnatRange { ip: other, ..part(0, 3) }][at % 4]
}

fn rules() -> impl Strategy<Value = FirewallRule> {
    let hosts = prop_oneof![
        3 => Just("any".to_owned()),
        1 => any::<bool>().prop_map(|ipv4| format!("ip={}", outside(ipv4))),
        1 => any::<bool>().prop_map(|ipv4| format!("subnet={}", subnet(ipv4))),
        1 => prop_oneof![Just(VPC), Just(VPC + 1)].prop_map(|vni| format!("vni={vni}")),
    ];
    let what = prop_oneof![
        Just("protocol=any port=any"),
        Just("protocol=tcp port=any"),
        Just("protocol=tcp port=80,1000-1001"),
        Just("protocol=udp port=any"),
        Just("protocol=udp port=80"),
        Just("protocol=any port=443"),
        Just("protocol=icmp"),
        Just("protocol=icmp6:128"),
        Just("protocol=47"),
    ];
    let direction = prop_oneof![3 => Just("in"), 1 => Just("out")];
    let action = prop_oneof![2 => Just("allow"), 1 => Just("deny")];
    (direction, action, 0u16..3, hosts, what).prop_map(
        |(direction, action, priority, hosts, what)| {
            format!("dir={direction} action={action} priority={priority} hosts={hosts} {what}")
                .parse()
                .expect("a good rule")
        },
    )
}

fn routes() -> impl Strategy<Value = RouteEntry> {
    let class = prop_oneof![Just(RouterClass::Custom), Just(RouterClass::System)];
    (any::<bool>(), 0usize..4, 0usize..7, class).prop_map(|(ipv4, dest, target, class)| {
        let host = IpCidr::host(outside(ipv4));
        let net = IpCidr::new(outside(ipv4), 24).expect("a good length");
        RouteEntry {
            dest: [everywhere(ipv4), subnet(ipv4), net, host][dest],
            target: [
                RouterTarget::InternetGateway(None),
                RouterTarget::InternetGateway(Some(gateway_id(1))),
                RouterTarget::InternetGateway(Some(gateway_id(2))),
                RouterTarget::Subnet(subnet(ipv4)),
                RouterTarget::Ip(REMOTE.ip(ipv4)),
                RouterTarget::Drop,
                RouterTarget::Blackhole,
            ][target],
            class,
        }
    })
}

fn external() -> impl Strategy<Value = External> {
    let snat = prop_oneof![
        2 => Just(vec![0]),
        1 => Just(vec![]),
        1 => Just(vec![1]),
        1 => Just(vec![1, 2]),
        1 => Just(vec![3, 0]),
    ];
    let floating = prop_oneof![3 => Just([false; 2]), 1 => any::<[bool; 2]>()];
    let ephemeral = prop_oneof![3 => Just(false), 1 => Just(true)];
    let gateways = prop_oneof![2 => Just(vec![]), 1 => vec((0usize..4, 1u8..3), 1..4)];
    (floating, ephemeral, snat, gateways).prop_map(|(floating, ephemeral, snat, gateways)| {
        External { floating, ephemeral, snat, gateways }
    })
}

fn guests() -> impl Strategy<Value = V2pEntry> {
    let who = (any::<bool>(), 0usize..5, 0usize..2, 0usize..3);
    who.prop_map(|(ipv4, ip, host, mac)| {
        let [first, second] = GUESTS;
        let ip =
            [REMOTE.ip(ipv4), second.ip(ipv4), gateway(ipv4), outside(ipv4), first.ip(ipv4)][ip];
        V2pEntry { vni: vni(VPC), ip, location: [REMOTE, second, first][mac].location(host) }
    })
}

fn boundaries() -> impl Strategy<Value = V2bEntry> {
    (any::<bool>(), 0usize..3, 0usize..3).prop_map(|(ipv4, prefix, endpoint)| {
        let net = IpCidr::new(outside(ipv4), 24).expect("a good length");
        let underlay_ip = [BOUNDARY, HOSTS[1], HOSTS[0]][endpoint];
        let prefix = [everywhere(ipv4), net, IpCidr::host(outside(ipv4))][prefix];
        V2bEntry { prefix, endpoints: vec![BoundaryEndpoint { underlay_ip, vni: vni(99) }] }
    })
}

/// The group that guests talk to, and another.
fn groups() -> impl Strategy<Value = M2pEntry> {
    (any::<bool>(), 0u16..2).prop_map(|(ipv4, number)| M2pEntry {
        group: super::frames::group(ipv4),
        underlay: Ipv6Addr::new(0xff04, 0, 0, 0, 0, 0, 0, 1 + number),
    })
}

fn forwarding() -> impl Strategy<Value = ForwardingEntry> {
    let replication = prop_oneof![
        Just(Replication::External),
        Just(Replication::Underlay),
        Just(Replication::Both),
    ];
    (0u16..2, replication).prop_map(|(number, replication)| ForwardingEntry {
        underlay: Ipv6Addr::new(0xff04, 0, 0, 0, 0, 0, 0, 1 + number),
        next_hops: vec![NextHop {
            addr: HOSTS[1],
            vni: vni(MULTICAST_VNI),
            replication,
            filter: SourceFilter::default(),
        }],
    })
}

fn filters() -> impl Strategy<Value = Option<SourceFilter>> {
    let sources = |ipv4| [GUESTS[0].ip(ipv4)].into();
    let filter = move |(mode, ipv4)| SourceFilter { mode, sources: sources(ipv4) };
    let mode = prop_oneof![Just(FilterMode::Include), Just(FilterMode::Exclude)];
    prop_oneof![
        2 => Just(Some(SourceFilter::default())),
        1 => (mode, any::<bool>()).prop_map(filter).prop_map(Some),
        1 => Just(None),
    ]
}

/// Changes of what a port is told, beyond rules, routes and addresses one by one.
fn more_changes() -> impl Strategy<Value = Change> {
    let port = || 0usize..2;
    let weighted = (routes(), 1u16..4).prop_map(|(route, weight)| WeightedRoute { route, weight });
    let hears = (port(), any::<bool>(), filters());
    prop_oneof![
        3 => (port(), vec(weighted, 0..5), external())
            .prop_map(|(at, routes, external)| Change::Routing(at, routes, external)),
        6 => (port(), settings()).prop_map(|(at, new)| Change::Settings(at, Box::new(new))),
        1 => (port(), 0usize..3, 1u64..200)
            .prop_map(|(at, which, seconds)| Change::Drain(at, which, seconds)),
        1 => (port(), 1280u16..1600).prop_map(|(at, mtu)| Change::Mtu(at, mtu)),
        1 => (port(), 1u8..9).prop_map(|(at, last)| Change::Dhcp(at, last)),
        1 => (any::<bool>(), groups()).prop_map(|(set, entry)| Change::Group(set, entry)),
        1 => (any::<bool>(), forwarding()).prop_map(|(set, entry)| Change::Forward(set, entry)),
        2 => hears.prop_map(|(at, ipv4, filter)| {
            Change::Hear(at, super::frames::group(ipv4), filter)
        }),
    ]
}

/// Any change.
pub fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![2 => first_changes(), 1 => more_changes()]
}

fn first_changes() -> impl Strategy<Value = Change> {
    let port = 0usize..2;
    let direction = prop_oneof![Just(Direction::Out), Just(Direction::In)];
    prop_oneof![
        4 => (port.clone(), rules()).prop_map(|(at, rule)| Change::AddRule(at, rule)),
        2 => (port.clone(), vec(rules(), 0..4)).prop_map(|(at, rules)| Change::SetRules(at, rules)),
        2 => (port.clone(), direction, 0u64..12)
            .prop_map(|(at, direction, id)| Change::RemoveRule(at, direction, id)),
        3 => (port.clone(), routes(), 1u16..4)
            .prop_map(|(at, route, weight)| Change::AddRoute(at, WeightedRoute { route, weight })),
        2 => (port.clone(), routes()).prop_map(|(at, route)| Change::RemoveRoute(at, route)),
        4 => (port.clone(), external()).prop_map(|(at, ips)| Change::External(at, ips)),
        3 => (any::<bool>(), guests()).prop_map(|(set, entry)| Change::Guest(set, entry)),
        2 => (any::<bool>(), boundaries()).prop_map(|(set, entry)| Change::Boundary(set, entry)),
        1 => port.clone().prop_map(Change::Clear),
        1 => port.prop_map(Change::Again),
    ]
}
