// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The gateway layer as a whole host shows it: whose packets pass, and what the gateway answers.

use opte::drop_reason::DropReason;
use opte::frame::FlatFrame;
use opte_api::MacAddr;
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet, Tunnel, arp_request, dhcp_discover, router_solicitation};
use opte_tests::scenario::check;
use opte_tests::setting::{FAMILIES, Guest, HOSTS, VPC, add_guest, add_peer, gateway};
use oxide_vpc_api::DhcpConfig;
use oxide_vpc_api::request::{
    AllowCidr, DumpCounters, DumpUft, ListPrefixes, SetDhcp, SetFwRules, SetMtu,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);
const OTHER: Guest = Guest(6);
const PORTS: [PortId; 2] = [PortId(0), PortId(1)];

/// A host with two guests, and a third elsewhere.
fn host() -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions { flow_limit: 64, ..DriverOptions::new(5) });
    add_guest(&mut host, GUEST, 0);
    add_guest(&mut host, OTHER, 0);
    add_peer(&mut host, Guest(7), 1);
    host
}

fn counter(host: &mut Hypervisor, guest: Guest, name: &str) -> u64 {
    let sets = host.request(&DumpCounters { port: Some(guest.port()) }).unwrap();
    let mut all = sets.iter().flat_map(|set| &set.counters);
    all.find(|counter| counter.name == name).unwrap().value
}

fn v4(ip: IpAddr) -> Ipv4Addr {
    match ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => panic!("{ip}"),
    }
}

/// Whoever asks its gateway without end gets answers without end, and takes no memory for them;
/// other guests go on.
#[test]
fn floods_of_questions_leave_nothing_behind() {
    let mut host = host();
    let ours = v4(GUEST.ip(true));
    let questions = |n: u32| {
        let mac = GUEST.mac();
        let mut discover = dhcp_discover(mac, [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST]);
        // Another transaction, whose checksum is left out.
        discover[14 + 20 + 8 + 4..][..4].copy_from_slice(&n.to_be_bytes());
        discover[14 + 20 + 6..][..2].fill(0);
        let ips = [GUEST.ip(true), gateway(true)];
        [
            arp_request(mac, ours, v4(gateway(true))),
            arp_request(mac, ours, Ipv4Addr::from_bits(0x0a00_0000 | n)),
            discover,
            router_solicitation(mac),
            Packet::echo(GUEST.macs(), ips, n as u16).bytes(),
        ]
    };
    const ROUNDS: u32 = 10_000;
    for n in 2..ROUNDS + 2 {
        for question in questions(n) {
            let left = host.from_guest(PORTS[0], FlatFrame::new(question));
            assert!(matches!(left.as_slice(), [] | [Left::Reply(..)]), "{left:?}");
        }
        host.events();
    }
    let rounds = u64::from(ROUNDS);
    assert_eq!(counter(&mut host, GUEST, "out_replies"), 4 * rounds);
    assert_eq!(counter(&mut host, GUEST, "out_drop_gateway_deny"), rounds);
    for guest in [GUEST, OTHER] {
        assert_eq!(host.request(&DumpUft::of(guest.port())).unwrap().flows, []);
    }
    let body = Body::Udp { ports: [1, 2], checksum: true };
    let packet = Packet::new(OTHER.macs(), [OTHER.ip(true), Guest(7).ip(true)], body);
    let left = host.from_guest(PORTS[1], FlatFrame::new(packet.bytes()));
    assert!(matches!(left.as_slice(), [Left::Underlay(_)]), "{left:?}");
}

/// A prefix of everything still holds no address that means no one machine.
#[test]
fn nobody_sends_from_reserved_addresses_whatever_is_allowed() {
    let mut host = host();
    for prefix in ["0.0.0.0/0", "::/0"] {
        let cidr = prefix.parse().unwrap();
        host.request(&AllowCidr { port: GUEST.port(), cidr, direction: None }).unwrap();
    }
    let mut send = |src: &str, macs: [MacAddr; 2]| {
        let src: IpAddr = src.parse().unwrap();
        let body = Body::Udp { ports: [1, 2], checksum: true };
        let packet = Packet::new(macs, [src, Guest(7).ip(src.is_ipv4())], body);
        host.from_guest(PORTS[0], FlatFrame::new(packet.bytes()));
        host.drops()
    };
    for src in ["192.0.2.1", "10.0.0.6", "2001:db8::1", "fd12::6"] {
        assert_eq!(send(src, GUEST.macs()), [], "{src}");
        // Another MAC address is never the guest's.
        let spoofed = [OTHER.mac(), GUEST.macs()[1]];
        assert_eq!(send(src, spoofed), [DropReason::Spoofed], "{src}");
    }
    let reserved = ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1"];
    for src in reserved.into_iter().chain(["fe80::1", "ff02::1", "::ffff:10.0.0.5"]) {
        assert_eq!(send(src, GUEST.macs()), [DropReason::Spoofed], "{src}");
    }
}

#[test]
fn what_a_guest_may_use_is_shown_and_a_refusal_changes_nothing() {
    let mut host = host();
    let port = GUEST.port();
    let list = |host: &mut Hypervisor| host.request(&ListPrefixes { port: GUEST.port() }).unwrap();
    let allow =
        |cidr: &str| AllowCidr { port: port.clone(), cidr: cidr.parse().unwrap(), direction: None };
    host.request(&allow("10.9.0.0/16")).unwrap();
    let before = list(&mut host);
    assert_eq!(before.transit.len(), 1);
    assert!(host.request(&allow("224.0.0.0/8")).is_err());
    assert!(host.request(&allow("fe80::/64")).is_err());
    assert_eq!(list(&mut host), before);
}

/// The gateway answers under the addresses that are its own, and the guest under its own.
#[test]
fn link_local_addresses_reach_the_gateway_and_nobody_else() {
    let mut host = host();
    let own = IpAddr::V6(GUEST.mac().link_local());
    let gateway_local = IpAddr::V6(GUEST.macs()[1].link_local());
    let echo = |ips| Packet::echo(GUEST.macs(), ips, 1).bytes();
    let left = host.from_guest(PORTS[0], FlatFrame::new(echo([own, gateway_local])));
    assert!(matches!(left.as_slice(), [Left::Reply(..)]), "{left:?}");
    for dst in [Guest(7).ip(false), IpAddr::V6(OTHER.mac().link_local())] {
        assert_eq!(host.from_guest(PORTS[0], FlatFrame::new(echo([own, dst]))), []);
        assert_eq!(host.drops(), [DropReason::Spoofed]);
    }
    // Its own address of either family, too.
    for ipv4 in FAMILIES {
        let to = if ipv4 { gateway(true) } else { gateway_local };
        let left = host.from_guest(PORTS[0], FlatFrame::new(echo([GUEST.ip(ipv4), to])));
        assert!(matches!(left.as_slice(), [Left::Reply(..)]), "{left:?}");
    }
}

#[test]
fn transit_prefixes_are_allowed_by_direction() {
    check(
        "rules g6 = dir=in action=allow priority=1
         rules g7 = dir=in action=allow priority=1
         route g7 + g6.transit g6
         g6.transit -> g7 udp 1:2 => drop spoofed
         allow g6 out = transit
         g6.transit -> g7 udp 1:2 => g7 from g6.transit:1
         # The way back is not allowed by that.
         g7 -> g6.transit udp 2:1 => drop not_for_guest
         allow g6 in = transit
         g7 -> g6.transit udp 2:1 => g6 to g6.transit:1
         g7 -> g6.transit tcp6:S 9:22 => g6 to g6.transit:22
         # Others may still not be imitated.
         g6.attached -> g7 udp 1:2 => drop spoofed
         # What is taken back ends what lives by it, with the next packet.
         remove g6 out = transit
         g6.transit -> g7 udp 1:2 => refuse spoofed reply is 3.13
         g7 -> g6.transit udp 2:1 => g6 to g6.transit:1
         remove g6 = transit
         g7 -> g6.transit udp 2:1 => refuse not_for_guest g7 is 3.13",
    );
}

#[test]
fn transit_sources_share_the_translation_of_the_guest_and_get_their_replies() {
    check(
        "allow g5 = transit
         g5.transit -> out udp 1000:80 => out from g5.snat:$p
         g5 -> out udp 1000:80 => out from g5.snat:$q
         out -> g5.snat udp 80:$p => g5 to g5.transit:1000
         out -> g5.snat udp 80:$q => g5 to g5:1000
         out -> g5.snat error => g5 to g5 about g5:1000
         external g5 = floating
         g5.transit -> out tcp6:S 1000:80 => out from g5.floating:1000
         out -> g5.floating tcp6:SA 80:1000 => g5 to g5.transit:1000
         # An address of one's own has one place for each connection.
         g5 -> out tcp6:S 1000:80 => drop flow_conflict",
    );
}

#[test]
fn internal_subnets_are_reached_inside_and_translated_outside() {
    check(
        "rules g6 = dir=in action=allow priority=1 hosts=vni=100
         route g7 + g6.attached g6
         attach g6 = attached
         rules g7 = dir=in action=allow priority=1 hosts=vni=100
         g6.attached -> g7 udp 5:6 => g7 from g6.attached:5
         g7 -> g6.attached udp 6:5 => g6 to g6.attached:5
         g7 -> g6.attached udp6 9:9 => g6 to g6.attached:9
         g6.attached -> out udp 1000:80 => out from g6.snat:$p
         out -> g6.snat udp 80:$p => g6 to g6.attached:1000
         # A transit prefix of the same range ends, the attachment stays.
         allow g6 = attached
         remove g6 = attached
         g7 -> g6.attached udp 6:5 => g6 to g6.attached:5
         detach g6 = attached
         g7 -> g6.attached udp 6:5 => refuse not_for_guest g7 is 3.13",
    );
}

#[test]
fn external_subnets_are_known_outside_as_they_are_and_only_there() {
    check(
        "attach g5 = known
         g5.known -> out udp 1000:80 => out from g5.known:1000
         out -> g5.known udp 80:1000 => g5 to g5.known:1000
         out -> g5.known udp6 80:1000 => drop firewall_default
         rules g5 = dir=in action=allow priority=1
         out -> g5.known tcp6:S 4000:22 => g5 to g5.known:22
         g5.known -> out tcp6:SA 22:4000 => out from g5.known:22
         g5.known -> g7 udp 1:2 => drop external_inside
         # The guest's own address is translated as ever.
         g5 -> out udp 1000:80 => out from g5.snat:$p
         # It does not matter which gateway the route names, nor whether there is another address.
         external g5 =
         route g5 + out ig@3
         g5.known -> out udp 1001:80 => out from g5.known:1001
         g5 -> out udp 1001:80 => drop no_external_address
         detach g5 = known
         g5.known -> out udp 1000:80 => refuse spoofed reply is 3.13
         out -> g5.known udp 80:1000 => drop not_for_guest
         out -> g5.known tcp6:A 4000:22 => refuse connection_cut reply is rst",
    );
}

/// What the gateway answers to a frame of the guest.
fn answer(host: &mut Hypervisor, frame: Vec<u8>) -> Vec<u8> {
    match host.from_guest(PORTS[0], FlatFrame::new(frame)).pop() {
        Some(Left::Reply(_, bytes)) => bytes,
        other => panic!("{other:?}: {:?}", host.drops()),
    }
}

/// A DHCP discover that asks for the MTU.
fn discover() -> Vec<u8> {
    let ips = [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST];
    let plain = dhcp_discover(GUEST.mac(), ips);
    let mut message = plain[14 + 20 + 8..].to_vec();
    message.pop();
    message.extend([55, 1, 26, 255]);
    let macs = [GUEST.mac(), MacAddr::BROADCAST];
    let body = Body::Udp { ports: [68, 67], checksum: true };
    Packet { payload: message, ..Packet::new(macs, ips.map(IpAddr::from), body) }.bytes()
}

/// A DHCPv6 information request for name servers.
fn information_request() -> Vec<u8> {
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
    let macs = [GUEST.mac(), MacAddr::from_ipv6_group(group)];
    let body = Body::Udp { ports: [546, 547], checksum: true };
    let ips = [GUEST.mac().link_local(), group].map(IpAddr::from);
    let payload = vec![11, 1, 2, 3, 0, 8, 0, 2, 0, 0, 0, 6, 0, 2, 0, 23];
    Packet { payload, ..Packet::new(macs, ips, body) }.bytes()
}

/// The value of an option of a DHCP reply.
fn dhcp_option(reply: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = &reply[14 + 20 + 8 + 240..];
    loop {
        let [code, len, tail @ ..] = rest else { return None };
        let (value, tail) = tail.split_at_checked(usize::from(*len))?;
        if *code == wanted {
            return Some(value);
        }
        rest = tail;
    }
}

/// Leases never change, but what comes with them may, while the port runs.
#[test]
fn changed_names_servers_and_mtu_are_told_at_once() {
    let mut host = host();
    let port = GUEST.port();
    let advertised = |mtu: u16| {
        let [high, low] = mtu.to_be_bytes();
        [5, 1, 0, 0, 0, 0, high, low]
    };
    for (mtu, name, server4, server6) in [
        (1400u16, "first", Ipv4Addr::new(192, 0, 2, 53), "2001:db8::53"),
        (9000, "second", Ipv4Addr::new(192, 0, 2, 54), "2001:db8::54"),
    ] {
        let server6: Ipv6Addr = server6.parse().unwrap();
        let dhcp = DhcpConfig {
            hostname: Some(name.parse().unwrap()),
            dns4: vec![server4],
            dns6: vec![server6],
            ..DhcpConfig::default()
        };
        host.request(&SetMtu { port: port.clone(), mtu }).unwrap();
        host.request(&SetDhcp { port: port.clone(), dhcp }).unwrap();
        let offer = answer(&mut host, discover());
        assert_eq!(dhcp_option(&offer, 26), Some(mtu.to_be_bytes().as_slice()));
        assert_eq!(dhcp_option(&offer, 12), Some(name.as_bytes()));
        assert_eq!(dhcp_option(&offer, 6), Some(server4.octets().as_slice()));
        let advertisement = answer(&mut host, router_solicitation(GUEST.mac()));
        assert!(advertisement.ends_with(&advertised(mtu)), "{advertisement:x?}");
        let reply = answer(&mut host, information_request());
        let option = [[0, 23, 0, 16].as_slice(), &server6.octets()].concat();
        assert!(reply.windows(option.len()).any(|bytes| bytes == option), "{reply:x?}");
    }
}

/// What is attached, allowed and taken back leaves connections alone that do not live by it.
#[test]
fn changes_of_prefixes_keep_the_translation_of_others() {
    check(
        "g5 -> out tcp:S 1000:80 => out from g5.snat:$p
         out -> g5.snat tcp:SA 80:$p => g5 to g5:1000
         g5 -> out udp6 1000:80 => out from g5.snat:$u
         attach g5 = attached
         allow g5 = transit
         attach g5 = known
         g5 -> out tcp:A 1000:80 => out from g5.snat:$p
         detach g5 = attached
         remove g5 = transit
         detach g5 = known
         g5 -> out tcp:A 1000:80 => out from g5.snat:$p
         out -> g5.snat udp6 80:$u => g5 to g5:1000
         count g5 flows_cut = 0",
    );
}

/// Neighbour discovery stays on the link, whatever the firewall lets in.
#[test]
fn neighbour_discovery_of_others_does_not_reach_the_guest() {
    let mut host = host();
    let rules = vec!["dir=in action=allow priority=1".parse().unwrap()];
    host.request(&SetFwRules { port: GUEST.port(), rules }).unwrap();
    let mut arrives = |kind: u8| {
        let body = Body::Icmp { kind: [kind, 0], rest: [0; 4] };
        let macs = [Guest(7).mac(), GUEST.mac()];
        let packet = Packet::new(macs, [Guest(7).ip(false), GUEST.ip(false)], body);
        let tunnel = Tunnel { src: HOSTS[1], dst: HOSTS[0], ..Tunnel::new("::", "::", VPC) };
        host.events();
        let left = host.from_underlay(FlatFrame::new(tunnel.around(&packet.bytes())));
        (left.len(), host.drops())
    };
    for kind in 133..=137 {
        assert_eq!(arrives(kind), (0, vec![DropReason::GatewayDeny]), "type {kind}");
    }
    assert_eq!(arrives(128), (1, vec![]), "an echo request does");
}
