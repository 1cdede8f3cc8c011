// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Whoever floods a port with connections fills its own limits, and nobody else's.

use opte::frame::FlatFrame;
use opte::tcp::TcpFlags;
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet, Tunnel};
use opte_tests::setting::{BOUNDARY, Guest, HOSTS, add_boundary, add_guest, outside};
use oxide_vpc_api::request::{DumpCounters, DumpTcpFlows, SetExternalIps, SetFwRules};
use oxide_vpc_api::{ExternalIps, GatewayMap, PortName};
use xde::driver::DriverOptions;
use xde::host::PortId;

const FLOODED: Guest = Guest(5);
const OTHER: Guest = Guest(6);
const LIMIT: u32 = 500;
/// Net growth that is no flow: events that the test keeps are taken after each packet.
const SLACK: i64 = 64 << 10;

fn host() -> Hypervisor {
    let options = DriverOptions { flow_limit: LIMIT, ..DriverOptions::new(3) };
    let mut host = Hypervisor::new(options);
    add_boundary(&mut host);
    add_guest(&mut host, FLOODED, 0);
    add_guest(&mut host, OTHER, 0);
    host
}

fn from(guest: Guest, body: Body) -> Packet {
    Packet::new(guest.macs(), [guest.ip(true), outside(true)], body)
}

fn count(host: &mut Hypervisor, port: PortName, name: &str) -> u64 {
    let sets = host.request(&DumpCounters { port: Some(port) }).unwrap();
    let counter = sets[0].counters.iter().find(|counter| counter.name == name);
    counter.expect("a known counter").value
}

/// A connection of the other guest; answers what it has sent as it is seen outside.
fn established(host: &mut Hypervisor) -> Packet {
    let segment = |flags, numbers| Body::Tcp { ports: [1000, 80], flags, numbers };
    let send = |host: &mut Hypervisor, flags, numbers| {
        let packet = from(OTHER, segment(flags, numbers));
        let left = host.from_guest(PortId(1), FlatFrame::new(packet.bytes()));
        let [Left::Underlay(bytes)] = left.as_slice() else { panic!("{left:?}") };
        Packet::read(&Tunnel::open(bytes).unwrap().1).unwrap()
    };
    let seen = send(host, TcpFlags::SYN, [100, 0]);
    let [external, _] = seen.ports();
    let body = Body::Tcp { ports: [80, external], flags: TcpFlags(0x12), numbers: [500, 101] };
    let mut reply = Packet { body, ..seen.reply() };
    reply.macs[1] = OTHER.mac();
    let tunnel = Tunnel::new(&BOUNDARY.to_string(), &HOSTS[0].to_string(), 100).external();
    assert_eq!(host.from_underlay(FlatFrame::new(tunnel.around(&reply.bytes()))).len(), 1);
    send(host, TcpFlags::ACK, [101, 501])
}

/// The other guest has its connection still, and may open others.
fn unharmed(host: &mut Hypervisor, seen: &Packet) {
    let flows = host.request(&DumpTcpFlows::of(OTHER.port())).unwrap().flows;
    assert_eq!(flows.iter().filter(|flow| flow.state == "ESTABLISHED").count(), 1);
    let body = Body::Tcp { ports: [1000, 80], flags: TcpFlags::ACK, numbers: [101, 501] };
    let packet = from(OTHER, body);
    let left = host.from_guest(PortId(1), FlatFrame::new(packet.bytes()));
    let [Left::Underlay(bytes)] = left.as_slice() else { panic!("{left:?}") };
    let again = Packet::read(&Tunnel::open(bytes).unwrap().1).unwrap();
    assert_eq!((again.src, again.ports()), (seen.src, seen.ports()));
    let fresh = from(OTHER, Body::Udp { ports: [2000, 53], checksum: true });
    assert_eq!(host.from_guest(PortId(1), FlatFrame::new(fresh.bytes())).len(), 1);
    assert_eq!(count(host, OTHER.port(), "flows_evicted"), 0);
    assert_eq!(count(host, OTHER.port(), "out_drop_flow_table_full"), 0);
}

/// Runs `flood` until the table is full, and then once more without any net growth.
fn full_and_no_more(host: &mut Hypervisor, mut flood: impl FnMut(&mut Hypervisor)) {
    flood(host);
    let table = |host: &Hypervisor| host.driver.device(PortId(0)).unwrap().port.flows().count();
    assert_eq!(table(host), LIMIT);
    let evicted = count(host, FLOODED.port(), "flows_evicted");
    assert!(evicted > 0);
    let info = allocation_counter::measure(|| flood(host));
    assert!(info.bytes_current < SLACK, "{} bytes more", info.bytes_current);
    assert_eq!(table(host), LIMIT);
    assert!(count(host, FLOODED.port(), "flows_evicted") > evicted);
}

#[test]
fn a_guest_that_opens_without_end_harms_itself_only() {
    let mut host = host();
    let seen = established(&mut host);
    full_and_no_more(&mut host, |host| {
        for port in 0..2000u16 {
            let body = Body::Udp { ports: [1024 + port, 53], checksum: true };
            let packet = from(FLOODED, body);
            host.from_guest(PortId(0), FlatFrame::new(packet.bytes()));
            host.advance(1);
            host.events();
        }
    });
    unharmed(&mut host, &seen);
}

#[test]
fn a_flood_from_outside_harms_the_guest_it_is_for_only() {
    let mut host = host();
    let seen = established(&mut host);
    let floating = FLOODED.floating(true);
    let ipv4 = Some(ExternalIps { floating: vec![floating], ..ExternalIps::default() });
    let (port, gateways) = (FLOODED.port(), GatewayMap::new());
    host.request(&SetExternalIps { port, ipv4, ipv6: None, gateways }).unwrap();
    let rules = vec!["dir=in action=allow priority=9 protocol=tcp".parse().unwrap()];
    host.request(&SetFwRules { port: FLOODED.port(), rules }).unwrap();
    let tunnel = Tunnel::new(&BOUNDARY.to_string(), &HOSTS[0].to_string(), 100).external();
    full_and_no_more(&mut host, |host| {
        for port in 0..2000u16 {
            let body =
                Body::Tcp { ports: [1024 + port, 80], flags: TcpFlags::SYN, numbers: [1, 0] };
            let macs = [OTHER.mac(), FLOODED.mac()];
            let packet = Packet::new(macs, [outside(true), floating], body);
            host.from_underlay(FlatFrame::new(tunnel.around(&packet.bytes())));
            host.advance(1);
            host.events();
        }
    });
    unharmed(&mut host, &seen);
}
