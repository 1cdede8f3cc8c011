// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Layers, flows, counters.

use super::Example;
use super::examples::{example, of};
use super::ports::port;
use opte_api::{Direction, FlowId, Protocol};
use oxide_vpc_api::PortRange;
use oxide_vpc_api::dump::{
    Counter, CounterSet, FlowInfo, FlowSide, FlowTableDump, KilledFlows, LayerDump, LayerFlow,
    LayerInfo, RuleInfo, TcpFlowDump, TcpFlowInfo,
};
use oxide_vpc_api::filter::{FlowFilter, Page};
use oxide_vpc_api::request::TracePacket;
use oxide_vpc_api::request::{
    ClearLft, ClearUft, DumpCounters, DumpLayer, DumpTcpFlows, DumpUft, KillFlows, ListLayers,
};
use oxide_vpc_api::trace::{
    Origin, PacketTrace, TraceStep, TraceVerdict, TracedFlow, TracedPacket,
};

pub(super) fn flow_id() -> FlowId {
    FlowId {
        protocol: Protocol::TCP,
        src: of("172.30.0.5"),
        src_port: 40000,
        dst: of("198.51.100.9"),
        dst_port: 443,
    }
}

fn back() -> FlowId {
    FlowId {
        protocol: Protocol::ICMPV6,
        src: of("fd12::9"),
        src_port: 0x8000,
        dst: of("fd12::5"),
        dst_port: 7,
    }
}

pub(super) fn flow() -> FlowInfo {
    let side = |flow, packets| FlowSide {
        flow,
        packets,
        bytes: packets * 1000,
        generation: 4,
        transform: "encap".into(),
    };
    FlowInfo {
        opened: Direction::Out,
        out: side(flow_id(), 12),
        inbound: side(back(), 9),
        nat: Some("203.0.113.7:16384".into()),
        tcp: Some("ESTABLISHED".into()),
        judged: 4,
        idle_ms: 1250,
    }
}

fn plain_flow() -> FlowInfo {
    FlowInfo { opened: Direction::In, nat: None, tcp: None, ..flow() }
}

fn layer_info() -> LayerInfo {
    LayerInfo {
        name: "firewall".into(),
        rules: [1, 200],
        default: ["allow".into(), "deny".into()],
        flows: 3,
    }
}

pub(super) fn rule() -> RuleInfo {
    RuleInfo {
        id: 3,
        priority: 100,
        predicates: vec!["proto=TCP".into(), "dport=22".into()],
        action: "allow".into(),
        hits: 5,
        packets: 70,
        bytes: 9000,
        uuid: Some(of("f3b1a5ac-6a9a-4b1c-9a3e-0d4f3f7d6a01")),
        comment: Some("SSH for all".into()),
    }
}

fn layer_dump() -> LayerDump {
    LayerDump {
        name: "firewall".into(),
        rules: [vec![], vec![rule()]],
        default: ["allow".into(), "deny".into()],
        default_hits: [7, 300],
        flows: vec![LayerFlow {
            flow: flow_id(),
            opened: Direction::In,
            decision: "allowed by rule 3".into(),
        }],
        next: Some(300),
    }
}

fn tcp() -> TcpFlowInfo {
    TcpFlowInfo { flow: flow_id(), state: "TIME_WAIT".into(), segments: [5, 4], bytes: [500, 4000] }
}

fn counters() -> Vec<CounterSet> {
    let counters = vec![Counter { name: "in_packets".into(), value: 70_000 }];
    [None, Some(port())].map(|port| CounterSet { port, counters: counters.clone() }).into()
}

pub(super) fn filter() -> FlowFilter {
    FlowFilter {
        protocol: Some(Protocol::TCP),
        src: Some(of("172.30.0.0/24")),
        dst: Some(of("2001:db8::/32")),
        port: Some(PortRange { first: 443, last: 8443 }),
        state: Some("TIME_WAIT".into()),
        opened: Some(Direction::In),
    }
}

/// What a port would do with a packet.
pub(super) fn traces() -> Vec<Example> {
    let request =
        |packet, direction, origin| TracePacket { port: port(), direction, packet, origin };
    let origin = Origin { vni: Some(of("100")), external: true };
    let requests = vec![
        request(TracedPacket::Frame(vec![1, 2, 3]), Direction::Out, None),
        request(TracedPacket::Ip(vec![0x45]), Direction::In, Some(origin)),
    ];
    let step = TraceStep {
        layer: "firewall".into(),
        decided: "rule 3".into(),
        predicates: vec!["proto=TCP".into()],
        action: "allow".into(),
        changes: vec!["src_port=7".into()],
        notes: vec!["target=gateway".into()],
    };
    let traced = TracedFlow {
        flow: flow(),
        judgement: "kept".into(),
        cut: false,
        stored: Some("encap".into()),
    };
    let verdicts = [
        TraceVerdict::Forward {
            packet: flow_id(),
            changes: vec!["src_port=7".into()],
            nat: Some("203.0.113.7:7".into()),
        },
        TraceVerdict::Reply { frame: vec![1, 2] },
        TraceVerdict::Drop { reason: "no_route".into() },
    ];
    let trace = verdicts.map(|verdict| PacketTrace {
        generation: 4,
        packet: Some(flow_id()),
        flow: Some(traced.clone()),
        steps: vec![step.clone()],
        verdict,
    });
    vec![example(requests, trace.into())]
}

pub(super) fn examples() -> Vec<Example> {
    let page = Page { after: Some(300), limit: 1000 };
    let flows = vec![flow(), plain_flow()];
    let table = FlowTableDump { limit: 1_048_576, count: 700, flows, next: Some(300) };
    let layer = DumpLayer { port: port(), layer: "nat".into(), filter: filter(), page };
    let tcp_dump = TcpFlowDump { flows: vec![tcp()], next: Some(300) };
    vec![
        example(vec![ListLayers { port: port() }], vec![vec![layer_info()]]),
        example(vec![DumpLayer::of(port(), "nat"), layer], vec![layer_dump()]),
        example(
            vec![DumpUft::of(port()), DumpUft { port: port(), filter: filter(), page }],
            vec![table],
        ),
        example(vec![ClearUft { port: port() }], vec![()]),
        example(
            vec![DumpTcpFlows::of(port()), DumpTcpFlows { port: port(), filter: filter(), page }],
            vec![tcp_dump],
        ),
        example([None, Some(port())].map(|port| DumpCounters { port }).into(), vec![counters()]),
        example(
            vec![KillFlows { port: port(), filter: filter(), list: 20 }],
            vec![KilledFlows { count: 300, first: vec![flow_id()] }],
        ),
        example(
            vec![ClearLft { port: port(), layer: "nat".into() }],
            vec![KilledFlows { count: 300, first: vec![] }],
        ),
    ]
}
