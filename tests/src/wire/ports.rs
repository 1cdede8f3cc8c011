// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Ports, underlay, external addresses, mappings, routes, rules.

use super::Example;
use super::examples::{example, of};
use opte_api::{Direction, MacAddr};
use oxide_vpc_api::PortSettings;
use oxide_vpc_api::dump::{PortInfo, UnderlayInfo, V2bDump, V2pDump};
use oxide_vpc_api::filter::{MappingFilter, Page};
use oxide_vpc_api::request::{
    AddBoundaryNat, AddFwRule, AddRoute, AllowCidr, AttachSubnet, ClearUnderlay, ClearV2b,
    ClearV2p, CreatePort, DelRoute, DeletePort, DetachSubnet, DumpV2b, DumpV2p, ListBoundaryNat,
    ListPorts, ListPrefixes, RemBoundaryNat, RemFwRule, Removal, RemoveCidr, SetExternalIps,
    SetFwRules, SetUnderlay, SetV2b, SetV2p, ShowUnderlay,
};
use oxide_vpc_api::request::{
    PausePort, ResetPort, SetDhcp, SetMtu, SetPortSettings, SetUnderlayAddress, ShowPortSettings,
    StartPort,
};
use oxide_vpc_api::{
    Attachment, BoundaryEndpoint, BoundaryNat, DhcpConfig, ExternalIps, GatewayMap, GuestLocation,
    IpConfig, PortConfig, PortName, PortState, Prefixes, RouteEntry, SnatRange, Transit, V2bEntry,
    V2pEntry,
};

pub(super) const GATEWAY: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

pub(super) fn port() -> PortName {
    of("opte0")
}

fn mac() -> MacAddr {
    of("a8:40:25:f0:00:01")
}

fn removals() -> Vec<Removal> {
    vec![Removal::Removed, Removal::Absent]
}

fn external(ipv4: bool) -> ExternalIps {
    let ip = |text4: &str, text6: &str| if ipv4 { of(text4) } else { of(text6) };
    ExternalIps {
        floating: vec![ip("203.0.113.8", "2001:db8::8")],
        ephemeral: Some(ip("203.0.113.9", "2001:db8::9")),
        snat: vec![SnatRange {
            ip: ip("203.0.113.7", "2001:db8::7"),
            first_port: 16384,
            last_port: 32767,
        }],
    }
}

pub(super) fn config() -> PortConfig {
    let family = |private_ip: &str, subnet: &str, gateway_ip: &str, ipv4| IpConfig {
        private_ip: of(private_ip),
        subnet: of(subnet),
        gateway_ip: of(gateway_ip),
        external: external(ipv4),
    };
    PortConfig {
        mac: mac(),
        gateway_mac: of("a8:40:25:ff:77:77"),
        boundary_mac: of("a8:40:25:77:77:77"),
        vni: of("100"),
        underlay_ip: of("fd00::1"),
        mtu: 1500,
        ipv4: Some(family("172.30.0.5", "172.30.0.0/22", "172.30.0.1", true)),
        ipv6: Some(family("fd12::5", "fd12::/64", "fd12::1", false)),
        dhcp: DhcpConfig {
            hostname: Some(of("web")),
            host_domain: Some(of("example.com")),
            domain_search: vec![of("a.example")],
            dns4: vec![of("1.1.1.1")],
            dns6: vec![of("2606:4700::1111")],
        },
        settings: PortSettings::default(),
    }
}

fn info() -> PortInfo {
    PortInfo {
        name: port(),
        state: PortState::Running,
        mac: mac(),
        vni: of("100"),
        mtu: 1500,
        underlay_ip: of("fd00::1"),
        private_ips: vec![of("172.30.0.5"), of("fd12::5")],
        floating: vec![of("203.0.113.8")],
        ephemeral: vec![of("203.0.113.9")],
        snat: vec!["203.0.113.7:16384-32767".into()],
        generation: 4,
    }
}

fn boundary_nat() -> BoundaryNat {
    BoundaryNat {
        ip: of("203.0.113.7"),
        first_port: 16384,
        last_port: 32767,
        underlay_ip: of("fd00::1"),
        vni: of("100"),
        mac: mac(),
    }
}

fn routes() -> Vec<RouteEntry> {
    let gateway = format!("ig={GATEWAY}");
    [
        ("0.0.0.0/0", "ig", "system"),
        ("::/0", gateway.as_str(), "custom"),
        ("10.0.0.0/8", "drop", "custom"),
        ("10.1.0.0/16", "ip=172.30.0.9", "custom"),
        ("fd12::/64", "subnet=fd12::/64", "system"),
    ]
    .map(|(dest, target, class)| RouteEntry {
        dest: of(dest),
        target: of(target),
        class: of(class),
    })
    .into()
}

/// Rules with every kind of filter.
fn rules() -> Vec<oxide_vpc_api::FirewallRule> {
    [
        "dir=in action=allow priority=100 hosts=subnet=10.0.0.0/8 protocol=tcp port=22,8000-8080",
        "dir=out action=deny priority=65535 hosts=ip=fd12::9 protocol=icmp6:128,0-3",
        "dir=in action=allow priority=0 hosts=vni=100 protocol=icmp:8",
        "dir=out action=allow priority=1 protocol=132",
        "dir=out action=allow priority=2 hosts=any protocol=icmp",
        "dir=in action=reject priority=3 protocol=icmp6:1-4 \
         uuid=f3b1a5ac-6a9a-4b1c-9a3e-0d4f3f7d6a01 comment=No errors",
    ]
    .map(of)
    .into()
}

fn v2p() -> Vec<V2pEntry> {
    let location = GuestLocation { mac: mac(), underlay_ip: of("fd00::2") };
    ["172.30.0.6", "fd12::6"].map(|ip| V2pEntry { vni: of("100"), ip: of(ip), location }).into()
}

fn v2b() -> Vec<V2bEntry> {
    let endpoint = |ip: &str, vni: &str| BoundaryEndpoint { underlay_ip: of(ip), vni: of(vni) };
    let endpoints = vec![endpoint("fd00:b::1", "99"), endpoint("fd00:b::2", "77")];
    ["0.0.0.0/0", "::/0"]
        .map(|prefix| V2bEntry { prefix: of(prefix), endpoints: endpoints.clone() })
        .into()
}

fn guest_cursor() -> (opte_api::Vni, std::net::IpAddr) {
    (of("100"), of("fd12::6"))
}

fn v2p_dumps() -> Vec<DumpV2p> {
    let filter = MappingFilter { vni: Some(of("100")), within: Some(of("172.30.0.0/24")) };
    let page = Page { after: Some(guest_cursor()), limit: 300 };
    vec![DumpV2p::default(), DumpV2p { filter, page }]
}

fn v2b_dumps() -> Vec<DumpV2b> {
    let filter = MappingFilter { vni: None, within: Some(of("172.30.0.0/24")) };
    let page = Page { after: Some(of("10.0.0.0/8")), limit: 300 };
    vec![DumpV2b::default(), DumpV2b { filter, page }]
}

fn requests<T, R>(values: Vec<T>, request: impl Fn(T) -> R) -> Vec<R> {
    values.into_iter().map(request).collect()
}

pub(super) fn examples() -> Vec<Example> {
    let states = [PortState::Ready, PortState::Running, PortState::Paused];
    let restored = PortInfo { state: PortState::Restored, ..info() };
    let infos = states.map(|state| PortInfo { state, ..info() });
    let gateways = GatewayMap::from([(of("203.0.113.8"), [of(GATEWAY)].into())]);
    let all = SetExternalIps {
        port: port(),
        ipv4: Some(external(true)),
        ipv6: Some(external(false)),
        gateways,
    };
    let none = SetExternalIps { port: port(), ipv4: None, ipv6: None, gateways: GatewayMap::new() };
    let rejecting = || vec![of("dir=in action=reject priority=3")];
    let all_rules = [rules(), rejecting()].concat();
    let rule_sets = [rules(), rejecting()];
    let links = vec!["net0".to_owned(), "net1".into()];
    let rem = |direction| RemFwRule { port: port(), direction, id: 300 };
    vec![
        example(vec![ListPorts {}], vec![infos.into(), vec![restored]]),
        example(vec![CreatePort { name: port(), config: config() }], vec![()]),
        example(vec![DeletePort { name: port() }], vec![()]),
        example(vec![SetUnderlay { links: links.clone() }], vec![()]),
        example(vec![ClearUnderlay {}], vec![()]),
        example(vec![ShowUnderlay {}], vec![UnderlayInfo { links }]),
        example(requests(all_rules, |rule| AddFwRule { port: port(), rule }), vec![300]),
        example(Direction::BOTH.map(rem).into(), removals()),
        example(rule_sets.map(|rules| SetFwRules { port: port(), rules }).into(), vec![()]),
        example(requests(routes(), |route| AddRoute { port: port(), route }), vec![()]),
        example(requests(routes(), |route| DelRoute { port: port(), route }), removals()),
        example(requests(v2p(), |entry| SetV2p { entry }), vec![()]),
        example(requests(v2p(), |entry| ClearV2p { entry }), removals()),
        example(v2p_dumps(), vec![V2pDump { entries: v2p(), next: Some(guest_cursor()) }]),
        example(requests(v2b(), |entry| SetV2b { entry }), vec![()]),
        example(requests(v2b(), |entry| ClearV2b { entry }), removals()),
        example(v2b_dumps(), vec![V2bDump { entries: v2b(), next: Some(of("::/0")) }]),
        example(vec![all, none], vec![()]),
        example(vec![AddBoundaryNat { entry: boundary_nat() }], vec![()]),
        example(vec![RemBoundaryNat { entry: boundary_nat() }], removals()),
        example(vec![ListBoundaryNat {}], vec![vec![boundary_nat()]]),
    ]
}

/// What may be set for a port.
pub(super) fn settings() -> Vec<Example> {
    let settings = PortSettings::default();
    vec![
        example(vec![SetPortSettings { port: port(), settings: settings.clone() }], vec![()]),
        example(vec![ShowPortSettings { port: port() }], vec![settings]),
        example(vec![SetMtu { port: port(), mtu: 8500 }], vec![()]),
        example(vec![SetDhcp { port: port(), dhcp: config().dhcp }], vec![()]),
        example(vec![SetUnderlayAddress { port: port(), underlay_ip: of("fd00::2") }], vec![()]),
        example(vec![StartPort { port: port() }], vec![()]),
        example(vec![PausePort { port: port() }], vec![()]),
        example(vec![ResetPort { port: port() }], vec![()]),
    ]
}

/// What a guest may use besides its own addresses.
pub(super) fn prefixes() -> Vec<Example> {
    let subnet = || of("203.0.113.0/28");
    let attach = |attachment| AttachSubnet { port: port(), subnet: subnet(), attachment };
    let directions = || [None, Some(Direction::Out), Some(Direction::In)];
    let cidr = || of("fd77::/32");
    let allow = |direction| AllowCidr { port: port(), cidr: cidr(), direction };
    let remove = |direction| RemoveCidr { port: port(), cidr: cidr(), direction };
    let transit = Transit { allow_in: true, allow_out: false };
    let all = Prefixes {
        attached: [(subnet(), Attachment::External), (of("10.44.0.0/24"), Attachment::Internal)]
            .into(),
        transit: [(cidr(), transit)].into(),
    };
    vec![
        example([Attachment::External, Attachment::Internal].map(attach).into(), vec![()]),
        example(vec![DetachSubnet { port: port(), subnet: subnet() }], removals()),
        example(directions().map(allow).into(), vec![()]),
        example(directions().map(remove).into(), removals()),
        example(vec![ListPrefixes { port: port() }], vec![all]),
    ]
}
