// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Routes: which goes before which, how equal ones share connections out, and that a connection
//! stays on its route.

use opte::drop_reason::DropReason;
use opte::frame::FlatFrame;
use opte_api::{IpCidr, OpteError};
use opte_tests::alone::{Alone, GUEST, PEER};
use opte_tests::hypervisor::Left;
use opte_tests::packets::{Body, Packet, Tunnel, checksums};
use opte_tests::setting::{FAMILIES, add_peer, boundary, everywhere, outside};
use opte_tests::twins::gateway_id;
use oxide_vpc_api::config::GATEWAY_MAC;
use oxide_vpc_api::request::{
    AddRoute, AddWeightedRoute, ClearV2b, DelRoute, ListRoutes, Removal, SetExternalIps, SetV2b,
};
use oxide_vpc_api::router::MAX_EQUAL_ROUTES;
use oxide_vpc_api::{
    BoundaryEndpoint, ExternalIps, GatewayMap, RouteEntry, RouteInfo, RouterClass, RouterTarget,
    V2bEntry, WeightedRoute,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use xde::host::PortId;

/// A route of the tenant to everything outside that is asked for here.
fn custom(ipv4: bool, target: RouterTarget) -> RouteEntry {
    let dest = IpCidr::new(outside(ipv4), 24).unwrap();
    RouteEntry { dest, target, class: RouterClass::Custom }
}

const fn udp(ports: [u16; 2]) -> Body {
    Body::Udp { ports, checksum: true }
}

const fn ig(number: u8) -> RouterTarget {
    RouterTarget::InternetGateway(Some(uuid::Uuid::from_u128(0xfeed_0000 + number as u128)))
}

fn add(world: &mut Alone, route: RouteEntry, weight: u16) {
    let route = WeightedRoute { route, weight };
    world.ask(&AddWeightedRoute { port: GUEST.port(), route });
}

fn remove(world: &mut Alone, route: RouteEntry) -> Removal {
    world.ask(&DelRoute { port: GUEST.port(), route })
}

/// Gives gateway number `n` the address number `n`, for each of these.
fn one_address_each(world: &mut Alone, numbers: &[u8]) {
    let ip = |number: u8, ipv4| opte_tests::setting::Guest(100 + number).floating(ipv4);
    let family = |ipv4| ExternalIps {
        floating: numbers.iter().map(|number| ip(*number, ipv4)).collect(),
        ..ExternalIps::default()
    };
    let mut gateways = GatewayMap::new();
    for number in numbers {
        for ipv4 in FAMILIES {
            gateways.insert(ip(*number, ipv4), [gateway_id(*number)].into());
        }
    }
    let (ipv4, ipv6) = (Some(family(true)), Some(family(false)));
    world.ask(&SetExternalIps { port: GUEST.port(), ipv4, ipv6, gateways });
}

/// Which address each of many connections leaves by.
fn ways(world: &mut Alone, ipv4: bool, count: u16) -> BTreeMap<u16, IpAddr> {
    let mut ways = BTreeMap::new();
    for port in 1..=count {
        let (_, inner) = world.datagram(outside(ipv4), port).unwrap();
        assert_eq!(inner.ports(), [port, 80]);
        ways.insert(port, inner.src);
    }
    ways
}

fn share(ways: &BTreeMap<u16, IpAddr>, number: u8, ipv4: bool) -> usize {
    let ip = opte_tests::setting::Guest(100 + number).floating(ipv4);
    ways.values().filter(|way| **way == ip).count()
}

#[test]
fn equal_routes_share_by_weight() {
    for ipv4 in FAMILIES {
        let mut world = Alone::default();
        one_address_each(&mut world, &[1, 2, 3]);
        for (number, weight) in [(1, 1), (2, 1), (3, 6)] {
            add(&mut world, custom(ipv4, ig(number)), weight);
        }
        let ways = ways(&mut world, ipv4, 800);
        let shares = [1, 2, 3].map(|number| share(&ways, number, ipv4));
        for (seen, fair) in shares.iter().zip([100usize, 100, 600]) {
            assert!(seen.abs_diff(fair) < fair / 3, "{shares:?}");
        }
        let list = world.ask(&ListRoutes { port: GUEST.port() });
        let hits = |number| {
            let route = custom(ipv4, ig(number));
            list.iter().find(|info| info.route == route).unwrap().hits
        };
        assert_eq!([1, 2, 3].map(hits), shares.map(|count| count as u64));
    }
}

#[test]
fn a_connection_stays_while_its_route_stands() {
    for ipv4 in FAMILIES {
        let mut world = Alone::default();
        one_address_each(&mut world, &[1, 2, 3]);
        // The first has no equals yet.
        add(&mut world, custom(ipv4, ig(1)), 1);
        let first = ways(&mut world, ipv4, 50);
        assert_eq!(share(&first, 1, ipv4), 50);
        add(&mut world, custom(ipv4, ig(2)), 1);
        add(&mut world, custom(ipv4, ig(3)), 5);
        let before = ways(&mut world, ipv4, 300);
        assert!(first.iter().all(|(port, way)| before[port] == *way), "moved by a new route");
        assert!(share(&before, 2, ipv4) > 10 && share(&before, 3, ipv4) > 100);
        // Other shares move nobody.
        add(&mut world, custom(ipv4, ig(3)), 1);
        assert_eq!(ways(&mut world, ipv4, 300), before);
        assert_eq!(world.count("flows_cut"), 0);
        // A route that goes moves its own.
        assert_eq!(remove(&mut world, custom(ipv4, ig(3))), Removal::Removed);
        let after = ways(&mut world, ipv4, 300);
        let gone = share(&before, 3, ipv4);
        let moved = before.iter().filter(|(port, way)| after[port] != **way).count();
        assert_eq!((moved, share(&after, 3, ipv4)), (gone, 0));
        assert_eq!(world.count("flows_cut"), gone as u64);
    }
}

#[test]
fn a_reply_keeps_to_its_route_as_well() {
    // Two guests that both lead on: what the next hop is shows in the outer headers.
    let mut world = Alone::default();
    let rule = "dir=in action=allow priority=1".parse().unwrap();
    let rules = oxide_vpc_api::request::SetFwRules { port: GUEST.port(), rules: vec![rule] };
    world.ask(&rules);
    let floating = GUEST.floating(true);
    let ipv4 = Some(ExternalIps { floating: vec![floating], ..ExternalIps::default() });
    let gateways = [(floating, [1, 2, 3, 4].map(gateway_id).into())].into();
    world.ask(&SetExternalIps { port: GUEST.port(), ipv4, ipv6: None, gateways });
    add(&mut world, custom(true, ig(1)), 1);
    for port in 1..40 {
        let seen = world.from_outside([outside(true), floating], udp([80, port])).unwrap();
        assert_eq!(seen.dst, GUEST.ip(true));
        world.datagram(outside(true), port).unwrap();
    }
    // None of the others has an address: who moved there would be denied.
    let gateways = [(floating, [gateway_id(1)].into())].into();
    let ipv4 = Some(ExternalIps { floating: vec![floating], ..ExternalIps::default() });
    world.ask(&SetExternalIps { port: GUEST.port(), ipv4, ipv6: None, gateways });
    for number in 2..5 {
        add(&mut world, custom(true, ig(number)), 100);
    }
    let hits = |world: &mut Alone| -> u64 {
        let list = world.ask(&ListRoutes { port: GUEST.port() });
        list.iter().filter(|info| info.route.class == RouterClass::Custom).map(|i| i.hits).sum()
    };
    let before = hits(&mut world);
    for port in 1..40 {
        let (_, inner) = world.datagram(outside(true), port).unwrap();
        assert_eq!(inner.src, floating);
    }
    assert_eq!(hits(&mut world), before, "no connection asked for a route again");
}

#[test]
fn custom_goes_before_system_and_longer_before_both() {
    let mut world = Alone::default();
    let system = RouteEntry { class: RouterClass::System, ..custom(true, RouterTarget::Drop) };
    world.ask(&AddRoute { port: GUEST.port(), route: system });
    assert_eq!(world.datagram(outside(true), 1), Err(DropReason::RouteDrop));
    world.ask(&AddRoute {
        port: GUEST.port(),
        route: custom(true, RouterTarget::InternetGateway(None)),
    });
    world.datagram(outside(true), 1).unwrap();
    let host = RouteEntry { dest: IpCidr::host(outside(true)), ..system };
    world.ask(&AddRoute { port: GUEST.port(), route: host });
    assert_eq!(world.datagram(outside(true), 1), Err(DropReason::RouteDrop));
    let in_use: Vec<_> = world
        .ask(&ListRoutes { port: GUEST.port() })
        .into_iter()
        .filter(|info| !info.in_use)
        .map(|info| info.route)
        .collect();
    assert_eq!(in_use, [system]);
}

#[test]
fn drop_goes_before_blackhole_before_the_rest() {
    let mut world = Alone::default();
    let targets =
        [RouterTarget::InternetGateway(None), RouterTarget::Blackhole, RouterTarget::Drop];
    for target in targets {
        add(&mut world, custom(true, target), 9);
    }
    assert_eq!(world.datagram(outside(true), 1), Err(DropReason::RouteDrop));
    remove(&mut world, custom(true, RouterTarget::Drop));
    assert_eq!(world.datagram(outside(true), 1), Err(DropReason::RouteBlackhole));
    remove(&mut world, custom(true, RouterTarget::Blackhole));
    world.datagram(outside(true), 1).unwrap();
}

#[test]
fn a_blackhole_tells_the_guest_as_often_as_the_rate_allows() {
    for ipv4 in FAMILIES {
        let mut world = Alone::default();
        add(&mut world, custom(ipv4, RouterTarget::Blackhole), 1);
        let mut told = 0;
        for port in 1..=300 {
            let packet =
                Packet::new(GUEST.macs(), [GUEST.ip(ipv4), outside(ipv4)], udp([port, 80]));
            let left = world.host.from_guest(PortId(0), FlatFrame::new(packet.bytes()));
            assert_eq!(world.host.drops(), [DropReason::RouteBlackhole]);
            let [Left::Reply(_, bytes)] = left.as_slice() else {
                assert_eq!(left, []);
                continue;
            };
            checksums::verify(bytes).unwrap();
            let error = Packet::read(bytes).unwrap();
            assert_eq!(error.macs, [GATEWAY_MAC, GUEST.mac()]);
            assert_eq!(error.dst, GUEST.ip(ipv4));
            let kind = if ipv4 { [3, 0] } else { [1, 0] };
            assert_eq!(error.body, Body::Icmp { kind, rest: [0; 4] });
            assert!(error.payload.len() >= 28 && packet.bytes()[14..].starts_with(&error.payload));
            told += 1;
        }
        assert!((1..300).contains(&told), "{told}");
        assert_eq!(world.count("out_drop_route_blackhole"), 300);
        // To drop is to say nothing.
        add(&mut world, custom(ipv4, RouterTarget::Drop), 1);
        world.host.advance(60_000);
        let packet = Packet::new(GUEST.macs(), [GUEST.ip(ipv4), outside(ipv4)], udp([1, 80]));
        assert_eq!(world.host.from_guest(PortId(0), FlatFrame::new(packet.bytes())), []);
    }
}

#[test]
fn a_route_is_removed_by_all_of_its_fields() {
    let mut world = Alone::default();
    let route = custom(true, RouterTarget::Ip(PEER.ip(true)));
    add(&mut world, route, 3);
    for other in [
        RouteEntry { class: RouterClass::System, ..route },
        RouteEntry { target: RouterTarget::Drop, ..route },
        RouteEntry { dest: everywhere(true), ..route },
    ] {
        assert_eq!(remove(&mut world, other), Removal::Absent);
    }
    let info = |hits| RouteInfo { route, weight: 3, in_use: true, hits };
    let list = |world: &mut Alone| {
        let mut list = world.ask(&ListRoutes { port: GUEST.port() });
        list.retain(|info| info.route.class == RouterClass::Custom);
        list
    };
    assert_eq!(list(&mut world), [info(0)]);
    let (tunnel, _) = world.datagram(outside(true), 1).unwrap();
    assert_eq!(tunnel.dst, PEER.location(1).underlay_ip);
    assert_eq!(list(&mut world), [info(1)]);
    assert_eq!(remove(&mut world, route), Removal::Removed);
    assert_eq!(remove(&mut world, route), Removal::Absent);
    assert_eq!(list(&mut world), []);
}

#[test]
fn a_guest_that_moves_is_found_with_the_next_packet() {
    for ipv4 in FAMILIES {
        let mut world = Alone::default();
        for host in [1, 0, 1] {
            add_peer(&mut world.host, PEER, host);
            let at = PEER.location(host).underlay_ip;
            for _ in 0..2 {
                let ips = [GUEST.ip(ipv4), PEER.ip(ipv4)];
                let packet = Packet::new(GUEST.macs(), ips, udp([1, 2]));
                let left = world.host.from_guest(PortId(0), FlatFrame::new(packet.bytes()));
                // It is not on this host, whatever the mapping says: then nobody gets it.
                match left.as_slice() {
                    [Left::Underlay(bytes)] => {
                        let (tunnel, _) = Tunnel::open(bytes).unwrap();
                        assert_eq!((tunnel.dst, host), (at, 1));
                    }
                    _ => assert_eq!((world.host.drops(), host), (vec![DropReason::NoPort], 0)),
                }
            }
        }
        assert_eq!(world.count("flows_opened"), 1);
    }
}

#[test]
fn a_boundary_that_goes_moves_its_own_connections_with_their_next_packet() {
    for ipv4 in FAMILIES {
        let mut world = Alone::default();
        let endpoint = |last: u16| BoundaryEndpoint {
            underlay_ip: Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, last),
            vni: boundary().vni,
        };
        // A longer prefix than that of the usual boundary.
        let prefix = IpCidr::new(outside(ipv4), 24).unwrap();
        let entry = |lasts: &[u16]| V2bEntry {
            prefix,
            endpoints: lasts.iter().map(|last| endpoint(*last)).collect(),
        };
        world.ask(&SetV2b { entry: entry(&[1, 2, 3]) });
        let ways = |world: &mut Alone| -> Vec<Ipv6Addr> {
            (1..=300).map(|port| world.datagram(outside(ipv4), port).unwrap().0.dst).collect()
        };
        let before = ways(&mut world);
        let share = |ways: &[Ipv6Addr], last| {
            ways.iter().filter(|way| **way == endpoint(last).underlay_ip).count()
        };
        let shares = [1, 2, 3].map(|last| share(&before, last));
        assert!(shares.iter().all(|share| *share > 60), "{shares:?}");
        world.ask(&ClearV2b { entry: entry(&[2]) });
        let after = ways(&mut world);
        let moved = before.iter().zip(&after).filter(|(old, new)| old != new).count();
        assert_eq!((moved, share(&after, 2)), (shares[1], 0));
        // Without the longer prefix all go the usual way.
        world.ask(&ClearV2b { entry: entry(&[1, 3]) });
        assert!(ways(&mut world).iter().all(|way| *way == boundary().underlay_ip));
        // The far end outside is the same all the time, so nothing has ended.
        assert_eq!((world.count("flows_opened"), world.count("flows_cut")), (300, 0));
    }
}

#[test]
fn too_many_equals_and_gateways_are_refused_by_name() {
    let mut world = Alone::default();
    for number in 0..MAX_EQUAL_ROUTES as u8 {
        add(&mut world, custom(true, ig(number)), 1);
    }
    let more = custom(true, ig(200));
    let refused = world.host.request(&AddRoute { port: GUEST.port(), route: more });
    assert_eq!(
        refused,
        Err(OpteError::Limit { what: "routes of one prefix and class".into(), limit: 64 })
    );
    let none = WeightedRoute { route: custom(false, ig(1)), weight: 0 };
    let refused = world.host.request(&AddWeightedRoute { port: GUEST.port(), route: none });
    assert!(refused.unwrap_err().to_string().contains("at least 1"));

    let route = |number: u32| {
        let dest = IpCidr::host(IpAddr::from(number.to_be_bytes()));
        let uuid = uuid::Uuid::from_u128(0xbeef_0000 + u128::from(number));
        RouteEntry { target: RouterTarget::InternetGateway(Some(uuid)), dest, ..more }
    };
    // 64 are there, and the one without a name.
    for number in 0..191 {
        world.ask(&AddRoute { port: GUEST.port(), route: route(number) });
    }
    let refused = world.host.request(&AddRoute { port: GUEST.port(), route: route(191) });
    assert_eq!(refused, Err(OpteError::Limit { what: "gateways of routes".into(), limit: 256 }));
    // What is there already needs no room.
    world.ask(&AddRoute { port: GUEST.port(), route: route(7) });
    assert_eq!(world.ask(&ListRoutes { port: GUEST.port() }).len(), 64 + 191 + 4);
}
