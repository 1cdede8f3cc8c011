// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Fragments follow the first of their packet, in whatever order they come.

use opte::drop_reason::DropReason;
use opte::fragments::{HELD_BYTES, LIFE_MS, TRAINS};
use opte::frame::FlatFrame;
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet, Tunnel, checksums};
use opte_tests::setting::{
    BOUNDARY, FAMILIES, Guest, HOSTS, add_boundary, add_guest, add_peer, outside,
};
use oxide_vpc_api::GatewayMap;
use oxide_vpc_api::request::{DumpCounters, SetExternalIps, SetFwRules};
use std::net::IpAddr;
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);
const LOCAL: Guest = Guest(6);
const PEER: Guest = Guest(7);
const IP: usize = 14;
/// Data bytes of each fragment but the last.
const SIZE: usize = 400;

fn host() -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions::new(3));
    for guest in [GUEST, LOCAL] {
        add_guest(&mut host, guest, 0);
        let rules = vec!["dir=in action=allow priority=1 hosts=vni=100".parse().unwrap()];
        host.request(&SetFwRules { port: guest.port(), rules }).unwrap();
    }
    add_peer(&mut host, PEER, 1);
    add_boundary(&mut host);
    host
}

fn datagram(src: IpAddr, dst: IpAddr, ports: [u16; 2]) -> Packet {
    let payload = (0..1000u16).map(|n| (n / 3) as u8).collect();
    let body = Body::Udp { ports, checksum: true };
    Packet { payload, ..Packet::new(GUEST.macs(), [src, dst], body) }
}

fn from_guest(dst: IpAddr) -> Packet {
    datagram(GUEST.ip(dst.is_ipv4()), dst, [1000, 53])
}

/// The fragments of a frame, of `size` data bytes each.
fn cut(frame: &[u8], size: usize, id: u16) -> Vec<Vec<u8>> {
    let ipv4 = frame[IP] >> 4 == 4;
    let (header, data) = frame.split_at(IP + if ipv4 { 20 } else { 40 });
    let count = data.len().div_ceil(size);
    let one = |(at, part): (usize, &[u8])| {
        let (offset, more) = ((at * size) as u16, at + 1 < count);
        let mut piece = header.to_vec();
        if ipv4 {
            piece[IP + 2..IP + 4].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
            piece[IP + 4..IP + 6].copy_from_slice(&id.to_be_bytes());
            let field = offset >> 3 | u16::from(more) << 13;
            piece[IP + 6..IP + 8].copy_from_slice(&field.to_be_bytes());
            piece[IP + 10..IP + 12].fill(0);
            let sum = opte::checksum::Sum::default().bytes(&piece[IP..]).complement();
            piece[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
        } else {
            let next = core::mem::replace(&mut piece[IP + 6], 44);
            piece[IP + 4..IP + 6].copy_from_slice(&(8 + part.len() as u16).to_be_bytes());
            let [a, b] = (offset | u16::from(more)).to_be_bytes();
            let [c, d] = id.to_be_bytes();
            piece.extend([next, 0, a, b, 0, 0, c, d]);
        }
        piece.extend(part);
        piece
    };
    data.chunks(size).enumerate().map(one).collect()
}

/// Puts fragments together; proves that they are of one packet, and answers their identification.
fn join(pieces: &[Vec<u8>]) -> (Packet, u32) {
    let ipv4 = pieces[0][IP] >> 4 == 4;
    let parts = pieces.iter().map(|piece| {
        let word = |at: usize| u32::from_be_bytes(piece[at..at + 4].try_into().unwrap());
        if ipv4 {
            let sum = opte::checksum::Sum::default().bytes(&piece[IP..IP + 20]);
            assert_eq!(sum.folded(), 0xffff, "the header's checksum");
            let offset = (word(IP + 4) & 0x1fff) as usize * 8;
            (word(IP + 4) >> 16, offset, &piece[IP + 20..])
        } else {
            let offset = (word(IP + 40) & 0xfff8) as usize;
            (word(IP + 44), offset, &piece[IP + 48..])
        }
    });
    let mut parts: Vec<_> = parts.collect();
    parts.sort_by_key(|(_, offset, _)| *offset);
    let id = parts[0].0;
    assert!(parts.iter().all(|part| part.0 == id), "one identification");
    let data: Vec<u8> = parts.iter().flat_map(|(_, _, data)| data.to_vec()).collect();
    let mut whole = pieces[0][..IP + if ipv4 { 20 } else { 40 }].to_vec();
    if ipv4 {
        whole[IP + 2..IP + 4].copy_from_slice(&(20 + data.len() as u16).to_be_bytes());
        whole[IP + 6..IP + 8].fill(0);
        whole[IP + 10..IP + 12].fill(0);
        let sum = opte::checksum::Sum::default().bytes(&whole[IP..]).complement();
        whole[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
    } else {
        whole[IP + 4..IP + 6].copy_from_slice(&(data.len() as u16).to_be_bytes());
        whole[IP + 6] = pieces[0][IP + 40];
    }
    whole.extend(data);
    checksums::verify(&whole).expect("right checksums of the whole");
    (Packet::read(&whole).expect("a packet"), id)
}

/// What leaves the host when the guest sends these.
fn send(host: &mut Hypervisor, pieces: &[Vec<u8>]) -> Vec<Left> {
    let send = |piece: &Vec<u8>| host.from_guest(PortId(0), FlatFrame::new(piece.clone()));
    pieces.iter().flat_map(send).collect()
}

fn inner(left: &Left) -> Vec<u8> {
    match left {
        Left::Underlay(bytes) | Left::Answer(bytes) => Tunnel::open(bytes).unwrap().1,
        Left::Guest(_, bytes) | Left::Reply(_, bytes) => bytes.clone(),
    }
}

fn joined(left: &[Left]) -> (Packet, u32) {
    join(&left.iter().map(inner).collect::<Vec<_>>())
}

fn count(host: &mut Hypervisor, name: &str) -> u64 {
    let sets = host.request(&DumpCounters { port: Some(GUEST.port()) }).unwrap();
    let mut all = sets.iter().flat_map(|set| &set.counters);
    all.find(|counter| counter.name == name).unwrap().value
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn every_order_reaches_a_guest_of_another_host() {
    let mut host = host();
    for ipv4 in FAMILIES {
        for (id, order) in ORDERS.into_iter().enumerate() {
            let packet = from_guest(PEER.ip(ipv4));
            let pieces = cut(&packet.bytes(), SIZE, id as u16);
            let left = send(&mut host, &order.map(|at| pieces[at].clone()));
            assert_eq!(left.len(), 3, "{order:?}: {:?}", host.drops());
            let (seen, seen_id) = joined(&left);
            assert_eq!(
                (seen.payload, seen.body, seen_id),
                (packet.payload, packet.body, id as u32)
            );
            assert_eq!((seen.src, seen.dst), (packet.src, packet.dst));
            assert_eq!(count(&mut host, "fragments_packets"), 0, "all of it has gone");
        }
    }
    assert_eq!(count(&mut host, "fragments_bytes_held"), 0);
    assert!(count(&mut host, "fragments_held") > 0);
}

#[test]
fn every_order_reaches_a_guest_of_this_host() {
    let mut host = host();
    for ipv4 in FAMILIES {
        for (id, order) in ORDERS.into_iter().enumerate() {
            let packet = from_guest(LOCAL.ip(ipv4));
            let pieces = cut(&packet.bytes(), SIZE, id as u16);
            let left = send(&mut host, &order.map(|at| pieces[at].clone()));
            assert_eq!(left.len(), 3, "{order:?}: {:?}", host.drops());
            assert!(!left.iter().any(|left| matches!(left, Left::Underlay(_) | Left::Answer(_))));
            assert_eq!(joined(&left).0.payload, packet.payload);
        }
    }
}

#[test]
fn fragments_are_translated_out_and_back() {
    let mut host = host();
    for ipv4 in FAMILIES {
        let range = GUEST.snat(ipv4);
        let mut ids = Vec::new();
        for order in ORDERS {
            let packet = from_guest(outside(ipv4));
            // The guest may well use one identification for all.
            let pieces = cut(&packet.bytes(), SIZE, 77);
            let left = send(&mut host, &order.map(|at| pieces[at].clone()));
            assert_eq!(left.len(), 3, "{order:?}: {:?}", host.drops());
            let (seen, id) = joined(&left);
            assert_eq!((seen.src, seen.dst), (range.ip, outside(ipv4)));
            assert!((range.first_port..=range.last_port).contains(&seen.ports()[0]));
            ids.push(id);
            // And the answer.
            let back = datagram(outside(ipv4), range.ip, [53, seen.ports()[0]]);
            let back = Packet { macs: [PEER.mac(), GUEST.mac()], ..back };
            let tunnel = Tunnel::new(&BOUNDARY.to_string(), &HOSTS[0].to_string(), 100).external();
            let pieces = cut(&back.bytes(), SIZE, 9);
            let arrive = |at: usize| host.from_underlay(FlatFrame::new(tunnel.around(&pieces[at])));
            let left: Vec<Left> = order.into_iter().flat_map(arrive).collect();
            assert_eq!(left.len(), 3, "{order:?}: {:?}", host.drops());
            let (seen, _) = joined(&left);
            assert_eq!((seen.dst, seen.ports()), (GUEST.ip(ipv4), [53, 1000]));
            assert_eq!(seen.payload, back.payload);
        }
        if ipv4 {
            // Nobody else with this address has them, and they are not used again at once.
            let ours = |id: &u32| (range.first_port..=range.last_port).contains(&(*id as u16));
            assert!(ids.iter().all(ours), "{ids:?}");
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), ORDERS.len());
        }
    }
}

#[test]
fn fragments_that_overlap_end_their_packet() {
    let mut host = host();
    for ipv4 in FAMILIES {
        let bytes = from_guest(PEER.ip(ipv4)).bytes();
        let (pieces, others) = (cut(&bytes, SIZE, 1), cut(&bytes, SIZE - 8, 1));
        assert_eq!(send(&mut host, &pieces[..1]).len(), 1);
        assert_eq!(send(&mut host, &others[1..2]), []);
        assert_eq!(host.drops(), [DropReason::FragmentOverlap]);
        // What would have been right comes too late.
        assert_eq!(send(&mut host, &pieces[1..]), []);
        assert_eq!(host.drops(), [DropReason::Fragment; 2]);
        // Another packet is not harmed.
        assert_eq!(send(&mut host, &cut(&bytes, SIZE, 2)).len(), 3);
        host.advance(LIFE_MS);
        assert_eq!(send(&mut host, &pieces).len(), 3, "nor is one with this identification later");
    }
}

#[test]
fn a_fragment_that_comes_twice_passes_once() {
    let mut host = host();
    let pieces = cut(&from_guest(PEER.ip(true)).bytes(), SIZE, 1);
    assert_eq!(send(&mut host, &pieces[..2]).len(), 2);
    assert_eq!(send(&mut host, &pieces[1..2]), []);
    assert_eq!(host.drops(), [DropReason::FragmentOverlap]);
    assert_eq!(send(&mut host, &pieces[2..]).len(), 1);
}

#[test]
fn what_waits_too_long_is_forgotten() {
    let mut host = host();
    let pieces = cut(&from_guest(PEER.ip(true)).bytes(), SIZE, 1);
    assert_eq!(send(&mut host, &pieces[1..2]), []);
    host.advance(LIFE_MS);
    assert_eq!(send(&mut host, &pieces[..1]).len(), 1, "only the first");
    assert_eq!(count(&mut host, "fragments_bytes_held"), 0);
}

#[test]
fn later_fragments_of_what_is_denied_do_not_pass() {
    let mut host = host();
    let rules = vec!["dir=out action=deny priority=1 port=53".parse().unwrap()];
    host.request(&SetFwRules { port: GUEST.port(), rules }).unwrap();
    for order in ORDERS {
        let pieces = cut(&from_guest(PEER.ip(true)).bytes(), SIZE, 1);
        assert_eq!(send(&mut host, &order.map(|at| pieces[at].clone())), []);
        host.advance(LIFE_MS);
    }
}

#[test]
fn a_first_fragment_without_its_ports_is_malformed() {
    let mut host = host();
    for ipv4 in FAMILIES {
        let body = Body::Tcp { ports: [1, 2], flags: opte::tcp::TcpFlags::SYN, numbers: [1, 0] };
        let ips = [GUEST.ip(ipv4), PEER.ip(ipv4)];
        let pieces = cut(&Packet::new(GUEST.macs(), ips, body).bytes(), 8, 1);
        assert_eq!(send(&mut host, &pieces[..1]), []);
        assert_eq!(host.drops(), [DropReason::FragmentMalformed]);
    }
}

#[test]
fn a_flood_of_fragments_is_bounded_and_harms_nobody_else() {
    let mut host = host();
    let bytes = from_guest(PEER.ip(true)).bytes();
    for id in 0..3000 {
        let pieces = cut(&bytes, SIZE, id);
        // First ones without an end, and later ones without a beginning.
        send(&mut host, &[pieces[usize::from(id & 1)].clone()]);
        assert!(count(&mut host, "fragments_packets") <= TRAINS as u64);
        assert!(count(&mut host, "fragments_bytes_held") <= HELD_BYTES as u64);
    }
    assert!(count(&mut host, "fragments_evicted") >= 3000 - TRAINS as u64);
    host.events();
    // Whole packets of this port, and fragments of another.
    assert_eq!(send(&mut host, &[bytes]).len(), 1);
    let other = datagram(LOCAL.ip(true), PEER.ip(true), [1, 2]);
    let other = Packet { macs: LOCAL.macs(), ..other };
    let pieces = cut(&other.bytes(), SIZE, 1);
    let arrive = |piece: &Vec<u8>| host.from_guest(PortId(1), FlatFrame::new(piece.clone()));
    assert_eq!(pieces.iter().flat_map(arrive).count(), 3);
}

/// Two ports borrow from one range, and the boundary takes all of it for one of them, or for nobody
/// that is here.
#[test]
fn fragments_to_a_shared_address_go_where_the_first_goes() {
    const GUESTS: [Guest; 2] = [GUEST, LOCAL];
    let mut host = host();
    let [ipv4, ipv6] = FAMILIES.map(|ipv4| Some(GUEST.external(ipv4)));
    let request = SetExternalIps { port: LOCAL.port(), ipv4, ipv6, gateways: GatewayMap::new() };
    host.request(&request).unwrap();
    let mut ids = Vec::new();
    for (id, order) in (0..).zip(ORDERS) {
        for (ipv4, port) in FAMILIES.into_iter().flat_map(|ipv4| [(ipv4, 0), (ipv4, 1)]) {
            let (guest, remote) = (GUESTS[port as usize], outside(ipv4));
            let packet = datagram(guest.ip(ipv4), remote, [1000, 53]);
            let packet = Packet { macs: guest.macs(), ..packet };
            let leave =
                |piece: &Vec<u8>| host.from_guest(PortId(port), FlatFrame::new(piece.clone()));
            let left: Vec<Left> = cut(&packet.bytes(), SIZE, 77).iter().flat_map(leave).collect();
            let (seen, seen_id) = joined(&left);
            if ipv4 {
                ids.push(seen_id);
            }
            for by in [GUEST.mac(), LOCAL.mac(), PEER.mac()] {
                let back = datagram(remote, seen.src, [53, seen.ports()[0]]);
                let back = Packet { macs: [PEER.mac(), by], ..back };
                let (from, to) = (BOUNDARY.to_string(), HOSTS[0].to_string());
                let tunnel = Tunnel::new(&from, &to, 100).external();
                let pieces = cut(&back.bytes(), SIZE, id);
                let arrive =
                    |at: usize| host.from_underlay(FlatFrame::new(tunnel.around(&pieces[at])));
                let left: Vec<Left> = order.into_iter().flat_map(arrive).collect();
                assert_eq!(left.len(), 3, "{order:?}: {:?}", host.drops());
                for left in &left {
                    let (Left::Guest(at, _) | Left::Reply(at, _)) = left else {
                        panic!("{left:?}")
                    };
                    assert_eq!(*at, PortId(port));
                }
                let (seen, _) = joined(&left);
                assert_eq!((seen.dst, seen.ports()), (guest.ip(ipv4), [53, 1000]));
                assert_eq!(seen.payload, back.payload);
                assert_eq!(inner(&left[0])[..6], guest.mac().0);
                // The next one has its identification again.
                host.advance(LIFE_MS);
            }
        }
    }
    // Both count together.
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2 * ORDERS.len());
}

#[test]
fn fragments_to_a_shared_address_wait_in_vain_for_a_while() {
    let mut host = host();
    let (ipv4, gateways) = (Some(GUEST.external(true)), GatewayMap::new());
    let request = SetExternalIps { port: LOCAL.port(), ipv4, ipv6: None, gateways };
    host.request(&request).unwrap();
    let (from, to) = (BOUNDARY.to_string(), HOSTS[0].to_string());
    let tunnel = Tunnel::new(&from, &to, 100).external();
    let back = datagram(outside(true), GUEST.snat(true).ip, [53, 6200]);
    let back = Packet { macs: [PEER.mac(), GUEST.mac()], ..back };
    let mut arrive = |id: u16, at: usize| {
        let pieces = cut(&back.bytes(), SIZE, id);
        assert_eq!(host.from_underlay(FlatFrame::new(tunnel.around(&pieces[at]))), []);
        host.advance(500);
        host.drops()
    };
    assert_eq!(arrive(1, 1), []);
    // Nobody has the tuple, and so nobody takes it.
    assert_eq!(arrive(1, 0), [DropReason::NatUnmapped]);
    assert_eq!(arrive(2, 2), [DropReason::Fragment]);
    let sets = host.request(&DumpCounters { port: None }).unwrap();
    let value = |name: &str| {
        let mut counters = sets[0].counters.iter();
        counters.find(|counter| counter.name == name).unwrap().value
    };
    assert_eq!(value("shared_fragments_held"), 2);
    assert_eq!(value("shared_fragments_forgotten"), 0);
    assert_eq!((value("in_drop_fragment"), value("in_drop_nat_unmapped")), (1, 1));
}
