// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Traces: what they tell is what then happens, and telling changes nothing.

use opte::frame::FlatFrame;
use opte::tcp::TcpFlags;
use opte_api::{Direction, OpteError};
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet, Tunnel};
use opte_tests::setting::{
    BOUNDARY, Guest, HOSTS, VPC, add_boundary, add_guest, add_peer, outside,
};
use oxide_vpc_api::request::{
    DumpCounters, DumpLayer, DumpUft, ListLayers, ListPorts, SetFwRules, TracePacket,
};
use oxide_vpc_api::trace::{Origin, PacketTrace, TraceVerdict, TracedPacket};
use std::net::IpAddr;
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);
const PEER: Guest = Guest(7);
const LAYERS: [&str; 5] = ["gateway", "firewall", "router", "nat", "overlay"];

fn host() -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions::new(3));
    add_guest(&mut host, GUEST, 0);
    add_peer(&mut host, PEER, 1);
    add_boundary(&mut host);
    host
}

fn rules(host: &mut Hypervisor, texts: &[&str]) {
    let rules = texts.iter().map(|text| text.parse().unwrap()).collect();
    host.request(&SetFwRules { port: GUEST.port(), rules }).unwrap();
}

fn ours(to: IpAddr, body: Body) -> Packet {
    Packet::new(GUEST.macs(), [GUEST.ip(true), to], body)
}

fn udp(ports: [u16; 2]) -> Body {
    Body::Udp { ports, checksum: true }
}

fn tcp(flags: TcpFlags) -> Body {
    Body::Tcp { ports: [1000, 443], flags, numbers: [1, 0] }
}

fn ask(
    host: &mut Hypervisor,
    direction: Direction,
    bytes: Vec<u8>,
    from: Option<bool>,
) -> PacketTrace {
    let packet = TracedPacket::Frame(bytes);
    let origin = from.map(|external| Origin { vni: None, external });
    host.request(&TracePacket { port: GUEST.port(), direction, packet, origin }).unwrap()
}

fn out(host: &mut Hypervisor, packet: &Packet) -> PacketTrace {
    ask(host, Direction::Out, packet.bytes(), None)
}

fn send(host: &mut Hypervisor, packet: &Packet) -> Vec<Left> {
    host.from_guest(PortId(0), FlatFrame::new(packet.bytes()))
}

/// Everything that a packet could change.
fn seen(host: &mut Hypervisor) -> String {
    let port = || GUEST.port();
    let mut text = format!("{:?}", host.request(&ListPorts {}));
    text += &format!("{:?}", host.request(&ListLayers { port: port() }));
    text += &format!("{:?}", host.request(&DumpUft::of(port())));
    text += &format!("{:?}", host.request(&DumpCounters { port: None }));
    for layer in LAYERS {
        text += &format!("{:?}", host.request(&DumpLayer::of(port(), layer)));
    }
    text
}

#[test]
fn a_packet_to_the_outside_is_told_layer_by_layer() {
    let mut host = host();
    let trace = out(&mut host, &ours(outside(true), tcp(TcpFlags::SYN)));
    let layers: Vec<&str> = trace.steps.iter().map(|step| step.layer.as_str()).collect();
    assert_eq!(layers, LAYERS);
    assert!(trace.flow.is_none());
    let [_, firewall, router, nat, overlay] = &trace.steps[..] else { panic!("{trace:?}") };
    assert_eq!(firewall.decided, "default");
    assert!(router.notes.iter().any(|note| note == "target=gateway"), "{router:?}");
    assert!(nat.decided.starts_with("rule "), "{nat:?}");
    let external = GUEST.snat(true).ip;
    assert!(nat.changes.contains(&format!("src_ip={external}")), "{nat:?}");
    assert!(overlay.changes.contains(&format!("underlay={BOUNDARY}")), "{overlay:?}");
    let TraceVerdict::Forward { packet, nat, changes } = &trace.verdict else {
        panic!("{trace:?}")
    };
    assert_eq!((packet.src, packet.dst), (external, outside(true)));
    assert!(nat.as_ref().is_some_and(|nat| nat.starts_with(&external.to_string())), "{nat:?}");
    assert!(changes.contains(&format!("src_ip={external}")), "{changes:?}");
}

#[test]
fn a_described_packet_lies_between_guest_and_gateway() {
    let mut host = host();
    let frame = ours(PEER.ip(true), udp([1, 2])).bytes();
    let whole = ask(&mut host, Direction::Out, frame.clone(), None);
    let packet = TracedPacket::Ip(frame[14..].to_vec());
    let request =
        TracePacket { port: GUEST.port(), direction: Direction::Out, packet, origin: None };
    assert_eq!(host.request(&request).unwrap(), whole);
    assert!(matches!(whole.verdict, TraceVerdict::Forward { .. }));
}

/// What is told of a packet is what becomes of it.
#[test]
fn what_is_told_is_what_happens() {
    let mut host = host();
    rules(
        &mut host,
        &[
            "dir=out action=deny priority=5 protocol=udp port=99",
            "dir=in action=allow priority=9 protocol=udp port=53",
        ],
    );
    let gateway =
        Packet::echo(GUEST.macs(), [GUEST.ip(true), opte_tests::setting::gateway(true)], 7);
    let forged = Packet::new(GUEST.macs(), [Guest(9).ip(true), outside(true)], udp([1, 2]));
    for packet in [
        ours(outside(true), udp([1, 2])),
        ours(PEER.ip(true), udp([1, 2])),
        ours(outside(true), udp([1, 99])),
        ours(outside(true), tcp(TcpFlags::SYN)),
        ours(Guest(77).ip(true), udp([1, 2])),
        Packet { ttl: 1, ..ours(outside(true), udp([3, 2])) },
        gateway,
        forged,
    ] {
        let told = out(&mut host, &packet).verdict;
        host.events();
        let left = send(&mut host, &packet);
        let drops = host.drops();
        match told {
            TraceVerdict::Forward { .. } => {
                assert!(matches!(left[..], [Left::Underlay(_)]), "{packet:?}: {left:?}");
            }
            TraceVerdict::Reply { frame } => assert_eq!(left, [Left::Reply(PortId(0), frame)]),
            TraceVerdict::Drop { reason } => {
                let names: Vec<_> = drops.iter().map(|reason| reason.name()).collect();
                assert_eq!(names, [reason], "{packet:?}");
            }
        }
    }
    // What comes in, from the VPC and from outside.
    for (dst_port, external) in [(53, false), (54, false), (53, true)] {
        let packet = Packet::new(
            [PEER.mac(), GUEST.mac()],
            [PEER.ip(true), GUEST.ip(true)],
            udp([4000, dst_port]),
        );
        let told = ask(&mut host, Direction::In, packet.bytes(), Some(external)).verdict;
        let tunnel = Tunnel::new(&HOSTS[1].to_string(), &HOSTS[0].to_string(), VPC);
        let tunnel = if external { tunnel.external() } else { tunnel };
        host.events();
        let left = host.from_underlay(FlatFrame::new(tunnel.around(&packet.bytes())));
        match told {
            TraceVerdict::Forward { .. } => assert!(matches!(left[..], [Left::Guest(..)])),
            TraceVerdict::Drop { reason } => {
                let drops = host.drops();
                assert_eq!(drops.first().map(|reason| reason.name()), Some(reason.as_str()));
            }
            TraceVerdict::Reply { .. } => panic!("{told:?}"),
        }
    }
}

#[test]
fn telling_changes_nothing() {
    let mut host = host();
    send(&mut host, &ours(PEER.ip(true), udp([1, 2])));
    send(&mut host, &ours(outside(true), tcp(TcpFlags::SYN)));
    let before = seen(&mut host);
    for packet in [
        ours(outside(true), udp([1, 2])),
        ours(outside(true), tcp(TcpFlags::SYN)),
        ours(outside(true), tcp(TcpFlags::RST)),
        ours(PEER.ip(true), udp([1, 2])),
        ours(PEER.ip(true), udp([3, 4])),
        ours(Guest(77).ip(true), udp([1, 2])),
        Packet::echo(GUEST.macs(), [GUEST.ip(true), opte_tests::setting::gateway(true)], 7),
    ] {
        out(&mut host, &packet);
        let back = packet.reply().bytes();
        ask(&mut host, Direction::In, back.clone(), None);
        ask(&mut host, Direction::In, back, Some(true));
    }
    ask(&mut host, Direction::Out, vec![0; 5], None);
    assert_eq!(seen(&mut host), before);
}

/// As many packets as there are external ports, and more, take none of them.
#[test]
fn leases_go_back() {
    let mut host = host();
    let range = GUEST.snat(true);
    let count = u32::from(range.last_port - range.first_port) + 1;
    for port in 0..count.min(3000) {
        let packet = ours(outside(true), udp([port as u16, 2]));
        let told = out(&mut host, &packet).verdict;
        assert!(matches!(told, TraceVerdict::Forward { .. }), "{port}: {told:?}");
    }
}

#[test]
fn a_connection_is_shown_with_its_judgement() {
    let mut host = host();
    let packet = ours(PEER.ip(true), udp([1, 2]));
    send(&mut host, &packet);
    let flow = out(&mut host, &packet).flow.expect("it has one");
    assert_eq!((flow.judgement.as_str(), flow.cut), ("kept", false));
    assert!(flow.stored.is_some(), "{flow:?}");
    assert_eq!(flow.flow.out.flow.src_port, 1);
    // The other way it belongs to the same connection, which passes the firewall as such.
    let back = Packet { macs: [PEER.mac(), GUEST.mac()], ..packet.reply() };
    let trace = ask(&mut host, Direction::In, back.bytes(), None);
    assert_eq!(trace.flow.expect("the same").flow.out.flow.src_port, 1);
    let firewall = trace.steps.iter().find(|step| step.layer == "firewall").unwrap();
    assert_eq!(firewall.decided, "connection");
    assert!(matches!(trace.verdict, TraceVerdict::Forward { .. }));

    rules(&mut host, &["dir=out action=deny priority=1 protocol=udp"]);
    let trace = out(&mut host, &packet);
    let flow = trace.flow.expect("it is still there");
    assert!(flow.cut && flow.judgement.starts_with("cut: "), "{flow:?}");
    assert!(matches!(trace.verdict, TraceVerdict::Drop { .. }));
    assert_eq!(trace.steps.last().map(|step| step.layer.as_str()), Some("firewall"));
}

#[test]
fn what_cannot_be_traced_is_refused_or_dropped_by_name() {
    let mut host = host();
    let broken = ask(&mut host, Direction::Out, vec![0; 5], None);
    assert!(matches!(broken.verdict, TraceVerdict::Drop { .. }));
    assert_eq!((broken.packet, broken.steps.len()), (None, 0));
    let request = |packet, origin| TracePacket {
        port: GUEST.port(),
        direction: Direction::Out,
        packet,
        origin,
    };
    let origin = Some(Origin { vni: None, external: true });
    for (request, part) in [
        (request(TracedPacket::Ip(vec![0x70]), None), "neither IPv4 nor IPv6"),
        (request(TracedPacket::Ip(vec![]), None), "neither IPv4 nor IPv6"),
        (request(TracedPacket::Frame(vec![0; 70_000]), None), "over"),
        (request(TracedPacket::Frame(vec![]), origin), "leave the origin out"),
    ] {
        let error = host.request(&request).unwrap_err();
        assert!(matches!(error, OpteError::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
}
