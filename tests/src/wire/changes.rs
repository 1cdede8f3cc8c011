// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Changes of many things at once.

use super::Example;
use super::examples::{example, of};
use super::ports::port;
use opte_api::{Direction, FlowId, Protocol};
use oxide_vpc_api::change::{
    AffectedFlow, ChangeReport, DrainAddresses, Fate, FateReport, PortReport, Step,
};
use oxide_vpc_api::request::{
    AddFwRule, AddRoute, AddWeightedRoute, AllowCidr, Apply, AttachSubnet, ClearV2b, ClearV2p,
    DelRoute, DetachSubnet, Drain, Plan, RemFwRule, RemoveCidr, SetDhcp, SetExternalIps,
    SetFwRules, SetPortSettings, SetRouting, SetV2b, SetV2p,
};
use oxide_vpc_api::{
    Attachment, BoundaryEndpoint, DhcpConfig, GatewayMap, GuestLocation, PortSettings, RouteEntry,
    V2bEntry, V2pEntry, WeightedRoute,
};

fn drain() -> DrainAddresses {
    DrainAddresses { port: port(), addresses: vec![of("203.0.113.8")], seconds: 600 }
}

/// Each kind of step.
fn steps() -> Vec<Step> {
    let route = RouteEntry { dest: of("0.0.0.0/0"), target: of("ig"), class: of("system") };
    let weighted = WeightedRoute { route, weight: 300 };
    let location = GuestLocation { mac: of("a8:40:25:f0:00:02"), underlay_ip: of("fd00::2") };
    let v2p = V2pEntry { vni: of("100"), ip: of("172.30.0.6"), location };
    let endpoint = BoundaryEndpoint { underlay_ip: of("fd00:b::1"), vni: of("99") };
    let v2b = V2bEntry { prefix: of("::/0"), endpoints: vec![endpoint] };
    let (subnet, cidr) = (of("10.44.0.0/24"), of("10.45.0.0/24"));
    let rule = "dir=in action=allow priority=1";
    vec![
        AddFwRule { port: port(), rule: of(rule) }.into(),
        RemFwRule { port: port(), direction: Direction::In, id: 7 }.into(),
        SetFwRules { port: port(), rules: Vec::new() }.into(),
        AddRoute { port: port(), route }.into(),
        DelRoute { port: port(), route }.into(),
        SetV2p { entry: v2p }.into(),
        ClearV2p { entry: v2p }.into(),
        SetV2b { entry: v2b.clone() }.into(),
        ClearV2b { entry: v2b }.into(),
        SetExternalIps { port: port(), ipv4: None, ipv6: None, gateways: GatewayMap::new() }.into(),
        SetPortSettings { port: port(), settings: PortSettings::default() }.into(),
        AttachSubnet { port: port(), subnet, attachment: Attachment::Internal }.into(),
        DetachSubnet { port: port(), subnet }.into(),
        AllowCidr { port: port(), cidr, direction: None }.into(),
        RemoveCidr { port: port(), cidr, direction: Some(Direction::Out) }.into(),
        drain().into(),
        AddWeightedRoute { port: port(), route: weighted }.into(),
        SetRouting {
            port: port(),
            revision: Some(3),
            routes: vec![weighted],
            ipv4: None,
            ipv6: None,
            gateways: GatewayMap::new(),
        }
        .into(),
        SetDhcp { port: port(), dhcp: DhcpConfig::default() }.into(),
    ]
}

fn report() -> ChangeReport {
    let flow = FlowId {
        protocol: Protocol::UDP,
        src: of("172.30.0.5"),
        src_port: 1000,
        dst: of("198.51.100.9"),
        dst_port: 80,
    };
    let first = |nat| vec![AffectedFlow { flow, opened: Direction::Out, nat }];
    let fate = |fate| FateReport { fate, reason: "why".into(), count: 1, first: first(None) };
    let mut flows: Vec<_> = [Fate::Kept, Fate::Changed, Fate::Drained].map(fate).into();
    let first = first(Some("203.0.113.7:16384".into()));
    flows.push(FateReport { fate: Fate::Cut, reason: "rule_denies".into(), count: 1, first });
    ChangeReport { generation: 6, next: 7, ports: vec![PortReport { port: port(), flows }] }
}

/// Examples of all messages about changes.
pub(super) fn examples() -> Vec<Example> {
    let apply = |expected| Apply { change: steps(), expected, listed: 20 };
    vec![
        example(vec![Plan { change: steps(), listed: 20 }], vec![report()]),
        example(vec![apply(None), apply(Some(6))], vec![report()]),
        example(vec![Drain { step: drain(), listed: 20 }], vec![report()]),
    ]
}
