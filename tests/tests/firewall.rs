// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Firewall rules: what they match, what they count, what they are called.

use opte::frame::FlatFrame;
use opte_tests::hypervisor::Hypervisor;
use opte_tests::packets::{Body, Packet};
use opte_tests::scenario::check;
use opte_tests::setting::{Guest, add_boundary, add_guest, add_peer};
use oxide_vpc_api::FirewallRule;
use oxide_vpc_api::dump::RuleInfo;
use oxide_vpc_api::request::{AddFwRule, ClearUft, DumpLayer, RemFwRule, Removal, SetFwRules};
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);
const PEER: Guest = Guest(7);

fn host(rules: &[&str]) -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions::new(3));
    add_guest(&mut host, GUEST, 0);
    add_peer(&mut host, PEER, 1);
    add_boundary(&mut host);
    set(&mut host, rules);
    host
}

fn set(host: &mut Hypervisor, rules: &[&str]) {
    let rules: Vec<FirewallRule> = rules.iter().map(|text| text.parse().unwrap()).collect();
    host.request(&SetFwRules { port: GUEST.port(), rules }).unwrap();
}

fn out_rules(host: &mut Hypervisor) -> Vec<RuleInfo> {
    let dump = DumpLayer {
        port: GUEST.port(),
        layer: "firewall".into(),
        filter: Default::default(),
        page: Default::default(),
    };
    let [out, _] = host.request(&dump).unwrap().rules;
    out
}

/// Sends datagrams of `len` bytes in their frames.
fn send(host: &mut Hypervisor, port: u16, count: usize, len: usize) {
    let ips = [GUEST.ip(true), PEER.ip(true)];
    let body = Body::Udp { ports: [1000, port], checksum: true };
    let packet = Packet { payload: vec![0; len - 42], ..Packet::new(GUEST.macs(), ips, body) };
    for _ in 0..count {
        let left = host.from_guest(PortId(0), FlatFrame::new(packet.bytes()));
        assert_eq!(left.len(), 1);
    }
}

#[test]
fn rules_count_what_their_connections_carry() {
    let mut host = host(&[
        "dir=out action=allow priority=1 protocol=udp port=53 comment=names",
        "dir=out action=allow priority=2 protocol=udp",
    ]);
    send(&mut host, 53, 5, 100);
    send(&mut host, 80, 3, 200);
    let seen = |host: &mut Hypervisor| {
        let of = |rule: &RuleInfo| (rule.hits, rule.packets, rule.bytes);
        out_rules(host).iter().map(of).collect::<Vec<_>>()
    };
    // One hit each, and all the packets that ran the stored transform.
    assert_eq!(seen(&mut host), [(1, 5, 500), (1, 3, 600)]);
    // What is over still counts.
    host.request(&ClearUft { port: GUEST.port() }).unwrap();
    assert_eq!(seen(&mut host), [(1, 5, 500), (1, 3, 600)]);
    send(&mut host, 53, 2, 100);
    host.advance(301_000);
    host.expire();
    assert_eq!(seen(&mut host), [(2, 7, 700), (1, 3, 600)]);
    // It goes on when all rules are told again with another name.
    set(
        &mut host,
        &[
            "dir=out action=allow priority=1 protocol=udp port=53 comment=DNS",
            "dir=out action=allow priority=2 protocol=udp",
        ],
    );
    assert_eq!(seen(&mut host), [(2, 7, 700), (1, 3, 600)]);
    assert_eq!(out_rules(&mut host)[0].comment.as_deref(), Some("DNS"));
}

#[test]
fn rules_have_names_that_come_and_go_with_them() {
    let uuid = "f3b1a5ac-6a9a-4b1c-9a3e-0d4f3f7d6a01";
    let mut host = host(&[]);
    let text = format!("dir=out action=deny priority=1 uuid={uuid} comment=No mail, please");
    let rule = text.parse().unwrap();
    let id = host.request(&AddFwRule { port: GUEST.port(), rule }).unwrap();
    let [rule] = out_rules(&mut host).try_into().unwrap();
    assert_eq!(rule.uuid, Some(uuid.parse().unwrap()));
    assert_eq!(rule.comment.as_deref(), Some("No mail, please"));
    let direction = opte_api::Direction::Out;
    let removal = host.request(&RemFwRule { port: GUEST.port(), direction, id }).unwrap();
    assert_eq!(removal, Removal::Removed);
    assert!(out_rules(&mut host).is_empty());
}

#[test]
fn ranges_of_types_and_ports_and_protocols_by_number_match() {
    check(
        "rules g5 = dir=in action=allow priority=1 protocol=icmp:7-9,0; \
                    dir=in action=allow priority=1 protocol=icmp6:100-127; \
                    dir=in action=allow priority=1 protocol=47 hosts=vni=100; \
                    dir=in action=allow priority=1 protocol=udp port=10-20,53
         g7 -> g5 ping 1 => g5
         g7 -> g5 ping6 1 => drop firewall_default
         g7 -> g5 gre => g5
         g7 -> g5 udp 1:20 => g5
         g7 -> g5 udp 1:21 => drop firewall_default
         g7 -> g5 udp 1:53 => g5
         g7 -> g5 tcp:S 1:53 => drop firewall_default
         # What comes from outside is of no VPC.
         external g5 = floating
         out -> g5.floating gre => drop firewall_default
         out -> g5.floating udp 1:15 => g5",
    );
}
