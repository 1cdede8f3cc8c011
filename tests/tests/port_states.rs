// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The states of a port: which requests each takes, what becomes of flows, and what may be changed
//! while it runs.

use opte::drop_reason::DropReason;
use opte::frame::FlatFrame;
use opte_api::{Direction, OpteError};
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet, Tunnel};
use opte_tests::setting::{
    BOUNDARY, Guest, HOSTS, add_boundary, add_guest, everywhere, outside, route,
};
use oxide_vpc_api::request::*;
use oxide_vpc_api::{DhcpConfig, GatewayMap, PortSettings, PortState, RouterTarget};
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);

fn host() -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions { flow_limit: 100, ..DriverOptions::new(5) });
    add_boundary(&mut host);
    add_guest(&mut host, GUEST, 0);
    host
}

fn packet() -> Packet {
    let body = Body::Udp { ports: [1000, 80], checksum: true };
    Packet::new(GUEST.macs(), [GUEST.ip(true), outside(true)], body)
}

fn send(host: &mut Hypervisor) -> Vec<Left> {
    host.from_guest(PortId(0), FlatFrame::new(packet().bytes()))
}

fn state(host: &mut Hypervisor) -> PortState {
    host.request(&ListPorts {}).unwrap()[0].state
}

fn flows(host: &mut Hypervisor) -> u32 {
    host.driver.device(PortId(0)).unwrap().port.flows().count()
}

/// Brings a port with one flow into a state.
fn bring(host: &mut Hypervisor, wanted: PortState) {
    let port = GUEST.port();
    assert_eq!(send(host).len(), 1);
    match wanted {
        PortState::Running => {}
        PortState::Paused => host.request(&PausePort { port }).unwrap(),
        PortState::Ready => host.request(&ResetPort { port }).unwrap(),
        PortState::Restored => unreachable!("restored ports have tests of their own"),
    }
    assert_eq!(state(host), wanted);
}

type Ask = fn(&mut Hypervisor) -> Result<(), OpteError>;

/// Requests, and whether a port takes them when ready, running and paused.
const TABLE: [(&str, Ask, [bool; 3]); 19] = [
    (
        "AddFwRule",
        |h| h.request(&AddFwRule { port: p(), rule: r() }).map(drop),
        [true, true, false],
    ),
    (
        "RemFwRule",
        |h| h.request(&RemFwRule { port: p(), direction: Direction::In, id: 9 }).map(drop),
        [true, true, false],
    ),
    ("SetFwRules", |h| h.request(&SetFwRules { port: p(), rules: vec![] }), [true, true, false]),
    ("AddRoute", |h| h.request(&AddRoute { port: p(), route: rt() }), [true, true, false]),
    (
        "DelRoute",
        |h| h.request(&DelRoute { port: p(), route: rt() }).map(drop),
        [true, true, false],
    ),
    ("SetExternalIps", |h| h.request(&external()), [true, true, false]),
    (
        "SetPortSettings",
        |h| h.request(&SetPortSettings { port: p(), settings: PortSettings::default() }),
        [true, true, false],
    ),
    ("SetMtu", |h| h.request(&SetMtu { port: p(), mtu: 1400 }), [true, true, false]),
    (
        "SetDhcp",
        |h| h.request(&SetDhcp { port: p(), dhcp: DhcpConfig::default() }),
        [true, true, false],
    ),
    (
        "SetUnderlayAddress",
        |h| h.request(&SetUnderlayAddress { port: p(), underlay_ip: HOSTS[0] }),
        [true, true, false],
    ),
    ("ClearUft", |h| h.request(&ClearUft { port: p() }), [false, true, false]),
    ("DumpUft", |h| h.request(&DumpUft::of(p())).map(drop), [false, true, true]),
    ("DumpTcpFlows", |h| h.request(&DumpTcpFlows::of(p())).map(drop), [false, true, true]),
    ("DumpLayer", |h| h.request(&DumpLayer::of(p(), "nat")).map(drop), [true, true, true]),
    ("ListLayers", |h| h.request(&ListLayers { port: p() }).map(drop), [true, true, true]),
    (
        "DumpCounters",
        |h| h.request(&DumpCounters { port: Some(p()) }).map(drop),
        [true, true, true],
    ),
    ("PausePort", |h| h.request(&PausePort { port: p() }), [false, true, false]),
    ("StartPort", |h| h.request(&StartPort { port: p() }), [true, true, true]),
    ("ResetPort", |h| h.request(&ResetPort { port: p() }), [true, true, true]),
];

fn p() -> oxide_vpc_api::PortName {
    GUEST.port()
}

fn r() -> oxide_vpc_api::FirewallRule {
    "dir=in action=allow priority=9".parse().unwrap()
}

fn rt() -> oxide_vpc_api::RouteEntry {
    route(everywhere(true), RouterTarget::Drop)
}

fn external() -> SetExternalIps {
    SetExternalIps { port: p(), ipv4: None, ipv6: None, gateways: GatewayMap::new() }
}

#[test]
fn each_state_takes_its_requests_and_refuses_the_others_by_name() {
    let states = [PortState::Ready, PortState::Running, PortState::Paused];
    for (name, ask, taken) in TABLE {
        for (wanted, taken) in states.into_iter().zip(taken) {
            let mut host = host();
            bring(&mut host, wanted);
            let answer = ask(&mut host);
            match &answer {
                Ok(()) => assert!(taken, "{name} when {wanted}"),
                Err(OpteError::BadState(why)) => {
                    assert!(!taken, "{name} when {wanted}: {why}");
                    assert!(why.contains(&format!("port 'guest5' is {wanted}")), "{why}");
                    assert_eq!(state(&mut host), wanted);
                }
                Err(other) => panic!("{name} when {wanted}: {other}"),
            }
        }
    }
}

#[test]
fn a_paused_port_keeps_its_flows_and_takes_no_packets() {
    let mut host = host();
    let first = send(&mut host);
    host.request(&PausePort { port: p() }).unwrap();
    host.events();
    assert_eq!(send(&mut host), []);
    assert_eq!(host.drops(), [DropReason::PortState]);
    // However long: nothing expires meanwhile.
    host.advance(200_000);
    host.expire();
    assert_eq!(flows(&mut host), 1);
    host.request(&StartPort { port: p() }).unwrap();
    assert_eq!(send(&mut host), first);
    assert_eq!(flows(&mut host), 1);
}

#[test]
fn a_reset_port_has_its_rules_and_no_flows() {
    let mut host = host();
    let rules = vec!["dir=out action=allow priority=9".parse().unwrap()];
    host.request(&SetFwRules { port: p(), rules }).unwrap();
    assert_eq!(send(&mut host).len(), 1);
    host.request(&ResetPort { port: p() }).unwrap();
    assert_eq!((state(&mut host), flows(&mut host)), (PortState::Ready, 0));
    host.events();
    assert_eq!(send(&mut host), []);
    assert_eq!(host.drops(), [DropReason::PortState]);
    let layer = DumpLayer::of(p(), "firewall");
    assert_eq!(host.request(&layer).unwrap().rules[0].len(), 1);
    host.request(&StartPort { port: p() }).unwrap();
    assert_eq!(send(&mut host).len(), 1);
}

#[test]
fn a_port_that_is_not_there_is_named() {
    let mut host = host();
    let nobody = || "nobody".parse().unwrap();
    for answer in [
        host.request(&StartPort { port: nobody() }),
        host.request(&PausePort { port: nobody() }),
        host.request(&ResetPort { port: nobody() }),
        host.request(&SetMtu { port: nobody(), mtu: 1400 }),
        host.request(&SetDhcp { port: nobody(), dhcp: DhcpConfig::default() }),
        host.request(&SetUnderlayAddress { port: nobody(), underlay_ip: HOSTS[0] }),
    ] {
        assert_eq!(answer, Err(OpteError::not_found("port", "nobody")));
    }
}

#[test]
fn mtu_and_dhcp_change_and_flows_stay() {
    let mut host = host();
    let first = send(&mut host);
    host.request(&SetMtu { port: p(), mtu: 8500 }).unwrap();
    let dhcp = DhcpConfig { hostname: Some("web".parse().unwrap()), ..DhcpConfig::default() };
    host.request(&SetDhcp { port: p(), dhcp }).unwrap();
    assert_eq!(host.request(&ListPorts {}).unwrap()[0].mtu, 8500);
    assert_eq!(send(&mut host), first);
    assert_eq!(flows(&mut host), 1);
    let refused = host.request(&SetMtu { port: p(), mtu: 100 }).unwrap_err();
    assert!(refused.to_string().contains("MTU"), "{refused}");
    assert_eq!(host.request(&ListPorts {}).unwrap()[0].mtu, 8500);
}

#[test]
fn another_underlay_address_is_used_with_the_next_packet_and_flows_stay() {
    let mut host = host();
    let outer = |left: &[Left]| match left {
        [Left::Underlay(bytes)] => Tunnel::open(bytes).unwrap(),
        other => panic!("{other:?}"),
    };
    let (before, inner) = outer(&send(&mut host));
    assert_eq!(before.src, HOSTS[0]);
    let underlay_ip = "fd00:0:f7:101::77".parse().unwrap();
    host.request(&SetUnderlayAddress { port: p(), underlay_ip }).unwrap();
    let (after, same) = outer(&send(&mut host));
    assert_eq!((after.src, same), (underlay_ip, inner.clone()));
    assert_eq!(flows(&mut host), 1);
    assert_eq!(host.request(&ListPorts {}).unwrap()[0].underlay_ip, underlay_ip);
    let known = host.request(&DumpV2p::default()).unwrap().entries;
    assert!(known.iter().all(|entry| entry.location.underlay_ip == underlay_ip));
    // Answers are taken at the new address, and at no other.
    let reply = Packet::read(&inner).unwrap().reply();
    let reply = Packet { macs: [reply.macs[0], GUEST.mac()], ..reply };
    host.events();
    for (dst, arrives) in [(HOSTS[0], false), (underlay_ip, true)] {
        let tunnel = Tunnel::new(&BOUNDARY.to_string(), &dst.to_string(), 100);
        let frame = tunnel.external().around(&reply.bytes());
        let left = host.from_underlay(FlatFrame::new(frame));
        assert_eq!(left.len(), usize::from(arrives), "{dst}");
    }
    assert_eq!(host.drops(), [DropReason::NoPort]);
    let wrong = SetUnderlayAddress { port: p(), underlay_ip: "ff02::1".parse().unwrap() };
    assert!(host.request(&wrong).unwrap_err().to_string().contains("underlay address"));
    assert_eq!(host.request(&ListPorts {}).unwrap()[0].underlay_ip, underlay_ip);
}
