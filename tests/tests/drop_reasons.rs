// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Every reason for which the engine drops packets is provoked once, and is then seen in the
//! event and in the counter of its name.

use opte::drop_reason::DropReason;
use opte::frame::FlatFrame;
use opte::tcp::TcpFlags;
use opte_api::Direction::{self, In, Out};
use opte_api::MacAddr;
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet, Tunnel, arp_request};
use opte_tests::setting::{
    BOUNDARY, Guest, HOSTS, add_boundary, add_guest, add_peer, boundary, everywhere, outside, route,
};
use oxide_vpc_api::multicast::{M2pEntry, SourceFilter};
use oxide_vpc_api::request::{
    AddRoute, AttachSubnet, ClearV2b, DelRoute, DumpCounters, DumpNatLeases, MulticastSubscribe,
    SetExternalIps, SetFwRules, SetM2p, SetPortSettings, ShowPortSettings,
};
use oxide_vpc_api::{
    Attachment, ExternalIps, FirewallRule, GatewayMap, NatDependence, NatSettings, PortSettings,
    RouterTarget, SnatRange, V2bEntry,
};
use std::net::IpAddr;
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);
const LOCAL: Guest = Guest(6);
const PEER: Guest = Guest(7);
const PORT: PortId = PortId(0);
/// Offsets in a guest's frame.
const IP: usize = 14;
const L4: usize = IP + 20;
/// Offset of the Geneve header in a frame from the underlay.
const GENEVE: usize = 14 + 40 + 8;

struct World {
    host: Hypervisor,
}

impl World {
    fn new(flow_limit: u32) -> Self {
        let options = DriverOptions { flow_limit, ..DriverOptions::new(3) };
        let mut host = Hypervisor::new(options);
        add_guest(&mut host, GUEST, 0);
        add_guest(&mut host, LOCAL, 0);
        add_peer(&mut host, PEER, 1);
        add_boundary(&mut host);
        Self { host }
    }

    fn send(&mut self, direction: Direction, bytes: Vec<u8>) -> Vec<Left> {
        let frame = FlatFrame::new(bytes);
        match direction {
            Out => self.host.from_guest(PORT, frame),
            In => self.host.from_underlay(frame),
        }
    }

    fn nat(&mut self, change: impl FnOnce(&mut NatSettings)) {
        let port = GUEST.port();
        let mut settings = self.host.request(&ShowPortSettings { port: port.clone() }).unwrap();
        change(&mut settings.nat);
        self.host.request(&SetPortSettings { port, settings }).unwrap();
    }

    fn must_pass(&mut self, direction: Direction, bytes: Vec<u8>) {
        let left = self.send(direction, bytes);
        assert_eq!(left.len(), 1, "a packet that should pass: {:?}", self.host.drops());
    }

    fn rules(&mut self, texts: &[&str]) {
        let rules = texts.iter().map(|text| text.parse::<FirewallRule>().unwrap()).collect();
        self.host.request(&SetFwRules { port: GUEST.port(), rules }).unwrap();
    }

    fn settings(&mut self, change: impl FnOnce(&mut PortSettings)) {
        let mut settings = PortSettings::default();
        change(&mut settings);
        self.host.request(&SetPortSettings { port: GUEST.port(), settings }).unwrap();
    }

    fn external(&mut self, ipv4: ExternalIps) {
        let request = SetExternalIps {
            port: GUEST.port(),
            ipv4: Some(ipv4),
            ipv6: None,
            gateways: GatewayMap::new(),
        };
        self.host.request(&request).unwrap();
    }

    fn replace_default_route(&mut self, target: Option<RouterTarget>) {
        let port = GUEST.port();
        let old = route(everywhere(true), RouterTarget::InternetGateway(None));
        self.host.request(&DelRoute { port: port.clone(), route: old }).unwrap();
        if let Some(target) = target {
            let route = route(everywhere(true), target);
            self.host.request(&AddRoute { port, route }).unwrap();
        }
    }

    fn count(&mut self, name: &str) -> u64 {
        let sets = self.host.request(&DumpCounters { port: None }).unwrap();
        let all = sets.iter().flat_map(|set| &set.counters);
        all.filter(|counter| counter.name == name).map(|counter| counter.value).sum()
    }
}

fn udp(ports: [u16; 2]) -> Body {
    Body::Udp { ports, checksum: true }
}

fn to(dst: IpAddr, body: Body) -> Packet {
    Packet::new(GUEST.macs(), [GUEST.ip(dst.is_ipv4()), dst], body)
}

fn to_outside() -> Packet {
    to(outside(true), udp([1000, 53]))
}

fn from(src: IpAddr, dst: IpAddr, ports: [u16; 2]) -> Packet {
    Packet::new([PEER.mac(), GUEST.mac()], [src, dst], udp(ports))
}

fn changed(packet: &Packet, at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = packet.bytes();
    bytes[at] = byte;
    bytes
}

/// A fragment of 24 data bytes, `at` times 8 bytes from the beginning.
fn piece(at: u16, more: bool) -> Vec<u8> {
    let packet = Packet { payload: vec![0; 16], ..to_outside() };
    let mut bytes = packet.bytes();
    bytes[IP + 6..IP + 8].copy_from_slice(&(at | u16::from(more) << 13).to_be_bytes());
    bytes
}

fn tunnel() -> Tunnel {
    Tunnel::new(&HOSTS[1].to_string(), &HOSTS[0].to_string(), 100)
}

fn from_outside(packet: &Packet) -> Vec<u8> {
    let tunnel = Tunnel::new(&BOUNDARY.to_string(), &HOSTS[0].to_string(), 100);
    tunnel.external().around(&packet.bytes())
}

fn from_peer() -> Packet {
    from(PEER.ip(true), GUEST.ip(true), [9, 9])
}

fn with_options(options: &[u8]) -> Vec<u8> {
    Tunnel { options: options.to_vec(), ..tunnel() }.around(&from_peer().bytes())
}

/// The last packet of a story that ends with this reason, and which way it goes.
fn story(world: &mut World, reason: DropReason) -> (Direction, Vec<u8>) {
    match reason {
        DropReason::Truncated => (Out, to_outside().bytes()[..20].to_vec()),
        DropReason::EtherType => (Out, changed(&to_outside(), 12, 0x88)),
        DropReason::IpVersion => (Out, changed(&to_outside(), IP, 0x65)),
        DropReason::IpLength => (Out, changed(&to_outside(), IP, 0x44)),
        DropReason::Fragment => {
            world.rules(&["dir=out action=deny priority=1 protocol=udp"]);
            world.send(Out, piece(0, true));
            (Out, piece(3, false))
        }
        DropReason::FragmentMalformed => (Out, changed(&to_outside(), IP + 6, 0x20)),
        DropReason::FragmentOverlap => {
            world.must_pass(Out, piece(0, true));
            (Out, piece(2, false))
        }
        DropReason::FragmentLimit => {
            (1..=64).for_each(|at| assert_eq!(world.send(Out, piece(at * 3, true)), []));
            (Out, piece(65 * 3, true))
        }
        DropReason::ExtensionHeaders => {
            // Hop-by-hop options must be the first extension; here they follow themselves.
            let packet = Packet { extras: 1, ..to(PEER.ip(false), udp([1, 2])) };
            (Out, changed(&packet, IP + 40, 0))
        }
        DropReason::Protocol => (Out, to(outside(true), Body::Other(2)).bytes()),
        DropReason::TransportLength => (Out, changed(&to_outside(), L4 + 5, 7)),
        DropReason::TcpFlags => {
            let body = Body::Tcp { ports: [1, 2], flags: TcpFlags::PSH, numbers: [1, 1] };
            (Out, to(outside(true), body).bytes())
        }
        DropReason::TcpMidStream => {
            let mut settings = PortSettings::default();
            settings.tcp.pick_up = false;
            world.host.request(&SetPortSettings { port: GUEST.port(), settings }).unwrap();
            let body = Body::Tcp { ports: [1, 2], flags: TcpFlags::ACK, numbers: [1, 1] };
            (Out, to(outside(true), body).bytes())
        }
        DropReason::NotGeneve
        | DropReason::GeneveHeader
        | DropReason::GeneveOptions
        | DropReason::GeneveCritical
        | DropReason::NoPort
        | DropReason::Multicast => (In, underlay_story(reason)),
        DropReason::NoGroup | DropReason::NoListener | DropReason::MulticastVni => {
            group_story(world, reason)
        }
        DropReason::PortState => {
            world.host.driver.device(PORT).unwrap().port.set_running(false);
            (Out, to_outside().bytes())
        }
        DropReason::Spoofed => (Out, Packet { src: LOCAL.ip(true), ..to_outside() }.bytes()),
        DropReason::OuterSource => {
            world.rules(&["dir=in action=allow priority=1"]);
            world.settings(|settings| settings.way.known_senders = true);
            world.must_pass(In, tunnel().around(&from_peer().bytes()));
            // The same connection, but from the boundary, where no guest is.
            let tunnel = Tunnel { src: BOUNDARY, ..tunnel() };
            (In, tunnel.around(&from_peer().bytes()))
        }
        DropReason::NotForGuest => {
            world.rules(&["dir=in action=allow priority=1"]);
            let packet = Packet { dst: LOCAL.ip(true), ..from_peer() };
            (In, tunnel().around(&packet.bytes()))
        }
        DropReason::GatewayDeny => {
            let [IpAddr::V4(ours), IpAddr::V4(other)] = [GUEST.ip(true), LOCAL.ip(true)] else {
                unreachable!("IPv4 was asked for")
            };
            (Out, arp_request(GUEST.mac(), ours, other))
        }
        DropReason::FirewallRule => {
            world.rules(&["dir=out action=deny priority=1 protocol=udp"]);
            (Out, to_outside().bytes())
        }
        DropReason::FirewallReject => {
            world.rules(&["dir=out action=reject priority=1 protocol=udp"]);
            (Out, to_outside().bytes())
        }
        DropReason::Congestion => {
            world.rules(&["dir=in action=allow priority=1"]);
            let mut bytes = tunnel().around(&from_peer().bytes());
            bytes[15] |= 0x30;
            (In, bytes)
        }
        DropReason::HopLimit => {
            world.settings(|settings| settings.way.visible_hop = true);
            (Out, changed(&to_outside(), IP + 8, 1))
        }
        DropReason::TooBigInside | DropReason::TooBigOutside => {
            world.settings(|settings| {
                settings.way.inside_mtu = Some(1280);
                settings.way.outside_mtu = Some(1280);
            });
            let inside = reason == DropReason::TooBigInside;
            let dst = if inside { PEER.ip(true) } else { outside(true) };
            let packet = Packet { payload: vec![0; 1300], ..to(dst, udp([1, 2])) };
            (Out, packet.bytes())
        }
        DropReason::FirewallDefault => (In, tunnel().around(&from_peer().bytes())),
        DropReason::NoMapping => (Out, to(Guest(200).ip(true), udp([1, 2])).bytes()),
        DropReason::IcmpChecksum | DropReason::QuoteChecksum | DropReason::IcmpUnrelated => {
            (Out, error_story(world, reason))
        }
        reason => flow_story(world, reason),
    }
}

/// What the guest says about a packet that came to its own address outside.
fn error_story(world: &mut World, reason: DropReason) -> Vec<u8> {
    let floating = GUEST.floating(true);
    world.rules(&["dir=in action=allow priority=1"]);
    world.external(ExternalIps { floating: vec![floating], ..ExternalIps::default() });
    let mut came = from(outside(true), GUEST.ip(true), [53, 1000]);
    world.must_pass(In, from_outside(&Packet { dst: floating, ..came.clone() }));
    if reason == DropReason::IcmpUnrelated {
        came.body = udp([53, 1001]);
    }
    let ips = [GUEST.ip(true), outside(true)];
    let mut error = Packet::unreachable(GUEST.macs(), ips, &came.bytes());
    if reason == DropReason::QuoteChecksum {
        error.payload[10] ^= 1;
    }
    let mut bytes = error.bytes();
    bytes[L4 + 2] ^= u8::from(reason == DropReason::IcmpChecksum);
    bytes
}

/// A group, that is mapped and heard but for the reason asked for.
fn group_story(world: &mut World, reason: DropReason) -> (Direction, Vec<u8>) {
    let group = "239.1.1.1".parse().unwrap();
    let packet = to(group, udp([1000, 53]));
    if reason == DropReason::NoGroup {
        return (Out, packet.bytes());
    }
    let entry = M2pEntry { group, underlay: "ff04::1".parse().unwrap() };
    world.host.request(&SetM2p { entry }).unwrap();
    if reason == DropReason::NoListener {
        return (Out, packet.bytes());
    }
    let subscribe =
        MulticastSubscribe { port: GUEST.port(), group, filter: SourceFilter::default() };
    world.host.request(&subscribe).unwrap();
    let macs = [PEER.mac(), MacAddr::from_group(group)];
    let packet = Packet { macs, ..from(PEER.ip(true), group, [1000, 53]) };
    let tunnel = Tunnel::new(&HOSTS[1].to_string(), &HOSTS[0].to_string(), 4711);
    (In, tunnel.around(&packet.bytes()))
}

fn underlay_story(reason: DropReason) -> Vec<u8> {
    let mut bytes = tunnel().around(&from_peer().bytes());
    match reason {
        DropReason::NotGeneve => bytes[GENEVE - 6] ^= 1,

        DropReason::GeneveHeader => bytes[GENEVE] |= 0x40,
        DropReason::GeneveOptions => return with_options(&[1, 0x29, 2, 1]),
        DropReason::GeneveCritical => return with_options(&[1, 0x29, 0x80, 0]),
        DropReason::Multicast => bytes[GENEVE + 8] = 1,
        _ => bytes[GENEVE + 8 + 5] = 200,
    }
    bytes
}

/// Stories with routes, addresses and connections.
fn flow_story(world: &mut World, reason: DropReason) -> (Direction, Vec<u8>) {
    let floating = GUEST.floating(true);
    let one_to_one = ExternalIps { floating: vec![floating], ..ExternalIps::default() };
    let allow_all = ["dir=in action=allow priority=1"];
    match reason {
        DropReason::NoRoute => world.replace_default_route(None),
        DropReason::RouteDrop => world.replace_default_route(Some(RouterTarget::Drop)),
        DropReason::RouteBlackhole => world.replace_default_route(Some(RouterTarget::Blackhole)),
        DropReason::NoExternalAddress => world.external(ExternalIps::default()),
        DropReason::NatProtocol => return (Out, to(outside(true), Body::Other(47)).bytes()),
        DropReason::NatExhausted => {
            let range = SnatRange { last_port: 1024, first_port: 1024, ..GUEST.snat(true) };
            world.external(ExternalIps { snat: vec![range], ..ExternalIps::default() });
            world.must_pass(Out, to(outside(true), udp([1, 2])).bytes());
        }
        DropReason::NoBoundary => {
            let entry = V2bEntry { prefix: everywhere(true), endpoints: vec![boundary()] };
            world.host.request(&ClearV2b { entry }).unwrap();
        }
        DropReason::TranslatedInside => {
            world.rules(&allow_all);
            world.external(one_to_one);
            world.must_pass(In, from_outside(&from(outside(true), floating, [53, 1000])));
            world.replace_default_route(Some(RouterTarget::Ip(PEER.ip(true))));
        }
        DropReason::NatLimit => {
            world.nat(|nat| nat.limits.guest = 1);
            world.must_pass(Out, to_outside().bytes());
            return (Out, Packet { body: udp([1001, 53]), ..to_outside() }.bytes());
        }
        DropReason::NatRate => {
            world.nat(|nat| nat.rates.guest.burst = 1);
            world.must_pass(Out, to_outside().bytes());
            return (Out, Packet { body: udp([1001, 53]), ..to_outside() }.bytes());
        }
        DropReason::NatFiltered => {
            world.nat(|nat| nat.filtering.udp = NatDependence::AddressAndPortDependent);
            world.must_pass(Out, to_outside().bytes());
            let leases = DumpNatLeases { port: GUEST.port(), after: None, limit: 1 };
            let lease = world.host.request(&leases).unwrap().leases[0].place;
            let stranger = "198.51.100.99".parse().unwrap();
            let ports = [53, lease.external_port];
            return (In, from_outside(&from(stranger, lease.external_ip, ports)));
        }
        DropReason::NatUnmapped => {
            let (ipv4, gateways) = (Some(GUEST.external(true)), GatewayMap::new());
            let request = SetExternalIps { port: LOCAL.port(), ipv4, ipv6: None, gateways };
            world.host.request(&request).unwrap();
            return (In, from_outside(&from(outside(true), GUEST.snat(true).ip, [53, 6144])));
        }
        DropReason::ExternalInside => {
            let subnet = "198.18.5.0/24".parse().unwrap();
            let attachment = Attachment::External;
            let attach = AttachSubnet { port: GUEST.port(), subnet, attachment };
            world.host.request(&attach).unwrap();
            let packet =
                Packet { src: "198.18.5.9".parse().unwrap(), ..to(PEER.ip(true), udp([1, 2])) };
            return (Out, packet.bytes());
        }
        DropReason::UntranslatedOutside => {
            world.rules(&allow_all);
            world.must_pass(In, from_outside(&from(outside(true), GUEST.ip(true), [53, 1000])));
        }
        DropReason::ConnectionCut => {
            let segment = |flags| Body::Tcp { ports: [1, 80], flags, numbers: [1, 1] };
            world.must_pass(Out, to(outside(true), segment(TcpFlags::SYN)).bytes());
            world.rules(&["dir=out action=deny priority=1"]);
            return (Out, to(outside(true), segment(TcpFlags::ACK)).bytes());
        }
        DropReason::FlowConflict => {
            world.rules(&allow_all);
            world.external(one_to_one);
            world.must_pass(In, from_outside(&from(outside(true), GUEST.ip(true), [53, 1000])));
            return (In, from_outside(&from(outside(true), floating, [53, 1000])));
        }
        DropReason::FlowTableFull => {
            *world = World::new(1);
            let segment = |flags| Body::Tcp { ports: [1, 80], flags, numbers: [1, 1] };
            let ours = to(PEER.ip(true), segment(TcpFlags::ACK));
            world.must_pass(Out, ours.bytes());
            let theirs = Packet { macs: [PEER.mac(), GUEST.mac()], ..ours.reply() };
            world.must_pass(In, tunnel().around(&theirs.bytes()));
        }
        other => panic!("no story ends with {}", other.name()),
    }
    (Out, to_outside().bytes())
}

#[test]
fn every_reason_is_named_and_counted() {
    for reason in DropReason::ALL.iter().copied() {
        let mut world = World::new(1000);
        let (direction, packet) = story(&mut world, reason);
        let name = format!("{direction}_drop_{}", reason.name());
        let before = world.count(&name);
        world.host.events();
        let left = world.send(direction, packet);
        let is_told = |left: &Left| matches!(left, Left::Reply(..) | Left::Answer(..));
        let only_told = left.iter().all(is_told);
        assert!(only_told, "{}: it came out", reason.name());
        assert_eq!(world.host.drops(), [reason], "{}: event", reason.name());
        assert_eq!(world.count(&name), before + 1, "{name}");
        assert!(reason.text().ends_with('.'), "{}: no sentence", reason.name());
    }
}
