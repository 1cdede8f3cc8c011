// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Parts of dumps: filters, pages that hold under change, and flows that are ended by hand.

use opte::frame::FlatFrame;
use opte::tcp::TcpFlags;
use opte_api::{IpCidr, OpteError, Protocol};
use opte_tests::hypervisor::Hypervisor;
use opte_tests::packets::{Body, Packet};
use opte_tests::setting::{BOUNDARY, Guest, add_boundary, add_guest, add_peer, outside, vni};
use oxide_vpc_api::filter::{FlowFilter, MappingFilter, Page};
use oxide_vpc_api::request::{
    ClearLft, ClearV2p, DumpCounters, DumpLayer, DumpTcpFlows, DumpUft, DumpV2b, DumpV2p,
    KillFlows, ListPorts, SetV2b, SetV2p,
};
use oxide_vpc_api::{BoundaryEndpoint, PortRange, V2bEntry, V2pEntry};
use std::collections::BTreeMap;
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);
const PEER: Guest = Guest(7);

fn host() -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions::new(3));
    add_guest(&mut host, GUEST, 0);
    add_peer(&mut host, PEER, 1);
    add_boundary(&mut host);
    host
}

fn send(host: &mut Hypervisor, to: std::net::IpAddr, body: Body) {
    let packet = Packet::new(GUEST.macs(), [GUEST.ip(true), to], body);
    assert_eq!(host.from_guest(PortId(0), FlatFrame::new(packet.bytes())).len(), 1);
}

fn udp(host: &mut Hypervisor, port: u16) {
    send(host, PEER.ip(true), Body::Udp { ports: [port, 53], checksum: true });
}

fn syn(host: &mut Hypervisor, port: u16) {
    let body = Body::Tcp { ports: [port, 443], flags: TcpFlags::SYN, numbers: [1, 0] };
    send(host, outside(true), body);
}

fn only_port(port: u16) -> FlowFilter {
    FlowFilter { port: Some(PortRange { first: port, last: port }), ..FlowFilter::default() }
}

fn dump(host: &mut Hypervisor, filter: FlowFilter, page: Page<u32>) -> (Vec<u16>, Option<u32>) {
    let dump = host.request(&DumpUft { port: GUEST.port(), filter, page }).unwrap();
    (dump.flows.iter().map(|flow| flow.out.flow.src_port).collect(), dump.next)
}

fn ports(host: &mut Hypervisor, filter: FlowFilter) -> Vec<u16> {
    let (mut ports, next) = dump(host, filter, Page::default());
    assert_eq!(next, None);
    ports.sort_unstable();
    ports
}

#[test]
fn filters_choose_flows_in_every_dump() {
    let mut host = host();
    (1001..=1003).for_each(|port| udp(&mut host, port));
    syn(&mut host, 2001);
    let any = FlowFilter::default;
    let tcp = FlowFilter { protocol: Some(Protocol::TCP), ..any() };
    let opening = FlowFilter { state: Some("syn_sent".into()), ..any() };
    let whole = |ip| IpCidr::new(ip, 32).unwrap();
    // Replies come to the external address.
    let external = GUEST.external(true).snat.first().map(|range| range.ip);
    let outside = FlowFilter { dst: external.map(whole), ..any() };
    let peer = FlowFilter { src: Some(whole(PEER.ip(true))), ..any() };
    for (filter, expected) in [
        (any(), vec![1001, 1002, 1003, 2001]),
        (tcp.clone(), vec![2001]),
        (opening, vec![2001]),
        (outside, vec![2001]),
        (peer, vec![1001, 1002, 1003]),
        (only_port(1002), vec![1002]),
        (only_port(9), vec![]),
    ] {
        assert_eq!(ports(&mut host, filter.clone()), expected, "{filter:?}");
    }
    let page = Page::default();
    let layer = DumpLayer { filter: only_port(1002), ..DumpLayer::of(GUEST.port(), "firewall") };
    assert_eq!(host.request(&layer).unwrap().flows.len(), 1);
    let none = DumpTcpFlows { port: GUEST.port(), filter: only_port(1002), page };
    assert_eq!(host.request(&none).unwrap().flows, []);
    let one = DumpTcpFlows { port: GUEST.port(), filter: tcp, page };
    assert_eq!(host.request(&one).unwrap().flows.len(), 1);
    let wrong = FlowFilter { state: Some("open".into()), ..any() };
    let refused = host.request(&DumpUft { port: GUEST.port(), filter: wrong, page });
    assert!(matches!(refused, Err(OpteError::Invalid { .. })), "{refused:?}");
}

/// What is there from the first page to the last is shown once; what comes or goes meanwhile at
/// most once, even where it takes the place of another.
#[test]
fn pages_hold_while_flows_come_and_go() {
    let mut host = host();
    (1000..1020).for_each(|port| udp(&mut host, port));
    let mut seen: BTreeMap<u16, u32> = BTreeMap::new();
    let mut page = Page { after: None, limit: 3 };
    let mut count = 0;
    loop {
        let (ports, next) = dump(&mut host, FlowFilter::default(), page);
        assert!(ports.len() <= 3);
        for port in ports {
            *seen.entry(port).or_default() += 1;
        }
        if next.is_none() {
            break;
        }
        page.after = next;
        // One that was shown and one that was not end; another one takes a place.
        for gone in [1000 + count, 1019 - count] {
            let kill = KillFlows { port: GUEST.port(), filter: only_port(gone), list: 0 };
            host.request(&kill).unwrap();
        }
        udp(&mut host, 3000 + count);
        count += 1;
    }
    assert!(count >= 3, "there was change between pages");
    for stayed in 1000 + count..=1019 - count {
        assert_eq!(seen.get(&stayed), Some(&1), "{stayed}");
    }
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
}

#[test]
fn a_filter_does_not_change_where_pages_end() {
    let mut host = host();
    (1000..1010).for_each(|port| udp(&mut host, port));
    let (ports, next) = dump(&mut host, only_port(1007), Page { after: None, limit: 1 });
    assert_eq!(ports, [1007]);
    let (rest, end) = dump(&mut host, only_port(1007), Page { after: next, limit: 1 });
    assert_eq!((rest, end), (vec![], None));
    // A cursor from nowhere is the end.
    let beyond = Page { after: Some(u32::MAX), limit: 1 };
    assert_eq!(dump(&mut host, FlowFilter::default(), beyond), (vec![], None));
}

#[test]
fn killed_flows_are_counted_listed_and_give_back_what_they_held() {
    let mut host = host();
    (1001..=1005).for_each(|port| udp(&mut host, port));
    syn(&mut host, 2001);
    let protocol = |protocol| FlowFilter { protocol: Some(protocol), ..FlowFilter::default() };
    let mut kill = |filter, list| {
        let port = GUEST.port();
        host.request(&KillFlows { port, filter, list }).unwrap()
    };
    let killed = kill(protocol(Protocol::UDP), 2);
    assert_eq!((killed.count, killed.first.len()), (5, 2));
    assert!(killed.first.iter().all(|flow| flow.protocol == Protocol::UDP));
    assert_eq!(kill(protocol(Protocol::UDP), 2).count, 0);
    let killed = kill(only_port(443), 0);
    assert_eq!((killed.count, killed.first.len()), (1, 0));
    let sets = host.request(&DumpCounters { port: Some(GUEST.port()) }).unwrap();
    let counter = |name| {
        sets[0].counters.iter().find(|counter| counter.name == name).map(|counter| counter.value)
    };
    assert_eq!((counter("flows"), counter("flows_cleared")), (Some(0), Some(6)));
    // The same packets open the same connections again.
    udp(&mut host, 1001);
    assert_eq!(ports(&mut host, FlowFilter::default()), [1001]);
    let wrong = FlowFilter { port: Some(PortRange { first: 2, last: 1 }), ..FlowFilter::default() };
    let refused = host.request(&KillFlows { port: GUEST.port(), filter: wrong, list: 0 });
    assert!(matches!(refused, Err(OpteError::Invalid { .. })));
    assert_eq!(ports(&mut host, FlowFilter::default()), [1001]);
}

/// Each layer has its own flows, and no table of its own: what it decided on ends.
#[test]
fn flows_on_which_a_layer_decided_are_removed() {
    let mut host = host();
    udp(&mut host, 1001);
    syn(&mut host, 2001);
    let mut clear = |layer: &str| {
        host.request(&ClearLft { port: GUEST.port(), layer: layer.into() })
            .map(|killed| (killed.count, killed.first.len()))
    };
    assert_eq!(clear("router"), Ok((0, 0)));
    assert_eq!(clear("nat"), Ok((1, 0)));
    assert!(matches!(clear("cake"), Err(OpteError::Invalid { .. })));
    assert_eq!(clear("firewall"), Ok((1, 0)));
    assert_eq!(ports(&mut host, FlowFilter::default()), [0; 0]);
}

#[test]
fn pages_of_mappings_hold_while_they_change() {
    let mut host = host();
    let entry = |last: u8| V2pEntry {
        vni: vni(100),
        ip: std::net::Ipv4Addr::new(10, 9, 0, last).into(),
        location: PEER.location(1),
    };
    (0..10).for_each(|last| host.request(&SetV2p { entry: entry(last) }).unwrap());
    let filter = MappingFilter { vni: Some(vni(100)), within: "10.9.0.0/24".parse().ok() };
    let mut page = Page { after: None, limit: 4 };
    let mut seen = Vec::new();
    loop {
        let dump = host.request(&DumpV2p { filter, page }).unwrap();
        seen.extend(dump.entries.iter().map(|entry| entry.ip));
        let Some(next) = dump.next else { break };
        page.after = Some(next);
        // Even the one at which the page ended may go.
        let last = seen.last().copied().unwrap();
        let gone = V2pEntry { ip: last, ..entry(0) };
        host.request(&ClearV2p { entry: gone }).unwrap();
    }
    let expected: Vec<std::net::IpAddr> = (0..10).map(|last| entry(last).ip).collect();
    assert_eq!(seen, expected);

    let endpoints = vec![BoundaryEndpoint { underlay_ip: BOUNDARY, vni: vni(99) }];
    for prefix in ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "2001:db8::/32"] {
        let entry = V2bEntry { prefix: prefix.parse().unwrap(), endpoints: endpoints.clone() };
        host.request(&SetV2b { entry }).unwrap();
    }
    let filter = MappingFilter { vni: None, within: "10.1.2.3/32".parse().ok() };
    let mut page = Page { after: None, limit: 1 };
    let mut seen = Vec::new();
    while seen.len() < 9 {
        let dump = host.request(&DumpV2b { filter, page }).unwrap();
        seen.extend(dump.entries.iter().map(|entry| entry.prefix.to_string()));
        page.after = dump.next;
        if dump.next.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16"], "all that hold the address");
}

#[test]
fn looking_and_refusals_change_nothing() {
    let mut host = host();
    udp(&mut host, 1001);
    let before = format!("{:?}", host.request(&ListPorts {}));
    let flows = format!("{:?}", host.request(&DumpUft::of(GUEST.port())));
    for limit in [0, 1, u32::MAX] {
        let page = Page { after: None, limit };
        dump(&mut host, FlowFilter::default(), page);
    }
    assert_eq!(format!("{:?}", host.request(&DumpUft::of(GUEST.port()))), flows);
    assert_eq!(format!("{:?}", host.request(&ListPorts {})), before);
}
