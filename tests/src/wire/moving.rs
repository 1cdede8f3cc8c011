// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Ports that move. The bytes of a saved port are in the answers, so that its form is held, too.

use super::Example;
use super::examples::{example, of};
use super::ports::{config, port};
use opte_api::{Direction, FlowId, MacAddr, Protocol};
use oxide_vpc_api::request::{RestorePort, Restored, SaveFrom, SavePort, SavedPart, StageRestore};
use oxide_vpc_api::saved::{
    Record, SavedFlow, SavedNat, SavedPort, SavedSide, SavedTcp, SavedTcpSide, encode, header,
};

/// Requests about saved ports.
pub(super) fn moving() -> Vec<Example> {
    let from = |from| SavePort { port: port(), from };
    let next = SaveFrom { number: 4096, flows: 4000, since_ms: 1_000_000 };
    let bytes = vec![1, 2, 3];
    let restore = |name, underlay_ip| RestorePort { name, underlay_ip, bytes: 700 };
    vec![
        example(
            vec![from(None), from(Some(next))],
            vec![
                SavedPart { bytes: saved(), next: None },
                SavedPart { bytes: bytes.clone(), next: Some(next) },
            ],
        ),
        example(vec![StageRestore { offset: 300, bytes }], vec![303u64]),
        example(
            vec![restore(None, None), restore(Some(port()), Some(of("fd00::2")))],
            vec![Restored { port: port(), flows: 9 }],
        ),
    ]
}

/// A saved port with a flow of each kind.
fn saved() -> Vec<u8> {
    let (gateways, prefixes) = Default::default();
    let rule = of("dir=in action=allow priority=9 protocol=tcp port=22");
    let rules = vec![(7, rule)];
    let port = SavedPort {
        name: port(),
        config: config(),
        gateways,
        prefixes,
        rules,
        routes: vec![],
        revision: Some(5),
    };
    let flow = |src: &str, src_port, dst: &str, dst_port| FlowId {
        protocol: Protocol::TCP,
        src: of(src),
        src_port,
        dst: of(dst),
        dst_port,
    };
    let side = |flow, packets| SavedSide { flow, packets, bytes: 100 * packets, idle_ms: 300 };
    let numbers = SavedTcpSide { start: 1, end: 2, ack: 3, known: 7 };
    let translated = SavedFlow {
        opened: Direction::Out,
        macs: [MacAddr([2; 6]), MacAddr([4; 6])],
        mark: u32::MAX,
        sides: [
            side(flow("172.30.0.5", 1000, "198.51.100.7", 80), 5),
            side(flow("198.51.100.7", 80, "203.0.113.7", 1024), 4),
        ],
        nat: SavedNat::Port,
        leased: true,
        tcp: Some(SavedTcp { sides: [numbers; 2], offer: 9, states: [4, 0] }),
    };
    let (nat, leased, tcp) = (SavedNat::None, false, None);
    let plain = SavedFlow { nat, leased, tcp, opened: Direction::In, ..translated };
    let one_to_one = SavedFlow { nat: SavedNat::Address, ..plain };
    let flows = vec![translated, plain, one_to_one];
    let mut bytes = header();
    for record in [Record::Port(Box::new(port)), Record::Flows(flows), Record::End(3)] {
        bytes.extend(encode(&record).expect("a small record"));
    }
    bytes
}
