// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Parts of dumps, and packets to be traced.

use super::*;
use opte_api::Protocol;
use oxide_vpc_api::PortRange;
use oxide_vpc_api::filter::{FlowFilter, MappingFilter, Page};

#[test]
fn parts_of_dumps() {
    let filter = FlowFilter {
        protocol: Some(Protocol::TCP),
        src: Some(of("172.30.0.5/32")),
        dst: Some(of("198.51.100.0/24")),
        port: Some(PortRange { first: 443, last: 444 }),
        state: Some("established".into()),
        opened: Some(Direction::Out),
    };
    let page = Page { after: Some(9), limit: 7 };
    let words = "-p opte0 --proto tcp --src 172.30.0.5 --dst 198.51.100.0/24 --port 443-444
                 --state established --opened out";
    let pages = "--limit 7 --after 9";
    check(
        &format!("dump-uft {words} {pages}"),
        DumpUft { port: port(), filter: filter.clone(), page },
    );
    check(
        &format!("dump-tcp-flows {words} {pages}"),
        DumpTcpFlows { port: port(), filter: filter.clone(), page },
    );
    let layer = "nat".into();
    check(
        &format!("dump-layer nat {words} {pages}"),
        DumpLayer { port: port(), layer, filter: filter.clone(), page },
    );
    check(&format!("kill-flow {words} --list 3"), KillFlows { port: port(), filter, list: 3 });
    let filter = MappingFilter { vni: Some(of("100")), within: Some(of("172.30.0.0/24")) };
    let page = Page { after: Some((of("100"), of("172.30.0.9"))), limit: 2 };
    check(
        "dump-v2p --vni 100 --within 172.30.0.0/24 --limit 2 --after 100/172.30.0.9",
        DumpV2p { filter, page },
    );
    let filter = MappingFilter { vni: None, within: Some(of("198.51.100.9/32")) };
    let page = Page { after: Some(of("10.0.0.0/8")), limit: 2 };
    check("dump-v2b --within 198.51.100.9 --limit 2 --after 10.0.0.0/8", DumpV2b { filter, page });
}

#[test]
fn parts_that_make_no_sense() {
    check_error("kill-flow -p opte0", &["say which flows", "clear-uft"]);
    check_error("dump-uft --port 443", &["name one port"]);
    check_error("dump-uft -p opte0 -p opte1", &["name one port"]);
    check_error("dump-uft -p opte0 --port 1 --port 2", &["one number or range"]);
    check_error("dump-uft -p opte0 --port 9-3", &["9-3 is no range"]);
    check_error("dump-uft -p opte0 --state open", &["--state", "invalid value 'open'"]);
    check_error("dump-uft -p opte0 --proto xyz", &["--proto", "none of tcp"]);
    check_error("dump-uft -p opte0 --limit 0", &["--limit"]);
    check_error("dump-uft -p opte0 --after x", &["write a number"]);
    check_error("dump-v2p --after 5", &["write VNI/ADDRESS"]);
}

#[test]
fn packets_to_be_traced() {
    let words = "--proto udp --src 10.0.0.1 --dst 10.0.0.2 --sport 7 --dport 53 --ttl 9";
    let ip: Vec<u8> = [
        &[0x45, 0, 0, 28, 0, 0][..],
        &[0x40, 0, 9, 17, 0x5d, 0xcf, 10, 0, 0, 1, 10, 0, 0, 2],
        &[0, 7, 0, 53, 0, 8, 0xeb, 0xa1],
    ]
    .concat();
    let (requests, error) = typed(&format!("trace -p opte0 --dir out {words}"), "");
    let [(code, request)] = &requests[..] else { panic!("{error}") };
    assert_eq!((*code, &request["direction"]), (TracePacket::CODE, &"out".into()));
    let bytes = request["packet"]["Ip"].as_array().unwrap();
    assert_eq!((bytes.len(), bytes[8].as_u64(), bytes[23].as_u64()), (28, Some(9), Some(53)));
    assert_eq!(ip.len(), bytes.len());
    let (requests, _) = typed(&format!("trace -p opte0 --dir in --outside --vni 7 {words}"), "");
    assert_eq!(requests[0].1["origin"], serde_json::json!({ "vni": 7, "external": true }));

    check_error("trace -p opte0 --dir out", &["required", "--proto", "--src", "--dst"]);
    check_error(
        &format!("trace -p opte0 --dir out --outside {words}"),
        &["use them with --dir in"],
    );
    check_error("trace -p opte0 --dir up", &["'in' or 'out'"]);
    check_error("trace -p opte0 --dir out --pcap x", &["required", "--packet"]);
    check_error("trace -p opte0 --dir out --pcap /none --packet 1", &["cannot read /none"]);
    check_error(
        "trace -p opte0 --dir out --proto udp --src 10.0.0.1 --dst fd00::1",
        &["different families"],
    );
    check_error(
        "trace -p opte0 --dir out --proto icmp --src fd00::2 --dst fd00::1",
        &["icmp6 with IPv6"],
    );
    check_error(&format!("trace -p opte0 --dir out {words} --icmp x"), &["TYPE,CODE"]);
}
