// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Every kind of error that a request can earn, and that a refused request changes nothing.

use opte::frame::FlatFrame;
use opte_api::frame::{
    API_VERSION, HEADER_LEN, Header, MAX_REQUEST, MAX_RESPONSE, Request, decode_answer,
    encode_request,
};
use opte_api::{Direction, IpCidr, MacAddr, OpteError};
use opte_tests::hypervisor::{Agreeable, Hypervisor, Left};
use opte_tests::packets::{Body, Packet};
use opte_tests::setting::{
    Guest, add_boundary, add_guest, add_peer, boundary, everywhere, outside, route,
};
use oxide_vpc_api::request::{
    AddFwRule, AddRoute, Apply, ClearUnderlay, ClearV2b, CreatePort, DeletePort, Drain,
    DumpCounters, DumpLayer, DumpUft, DumpV2b, DumpV2p, ListBoundaryNat, ListPorts, Plan,
    SetExternalIps, SetFwRules, SetMtu, SetUnderlay, SetV2b, SetV2p, ShowUnderlay,
};
use oxide_vpc_api::{
    DrainAddresses, ExternalIps, FirewallRule, GatewayMap, PortConfig, PortName, PortRange,
    RouterTarget, Step, V2bEntry, V2pEntry,
};
use std::net::Ipv6Addr;
use xde::driver::DriverOptions;
use xde::host::{Platform, PortId};

const GUEST: Guest = Guest(5);

/// A platform on which nothing succeeds.
struct Broken;

impl Platform for Broken {
    fn create_device(
        &mut self,
        _port: PortId,
        _name: &PortName,
        _mac: MacAddr,
        _mtu: u16,
    ) -> Result<(), OpteError> {
        Err(OpteError::System("no device to be had".into()))
    }

    fn delete_device(&mut self, _port: PortId, _name: &PortName) -> Result<(), OpteError> {
        Err(OpteError::System("the device is busy".into()))
    }

    fn set_mtu(&mut self, _name: &PortName, _mtu: u16) -> Result<(), OpteError> {
        Err(OpteError::System("the device is gone".into()))
    }

    fn set_underlay(&mut self, _links: &[String]) -> Result<(), OpteError> {
        Err(OpteError::System("no such link".into()))
    }

    fn clear_underlay(&mut self) -> Result<(), OpteError> {
        Err(OpteError::System("the link is busy".into()))
    }
}

/// A host with a port, a live flow, and mappings.
fn host() -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions::new(11));
    add_guest(&mut host, GUEST, 0);
    add_peer(&mut host, Guest(7), 1);
    add_boundary(&mut host);
    assert!(matches!(talk(&mut host).as_slice(), [Left::Underlay(_)]));
    host
}

fn talk(host: &mut Hypervisor) -> Vec<Left> {
    let body = Body::Udp { ports: [1000, 80], checksum: true };
    let packet = Packet::new(GUEST.macs(), [GUEST.ip(true), outside(true)], body);
    host.from_guest(PortId(0), FlatFrame::new(packet.bytes()))
}

/// All that can be seen of a host.
fn seen(host: &mut Hypervisor) -> String {
    let port = GUEST.port();
    let mut parts = vec![
        format!("{:#?}", host.request(&ListPorts {})),
        format!("{:#?}", host.request(&ShowUnderlay {})),
        format!("{:#?}", host.request(&DumpV2p::default())),
        format!("{:#?}", host.request(&DumpV2b::default())),
        format!("{:#?}", host.request(&DumpUft::of(port.clone()))),
        format!("{:#?}", host.request(&DumpCounters { port: None })),
    ];
    for layer in ["gateway", "firewall", "router", "nat", "overlay"] {
        let dump = DumpLayer::of(port.clone(), layer);
        parts.push(format!("{:#?}", host.request(&dump)));
    }
    parts.join("\n")
}

/// Sends a request that must be refused, and answers why it was.
fn refusal<R: Request>(host: &mut Hypervisor, platform: &mut dyn Platform, request: &R) -> OpteError
where
    R::Response: std::fmt::Debug,
{
    let before = seen(host);
    let frame = encode_request(request).unwrap();
    let (header, body) = frame.split_first_chunk::<HEADER_LEN>().unwrap();
    let header = Header::from_bytes(*header, MAX_REQUEST).unwrap();
    let answer = host.driver.control(platform, host.now, header, body);
    let error = decode::<R::Response>(&answer).unwrap_err();
    assert_eq!(seen(host), before, "{error}");
    error
}

fn decode<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Result<T, OpteError> {
    let (header, body) = answer.split_first_chunk::<HEADER_LEN>().unwrap();
    decode_answer(Header::from_bytes(*header, MAX_RESPONSE).unwrap(), body)
}

fn name(error: &OpteError) -> &'static str {
    match error {
        OpteError::BadApiVersion { .. } => "BadApiVersion",
        OpteError::UnknownCommand(_) => "UnknownCommand",
        OpteError::BadRequest(_) => "BadRequest",
        OpteError::TooLarge { .. } => "TooLarge",
        OpteError::Invalid { .. } => "Invalid",
        OpteError::NotFound { .. } => "NotFound",
        OpteError::Exists { .. } => "Exists",
        OpteError::BadState(_) => "BadState",
        OpteError::Limit { .. } => "Limit",
        OpteError::System(_) => "System",
        OpteError::Stale { .. } => "Stale",
        OpteError::Step { .. } => "Step",
    }
}

/// Refuses the request, for this kind of reason, with this in its text.
#[track_caller]
fn refused<R: Request>(request: R, kind: &str, text: &str)
where
    R::Response: std::fmt::Debug,
{
    expect(&refusal(&mut host(), &mut Agreeable, &request), kind, text);
}

#[track_caller]
fn expect(error: &OpteError, kind: &str, text: &str) {
    assert_eq!(name(error), kind, "{error}");
    assert!(error.to_string().contains(text), "'{error}' does not say '{text}'");
}

fn port() -> PortName {
    GUEST.port()
}

fn rule() -> FirewallRule {
    "dir=in action=allow priority=1 protocol=tcp port=22".parse().unwrap()
}

#[test]
fn frames_that_are_no_request() {
    let mut host = host();
    let before = seen(&mut host);
    let ask = |header: Header, body: &[u8]| {
        let answer = host.driver.control(&mut Agreeable, host.now, header, body);
        decode::<()>(&answer).unwrap_err()
    };
    let header = |code| Header { version: API_VERSION, code, len: 0 };
    let other = Header { version: API_VERSION + 1, ..header(ListPorts::CODE) };
    expect(&ask(other, &[]), "BadApiVersion", "install matching versions");
    expect(&ask(header(9999), &[]), "UnknownCommand", "9999");
    expect(&ask(header(CreatePort::CODE), &[7]), "BadRequest", "malformed");
    expect(&ask(header(ListPorts::CODE), &[7]), "BadRequest", "follow");
    expect(&ask(header(ListBoundaryNat::CODE), &[]), "BadState", "no boundary");
    assert_eq!(seen(&mut host), before);
    let long = Header { len: MAX_REQUEST + 1, ..header(ListPorts::CODE) };
    let error = Header::from_bytes(long.to_bytes(), MAX_REQUEST).unwrap_err();
    expect(&error, "TooLarge", "over the limit");
}

#[test]
fn ports() {
    let create = |name: &str, change: &dyn Fn(&mut PortConfig)| {
        let mut config = Guest(6).config(0);
        change(&mut config);
        CreatePort { name: name.parse().unwrap(), config }
    };
    refused(create("guest5", &|_| {}), "Exists", "port 'guest5'");
    refused(create("new", &|config| config.mac = GUEST.mac()), "Exists", "MAC address");
    refused(create("new", &|config| config.mtu = 100), "Invalid", "MTU");
    refused(create("new", &|config| (config.ipv4, config.ipv6) = (None, None)), "Invalid", "IPv4");
    refused(
        create("new", &|config| config.mac = MacAddr::BROADCAST),
        "Invalid",
        "no unicast address",
    );
    refused(
        create("new", &|config| config.ipv4.as_mut().unwrap().private_ip = outside(true)),
        "Invalid",
        "outside of",
    );
    refused(
        create("new", &|config| config.underlay_ip = Ipv6Addr::UNSPECIFIED),
        "Invalid",
        "underlay",
    );
    refused(DeletePort { name: Guest(6).port() }, "NotFound", "guest6");
    refused(SetMtu { port: port(), mtu: 100 }, "Invalid", "MTU");
    refused(DumpUft::of(Guest(6).port()), "NotFound", "guest6");
    refused(DumpLayer::of(port(), "cake"), "Invalid", "gateway, firewall");
}

#[test]
fn the_underlay() {
    refused(SetUnderlay { links: vec![] }, "Invalid", "links");
    refused(SetUnderlay { links: vec!["one".into()] }, "Exists", "underlay");
    refused(ClearUnderlay {}, "BadState", "ports use the underlay");
    let mut empty = Hypervisor::new(DriverOptions::new(1));
    empty.request(&ClearUnderlay {}).unwrap();
    let none = refusal(&mut empty, &mut Agreeable, &ClearUnderlay {});
    expect(&none, "NotFound", "underlay");
    let create = CreatePort { name: port(), config: GUEST.config(0) };
    let early = refusal(&mut empty, &mut Agreeable, &create);
    expect(&early, "BadState", "no underlay");
}

#[test]
fn the_system_may_refuse() {
    let mut host = host();
    let create = CreatePort { name: Guest(6).port(), config: Guest(6).config(0) };
    expect(&refusal(&mut host, &mut Broken, &create), "System", "no device");
    let delete = DeletePort { name: port() };
    expect(&refusal(&mut host, &mut Broken, &delete), "System", "busy");
    let mtu = SetMtu { port: port(), mtu: 1400 };
    expect(&refusal(&mut host, &mut Broken, &mtu), "System", "the device is gone");
    assert!(matches!(talk(&mut host).as_slice(), [Left::Underlay(_)]), "the port works on");
    host.request(&create).unwrap();
    let mut empty = Hypervisor::new(DriverOptions::new(1));
    expect(&refusal(&mut empty, &mut Broken, &ClearUnderlay {}), "System", "busy");
    empty.request(&ClearUnderlay {}).unwrap();
    let set = SetUnderlay { links: vec!["net9".into()] };
    expect(&refusal(&mut empty, &mut Broken, &set), "System", "no such link");
}

#[test]
fn rules() {
    refused(AddFwRule { port: Guest(6).port(), rule: rule() }, "NotFound", "guest6");
    let bad = FirewallRule { ports: vec![PortRange { first: 9, last: 3 }], ..rule() };
    refused(AddFwRule { port: port(), rule: bad.clone() }, "Invalid", "no port range");
    // The first is good, the second is not: neither is taken.
    refused(SetFwRules { port: port(), rules: vec![rule(), bad] }, "Invalid", "no port range");
    refused(SetFwRules { port: port(), rules: vec![rule(); 10_001] }, "Limit", "firewall rules");
    let mut full = host();
    full.request(&SetFwRules { port: port(), rules: vec![rule(); 10_000] }).unwrap();
    let one_more = AddFwRule { port: port(), rule: rule() };
    expect(&refusal(&mut full, &mut Agreeable, &one_more), "Limit", "10000");
}

#[test]
fn routes_and_mappings() {
    let to_other_family = route(everywhere(true), RouterTarget::Ip(Guest(7).ip(false)));
    refused(AddRoute { port: port(), route: to_other_family }, "Invalid", "family");
    let multicast: IpCidr = "224.0.0.0/4".parse().unwrap();
    let route = route(multicast, RouterTarget::Drop);
    refused(AddRoute { port: port(), route }, "Invalid", "multicast");
    let at = |ip: &str| V2pEntry {
        vni: opte_tests::setting::vni(100),
        ip: ip.parse().unwrap(),
        location: GUEST.location(0),
    };
    refused(SetV2p { entry: at("224.0.0.1") }, "Invalid", "unicast");
    let nobody = V2bEntry { prefix: everywhere(true), endpoints: vec![] };
    refused(SetV2b { entry: nobody }, "Invalid", "endpoint");
    let endpoint = |last: u16| {
        let mut endpoint = boundary();
        endpoint.underlay_ip = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, last);
        endpoint
    };
    let many = V2bEntry { prefix: everywhere(true), endpoints: (0..65).map(endpoint).collect() };
    refused(SetV2b { entry: many }, "Limit", "endpoints");
}

#[test]
fn external_addresses() {
    let set = |ipv4: ExternalIps, ipv6: ExternalIps| SetExternalIps {
        port: port(),
        ipv4: Some(ipv4),
        ipv6: Some(ipv6),
        gateways: GatewayMap::new(),
    };
    let good = || GUEST.external(true);
    let wrong_family = GUEST.external(true);
    // IPv4 is good, IPv6 is not: neither is taken.
    let floating = ExternalIps { floating: vec![GUEST.floating(true)], ..good() };
    refused(set(floating.clone(), wrong_family), "Invalid", "not IPv6");
    let twice = ExternalIps { floating: vec![GUEST.floating(true); 2], ..good() };
    refused(set(twice, ExternalIps::default()), "Invalid", "twice");
    let mut backwards = good();
    backwards.snat[0].first_port = backwards.snat[0].last_port + 1;
    refused(set(backwards, ExternalIps::default()), "Invalid", "no range");

    let mut host = Hypervisor::new(DriverOptions::new(1));
    let config = PortConfig { ipv6: None, ..GUEST.config(0) };
    host.request(&CreatePort { name: port(), config }).unwrap();
    let request = set(floating, GUEST.external(false));
    expect(&refusal(&mut host, &mut Agreeable, &request), "Invalid", "no IPv6 address");
}

/// Wherever a change fails, all is as it was.
#[test]
fn changes() {
    let ips = || SetExternalIps {
        port: port(),
        ipv4: Some(GUEST.external(true)),
        ipv6: None,
        gateways: GatewayMap::new(),
    };
    let entry = V2bEntry { prefix: everywhere(true), endpoints: vec![boundary()] };
    let good: Vec<Step> = vec![
        SetFwRules { port: port(), rules: vec![rule()] }.into(),
        ips().into(),
        DrainAddresses { port: port(), addresses: vec![GUEST.snat(true).ip], seconds: 9 }.into(),
        ClearV2b { entry }.into(),
        AddRoute { port: port(), route: route(everywhere(true), RouterTarget::Drop) }.into(),
    ];
    let wrong = ExternalIps { ephemeral: Some(outside(false)), ..ExternalIps::default() };
    let wrong: Step = SetExternalIps { ipv4: Some(wrong), ..ips() }.into();
    for at in 0..=good.len() {
        let mut change = good.clone();
        change.insert(at, wrong.clone());
        let text = format!("step {} (SetExternalIps): ", at + 1);
        refused(Apply { change, expected: None, listed: 20 }, "Step", &text);
    }
    let mut host = host();
    let plan = Plan { change: good.clone(), listed: 20 };
    let before = seen(&mut host);
    let report = host.request(&plan).unwrap();
    assert_eq!(seen(&mut host), before, "a plan does nothing");
    let stale = Apply { change: good.clone(), expected: Some(report.next), listed: 20 };
    let error = refusal(&mut host, &mut Agreeable, &stale);
    let text =
        format!("generation is {} now, the change expects {}", report.generation, report.next);
    expect(&error, "Stale", &text);
    refused(Plan { change: good.clone(), listed: 10_001 }, "Limit", "10000");
    let many = vec![good[0].clone(); 65_537];
    refused(Plan { change: many, listed: 20 }, "Limit", "65536");
    let addresses = vec![outside(true)];
    let drain = |seconds| DrainAddresses { port: port(), addresses: addresses.clone(), seconds };
    refused(Drain { step: drain(0), listed: 20 }, "Step", "use 1 to 604800 seconds");
    refused(Drain { step: drain(9), listed: 20 }, "Step", "does not exist");
}

#[test]
fn rules_of_the_other_direction_are_not_removed() {
    use oxide_vpc_api::request::{RemFwRule, Removal};
    let mut host = host();
    let id = host.request(&AddFwRule { port: port(), rule: rule() }).unwrap();
    let mut remove = |direction| host.request(&RemFwRule { port: port(), direction, id }).unwrap();
    assert_eq!(remove(Direction::Out), Removal::Absent);
    assert_eq!(remove(Direction::In), Removal::Removed);
    assert_eq!(remove(Direction::In), Removal::Absent);
}
