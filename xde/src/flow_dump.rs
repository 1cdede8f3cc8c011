// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Flows as one sees them, page by page, and those that one ends by hand.
//!
//! The cursor of a page is the number under which its last flow stands in the table. A flow keeps
//! its number for as long as it is there, which is why pages hold as [`filter`] says.
//!
//! [`filter`]: oxide_vpc_api::filter

use crate::dump;
use crate::host::Moment;
use crate::management::Managed;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte::flow::Flow;
use opte::flow_table::SideSnapshot;
use opte::host::Host;
use opte_api::{Direction, OpteError, Protocol};
use oxide_vpc_api::dump::{
    FlowInfo, FlowSide, FlowTableDump, KilledFlows, TcpFlowDump, TcpFlowInfo,
};
use oxide_vpc_api::filter::{FlowFilter, MAX_LOOKED_AT, Page};

/// Flows of one page, and where it ends if there may be more.
pub(crate) struct FlowPage<T> {
    pub flows: Vec<T>,
    pub next: Option<u32>,
}

/// The flows of a page that are meant and of which there is something to show.
pub(crate) fn page<H: Host, T>(
    managed: &Managed<H>,
    filter: &FlowFilter,
    page: Page<u32>,
    show: impl Fn(&Arc<Flow<H>>) -> Option<T>,
) -> Result<FlowPage<T>, OpteError> {
    filter.validate()?;
    let table = managed.device.port.flows();
    let first = page.after.map_or(0, |number| number.saturating_add(1));
    let mut flows = Vec::new();
    for (looked_at, (number, flow)) in (0..).zip(table.flows_from(first)) {
        if is_meant(filter, &flow) {
            flows.extend(show(&flow));
        }
        if flows.len() >= page.limit() || looked_at + 1 >= MAX_LOOKED_AT {
            return Ok(FlowPage { flows, next: Some(number) });
        }
    }
    Ok(FlowPage { flows, next: None })
}

fn is_meant<H: Host>(filter: &FlowFilter, flow: &Flow<H>) -> bool {
    if filter.is_any() {
        return true;
    }
    let keys = Direction::BOTH.map(|direction| flow.key(direction).id());
    let state = tcp_state(flow);
    filter.matches(&keys, state.as_deref(), flow.opening.direction)
}

fn tcp_state<H: Host>(flow: &Flow<H>) -> Option<String> {
    flow.tcp_state().map(|state| state.to_string())
}

/// Both sides of a flow; `None` if it has left the table meanwhile.
fn sides<H: Host>(managed: &Managed<H>, flow: &Arc<Flow<H>>) -> Option<[SideSnapshot; 2]> {
    let table = managed.device.port.flows();
    let [out, inbound] = Direction::BOTH.map(|direction| table.snapshot(flow, direction));
    Some([out?, inbound?])
}

/// What one sees of a flow; `None` if it has left the table meanwhile.
pub(crate) fn flow<H: Host>(
    managed: &Managed<H>,
    flow: &Arc<Flow<H>>,
    now: Moment,
) -> Option<FlowInfo> {
    let [out, inbound] = sides(managed, flow)?;
    Some(FlowInfo {
        opened: flow.opening.direction,
        out: side(flow, Direction::Out, &out),
        inbound: side(flow, Direction::In, &inbound),
        nat: flow.binding().map(|binding| binding.to_string()),
        tcp: tcp_state(flow),
        judged: flow.judged(managed.device.port.generation()).0,
        idle_ms: now.since(out.last.max(inbound.last)),
    })
}

pub(crate) fn flows<H: Host>(
    managed: &Managed<H>,
    filter: &FlowFilter,
    wanted: Page<u32>,
    now: Moment,
) -> Result<FlowTableDump, OpteError> {
    let FlowPage { flows, next } = page(managed, filter, wanted, |f| flow(managed, f, now))?;
    let table = managed.device.port.flows();
    Ok(FlowTableDump { limit: table.limit(), count: table.count(), flows, next })
}

fn side<H: Host>(flow: &Flow<H>, direction: Direction, side: &SideSnapshot) -> FlowSide {
    FlowSide {
        flow: flow.key(direction).id(),
        packets: side.packets,
        bytes: side.bytes,
        generation: side.stored.as_ref().map_or(0, |stored| stored.generation.0),
        transform: side
            .stored
            .as_ref()
            .map_or(String::new(), |stored| stored.transform.to_string()),
    }
}

pub(crate) fn tcp_flows<H: Host>(
    managed: &Managed<H>,
    filter: &FlowFilter,
    wanted: Page<u32>,
) -> Result<TcpFlowDump, OpteError> {
    let shown = |flow: &Arc<Flow<H>>| {
        let key = flow.key(Direction::Out);
        let state = flow.tcp_state().filter(|_| key.protocol() == Protocol::TCP)?;
        let [out, inbound] = sides(managed, flow)?;
        Some(TcpFlowInfo {
            flow: key.id(),
            state: state.to_string(),
            segments: [out.packets, inbound.packets],
            bytes: [out.bytes, inbound.bytes],
        })
    };
    let FlowPage { flows, next } = page(managed, filter, wanted, shown)?;
    Ok(TcpFlowDump { flows, next })
}

/// Ends every flow that is meant, whichever page it would be on; lists the first of them.
pub(crate) fn kill<H: Host>(
    managed: &Managed<H>,
    filter: &FlowFilter,
    list: u32,
) -> Result<KilledFlows, OpteError> {
    filter.validate()?;
    Ok(end(managed, list, |flow| is_meant(filter, flow)))
}

/// Ends every flow on which a layer decided.
pub(crate) fn clear_layer<H: Host>(
    managed: &Managed<H>,
    name: &str,
) -> Result<KilledFlows, OpteError> {
    let policy = managed.device.port.policy();
    let layer = dump::find_layer(&policy.rules.layers, name)?;
    Ok(end(managed, 0, |flow| dump::decision(layer, flow).is_some()))
}

fn end<H: Host>(
    managed: &Managed<H>,
    list: u32,
    is_meant: impl Fn(&Flow<H>) -> bool,
) -> KilledFlows {
    let port = &managed.device.port;
    let list = Page::<u32> { after: None, limit: list.max(1) }.limit().min(list as usize);
    let mut killed = KilledFlows::default();
    for (_, flow) in port.flows().flows_from(0) {
        if is_meant(&flow) && port.clear_flow(&flow) {
            killed.count += 1;
            if killed.first.len() < list {
                killed.first.push(flow.opening_key().id());
            }
        }
    }
    killed
}
