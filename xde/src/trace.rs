// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a port would do with a packet, in the words of requests.

use crate::flow_dump;
use crate::host::Moment;
use crate::management::Managed;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use opte::edit::HeaderEdit;
use opte::frame::{FlatFrame, Frame};
use opte::geneve::Mark;
use opte::headers::Headers;
use opte::host::Host;
use opte::judge::{Changes, Judgement};
use opte::trace::{Decided, End, Step, Trace, TracedFlow};
use opte_api::{Direction, MacAddr, OpteError};
use oxide_vpc_api::request::TracePacket;
use oxide_vpc_api::trace::{self as api, MAX_TRACED, PacketTrace, TraceStep, TraceVerdict};

pub(crate) fn packet<H: Host>(
    managed: &Managed<H>,
    request: TracePacket,
    now: Moment,
) -> Result<PacketTrace, OpteError> {
    let (config, direction) = (managed.vpc.config(), request.direction);
    let mark = match (direction, request.origin) {
        (Direction::Out, None) => Mark::GUEST,
        (Direction::Out, Some(_)) => {
            let why = "a packet that leaves comes from the guest: leave the origin out";
            return Err(OpteError::invalid("origin", why));
        }
        (Direction::In, origin) => {
            let vni = origin.and_then(|origin| origin.vni).unwrap_or(config.vni);
            let external = origin.is_some_and(|origin| origin.external);
            Mark::underlay(vni, external, config.underlay_ip).from_anywhere()
        }
    };
    let bytes = match request.packet {
        api::TracedPacket::Frame(bytes) => bytes,
        api::TracedPacket::Ip(packet) => {
            let (guest, gateway) = (config.mac, config.gateway_mac);
            let (dst, src) = match direction {
                Direction::Out => (gateway, guest),
                Direction::In => (guest, gateway),
            };
            ether(dst, src, &packet)?
        }
    };
    if bytes.len() > MAX_TRACED {
        return Err(OpteError::invalid("packet", format!("over {MAX_TRACED} bytes")));
    }
    let frame = FlatFrame::new(bytes);
    let headers = Headers::parse(frame.head(), frame.len(), 0, mark);
    let headers = headers.as_ref().map_err(|reason| *reason);
    let trace = managed.device.port.trace(direction, &frame, headers);
    let id = headers.ok().and_then(Headers::key).map(|key| key.id());
    Ok(told(managed, trace, id, now))
}

/// The packet behind an Ethernet header.
fn ether(dst: MacAddr, src: MacAddr, packet: &[u8]) -> Result<Vec<u8>, OpteError> {
    let kind: [u8; 2] = match packet.first().map(|first| first >> 4) {
        Some(4) => [0x08, 0x00],
        Some(6) => [0x86, 0xdd],
        _ => return Err(OpteError::invalid("packet", "it is neither IPv4 nor IPv6")),
    };
    Ok([&dst.0[..], &src.0, &kind, packet].concat())
}

fn told<H: Host>(
    managed: &Managed<H>,
    trace: Trace<H>,
    packet: Option<opte_api::FlowId>,
    now: Moment,
) -> PacketTrace {
    PacketTrace {
        generation: trace.generation.0,
        packet,
        flow: trace.flow.and_then(|traced| flow(managed, traced, now)),
        steps: trace.steps.iter().map(step).collect(),
        verdict: match trace.end {
            End::Forward { edit, key, binding } => TraceVerdict::Forward {
                packet: key.id(),
                changes: changes(&edit),
                nat: binding.map(|binding| binding.to_string()),
            },
            End::Reply(frame) => TraceVerdict::Reply { frame },
            End::Drop(reason) => TraceVerdict::Drop { reason: reason.name().into() },
        },
    }
}

fn flow<H: Host>(
    managed: &Managed<H>,
    traced: TracedFlow<H>,
    now: Moment,
) -> Option<api::TracedFlow> {
    Some(api::TracedFlow {
        flow: flow_dump::flow(managed, &traced.flow, now)?,
        judgement: match traced.sentence.judgement {
            Judgement::Keep => "kept".into(),
            Judgement::KeepWith(Changes { .. }) => "kept, with changes".into(),
            Judgement::Drain(_) => "drains: it goes on, but no other opens like it".into(),
            Judgement::Cut(reason) => format!("cut: {}", reason.name()),
        },
        cut: traced.sentence.reason().is_some(),
        stored: traced.stored,
    })
}

fn step(step: &Step) -> TraceStep {
    let (decided, predicates, action) = match &step.decided {
        Decided::Rule { id, predicates, action, .. } => {
            (format!("rule {}", id.0), predicates.clone(), action.clone())
        }
        Decided::Default(default) => ("default".into(), Vec::new(), default.to_string()),
        Decided::Passed => ("connection".into(), Vec::new(), "pass: it was let".into()),
        Decided::Translated => ("connection".into(), Vec::new(), "undo its translation".into()),
    };
    TraceStep {
        layer: step.layer.into(),
        decided,
        predicates,
        action,
        changes: changes(&step.edit),
        notes: oxide_vpc::meta::notes(&step.meta_before, &step.meta),
    }
}

fn changes(edit: &HeaderEdit) -> Vec<String> {
    let text = edit.to_string();
    text.split(' ').filter(|word| !word.is_empty()).map(Into::into).collect()
}
