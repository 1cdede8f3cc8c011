// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Multicast between guests of two hosts in one process: who hears what, and how often.

use opte::drop_reason::DropReason;
use opte::frame::{FlatFrame, Frame, Offload, Rewrite};
use opte::outer::Outer;
use opte_api::frame::Request;
use opte_api::{MacAddr, OpteError};
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet, Tunnel, checksums};
use opte_tests::setting::{BOUNDARY, FAMILIES, Guest, HOSTS, add_boundary, add_guest, vni};
use oxide_vpc_api::config::GATEWAY_MAC;
use oxide_vpc_api::multicast::{
    ForwardingEntry, M2pEntry, MAX_NEXT_HOPS, MULTICAST_VNI, NextHop, Replication, SourceFilter,
    Subscriber, SubscriptionEntry,
};
use oxide_vpc_api::request::{
    ClearM2p, ClearMulticastForwarding, CreatePort, DeletePort, DumpCounters, DumpM2p,
    DumpMulticastForwarding, DumpMulticastSubscriptions, MulticastSubscribe, MulticastUnsubscribe,
    MulticastUnsubscribeAll, Removal, SetFwRules, SetM2p, SetMulticastForwarding,
};
use std::net::{IpAddr, Ipv6Addr};
use xde::driver::DriverOptions;
use xde::host::{Egress, PortId};

/// Guests and their hosts. Their ports have numbers in this order on each host.
const GUESTS: [(Guest, usize); 5] =
    [(Guest(5), 0), (Guest(6), 0), (Guest(8), 0), (Guest(7), 1), (Guest(9), 1)];
/// A switch that passes packets on.
const SWITCH: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x5417, 0, 0, 0, 0, 0, 1);

fn group(ipv4: bool) -> IpAddr {
    if ipv4 { [239, 1, 2, 3].into() } else { "ff05::1:3".parse().unwrap() }
}

fn underlay(ipv4: bool) -> Ipv6Addr {
    if ipv4 { "ff04::e001:203".parse().unwrap() } else { "ff04::77:1:3".parse().unwrap() }
}

/// Who heard a packet, by guest, and the inner frame as it came.
type Heard = Vec<(Guest, Packet)>;

struct World {
    hosts: [Hypervisor; 2],
}

impl World {
    /// Two hosts that map both groups, with everybody let in, and nobody subscribed.
    fn new() -> Self {
        let hosts = [0u64, 1].map(|seed| {
            let mut host = Hypervisor::new(DriverOptions::new(0x9e0 + seed));
            add_boundary(&mut host);
            for ipv4 in FAMILIES {
                let entry = M2pEntry { group: group(ipv4), underlay: underlay(ipv4) };
                host.request(&SetM2p { entry }).unwrap();
            }
            host
        });
        let mut world = Self { hosts };
        for (guest, at) in GUESTS {
            add_guest(&mut world.hosts[at], guest, at);
            let rules = vec!["dir=in action=allow priority=1".parse().unwrap()];
            world.ask(guest, &SetFwRules { port: guest.port(), rules });
        }
        world
    }

    #[track_caller]
    fn ask<R: Request>(&mut self, guest: Guest, request: &R) -> R::Response {
        self.hosts[home(guest)].request(request).unwrap()
    }

    fn subscribe(&mut self, guest: Guest, ipv4: bool, filter: &str) {
        let filter = filter.parse().unwrap();
        self.ask(guest, &MulticastSubscribe { port: guest.port(), group: group(ipv4), filter });
    }

    /// Lets host number `at` send what goes to the group to this next hop, too.
    fn forward(&mut self, at: usize, ipv4: bool, hop: NextHop) {
        let entry = ForwardingEntry { underlay: underlay(ipv4), next_hops: vec![hop] };
        self.hosts[at].request(&SetMulticastForwarding { entry }).unwrap();
    }

    /// A guest sends to the group; follows each copy to where it gets. What goes to the switch is
    /// answered apart.
    fn send(&mut self, guest: Guest, body: Body, ipv4: bool) -> (Heard, Vec<Tunnel>) {
        let packet = Packet::new(guest.macs(), [guest.ip(ipv4), group(ipv4)], body);
        let at = home(guest);
        let left = self.hosts[at].from_guest(port(guest), FlatFrame::new(packet.bytes()));
        let mut hops = self.hosts[at].next_hops().to_vec().into_iter();
        let (mut heard, mut switched) = (Heard::new(), Vec::new());
        for left in left {
            let Left::Underlay(bytes) = left else {
                heard.push(hear(at, left));
                continue;
            };
            checksums::verify(&bytes).unwrap();
            let (tunnel, _) = Tunnel::open(&bytes).unwrap();
            assert_eq!((tunnel.src, tunnel.dst), (HOSTS[at], underlay(ipv4)));
            match hops.next().expect("by way of somebody") {
                SWITCH => switched.push(tunnel),
                hop => {
                    let at = HOSTS.iter().position(|host| *host == hop).expect("a known host");
                    heard.extend(self.arrive(at, bytes));
                }
            }
        }
        heard.sort_by_key(|(guest, _)| *guest);
        for (guest, packet) in &heard {
            assert_eq!(packet.macs, [GATEWAY_MAC, MacAddr::from_group(group(ipv4))], "{guest:?}");
            assert_eq!((packet.dst, packet.body), (group(ipv4), body));
        }
        (heard, switched)
    }

    fn arrive(&mut self, at: usize, bytes: Vec<u8>) -> Heard {
        let left = self.hosts[at].from_underlay(FlatFrame::new(bytes));
        left.into_iter().map(|left| hear(at, left)).collect()
    }

    /// A frame from the underlay for the group, with these outer headers.
    fn bring(&mut self, at: usize, tunnel: &Tunnel, src: IpAddr) -> (Heard, Vec<DropReason>) {
        self.hosts[at].events();
        let ipv4 = src.is_ipv4();
        let macs = [Guest(7).mac(), MacAddr::from_group(group(ipv4))];
        let packet = Packet::new(macs, [src, group(ipv4)], udp(1));
        let heard = self.arrive(at, tunnel.around(&packet.bytes()));
        (heard, self.hosts[at].drops())
    }

    fn count(&mut self, at: usize, name: &str) -> u64 {
        let sets = self.hosts[at].request(&DumpCounters { port: None }).unwrap();
        let mut host = sets.into_iter().filter(|set| set.port.is_none());
        let counters = host.next().unwrap().counters;
        counters.into_iter().find(|counter| counter.name == name).unwrap().value
    }
}

fn hear(at: usize, left: Left) -> (Guest, Packet) {
    let Left::Guest(port, bytes) = left else { panic!("{left:?} is no delivery") };
    checksums::verify(&bytes).unwrap();
    let mut guests = GUESTS.iter().filter(|(_, home)| *home == at).map(|(guest, _)| *guest);
    (guests.nth(port.0 as usize).unwrap(), Packet::read(&bytes).unwrap())
}

fn home(guest: Guest) -> usize {
    GUESTS.iter().find(|(known, _)| *known == guest).unwrap().1
}

fn port(guest: Guest) -> PortId {
    let mut on_host = GUESTS.iter().filter(|(_, at)| *at == home(guest));
    PortId(on_host.position(|(known, _)| *known == guest).unwrap() as u32)
}

const fn udp(from: u16) -> Body {
    Body::Udp { ports: [from, 5000], checksum: true }
}

fn hop(addr: Ipv6Addr, replication: Replication, filter: &str) -> NextHop {
    let filter = filter.parse().unwrap();
    NextHop { addr, vni: vni(MULTICAST_VNI), replication, filter }
}

fn guests(heard: &Heard) -> Vec<u8> {
    heard.iter().map(|(guest, _)| guest.0).collect()
}

#[test]
fn every_subscriber_on_both_hosts_hears_each_packet_once() {
    for ipv4 in FAMILIES {
        let mut world = World::new();
        for guest in [5, 6, 7, 9].map(Guest) {
            world.subscribe(guest, ipv4, "any");
        }
        world.forward(0, ipv4, hop(HOSTS[1], Replication::Underlay, "any"));
        world.forward(1, ipv4, hop(HOSTS[0], Replication::Underlay, "any"));
        // The second packet runs stored transforms.
        for from in [1, 1, 2] {
            // Guest 5 does not hear itself, guest 8 has not asked.
            let (heard, _) = world.send(Guest(5), udp(from), ipv4);
            assert_eq!(guests(&heard), [6, 7, 9]);
            // Nobody needs to hear a group to send to it.
            let (heard, _) = world.send(Guest(8), udp(from), ipv4);
            assert_eq!(guests(&heard), [5, 6, 7, 9]);
            let (heard, _) = world.send(Guest(9), udp(from), ipv4);
            assert_eq!(guests(&heard), [5, 6, 7]);
        }
        assert!(world.hosts.iter().all(|host| host.drops().is_empty()));
        assert_eq!(world.count(0, "multicast_to_underlay"), 6);
        assert_eq!(world.count(0, "multicast_to_guests"), 3 * (1 + 2 + 2));
        assert_eq!(world.count(1, "multicast_to_guests"), 3 * (2 + 2 + 1));
    }
}

#[test]
fn echo_requests_reach_a_group_and_tcp_does_not() {
    for ipv4 in FAMILIES {
        let mut world = World::new();
        world.subscribe(Guest(6), ipv4, "any");
        let ping = Packet::echo(Guest(5).macs(), [Guest(5).ip(ipv4), group(ipv4)], 9);
        assert_eq!(guests(&world.send(Guest(5), ping.body, ipv4).0), [6]);
        let flags = opte::tcp::TcpFlags::SYN;
        let syn = Body::Tcp { ports: [1, 2], flags, numbers: [1, 0] };
        assert_eq!(world.send(Guest(5), syn, ipv4).0, []);
        assert_eq!(world.hosts[0].drops(), [DropReason::Multicast]);
    }
}

#[test]
fn each_next_hop_is_told_whom_it_serves() {
    for ipv4 in FAMILIES {
        for (replication, bits) in Replication::ALL.into_iter().zip([0u8, 0x40, 0x80]) {
            let mut world = World::new();
            world.forward(0, ipv4, hop(SWITCH, replication, "any"));
            let (heard, switched) = world.send(Guest(5), udp(1), ipv4);
            assert_eq!(heard, []);
            let [tunnel] = switched.as_slice() else { panic!("{switched:?}") };
            assert_eq!(tunnel.options, [0x01, 0x29, 1, 1, bits, 0, 0, 0]);
            assert_eq!(tunnel.vni.get(), MULTICAST_VNI);
            assert_eq!(world.count(0, &format!("multicast_to_{replication}")), 1);
        }
    }
}

#[test]
fn filters_keep_sources_from_members_and_next_hops() {
    for ipv4 in FAMILIES {
        let mut world = World::new();
        let five = Guest(5).ip(ipv4);
        world.subscribe(Guest(6), ipv4, &format!("include={five}"));
        world.subscribe(Guest(8), ipv4, &format!("exclude={five}"));
        world.subscribe(Guest(7), ipv4, &format!("exclude={five}"));
        world.subscribe(Guest(9), ipv4, "none");
        world.forward(0, ipv4, hop(HOSTS[1], Replication::Underlay, &format!("exclude={five}")));
        assert_eq!(guests(&world.send(Guest(5), udp(1), ipv4).0), [6]);
        assert_eq!(world.count(0, "multicast_filtered"), 2);
        assert_eq!(guests(&world.send(Guest(6), udp(1), ipv4).0), [7, 8]);
        assert_eq!(world.count(1, "multicast_filtered"), 1);
        // Subscribing again changes the filter.
        world.subscribe(Guest(8), ipv4, "none");
        world.subscribe(Guest(6), ipv4, "none");
        assert_eq!(world.send(Guest(5), udp(1), ipv4).0, []);
        assert_eq!(world.hosts[0].drops(), [DropReason::NoListener]);
    }
}

#[test]
fn the_network_identifier_is_checked_on_receipt() {
    for ipv4 in FAMILIES {
        let mut world = World::new();
        world.subscribe(Guest(7), ipv4, "any");
        let source = Guest(5).ip(ipv4);
        let to = |dst: Ipv6Addr, vni| Tunnel::new(&HOSTS[0].to_string(), &dst.to_string(), vni);
        for (tunnel, reason) in [
            (to(HOSTS[1], 77), None),
            (to(underlay(ipv4), 77), None),
            // The VPC's own number, and the boundary's with its mark.
            (to(HOSTS[1], 100), None),
            (Tunnel { src: BOUNDARY, ..to(HOSTS[1], 99) }.external(), None),
            (to(HOSTS[1], 99), Some(DropReason::MulticastVni)),
            (to(HOSTS[1], 101), Some(DropReason::MulticastVni)),
            (to(HOSTS[1], 101).external(), Some(DropReason::MulticastVni)),
            // Another group of the underlay, and another host.
            (to(underlay(!ipv4), 77), Some(DropReason::NoPort)),
            (to(HOSTS[0], 77), Some(DropReason::NoPort)),
        ] {
            let (heard, drops) = world.bring(1, &tunnel, source);
            let expected = if reason.is_none() { vec![7] } else { vec![] };
            assert_eq!((guests(&heard), drops), (expected, Vec::from_iter(reason)), "{tunnel:?}");
        }
    }
}

#[test]
fn what_is_for_a_group_has_its_mac_address() {
    let mut world = World::new();
    world.subscribe(Guest(7), true, "any");
    let tunnel = Tunnel::new(&HOSTS[0].to_string(), &HOSTS[1].to_string(), 77);
    let source = Guest(5).ip(true);
    for (mac, dst, reason) in [
        (MacAddr::from_group(group(false)), group(true), DropReason::NotForGuest),
        (MacAddr::from_group(group(true)), Guest(7).ip(true), DropReason::Multicast),
        (MacAddr::BROADCAST, Guest(7).ip(true), DropReason::Multicast),
        (MacAddr::from_group(group(true)), [239, 9, 9, 9].into(), DropReason::NoListener),
    ] {
        let packet = Packet::new([Guest(5).mac(), mac], [source, dst], udp(1));
        assert_eq!(world.arrive(1, tunnel.around(&packet.bytes())), []);
        assert_eq!(world.hosts[1].drops(), [reason], "{mac} {dst}");
    }
}

#[test]
fn the_firewall_and_the_source_check_hold_for_groups() {
    for ipv4 in FAMILIES {
        let mut world = World::new();
        world.subscribe(Guest(6), ipv4, "any");
        let rules = |text: &str| vec![text.parse().unwrap()];
        let closed = rules("dir=in action=deny priority=1");
        world.ask(Guest(6), &SetFwRules { port: Guest(6).port(), rules: closed });
        assert_eq!(world.send(Guest(5), udp(1), ipv4).0, []);
        assert_eq!(world.hosts[0].drops(), [DropReason::FirewallRule]);
        let quiet = rules("dir=out action=deny priority=1 protocol=udp");
        world.ask(Guest(5), &SetFwRules { port: Guest(5).port(), rules: quiet });
        assert_eq!(world.send(Guest(5), udp(1), ipv4).0, []);
        assert_eq!(world.hosts[0].drops(), [DropReason::FirewallRule]);
        let spoofed =
            Packet::new(Guest(8).macs(), [Guest(6).ip(ipv4), group(ipv4)], udp(1)).bytes();
        assert_eq!(world.hosts[0].from_guest(port(Guest(8)), FlatFrame::new(spoofed)), []);
        assert_eq!(world.hosts[0].drops(), [DropReason::Spoofed]);
    }
}

#[test]
fn who_leaves_hears_no_more() {
    for ipv4 in FAMILIES {
        let mut world = World::new();
        for guest in [6, 8].map(Guest) {
            world.subscribe(guest, ipv4, "any");
        }
        assert_eq!(guests(&world.send(Guest(5), udp(1), ipv4).0), [6, 8]);
        let unsubscribe = MulticastUnsubscribe { port: Guest(6).port(), group: group(ipv4) };
        assert_eq!(world.ask(Guest(6), &unsubscribe), Removal::Removed);
        assert_eq!(world.ask(Guest(6), &unsubscribe), Removal::Absent);
        assert_eq!(guests(&world.send(Guest(5), udp(1), ipv4).0), [8]);
        // A port that is made again has not subscribed.
        world.ask(Guest(8), &DeletePort { name: Guest(8).port() });
        assert_eq!(world.send(Guest(5), udp(1), ipv4).0, []);
        let create = CreatePort { name: Guest(8).port(), config: Guest(8).config(0) };
        world.ask(Guest(8), &create);
        assert_eq!(world.ask(Guest(8), &DumpMulticastSubscriptions {}), []);
        world.subscribe(Guest(6), ipv4, "any");
        let all = MulticastUnsubscribeAll { group: group(ipv4) };
        assert_eq!(world.ask(Guest(6), &all), Removal::Removed);
        assert_eq!(world.ask(Guest(6), &all), Removal::Absent);
    }
}

#[test]
fn a_mapping_that_changes_is_followed_by_the_next_packet() {
    for ipv4 in FAMILIES {
        let mut world = World::new();
        world.subscribe(Guest(6), ipv4, "any");
        world.forward(0, ipv4, hop(SWITCH, Replication::Both, "any"));
        let (heard, switched) = world.send(Guest(5), udp(1), ipv4);
        assert_eq!((guests(&heard), switched.len()), (vec![6], 1));
        assert_eq!(
            world.ask(Guest(5), &ClearMulticastForwarding { underlay: underlay(ipv4) }),
            Removal::Removed
        );
        let (heard, switched) = world.send(Guest(5), udp(1), ipv4);
        assert_eq!((guests(&heard), switched.len()), (vec![6], 0));
        let entry = M2pEntry { group: group(ipv4), underlay: underlay(ipv4) };
        assert_eq!(world.ask(Guest(5), &ClearM2p { entry }), Removal::Removed);
        assert_eq!(world.send(Guest(5), udp(1), ipv4).0, []);
        assert_eq!(world.hosts[0].drops(), [DropReason::NoGroup]);
        // The subscription is there still.
        world.ask(Guest(5), &SetM2p { entry });
        assert_eq!(guests(&world.send(Guest(5), udp(1), ipv4).0), [6]);
    }
}

/// A frame of which there can be no copy.
struct Scarce(FlatFrame);

impl Frame for Scarce {
    fn head(&self) -> &[u8] {
        self.0.head()
    }

    fn head_mut(&mut self) -> &mut [u8] {
        self.0.head_mut()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn offload(&self) -> Offload {
        self.0.offload()
    }

    fn copy(&self) -> Option<Self> {
        None
    }
}

/// Who got a frame.
#[derive(Default)]
struct Receivers(Vec<PortId>);

impl Egress<Scarce> for Receivers {
    fn to_underlay(&mut self, _frame: Scarce, _rewrite: &Rewrite) {
        panic!("nothing leaves the host");
    }

    fn to_guest(&mut self, port: PortId, _frame: Scarce, _rewrite: &Rewrite) {
        self.0.push(port);
    }

    fn answer(&mut self, _bytes: Vec<u8>, _outer: &Outer) {
        panic!("nobody is told");
    }

    fn reply(&mut self, _port: PortId, _bytes: Vec<u8>) {
        panic!("nothing is answered");
    }
}

#[test]
fn a_host_without_buffers_serves_one_receiver_and_counts_the_others() {
    let mut world = World::new();
    for guest in [6, 8].map(Guest) {
        world.subscribe(guest, true, "any");
    }
    let packet = Packet::new(Guest(5).macs(), [Guest(5).ip(true), group(true)], udp(1));
    let mut frames = vec![Scarce(FlatFrame::new(packet.bytes()))];
    let (host, mut receivers) = (&world.hosts[0], Receivers::default());
    host.driver.from_guest(port(Guest(5)), &mut frames, host.now, &mut receivers);
    assert_eq!(receivers.0, [port(Guest(8))]);
    assert_eq!(world.count(0, "multicast_not_copied"), 1);
}

#[test]
fn what_was_told_is_shown() {
    let mut world = World::new();
    let five = Guest(5).ip(true);
    let filter: SourceFilter = format!("include={five}").parse().unwrap();
    world.subscribe(Guest(6), true, &filter.to_string());
    let hops =
        vec![hop(HOSTS[1], Replication::Underlay, "any"), hop(SWITCH, Replication::Both, "none")];
    for hop in hops.iter().rev() {
        world.forward(0, true, hop.clone());
    }
    // Telling it again adds nothing.
    world.forward(0, true, hops[0].clone());
    let mapped: Vec<_> = world.ask(Guest(5), &DumpM2p {});
    let entry = |ipv4| M2pEntry { group: group(ipv4), underlay: underlay(ipv4) };
    assert_eq!(mapped, FAMILIES.map(entry));
    let shown = world.ask(Guest(5), &DumpMulticastForwarding {});
    assert_eq!(shown, [ForwardingEntry { underlay: underlay(true), next_hops: hops }]);
    let shown = world.ask(Guest(5), &DumpMulticastSubscriptions {});
    let subscribers = vec![Subscriber { port: Guest(6).port(), filter }];
    let underlay = Some(underlay(true));
    assert_eq!(shown, [SubscriptionEntry { group: group(true), underlay, subscribers }]);
}

#[test]
fn wrong_requests_are_refused_and_change_nothing() {
    let mut world = World::new();
    let host = &mut world.hosts[0];
    let (port, filter) = (Guest(5).port(), SourceFilter::default());
    let subscribe = |group: &str, filter: &str| MulticastSubscribe {
        port: Guest(5).port(),
        group: group.parse().unwrap(),
        filter: filter.parse().unwrap(),
    };
    for (request, why) in [
        (subscribe("10.0.0.1", "any"), "no multicast address"),
        (subscribe("239.9.9.9", "any"), "no underlay group carries 239.9.9.9"),
        (subscribe("ff05::9", "any"), "no underlay group carries ff05::9"),
        (subscribe("239.1.2.3", "include=127.0.0.1"), "127.0.0.1 is no address"),
        (subscribe("239.1.2.3", "include=fd00::1"), "its own address family"),
        (
            MulticastSubscribe { port: "nobody".parse().unwrap(), ..subscribe("239.1.2.3", "any") },
            "nobody",
        ),
    ] {
        let error = host.request(&request).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let bad = M2pEntry { group: group(true), underlay: "ff05::1".parse().unwrap() };
    assert!(host.request(&SetM2p { entry: bad }).unwrap_err().to_string().contains("ff04::/16"));
    let forward = |underlay: &str, next_hops| SetMulticastForwarding {
        entry: ForwardingEntry { underlay: underlay.parse().unwrap(), next_hops },
    };
    let good = hop(SWITCH, Replication::Both, "any");
    for (request, why) in [
        (forward("ff05::1", vec![good.clone()]), "ff04::/16"),
        (forward("ff04::1", vec![]), "at least one"),
        (forward("ff04::1", vec![NextHop { vni: vni(99), ..good.clone() }]), "its VNI is 99"),
        (
            forward("ff04::1", vec![NextHop { addr: "ff04::2".parse().unwrap(), ..good.clone() }]),
            "no unicast address",
        ),
    ] {
        let error = host.request(&request).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let many = (0..=MAX_NEXT_HOPS as u16).map(|last| {
        let addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, last);
        NextHop { addr, ..good.clone() }
    });
    let refused = host.request(&forward("ff04::1", many.collect()));
    assert!(matches!(refused, Err(OpteError::Limit { limit: 64, .. })), "{refused:?}");
    assert_eq!(host.request(&DumpMulticastForwarding {}), Ok(vec![]));
    assert_eq!(host.request(&DumpMulticastSubscriptions {}), Ok(vec![]));
    // A group of the underlay carries itself.
    let own = MulticastSubscribe { port, group: "ff04::5".parse().unwrap(), filter };
    assert_eq!(host.request(&own), Ok(()));
}
