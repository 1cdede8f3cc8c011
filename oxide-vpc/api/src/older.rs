// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Forms that messages had in older versions, for as long as hosts serve them.
//!
//! A host serves the present form only. A request in an older form becomes one in the present
//! form, and the answer goes the way back, without what the older form has no place for. A form
//! that is not here any more, or never was, is refused by name.

use crate::dump::{
    FlowInfo, FlowSide, FlowTableDump, LayerDump, LayerFlow, RuleInfo, TcpFlowDump, TcpFlowInfo,
    V2bDump, V2pDump,
};
use crate::request::{DumpLayer, DumpTcpFlows, DumpUft, DumpV2b, DumpV2p};
use crate::{PortName, V2bEntry, V2pEntry};
use alloc::string::String;
use alloc::vec::Vec;
use opte_api::frame::{self, HEADER_LEN, Header, MAX_RESPONSE, Request, Status};
use opte_api::{Direction, FlowId, OpteError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Has a request in an older form served. `None`: that form is not known. `serve` is given the body
/// of the same request in its present form, and answers with a whole frame.
pub fn serve(header: Header, body: &[u8], serve: impl FnOnce(&[u8]) -> Vec<u8>) -> Option<Vec<u8>> {
    match (header.version, header.code) {
        (1, DumpLayer::CODE) => Some(translate(
            body,
            |DumpLayer1 { port, layer }| DumpLayer::of(port, layer),
            LayerDump1::from,
            serve,
        )),
        (1, DumpUft::CODE) => {
            Some(translate(body, |OfPort1 { port }| DumpUft::of(port), FlowTableDump1::from, serve))
        }
        (1, DumpTcpFlows::CODE) => Some(translate(
            body,
            |OfPort1 { port }| DumpTcpFlows::of(port),
            |dump: TcpFlowDump| dump.flows.into_iter().map(TcpFlowInfo1::from).collect::<Vec<_>>(),
            serve,
        )),
        (1, DumpV2p::CODE) => Some(translate(
            body,
            |Nothing1 {}| DumpV2p::default(),
            |dump: V2pDump| -> Vec<V2pEntry> { dump.entries },
            serve,
        )),
        (1, DumpV2b::CODE) => Some(translate(
            body,
            |Nothing1 {}| DumpV2b::default(),
            |dump: V2bDump| -> Vec<V2bEntry> { dump.entries },
            serve,
        )),
        _ => None,
    }
}

fn translate<Old: DeserializeOwned, New: Request, Answer: Serialize>(
    body: &[u8],
    up: impl FnOnce(Old) -> New,
    down: impl FnOnce(New::Response) -> Answer,
    serve: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let answer = frame::decode_request_of::<Old>(New::NAME, body)
        .and_then(|old| frame::encode_request(&up(old)))
        .map(|request| serve(request.get(HEADER_LEN..).unwrap_or_default()));
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return frame::encode_answer::<()>(&Err(error)),
    };
    match response(&answer) {
        Some(Ok(response)) => frame::encode_answer(&Ok(down(response))),
        Some(Err(error)) => frame::encode_answer::<()>(&Err(error)),
        // A refusal looks the same in all versions.
        None => answer,
    }
}

/// The response in an answer; `None` if it is none.
fn response<T: DeserializeOwned>(answer: &[u8]) -> Option<Result<T, OpteError>> {
    let (head, body) = answer.split_first_chunk()?;
    let header = Header::from_bytes(*head, MAX_RESPONSE).ok()?;
    (header.code == Status::Done as u16).then(|| frame::decode(body))
}

#[derive(Deserialize)]
struct Nothing1 {}

#[derive(Deserialize)]
struct OfPort1 {
    port: PortName,
}

#[derive(Deserialize)]
struct DumpLayer1 {
    port: PortName,
    layer: String,
}

#[derive(Serialize)]
struct LayerDump1 {
    name: String,
    rules: [Vec<RuleInfo1>; 2],
    default: [String; 2],
    default_hits: [u64; 2],
    flows: Vec<LayerFlow1>,
}

#[derive(Serialize)]
struct RuleInfo1 {
    id: u64,
    priority: u16,
    predicates: Vec<String>,
    action: String,
    hits: u64,
}

#[derive(Serialize)]
struct LayerFlow1 {
    flow: FlowId,
    opened: Direction,
    decision: String,
}

impl From<LayerDump> for LayerDump1 {
    fn from(dump: LayerDump) -> Self {
        let rule = |rule: RuleInfo| RuleInfo1 {
            id: rule.id,
            priority: rule.priority,
            predicates: rule.predicates,
            action: rule.action,
            hits: rule.hits,
        };
        let flow = |flow: LayerFlow| LayerFlow1 {
            flow: flow.flow,
            opened: flow.opened,
            decision: flow.decision,
        };
        Self {
            name: dump.name,
            rules: dump.rules.map(|rules| rules.into_iter().map(rule).collect()),
            default: dump.default,
            default_hits: dump.default_hits,
            flows: dump.flows.into_iter().map(flow).collect(),
        }
    }
}

#[derive(Serialize)]
struct FlowTableDump1 {
    limit: u32,
    flows: Vec<FlowInfo1>,
}

#[derive(Serialize)]
struct FlowInfo1 {
    opened: Direction,
    out: FlowSide1,
    inbound: FlowSide1,
    nat: Option<String>,
    tcp: Option<String>,
    idle_ms: u64,
}

#[derive(Serialize)]
struct FlowSide1 {
    flow: FlowId,
    packets: u64,
    bytes: u64,
    generation: u64,
    transform: String,
}

impl From<FlowTableDump> for FlowTableDump1 {
    fn from(dump: FlowTableDump) -> Self {
        Self { limit: dump.limit, flows: dump.flows.into_iter().map(FlowInfo1::from).collect() }
    }
}

impl From<FlowInfo> for FlowInfo1 {
    fn from(flow: FlowInfo) -> Self {
        Self {
            opened: flow.opened,
            out: flow.out.into(),
            inbound: flow.inbound.into(),
            nat: flow.nat,
            tcp: flow.tcp,
            idle_ms: flow.idle_ms,
        }
    }
}

impl From<FlowSide> for FlowSide1 {
    fn from(side: FlowSide) -> Self {
        Self {
            flow: side.flow,
            packets: side.packets,
            bytes: side.bytes,
            generation: side.generation,
            transform: side.transform,
        }
    }
}

#[derive(Serialize)]
struct TcpFlowInfo1 {
    flow: FlowId,
    state: String,
    segments: [u64; 2],
    bytes: [u64; 2],
}

impl From<TcpFlowInfo> for TcpFlowInfo1 {
    fn from(tcp: TcpFlowInfo) -> Self {
        Self { flow: tcp.flow, state: tcp.state, segments: tcp.segments, bytes: tcp.bytes }
    }
}
