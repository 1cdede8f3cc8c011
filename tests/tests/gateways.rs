// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Internet gateways: which external address a connection gets, and what one sees of it.

use opte::drop_reason::DropReason;
use opte_api::{IpCidr, MacAddr, OpteError};
use opte_tests::alone::{Alone, GUEST, PEER};
use opte_tests::hypervisor::Left;
use opte_tests::packets::{Body, Packet, Tunnel, checksums};
use opte_tests::setting::{
    BOUNDARY, FAMILIES, Guest, HOSTS, add_guest, everywhere, outside, route, subnet,
};
use opte_tests::twins::gateway_id;
use oxide_vpc_api::config::BOUNDARY_MAC;
use oxide_vpc_api::gateway::{AddressKind, GatewayAddress};
use oxide_vpc_api::request::{
    AddRoute, CreatePort, DelRoute, DumpGateways, Ensured, ListPorts, ListRoutes, SetExternalIps,
    SetFwRules, SetPortSettings, SetRouting,
};
use oxide_vpc_api::settings::{GatewaySettings, Reached, Unmapped, Untagged};
use oxide_vpc_api::{
    ExternalIps, GatewayInfo, GatewayMap, PortSettings, RouteEntry, RouterClass, RouterTarget,
    SnatRange, WeightedRoute,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// An address outside of the guest's own, by number.
fn own(number: u8, ipv4: bool) -> IpAddr {
    Guest(100 + number).floating(ipv4)
}

fn gateways(world: &mut Alone) -> Vec<GatewayInfo> {
    world.ask(&DumpGateways { port: GUEST.port() })
}

fn default_to(world: &mut Alone, gateway: Option<u8>, ipv4: bool) {
    let port = GUEST.port();
    let list = world.ask(&ListRoutes { port: port.clone() });
    for info in list.into_iter().filter(|info| info.route.class == RouterClass::Custom) {
        world.ask(&DelRoute { port: port.clone(), route: info.route });
    }
    let target = RouterTarget::InternetGateway(gateway.map(gateway_id));
    let route = RouteEntry { dest: everywhere(ipv4), target, class: RouterClass::Custom };
    world.ask(&AddRoute { port, route });
}

fn allow_all(world: &mut Alone) {
    let rule = "dir=in action=allow priority=1".parse().unwrap();
    world.ask(&SetFwRules { port: GUEST.port(), rules: vec![rule] });
}

const fn udp(ports: [u16; 2]) -> Body {
    Body::Udp { ports, checksum: true }
}

/// Floating 1, 2 and 3, ephemeral 4, and source NAT behind 5.
fn all_kinds(ipv4: bool) -> ExternalIps {
    ExternalIps {
        floating: [1, 2, 3].map(|number| own(number, ipv4)).into(),
        ephemeral: Some(own(4, ipv4)),
        snat: vec![SnatRange { ip: own(5, ipv4), first_port: 2000, last_port: 2999 }],
    }
}

/// Each of these addresses serves these gateways, in both families.
fn map(entries: &[(u8, &[u8])]) -> GatewayMap {
    let uuids = |numbers: &[u8]| numbers.iter().map(|number| gateway_id(*number)).collect();
    let both = |(number, ids): &(u8, &[u8])| FAMILIES.map(|ipv4| (own(*number, ipv4), uuids(ids)));
    entries.iter().flat_map(both).collect()
}

fn set(world: &mut Alone, gateways: GatewayMap) -> Result<(), OpteError> {
    let (ipv4, ipv6) = (Some(all_kinds(true)), Some(all_kinds(false)));
    world.host.request(&SetExternalIps { port: GUEST.port(), ipv4, ipv6, gateways })
}

/// A gateway with a name of its own: the table that is expected of it, and the packet that leaves
/// through it, byte for byte where it matters.
#[test]
fn a_custom_gateway_has_its_table_and_its_packet() {
    for ipv4 in FAMILIES {
        let mut world = Alone::default();
        // The third floating address serves only routes without a name.
        set(&mut world, map(&[(1, &[7]), (2, &[7, 8]), (4, &[7]), (5, &[7])])).unwrap();
        default_to(&mut world, Some(7), ipv4);

        let body = udp([4321, 53]);
        let sent = Packet::new(GUEST.macs(), [GUEST.ip(ipv4), outside(ipv4)], body);
        let frame = opte::frame::FlatFrame::new(sent.bytes());
        let left = world.host.from_guest(xde::host::PortId(0), frame);
        let [Left::Underlay(bytes)] = left.as_slice() else { panic!("{left:?}") };
        checksums::verify(bytes).unwrap();
        let (tunnel, inner) = Tunnel::open(bytes).unwrap();
        assert_eq!((tunnel.src, tunnel.dst), (HOSTS[0], BOUNDARY));
        assert_eq!((tunnel.vni.get(), tunnel.options.as_slice()), (99, [].as_slice()));
        let inner = Packet::read(&inner).unwrap();
        assert!([1, 2].map(|number| own(number, ipv4)).contains(&inner.src), "{}", inner.src);
        let chosen = inner.src;
        let expected = Packet { macs: [GUEST.mac(), BOUNDARY_MAC], src: chosen, ..sent };
        assert_eq!(inner, expected);

        let seen = gateways(&mut world);
        let ids: Vec<_> = seen.iter().map(|info| info.gateway).collect();
        assert_eq!(ids, [None, Some(gateway_id(7)), Some(gateway_id(8))]);
        let row = |number: u8, kind, ports, is_first| {
            let ip = own(number, ipv4);
            let flows = u32::from(ip == chosen);
            GatewayAddress { ip, ports, kind, is_first, flows, inbound_flows: 0 }
        };
        let snat = Some((2000, 2999));
        let mut of_family = seen[1].clone();
        of_family.addresses.retain(|address| address.ip.is_ipv4() == ipv4);
        let table = GatewayInfo {
            gateway: Some(gateway_id(7)),
            routes: 1,
            addresses: vec![
                row(1, AddressKind::Floating, None, true),
                row(2, AddressKind::Floating, None, true),
                row(4, AddressKind::Ephemeral, None, false),
                row(5, AddressKind::Snat, snat, false),
            ],
            denied: 0,
        };
        assert_eq!(of_family, table);
        assert_eq!((seen[0].routes, seen[2].routes), (2, 0));
        assert!(seen[0].addresses.iter().all(|address| address.ip == own(3, address.ip.is_ipv4())));
    }
}

#[test]
fn the_best_kind_within_a_gateway_and_never_across() {
    for ipv4 in FAMILIES {
        let mut world = Alone::default();
        // 5 has everything, 4 nothing, 1 to 3 one kind each.
        let served: [(u8, &[u8]); 5] =
            [(1, &[1, 5]), (2, &[5]), (3, &[5]), (4, &[2, 5]), (5, &[3, 5])];
        set(&mut world, map(&served)).unwrap();
        let mut port = 1;
        for (gateway, choice) in [
            (Some(1), &[1][..]),
            (Some(2), &[4]),
            (Some(3), &[5]),
            (Some(4), &[]),
            (Some(5), &[1, 2, 3]),
            (None, &[]),
        ] {
            default_to(&mut world, gateway, ipv4);
            let mut seen = BTreeSet::new();
            for _ in 0..30 {
                port += 1;
                match world.datagram(outside(ipv4), port) {
                    Ok((_, inner)) => {
                        seen.insert(inner.src);
                    }
                    Err(reason) => assert_eq!(reason, DropReason::NoExternalAddress),
                }
            }
            let choice: BTreeSet<_> = choice.iter().map(|number| own(*number, ipv4)).collect();
            assert_eq!(seen, choice, "{gateway:?}");
            let info = gateways(&mut world);
            let info = info.iter().find(|i| i.gateway == gateway.map(gateway_id)).unwrap();
            assert_eq!(info.denied, if choice.is_empty() { 30 } else { 0 }, "{gateway:?}");
        }
        assert_eq!(world.count("out_drop_no_external_address"), 60);
    }
}

#[test]
fn each_gateway_has_its_own_range_of_source_nat() {
    for ipv4 in FAMILIES {
        let mut world = Alone::default();
        let range = |number, first_port| SnatRange {
            ip: own(number, ipv4),
            first_port,
            last_port: first_port + 1,
        };
        let external =
            ExternalIps { snat: vec![range(1, 500), range(2, 700)], ..ExternalIps::default() };
        let gateways = [1, 2].map(|n| (own(n, ipv4), [gateway_id(n)].into())).into();
        let [given, none] = [Some(external), None];
        let (v4, v6) = if ipv4 { (given, none) } else { (none, given) };
        world.ask(&SetExternalIps { port: GUEST.port(), ipv4: v4, ipv6: v6, gateways });
        for (gateway, ports) in [(1, 500..=501), (2, 700..=701)] {
            default_to(&mut world, Some(gateway), ipv4);
            for from in 1..3 {
                let (_, inner) =
                    world.datagram(outside(ipv4), u16::from(gateway) * 10 + from).unwrap();
                assert_eq!(inner.src, own(gateway, ipv4));
                assert!(ports.contains(&inner.ports()[0]));
            }
            // The other gateway's ports are no help.
            let refused = world.datagram(outside(ipv4), 999);
            assert_eq!(refused, Err(DropReason::NatExhausted));
        }
    }
}

#[test]
fn who_comes_to_an_address_is_answered_from_it() {
    for ipv4 in FAMILIES {
        let mut world = Alone::default();
        allow_all(&mut world);
        // The second serves nothing, and the route leads through a gateway of the first alone.
        set(&mut world, map(&[(1, &[1]), (2, &[])])).unwrap();
        default_to(&mut world, Some(1), ipv4);
        for number in 1..5 {
            let (to, ports) = (own(number, ipv4), [80, 1000 + u16::from(number)]);
            let seen = world.from_outside([outside(ipv4), to], udp(ports)).unwrap();
            assert_eq!((seen.dst, seen.ports()), (GUEST.ip(ipv4), ports));
            let (_, reply) = world.send(outside(ipv4), udp([ports[1], ports[0]])).unwrap();
            assert_eq!(reply.src, to);
        }
        let shown = gateways(&mut world);
        let inbound = shown.iter().flat_map(|info| &info.addresses);
        let inbound: BTreeMap<_, _> = inbound.map(|a| (a.ip, a.inbound_flows)).collect();
        assert_eq!([1, 3, 4].map(|number| inbound[&own(number, ipv4)]), [1; 3]);
    }
}

#[test]
fn an_address_that_goes_ends_its_own_connections_only() {
    for ipv4 in FAMILIES {
        let mut world = Alone::default();
        set(&mut world, GatewayMap::new()).unwrap();
        let ways = |world: &mut Alone| -> BTreeMap<u16, IpAddr> {
            let way = |port| (port, world.datagram(outside(ipv4), port).unwrap().1.src);
            (1..=300).map(way).collect()
        };
        let before = ways(&mut world);
        let share = |ways: &BTreeMap<u16, IpAddr>, number| {
            ways.values().filter(|way| **way == own(number, ipv4)).count()
        };
        assert!((1..=3).all(|number| share(&before, number) > 70), "spread over all floating ones");
        let mut fewer = all_kinds(ipv4);
        fewer.floating.remove(2);
        let [given, none] = [Some(fewer), None];
        let (v4, v6) = if ipv4 { (given, none) } else { (none, given) };
        let gateways = GatewayMap::new();
        world.ask(&SetExternalIps { port: GUEST.port(), ipv4: v4, ipv6: v6, gateways });
        let after = ways(&mut world);
        assert_eq!(share(&after, 3), 0);
        let moved = before.iter().filter(|(port, way)| after[port] != **way).count();
        assert_eq!(moved, share(&before, 3));
        assert_eq!(world.count("flows_cut"), moved as u64);
    }
}

/// All that is told of routes and addresses in one request, as it stands after [`Alone`] began.
fn whole(gateways: GatewayMap, more: &[RouteEntry]) -> SetRouting {
    let mut routes: Vec<WeightedRoute> = more.iter().map(|route| (*route).into()).collect();
    for ipv4 in FAMILIES {
        routes.push(route(subnet(ipv4), RouterTarget::Subnet(subnet(ipv4))).into());
        routes.push(route(everywhere(ipv4), RouterTarget::InternetGateway(None)).into());
    }
    SetRouting {
        port: GUEST.port(),
        revision: None,
        routes,
        ipv4: Some(all_kinds(true)),
        ipv6: Some(all_kinds(false)),
        gateways,
    }
}

fn generation(world: &mut Alone) -> u64 {
    world.ask(&ListPorts {})[0].generation
}

#[test]
fn routes_addresses_and_map_change_together() {
    let mut world = Alone::default();
    let net = IpCidr::new(outside(true), 24).unwrap();
    let through = |number| RouteEntry {
        dest: net,
        target: RouterTarget::InternetGateway(Some(gateway_id(number))),
        class: RouterClass::Custom,
    };
    let first = whole(map(&[(5, &[1])]), &[through(1)]);
    let before = generation(&mut world);
    assert_eq!(world.ask(&first), Ensured::Changed);
    assert_eq!(generation(&mut world), before + 1, "one step");
    let (_, inner) = world.datagram(outside(true), 1).unwrap();
    assert_eq!(inner.src, own(5, true));
    let port = inner.ports()[0];
    // The same again is no work; its connections and leases are not touched.
    assert_eq!(world.ask(&first), Ensured::Unchanged);
    assert_eq!(generation(&mut world), before + 1);
    // Another gateway with the same address: the connection stays, with its port.
    let second = whole(map(&[(5, &[1, 2])]), &[through(2)]);
    assert_eq!(world.ask(&second), Ensured::Changed);
    let (_, inner) = world.datagram(outside(true), 1).unwrap();
    assert_eq!((inner.src, inner.ports()[0]), (own(5, true), port));
    assert_eq!(world.count("flows_cut"), 0);

    let shown = |world: &mut Alone| {
        let port = GUEST.port();
        let routes = world.ask(&ListRoutes { port });
        (gateways(world), routes, generation(world))
    };
    let held = shown(&mut world);
    let mut twice = whole(GatewayMap::new(), &[]);
    twice.routes.push(twice.routes[0]);
    let mut foreign = whole(GatewayMap::new(), &[]);
    foreign.gateways.insert(outside(true), [gateway_id(1)].into());
    let mut range = whole(GatewayMap::new(), &[]);
    range.ipv6.as_mut().unwrap().snat[0].first_port = 0;
    for (request, why) in
        [(twice, "listed twice"), (foreign, "no external address of the port"), (range, "no range")]
    {
        let error = world.host.request(&request).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(shown(&mut world), held, "a refused request changes nothing");
    }
}

#[test]
fn older_content_is_refused_whoever_brings_it() {
    let mut world = Alone::default();
    let at = |revision, gateways| SetRouting { revision, ..whole(gateways, &[]) };
    assert_eq!(world.ask(&at(Some(7), GatewayMap::new())), Ensured::Changed);
    assert_eq!(world.ask(&at(Some(7), GatewayMap::new())), Ensured::Unchanged);
    let refused =
        |world: &mut Alone, request| world.host.request(&request).unwrap_err().to_string();
    let error = refused(&mut world, at(Some(7), map(&[(1, &[1])])));
    assert!(error.contains("revision 7 is in force with other content"), "{error}");
    let error = refused(&mut world, at(Some(6), GatewayMap::new()));
    assert!(error.contains("revision 6 is older than 7"), "{error}");
    assert_eq!(world.ask(&at(Some(9), GatewayMap::new())), Ensured::Unchanged);
    let error = refused(&mut world, at(Some(8), map(&[(1, &[1])])));
    assert!(error.contains("older than 9"), "{error}");
    // Who gives no number is an operator.
    assert_eq!(world.ask(&at(None, map(&[(1, &[1])]))), Ensured::Changed);
}

#[test]
fn an_address_has_one_owner_on_a_host() {
    let mut world = Alone::default();
    let other = Guest(6);
    add_guest(&mut world.host, other, 0);
    set(&mut world, GatewayMap::new()).unwrap();
    let take = |external| SetExternalIps {
        port: other.port(),
        ipv4: Some(external),
        ipv6: None,
        gateways: GatewayMap::new(),
    };
    let snat = |number, first_port| ExternalIps {
        snat: vec![SnatRange { ip: own(number, true), first_port, last_port: first_port + 9 }],
        ..ExternalIps::default()
    };
    let floating =
        |number| ExternalIps { floating: vec![own(number, true)], ..ExternalIps::default() };
    let ephemeral =
        |number| ExternalIps { ephemeral: Some(own(number, true)), ..ExternalIps::default() };
    for taken in [floating(1), ephemeral(4), floating(5), ephemeral(1), snat(2, 10), snat(5, 2990)]
    {
        let error = world.host.request(&take(taken.clone())).unwrap_err().to_string();
        assert!(error.contains("is in use by port guest5"), "{taken:?}: {error}");
    }
    for free in [floating(6), snat(5, 1990), snat(5, 3000)] {
        world.ask(&take(free));
    }
    let mut config = Guest(8).config(0);
    config.ipv4.as_mut().unwrap().external = floating(3);
    let refused = world.host.request(&CreatePort { name: Guest(8).port(), config });
    assert!(refused.unwrap_err().to_string().contains("is in use by port guest5"));
}

fn choose(world: &mut Alone, settings: GatewaySettings) {
    let settings = PortSettings { gateways: settings, ..PortSettings::default() };
    world.ask(&SetPortSettings { port: GUEST.port(), settings });
}

#[test]
fn unmapped_addresses_serve_as_the_port_is_told() {
    for ipv4 in FAMILIES {
        let mut world = Alone::default();
        // Floating 2 and 3, and source NAT, are unmapped.
        set(&mut world, map(&[(1, &[1]), (4, &[])])).unwrap();
        let mut port = 0;
        let mut way = |world: &mut Alone, gateway| {
            port += 1;
            default_to(world, gateway, ipv4);
            world.datagram(outside(ipv4), port).map(|(_, inner)| inner.src).ok()
        };
        let unmapped = |ip: Option<IpAddr>| ip.is_some_and(|ip| ip != own(1, ipv4));
        assert!(unmapped(way(&mut world, None)));
        assert_eq!(way(&mut world, Some(2)), None);

        let last = GatewaySettings { unmapped: Unmapped::AnyLast, ..GatewaySettings::default() };
        choose(&mut world, last.clone());
        assert!(unmapped(way(&mut world, None)) && unmapped(way(&mut world, Some(2))));
        // Where the map names an address, that goes first; a connection keeps what it has.
        assert_eq!(way(&mut world, Some(1)), Some(own(1, ipv4)));
        let kept = way(&mut world, Some(2)).unwrap();
        default_to(&mut world, Some(1), ipv4);
        assert_eq!(world.datagram(outside(ipv4), 5).unwrap().1.src, own(1, ipv4));
        assert_eq!(world.datagram(outside(ipv4), 6).unwrap().1.src, kept);

        choose(&mut world, GatewaySettings { unmapped: Unmapped::Nowhere, ..last });
        let nowhere = |world: &mut Alone, gateway| {
            default_to(world, gateway, ipv4);
            world.datagram(outside(ipv4), 7)
        };
        for gateway in [None, Some(2)] {
            assert_eq!(nowhere(&mut world, gateway), Err(DropReason::NoExternalAddress));
        }
        let any = GatewaySettings { untagged: Untagged::Any, ..GatewaySettings::default() };
        choose(&mut world, any);
        default_to(&mut world, None, ipv4);
        let seen: BTreeSet<_> =
            (100..200).map(|port| world.datagram(outside(ipv4), port).unwrap().1.src).collect();
        assert_eq!(seen, [1, 2, 3].map(|number| own(number, ipv4)).into());
    }
}

#[test]
fn a_port_may_be_reached_by_serving_addresses_alone() {
    for ipv4 in FAMILIES {
        let mut world = Alone::default();
        allow_all(&mut world);
        set(&mut world, map(&[(1, &[1]), (2, &[])])).unwrap();
        let reach = |world: &mut Alone, number, port| {
            world.from_outside([outside(ipv4), own(number, ipv4)], udp([80, port]))
        };
        reach(&mut world, 2, 1).unwrap();
        let strict = GatewaySettings { reached: Reached::ByServing, ..GatewaySettings::default() };
        choose(&mut world, strict);
        // What was let in before has lost its way as well.
        for port in [1, 2] {
            assert_eq!(reach(&mut world, 2, port), Err(DropReason::NoExternalAddress));
        }
        for number in [1, 3, 4] {
            reach(&mut world, number, 3 + u16::from(number)).unwrap();
        }
    }
}

#[test]
fn inside_stays_inside_whatever_the_gateways_say() {
    for ipv4 in FAMILIES {
        let mut world = Alone::default();
        set(&mut world, map(&[(1, &[1])])).unwrap();
        default_to(&mut world, Some(1), ipv4);
        let (tunnel, inner) = world.datagram(PEER.ip(ipv4), 1).unwrap();
        assert_eq!((inner.src, tunnel.dst), (GUEST.ip(ipv4), HOSTS[1]));
        assert_eq!(inner.macs, [GUEST.mac(), PEER.mac()]);
        assert_ne!(inner.macs[1], MacAddr::default());
    }
}
