// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Examples about routes, gateways and multicast.

use super::examples::{Example, example, of};
use oxide_vpc_api::gateway::{AddressKind, GatewayAddress};
use oxide_vpc_api::multicast::{
    ForwardingEntry, M2pEntry, NextHop, Replication, Subscriber, SubscriptionEntry,
};
use oxide_vpc_api::request::*;
use oxide_vpc_api::{
    ExternalIps, GatewayInfo, GatewayMap, RouteEntry, RouteInfo, RouterClass, WeightedRoute,
};

const GATEWAY: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

fn route(target: &str, class: RouterClass) -> RouteEntry {
    RouteEntry { dest: of("172.30.0.0/22"), target: of(target), class }
}

/// About routes and gateways.
pub fn examples() -> Vec<Example> {
    let blackhole = route("blackhole", RouterClass::Custom);
    let weighted = |weight| WeightedRoute { route: blackhole, weight };
    let info = |weight, in_use, hits| RouteInfo {
        route: route(&format!("ig={GATEWAY}"), RouterClass::System),
        weight,
        in_use,
        hits,
    };
    let external = ExternalIps { floating: vec![of("203.0.113.8")], ..ExternalIps::default() };
    let gateways: GatewayMap = [(of("203.0.113.8"), [of(GATEWAY)].into())].into();
    let whole = SetRouting {
        port: of("opte0"),
        revision: Some(300),
        routes: vec![weighted(1), weighted(300)],
        ipv4: Some(external),
        ipv6: None,
        gateways,
    };
    let nothing = SetRouting {
        revision: None,
        routes: vec![],
        ipv4: None,
        gateways: GatewayMap::new(),
        ..whole.clone()
    };
    vec![
        example(vec![AddWeightedRoute { port: of("opte0"), route: weighted(300) }], vec![()]),
        example(
            vec![ListRoutes { port: of("opte0") }],
            vec![vec![], vec![info(1, true, 0), info(300, false, 300)]],
        ),
        example(vec![whole, nothing], vec![Ensured::Changed, Ensured::Unchanged]),
        example(vec![DumpGateways { port: of("opte0") }], vec![vec![], vec![gateway()]]),
    ]
}

fn gateway() -> GatewayInfo {
    let address = |ip, ports, kind| GatewayAddress {
        ip: of(ip),
        ports,
        kind,
        is_first: kind == AddressKind::Floating,
        flows: 300,
        inbound_flows: 2,
    };
    GatewayInfo {
        gateway: Some(of(GATEWAY)),
        routes: 2,
        addresses: vec![
            address("203.0.113.8", None, AddressKind::Floating),
            address("203.0.113.9", None, AddressKind::Ephemeral),
            address("2001:db8::7", Some((1024, 2047)), AddressKind::Snat),
        ],
        denied: 300,
    }
}

/// About multicast.
pub fn multicast() -> Vec<Example> {
    let entry = |group| M2pEntry { group: of(group), underlay: of("ff04::e001:101") };
    let entries = ["239.1.1.1", "ff05::1:3"].map(entry);
    let hop = |replication, filter| NextHop {
        addr: of("fd00::2"),
        vni: of("77"),
        replication,
        filter: of(filter),
    };
    let hops = [
        hop(Replication::External, "any"),
        hop(Replication::Underlay, "none"),
        hop(Replication::Both, "include=10.0.0.1,10.0.0.2"),
    ];
    let forwarding = ForwardingEntry { underlay: of("ff04::1"), next_hops: hops.into() };
    let subscriber = |filter| Subscriber { port: of("opte0"), filter: of(filter) };
    let subscription = |underlay| SubscriptionEntry {
        group: of("239.1.1.1"),
        underlay,
        subscribers: vec![subscriber("any"), subscriber("exclude=10.0.0.1")],
    };
    let removals = || vec![Removal::Removed, Removal::Absent];
    let (port, group) = (of("opte0"), of("ff05::1:3"));
    vec![
        example(entries.map(|entry| SetM2p { entry }).into(), vec![()]),
        example(entries.map(|entry| ClearM2p { entry }).into(), removals()),
        example(vec![DumpM2p {}], vec![vec![], entries.into()]),
        example(vec![SetMulticastForwarding { entry: forwarding.clone() }], vec![()]),
        example(vec![ClearMulticastForwarding { underlay: of("ff04::1") }], removals()),
        example(vec![DumpMulticastForwarding {}], vec![vec![], vec![forwarding]]),
        example(
            ["any", "include=fd00::1"]
                .map(|filter| MulticastSubscribe { port: of("opte0"), group, filter: of(filter) })
                .into(),
            vec![()],
        ),
        example(vec![MulticastUnsubscribe { port, group }], removals()),
        example(vec![MulticastUnsubscribeAll { group }], removals()),
        example(
            vec![DumpMulticastSubscriptions {}],
            vec![vec![], vec![subscription(None), subscription(Some(of("ff04::1")))]],
        ),
    ]
}
