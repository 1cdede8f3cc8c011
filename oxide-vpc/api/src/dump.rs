// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What one sees on looking at a host: ports, layers, flows, mappings, counters.

use crate::{PortName, PortState, V2bEntry, V2pEntry};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use opte_api::{Direction, FlowId, IpCidr, MacAddr, Vni};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One port in a list.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct PortInfo {
    /// Name of the port and of its device.
    pub name: PortName,
    /// Whether it takes packets.
    pub state: PortState,
    /// MAC address of the guest.
    pub mac: MacAddr,
    /// The VPC.
    pub vni: Vni,
    /// MTU of the guest's link.
    pub mtu: u16,
    /// Outer source address.
    pub underlay_ip: Ipv6Addr,
    /// Private addresses, one for each family.
    pub private_ips: Vec<IpAddr>,
    /// Floating addresses of both families.
    pub floating: Vec<IpAddr>,
    /// Ephemeral addresses of both families.
    pub ephemeral: Vec<IpAddr>,
    /// SNAT addresses of both families, as `address:first-last`.
    pub snat: Vec<String>,
    /// Number of the policy in force.
    pub generation: u64,
}

/// The underlay of a host.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct UnderlayInfo {
    /// Names of the links; empty while none is set.
    pub links: Vec<String>,
}

/// One layer in a list.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct LayerInfo {
    /// Name of the layer.
    pub name: String,
    /// Number of rules, out and in.
    pub rules: [u32; 2],
    /// What happens when no rule matches, out and in.
    pub default: [String; 2],
    /// Flows on which this layer decided something that must hold for the whole connection.
    pub flows: u32,
}

/// One rule of a layer.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct RuleInfo {
    /// Number of the rule; never used again while the port lives.
    pub id: u64,
    /// Lower goes first.
    pub priority: u16,
    /// What must hold.
    pub predicates: Vec<String>,
    /// What is done then.
    pub action: String,
    /// Packets that were decided by this rule (not those that ran a stored transform).
    pub hits: u64,
    /// Packets of all connections that this rule has let be, both ways.
    pub packets: u64,
    /// Bytes of their inner frames.
    pub bytes: u64,
    /// What who has made the rule calls it.
    pub uuid: Option<Uuid>,
    /// What people are to know about it.
    pub comment: Option<String>,
}

/// A flow as a layer sees it.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct LayerFlow {
    /// The key under which the connection was opened.
    pub flow: FlowId,
    /// Which way it was opened.
    pub opened: Direction,
    /// What the layer decided.
    pub decision: String,
}

/// A layer with everything in it.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct LayerDump {
    /// Name of the layer.
    pub name: String,
    /// Rules out and in, in the order in which they are tried.
    pub rules: [Vec<RuleInfo>; 2],
    /// What happens when no rule matches, out and in.
    pub default: [String; 2],
    /// How often that happened, out and in.
    pub default_hits: [u64; 2],
    /// Flows on which this layer decided, of this page.
    pub flows: Vec<LayerFlow>,
    /// Where the page ends, if there may be more; rules and defaults are the same on each page.
    pub next: Option<u32>,
}

/// One direction of a flow.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct FlowSide {
    /// The key of packets of this direction as they come.
    pub flow: FlowId,
    /// Packets.
    pub packets: u64,
    /// Bytes of inner frames.
    pub bytes: u64,
    /// Policy under which the stored transform was made; 0 while none is.
    pub generation: u64,
    /// The stored transform.
    pub transform: String,
}

/// A flow with both its directions.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct FlowInfo {
    /// Which way it was opened.
    pub opened: Direction,
    /// Packets that leave the guest.
    pub out: FlowSide,
    /// Packets that reach the guest.
    #[serde(rename = "in")]
    pub inbound: FlowSide,
    /// External address and port, where the flow is translated.
    pub nat: Option<String>,
    /// State of the TCP connection.
    pub tcp: Option<String>,
    /// Number of the policy under which it was judged last.
    pub judged: u64,
    /// Milliseconds since the last packet.
    pub idle_ms: u64,
}

/// The flow table of a port.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct FlowTableDump {
    /// Most flows the table takes.
    pub limit: u32,
    /// Flows in the table, whether shown or not.
    pub count: u32,
    /// The flows of this page.
    pub flows: Vec<FlowInfo>,
    /// Where the page ends, if there may be more.
    pub next: Option<u32>,
}

/// Flows that were removed by hand.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct KilledFlows {
    /// How many.
    pub count: u64,
    /// The keys under which the first of them were opened.
    pub first: Vec<FlowId>,
}

/// One TCP connection.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct TcpFlowInfo {
    /// The key of what the guest sends.
    pub flow: FlowId,
    /// State of the connection, seen from the guest.
    pub state: String,
    /// Segments, out and in.
    pub segments: [u64; 2],
    /// Bytes of inner frames, out and in.
    pub bytes: [u64; 2],
}

/// TCP connections of a port.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct TcpFlowDump {
    /// The connections of this page.
    pub flows: Vec<TcpFlowInfo>,
    /// Where the page ends, if there may be more.
    pub next: Option<u32>,
}

/// Where guests are.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct V2pDump {
    /// The mappings of this page, by VNI and address.
    pub entries: Vec<V2pEntry>,
    /// Where the page ends, if there may be more.
    pub next: Option<(Vni, IpAddr)>,
}

/// Ways out.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct V2bDump {
    /// The mappings of this page, by prefix.
    pub entries: Vec<V2bEntry>,
    /// Where the page ends, if there may be more.
    pub next: Option<IpCidr>,
}

/// One counter.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Counter {
    /// Name, as in the documentation.
    pub name: String,
    /// Value since the port or host was created.
    pub value: u64,
}

/// The counters of one port, or of the host.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct CounterSet {
    /// Name of the port; `None` for the host's own.
    pub port: Option<PortName>,
    /// All counters in a fixed order.
    pub counters: Vec<Counter>,
}
