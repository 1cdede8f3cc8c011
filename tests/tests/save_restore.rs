// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Ports move from host to host with their connections, or not at all.

use opte::frame::FlatFrame;
use opte::tcp::TcpFlags;
use opte_api::{OpteError, Protocol};
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::moving::{restore, save, save_parts, stage};
use opte_tests::packets::{Body, Packet, Tunnel};
use opte_tests::setting::{
    BOUNDARY, Guest, HOSTS, add_boundary, add_guest, add_peer, cases, outside,
};
use oxide_vpc_api::dump::FlowTableDump;
use oxide_vpc_api::request::*;
use oxide_vpc_api::saved::{FLOWS_AT_ONCE, Record, STAGE_BYTES, decode, encode, header};
use oxide_vpc_api::{
    DrainAddresses, ExternalIps, GatewayMap, NatDependence, NatDestination, PortRange, PortState,
    SnatRange,
};
use proptest::collection::vec;
use proptest::prelude::*;
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);
const OTHER: Guest = Guest(6);
const PORT: PortId = PortId(0);

fn host(seed: u64, flow_limit: u32) -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions { flow_limit, ..DriverOptions::new(seed) });
    add_boundary(&mut host);
    host
}

fn packet(ipv4: bool, body: Body) -> Packet {
    Packet::new(GUEST.macs(), [GUEST.ip(ipv4), outside(ipv4)], body)
}

fn tcp(port: u16, flags: TcpFlags, numbers: [u32; 2]) -> Packet {
    packet(true, Body::Tcp { ports: [port, 80], flags, numbers })
}

fn udp(ipv4: bool, port: u16) -> Packet {
    packet(ipv4, Body::Udp { ports: [port, 80], checksum: true })
}

/// What a packet of the guest looks like outside.
fn out(host: &mut Hypervisor, packet: &Packet) -> Option<(Tunnel, Packet)> {
    let left = host.from_guest(PORT, FlatFrame::new(packet.bytes()));
    let [Left::Underlay(bytes)] = left.as_slice() else { return None };
    let (outer, inner) = Tunnel::open(bytes).expect("a Geneve packet");
    Some((outer, Packet::read(&inner).expect("an IP packet")))
}

/// The answer to a packet as it was seen outside, on its way to host number `at`.
fn answer(host: &mut Hypervisor, at: usize, seen: &Packet, body: Option<Body>) -> Vec<Left> {
    let mut reply = seen.reply();
    reply.macs[1] = GUEST.mac();
    reply.body = body.unwrap_or(reply.body);
    let tunnel = Tunnel::new(&BOUNDARY.to_string(), &HOSTS[at].to_string(), 100);
    host.from_underlay(FlatFrame::new(tunnel.external().around(&reply.bytes())))
}

fn dump(host: &mut Hypervisor) -> FlowTableDump {
    let mut dump = host.request(&DumpUft::of(GUEST.port())).expect("a port with flows");
    for flow in &mut dump.flows {
        for side in [&mut flow.out, &mut flow.inbound] {
            // These are the policy's, not the connection's.
            (side.generation, side.transform) = (0, String::new());
        }
        flow.judged = 0;
    }
    dump
}

fn tcp_flows(host: &mut Hypervisor) -> Vec<oxide_vpc_api::dump::TcpFlowInfo> {
    host.request(&DumpTcpFlows::of(GUEST.port())).expect("a port with flows").flows
}

fn one_port(host: &mut Hypervisor, guest: Guest) {
    ports(host, guest, 6144);
}

/// The guest has the ports of the shared address from 6144 to this one.
fn ports(host: &mut Hypervisor, guest: Guest, last_port: u16) {
    let range = SnatRange { last_port, first_port: 6144, ..GUEST.snat(true) };
    let ipv4 = Some(ExternalIps { snat: vec![range], ..ExternalIps::default() });
    let port = guest.port();
    host.request(&SetExternalIps { port, ipv4, ipv6: None, gateways: GatewayMap::new() })
        .expect("good addresses");
}

/// Another host, to which the guest's port has moved from `a`.
fn moved(a: &mut Hypervisor) -> Hypervisor {
    let saved = save(a, &GUEST.port()).expect("a port to save");
    let mut b = host(2, 100);
    restore(&mut b, &saved, None).expect("a host with room");
    b
}

#[test]
fn a_connection_through_source_nat_lives_on_on_another_host() {
    let mut a = host(1, 100);
    add_guest(&mut a, GUEST, 0);
    let (_, syn) = out(&mut a, &tcp(1000, TcpFlags::SYN, [100, 0])).unwrap();
    let [external, _] = syn.ports();
    let syn_ack = Body::Tcp { ports: [80, external], flags: TcpFlags(0x12), numbers: [500, 101] };
    assert_eq!(answer(&mut a, 0, &syn, Some(syn_ack)).len(), 1);
    out(&mut a, &tcp(1000, TcpFlags::ACK, [101, 501])).unwrap();
    let (_, datagram) = out(&mut a, &udp(false, 2000)).unwrap();
    a.advance(100_000);
    out(&mut a, &tcp(1000, TcpFlags::ACK, [101, 501])).unwrap();
    a.advance(7_000);
    let saved = save(&mut a, &GUEST.port()).unwrap();
    let (before, tcp_before) = (dump(&mut a), tcp_flows(&mut a));
    assert_eq!(tcp_before[0].state, "ESTABLISHED");
    a.request(&DeletePort { name: GUEST.port() }).unwrap();

    let mut b = host(99, 100);
    b.advance(500_000);
    let restored = restore(&mut b, &saved, Some(HOSTS[1])).unwrap();
    assert_eq!((restored.port, restored.flows), (GUEST.port(), 2));
    assert_eq!(b.request(&ListPorts {}).unwrap()[0].state, PortState::Restored);
    assert_eq!((dump(&mut b), tcp_flows(&mut b)), (before, tcp_before));
    b.request(&StartPort { port: GUEST.port() }).unwrap();
    // Both ends go on as if nothing had happened.
    let data = Body::Tcp { ports: [80, external], flags: TcpFlags::ACK, numbers: [501, 101] };
    assert!(matches!(answer(&mut b, 1, &syn, Some(data)).as_slice(), [Left::Guest(PORT, _)]));
    let (outer, seen) = out(&mut b, &tcp(1000, TcpFlags::ACK, [101, 501])).unwrap();
    assert_eq!((outer.src, seen.src, seen.ports()), (HOSTS[1], syn.src, [external, 80]));
    assert!(matches!(answer(&mut b, 1, &datagram, None).as_slice(), [Left::Guest(PORT, _)]));
    let (_, again) = out(&mut b, &udp(false, 2000)).unwrap();
    assert_eq!((again.src, again.ports()), (datagram.src, datagram.ports()));
    assert_eq!(b.driver.device(PORT).unwrap().port.flows().count(), 2);
}

#[test]
fn idle_times_go_on_where_they_were() {
    let mut a = host(1, 100);
    add_guest(&mut a, GUEST, 0);
    out(&mut a, &udp(true, 1)).unwrap();
    a.advance(200_000);
    let mut b = moved(&mut a);
    b.request(&StartPort { port: GUEST.port() }).unwrap();
    let count = |b: &Hypervisor| b.driver.device(PORT).unwrap().port.flows().count();
    // 300 s in all.
    b.advance(99_000);
    b.expire();
    assert_eq!(count(&b), 1);
    b.advance(1_100);
    b.expire();
    assert_eq!(count(&b), 0);
}

#[test]
fn leases_are_taken_again_and_go_back_once() {
    let mut a = host(1, 100);
    add_guest(&mut a, GUEST, 0);
    one_port(&mut a, GUEST);
    let (_, seen) = out(&mut a, &udp(true, 1)).unwrap();
    assert_eq!(seen.ports()[0], 6144);
    let mut b = moved(&mut a);
    b.request(&StartPort { port: GUEST.port() }).unwrap();
    assert_eq!(out(&mut b, &udp(true, 2)), None, "the port is on loan");
    assert_eq!(b.drops(), [opte::drop_reason::DropReason::NatExhausted]);
    b.request(&ClearUft { port: GUEST.port() }).unwrap();
    assert_eq!(out(&mut b, &udp(true, 2)).unwrap().1.ports()[0], 6144);
}

#[test]
fn an_address_that_another_port_has_is_named_and_nothing_is_left() {
    let mut a = host(1, 100);
    add_guest(&mut a, GUEST, 0);
    one_port(&mut a, GUEST);
    out(&mut a, &udp(true, 1)).unwrap();
    let saved = save(&mut a, &GUEST.port()).unwrap();
    // There, another guest has the same external port, and one more.
    let mut b = host(2, 100);
    add_guest(&mut b, OTHER, 0);
    ports(&mut b, OTHER, 6145);
    let theirs = Packet::new(OTHER.macs(), [OTHER.ip(true), outside(true)], udp(true, 1).body);
    assert!(out(&mut b, &theirs).is_some());
    let before = (b.request(&ListPorts {}), b.request(&DumpV2p::default()));
    let refusal = restore(&mut b, &saved, None).unwrap_err().to_string();
    assert!(refusal.contains("192.0.2.1 is in use by port guest6"), "{refusal}");
    assert_eq!((b.request(&ListPorts {}), b.request(&DumpV2p::default())), before);
    // If it has the very same, both may borrow from there; but this one is on loan.
    one_port(&mut b, OTHER);
    let before = (b.request(&ListPorts {}), b.request(&DumpV2p::default()));
    let refusal = restore(&mut b, &saved, None).unwrap_err().to_string();
    assert!(refusal.contains("192.0.2.1 UDP 6144"), "{refusal}");
    assert_eq!((b.request(&ListPorts {}), b.request(&DumpV2p::default())), before);
    // Once it is free, the port moves, and its sharer gets what is left.
    b.request(&ClearUft { port: OTHER.port() }).unwrap();
    restore(&mut b, &saved, None).unwrap();
    let left = b.from_guest(PORT, FlatFrame::new(theirs.bytes()));
    assert!(matches!(left.as_slice(), [Left::Reply(..)]), "{left:?}");
    assert_eq!(b.drops(), [opte::drop_reason::DropReason::NatExhausted]);
}

#[test]
fn a_lease_that_is_on_loan_is_named_and_nothing_is_left() {
    let mut a = host(1, 100);
    add_guest(&mut a, GUEST, 0);
    one_port(&mut a, GUEST);
    out(&mut a, &udp(true, 1)).unwrap();
    let good = save(&mut a, &GUEST.port()).unwrap();
    let (port, mut flows) = decode(&good).unwrap();
    // Two connections to different places that both claim to have the one port on loan.
    let mut twin = flows[0];
    let [out_side, in_side] = &mut twin.sides;
    (out_side.flow.src_port, out_side.flow.dst_port, in_side.flow.src_port) = (2, 81, 81);
    flows.push(twin);
    let mut bad = header();
    for record in [Record::Port(port), Record::Flows(flows), Record::End(2)] {
        bad.extend(encode(&record).unwrap());
    }
    let mut b = host(2, 100);
    let refusal = restore(&mut b, &bad, None).unwrap_err();
    let OpteError::Exists { what, name } = &refusal else { panic!("{refusal}") };
    assert_eq!(what, "external port of a saved flow");
    assert_eq!(name, "192.0.2.1 UDP 6144");
    assert_eq!(b.request(&ListPorts {}), Ok(vec![]));
    // It has gone back: the port that was saved takes it.
    restore(&mut b, &good, None).unwrap();
}

#[test]
fn connections_that_share_an_external_port_move_together() {
    let mut a = host(1, 100);
    add_guest(&mut a, GUEST, 0);
    one_port(&mut a, GUEST);
    let port = GUEST.port();
    let mut settings = a.request(&ShowPortSettings { port: port.clone() }).unwrap();
    settings.nat.share_ports = true;
    a.request(&SetPortSettings { port: port.clone(), settings }).unwrap();
    let to = |port: u16| packet(true, Body::Udp { ports: [port, port], checksum: true });
    let seen: Vec<_> = (1..=3).map(|port| out(&mut a, &to(port)).unwrap().1).collect();
    let saved = save(&mut a, &port).unwrap();
    let mut b = host(2, 100);
    assert_eq!(restore(&mut b, &saved, None).unwrap().flows, 3);
    b.request(&StartPort { port }).unwrap();
    for (port, seen) in (1..).zip(&seen) {
        assert_eq!(seen.ports(), [6144, port]);
        assert!(matches!(answer(&mut b, 0, seen, None).as_slice(), [Left::Guest(PORT, _)]));
        assert_eq!(out(&mut b, &to(port)).unwrap().1.ports(), [6144, port]);
    }
}

#[test]
fn a_connection_that_drains_stays_behind_and_the_others_move() {
    let mut a = host(1, 100);
    add_guest(&mut a, GUEST, 0);
    let (_, drains) = out(&mut a, &udp(true, 1)).unwrap();
    let (_, stays) = out(&mut a, &udp(false, 2)).unwrap();
    let step = DrainAddresses { port: GUEST.port(), addresses: vec![drains.src], seconds: 600 };
    a.request(&Drain { step, listed: 0 }).unwrap();
    assert!(out(&mut a, &udp(true, 1)).is_some(), "it goes on");
    let saved = save(&mut a, &GUEST.port()).unwrap();
    assert_eq!(decode(&saved).unwrap().1.len(), 2);
    let mut b = host(2, 100);
    assert_eq!(restore(&mut b, &saved, None).unwrap().flows, 1);
    b.request(&StartPort { port: GUEST.port() }).unwrap();
    assert!(matches!(answer(&mut b, 0, &stays, None).as_slice(), [Left::Guest(PORT, _)]));
    assert!(answer(&mut b, 0, &drains, None).is_empty());
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_left() {
    let mut a = host(1, 100);
    add_guest(&mut a, GUEST, 0);
    (1..=3).for_each(|port| assert!(out(&mut a, &udp(true, port)).is_some()));
    let saved = save(&mut a, &GUEST.port()).unwrap();
    let refused = |host: &mut Hypervisor, saved: &[u8], why: &str| {
        let ports = host.request(&ListPorts {});
        let refusal = restore(host, saved, None).unwrap_err().to_string();
        assert!(refusal.contains(why), "{refusal}");
        assert_eq!(host.request(&ListPorts {}), ports);
    };
    refused(&mut a, &saved, "port 'guest5' exists already");
    refused(&mut host(2, 2), &saved, "flows of a port (2)");
    let mut damaged = saved.clone();
    *damaged.last_mut().unwrap() ^= 1;
    refused(&mut host(2, 100), &damaged, "checksum");
    refused(&mut host(2, 100), &saved[..saved.len() - 1], "cut short");
    let mut later = saved.clone();
    later[9] = 77;
    refused(&mut host(2, 100), &later, "version 77");
    let mut bare = Hypervisor::new(DriverOptions::new(1));
    bare.request(&ClearUnderlay {}).unwrap();
    refused(&mut bare, &saved, "no underlay is set");
    // The leases of what was refused have gone back, and a good one is taken.
    let mut small = host(2, 2);
    refused(&mut small, &saved, "flows of a port (2)");
    let mut b = host(2, 100);
    refused(&mut b, &damaged, "checksum");
    assert_eq!(restore(&mut b, &saved, None).unwrap().flows, 3);
    // On the same host under another name, it is still the same guest.
    let bytes = stage(&mut a, &saved).unwrap();
    let name = Some("other".parse().unwrap());
    let refusal = a.request(&RestorePort { name, underlay_ip: None, bytes }).unwrap_err();
    assert!(refusal.to_string().contains("MAC address"), "{refusal}");
}

#[test]
fn a_port_may_come_back_under_another_name() {
    let mut a = host(1, 100);
    add_guest(&mut a, GUEST, 0);
    out(&mut a, &udp(true, 1)).unwrap();
    let saved = save(&mut a, &GUEST.port()).unwrap();
    a.request(&DeletePort { name: GUEST.port() }).unwrap();
    let bytes = stage(&mut a, &saved).unwrap();
    let name = Some("other".parse().unwrap());
    let restored = a.request(&RestorePort { name, underlay_ip: None, bytes }).unwrap();
    assert_eq!(restored.port.as_str(), "other");
    a.request(&StartPort { port: restored.port }).unwrap();
}

#[test]
fn a_port_is_saved_as_it_stands_still() {
    let mut a = host(1, 100);
    add_guest(&mut a, GUEST, 0);
    let port = GUEST.port();
    let first = a.request(&SavePort { port: port.clone(), from: None }).unwrap();
    assert_eq!(a.request(&ListPorts {}).unwrap()[0].state, PortState::Paused);
    // It ran meanwhile, so the parts would not fit together.
    a.advance(1);
    a.request(&StartPort { port: port.clone() }).unwrap();
    let next = SavePort { port: port.clone(), from: first.next };
    let refusal = a.request(&next).unwrap_err().to_string();
    assert!(refusal.contains("to save it it must be paused or restored"), "{refusal}");
    a.request(&PausePort { port: port.clone() }).unwrap();
    let refusal = a.request(&next).unwrap_err().to_string();
    assert!(refusal.contains("has run since it was saved"), "{refusal}");
    a.request(&ResetPort { port: port.clone() }).unwrap();
    assert!(a.request(&SavePort { port, from: None }).is_err());
}

#[test]
fn a_restored_port_may_be_looked_at_saved_and_started() {
    let mut a = host(1, 100);
    add_guest(&mut a, GUEST, 0);
    out(&mut a, &udp(true, 1)).unwrap();
    let mut b = moved(&mut a);
    let port = GUEST.port();
    for refusal in [
        b.request(&SetFwRules { port: port.clone(), rules: vec![] }).unwrap_err(),
        b.request(&ClearUft { port: port.clone() }).unwrap_err(),
        b.request(&PausePort { port: port.clone() }).unwrap_err(),
    ] {
        assert!(refusal.to_string().contains("port 'guest5' is restored"), "{refusal}");
    }
    b.request(&DumpUft::of(port.clone())).unwrap();
    assert_eq!(out(&mut b, &udp(true, 1)), None);
    assert_eq!(b.drops(), [opte::drop_reason::DropReason::PortState]);
    b.advance(1_000_000);
    b.expire();
    assert_eq!(b.driver.device(PORT).unwrap().port.flows().count(), 1, "nothing expires");
    b.request(&StartPort { port: port.clone() }).unwrap();
    b.expire();
    assert_eq!(b.driver.device(PORT).unwrap().port.flows().count(), 0);
}

#[test]
fn the_new_policy_judges_what_comes_along() {
    let mut a = host(1, 100);
    add_guest(&mut a, GUEST, 0);
    out(&mut a, &udp(true, 1)).unwrap();
    let mut b = moved(&mut a);
    b.request(&StartPort { port: GUEST.port() }).unwrap();
    let rules = vec!["dir=out action=deny priority=1 protocol=udp".parse().unwrap()];
    b.request(&SetFwRules { port: GUEST.port(), rules }).unwrap();
    assert_eq!(out(&mut b, &udp(true, 1)), None);
    assert_eq!(b.driver.device(PORT).unwrap().port.flows().count(), 0);
}

#[test]
fn many_flows_go_in_parts() {
    let mut a = host(1, 20_000);
    add_guest(&mut a, GUEST, 0);
    add_peer(&mut a, Guest(7), 1);
    let count = 2 * FLOWS_AT_ONCE as u16 + 7;
    for port in 1..=count {
        let body = Body::Udp { ports: [port, 9], checksum: true };
        let packet = Packet::new(GUEST.macs(), [GUEST.ip(true), Guest(7).ip(true)], body);
        assert!(out(&mut a, &packet).is_some());
    }
    let parts = save_parts(&mut a, &GUEST.port()).unwrap();
    assert_eq!(parts.len(), 4);
    assert!(parts.iter().all(|part| part.len() < STAGE_BYTES));
    let mut b = host(2, 20_000);
    let restored = restore(&mut b, &parts.concat(), None).unwrap();
    assert_eq!(restored.flows, u64::from(count));
}

#[test]
fn parts_may_be_handed_over_twice_but_not_left_out() {
    let mut b = host(2, 100);
    let part = |offset, len| StageRestore { offset, bytes: vec![0; len] };
    assert_eq!(b.request(&part(0, 10)), Ok(10));
    assert_eq!(b.request(&part(10, 10)), Ok(20));
    assert_eq!(b.request(&part(10, 10)), Ok(20));
    let refusal = b.request(&part(30, 1)).unwrap_err();
    assert!(refusal.to_string().contains("20 bytes of a saved port are here"), "{refusal}");
    let refusal = b.request(&part(0, STAGE_BYTES + 1)).unwrap_err();
    assert!(matches!(refusal, OpteError::Limit { .. }), "{refusal}");
    let short = RestorePort { name: None, underlay_ip: None, bytes: 19 };
    assert!(matches!(b.request(&short), Err(OpteError::BadState(_))));
    assert_eq!(b.request(&part(0, 1)), Ok(1));
}

#[derive(Clone, Debug)]
enum Step {
    Udp(bool, u16),
    Tcp(u16, u8, bool),
    Ping(bool, u16),
    Answer,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<bool>(), 1..5u16).prop_map(|(ipv4, port)| Step::Udp(ipv4, port)),
        (1..5u16, prop_oneof![Just(2), Just(16), Just(17), any::<u8>()], any::<bool>())
            .prop_map(|(port, flags, answered)| Step::Tcp(port, flags, answered)),
        (any::<bool>(), 1..5u16).prop_map(|(ipv4, id)| Step::Ping(ipv4, id)),
        Just(Step::Answer),
        (0..60_000u64).prop_map(Step::Wait),
    ]
}

fn play(host: &mut Hypervisor, steps: &[Step]) {
    let mut last: Option<Packet> = None;
    for step in steps {
        let packet = match *step {
            Step::Udp(ipv4, port) => udp(ipv4, port),
            Step::Tcp(port, flags, ipv4) => packet(
                ipv4,
                Body::Tcp { ports: [port, 80], flags: TcpFlags(flags), numbers: [7, 9] },
            ),
            Step::Ping(ipv4, id) => Packet::echo(GUEST.macs(), [GUEST.ip(ipv4), outside(ipv4)], id),
            Step::Answer => {
                if let Some(seen) = &last {
                    answer(host, 0, seen, None);
                }
                continue;
            }
            Step::Wait(ms) => {
                host.advance(ms);
                host.expire();
                continue;
            }
        };
        last = out(host, &packet).map(|(_, seen)| seen);
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn saved_restored_and_saved_is_the_same(steps in vec(steps(), 0..15)) {
        let mut a = host(1, 100);
        add_guest(&mut a, GUEST, 0);
        let rule = "dir=in action=allow priority=9 protocol=tcp port=22".parse().unwrap();
        a.request(&AddFwRule { port: GUEST.port(), rule }).unwrap();
        play(&mut a, &steps);
        let once = save(&mut a, &GUEST.port()).unwrap();
        let mut b = host(2, 100);
        restore(&mut b, &once, None).unwrap();
        let twice = save(&mut b, &GUEST.port()).unwrap();
        prop_assert_eq!(once, twice);
        let numbers = [&mut a, &mut b].map(|host| {
            let dump = DumpLayer::of(GUEST.port(), "firewall");
            let rules = host.request(&dump).unwrap().rules;
            rules.map(|rules| rules.into_iter().map(|rule| rule.id).collect::<Vec<_>>())
        });
        prop_assert_eq!(&numbers[0], &numbers[1]);
        prop_assert_eq!(numbers[0][1].len(), 1);
    }
}

#[test]
fn a_connection_with_both_ends_translated_moves() {
    let mut a = host(1, 100);
    add_guest(&mut a, GUEST, 0);
    let port = || GUEST.port();
    let mut settings = a.request(&ShowPortSettings { port: port() }).unwrap();
    settings.nat.destinations.push(NatDestination {
        seen: "10.99.0.0/24".parse().unwrap(),
        real: "198.51.100.0/24".parse().unwrap(),
        protocol: Some(Protocol::UDP),
        ports: Some(PortRange { first: 80, last: 80 }),
        first_port: Some(8080),
    });
    // The mapping is one towards the remote end as it is outside.
    settings.nat.mapping.udp = NatDependence::AddressAndPortDependent;
    a.request(&SetPortSettings { port: port(), settings }).unwrap();
    let packet = Packet { dst: "10.99.0.7".parse().unwrap(), ..udp(true, 1000) };
    let (_, seen) = out(&mut a, &packet).unwrap();
    assert_eq!((seen.dst, seen.ports()[1]), (outside(true), 8080));
    let before = dump(&mut a);
    let mut b = moved(&mut a);
    assert_eq!(dump(&mut b), before);
    b.request(&StartPort { port: port() }).unwrap();
    let left = answer(&mut b, 0, &seen, None);
    let [Left::Guest(PORT, bytes)] = left.as_slice() else { panic!("{left:?}") };
    let reply = Packet::read(bytes).unwrap();
    assert_eq!((reply.src, reply.ports()), (packet.dst, [80, 1000]));
    let (_, again) = out(&mut b, &packet).unwrap();
    assert_eq!((again.src, again.dst, again.ports()), (seen.src, seen.dst, seen.ports()));
    assert_eq!(b.driver.device(PORT).unwrap().port.flows().count(), 1);
}
