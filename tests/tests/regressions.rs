// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Mistakes that were made once.

use opte::drop_reason::DropReason;
use opte::frame::FlatFrame;
use opte::tcp::TcpFlags;
use opte_api::OpteError;
use opte_tests::hypervisor::Hypervisor;
use opte_tests::packets::{Body, Packet, Tunnel};
use opte_tests::setting::{BOUNDARY, Guest, HOSTS, add_boundary, add_guest, add_peer, outside};
use oxide_vpc_api::request::{CreatePort, DumpLayer, SetExternalIps, SetFwRules};
use oxide_vpc_api::{ExternalIps, GatewayMap};
use std::net::IpAddr;
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);
const PEER: Guest = Guest(7);

fn world() -> Hypervisor {
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

fn floating(host: &mut Hypervisor, ips: &[IpAddr]) {
    let ipv4 = Some(ExternalIps { floating: ips.to_vec(), ..ExternalIps::default() });
    let gateways = GatewayMap::new();
    host.request(&SetExternalIps { port: GUEST.port(), ipv4, ipv6: None, gateways }).unwrap();
}

fn udp(ports: [u16; 2]) -> Body {
    Body::Udp { ports, checksum: true }
}

fn send(host: &mut Hypervisor, packet: &Packet) -> usize {
    host.from_guest(PortId(0), FlatFrame::new(packet.bytes())).len()
}

fn arrive(host: &mut Hypervisor, packet: &Packet) -> usize {
    let tunnel = Tunnel::new(&BOUNDARY.to_string(), &HOSTS[0].to_string(), 100).external();
    host.from_underlay(FlatFrame::new(tunnel.around(&packet.bytes()))).len()
}

fn from_outside(src: IpAddr, dst: IpAddr, body: Body) -> Packet {
    Packet::new([PEER.mac(), GUEST.mac()], [src, dst], body)
}

#[test]
fn an_error_does_not_take_a_guest_past_its_firewall() {
    let mut host = world();
    let peer = PEER.ip(true);
    rules(
        &mut host,
        &["dir=out action=allow priority=1 hosts=ip=10.0.0.7", "dir=out action=deny priority=2"],
    );
    let ours = Packet::new(GUEST.macs(), [GUEST.ip(true), peer], udp([1, 2]));
    assert_eq!(send(&mut host, &ours), 1);
    let quoted = ours.reply().bytes();
    let error = |to| Packet::unreachable(GUEST.macs(), [GUEST.ip(true), to], &quoted);
    assert_eq!(send(&mut host, &error(peer)), 1, "to who sent the quoted packet");
    host.events();
    assert_eq!(send(&mut host, &error(outside(true))), 0, "to anybody else");
    assert_eq!(host.drops(), [DropReason::FirewallRule]);
}

#[test]
fn a_connection_that_is_over_does_not_block_its_successor() {
    let mut host = world();
    let (old, new) = (GUEST.floating(true), Guest(50).floating(true));
    rules(&mut host, &["dir=in action=allow priority=1"]);
    floating(&mut host, &[old]);
    assert_eq!(arrive(&mut host, &from_outside(outside(true), old, udp([500, 500]))), 1);
    floating(&mut host, &[new]);
    assert_eq!(arrive(&mut host, &from_outside(outside(true), new, udp([500, 500]))), 1);
}

#[test]
fn an_address_of_the_vpc_does_not_come_from_outside() {
    let mut host = world();
    rules(&mut host, &["dir=in action=allow priority=1"]);
    floating(&mut host, &[GUEST.floating(true)]);
    host.events();
    let forged = from_outside(PEER.ip(true), GUEST.floating(true), udp([500, 80]));
    assert_eq!(arrive(&mut host, &forged), 0);
    assert_eq!(host.drops(), [DropReason::Spoofed]);
}

#[test]
fn a_forged_syn_does_not_end_a_connection() {
    let mut host = world();
    let tcp = |flags, numbers| Body::Tcp { ports: [1000, 80], flags, numbers };
    let ips = [GUEST.ip(true), PEER.ip(true)];
    let syn = Packet::new(GUEST.macs(), ips, tcp(TcpFlags::SYN, [1, 0]));
    assert_eq!(send(&mut host, &syn), 1);
    let tunnel = Tunnel::new(&HOSTS[1].to_string(), &HOSTS[0].to_string(), 100);
    let mut from_peer = |packet: &Packet| {
        let back = Packet { macs: [PEER.mac(), GUEST.mac()], ..packet.clone() };
        host.from_underlay(FlatFrame::new(tunnel.around(&back.bytes()))).len()
    };
    assert_eq!(from_peer(&syn.reply()), 1);
    let forged = Packet {
        body: Body::Tcp { ports: [80, 1000], flags: TcpFlags::SYN, numbers: [77, 0] },
        ..syn.reply()
    };
    assert_eq!(from_peer(&forged), 0, "no rule lets it open a connection");
    assert_eq!(from_peer(&syn.reply()), 1, "the connection is still there");
}

#[test]
fn two_ports_of_a_vpc_have_different_addresses() {
    let mut host = world();
    let mut config = Guest(9).config(0);
    config.ipv4.as_mut().unwrap().private_ip = GUEST.ip(true);
    let refused = host.request(&CreatePort { name: Guest(9).port(), config });
    assert!(matches!(refused, Err(OpteError::Exists { .. })), "{refused:?}");
}

#[test]
fn rules_that_are_sent_again_keep_their_numbers() {
    let mut host = world();
    let dump = DumpLayer::of(GUEST.port(), "firewall");
    let text = ["dir=in action=allow priority=1", "dir=in action=deny priority=7"];
    rules(&mut host, &text);
    let before = host.request(&dump).unwrap().rules;
    rules(&mut host, &text);
    assert_eq!(host.request(&dump).unwrap().rules, before);
}
