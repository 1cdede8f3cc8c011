// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a port would do with a packet.

use crate::dump::FlowInfo;
use alloc::string::String;
use alloc::vec::Vec;
use opte_api::{FlowId, Vni};
use serde::{Deserialize, Serialize};

/// Longest packet that is traced: the largest that a port takes, with its Ethernet header.
pub const MAX_TRACED: usize = 65_535 + 14;

/// A packet to be traced.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub enum TracedPacket {
    /// An Ethernet frame as the guest sends or gets it, without outer headers.
    Frame(Vec<u8>),
    /// An IP packet. It is traced between the guest's MAC address and its gateway's.
    Ip(Vec<u8>),
}

/// Where a packet that reaches the guest comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// VPC of the sender; `None` is that of the port.
    pub vni: Option<Vni>,
    /// The packet comes from outside, by a boundary.
    pub external: bool,
}

/// What a port would do with a packet.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct PacketTrace {
    /// The policy that decides.
    pub generation: u64,
    /// The packet as it comes; `None` if it has no flow.
    pub packet: Option<FlowId>,
    /// The connection that it belongs to.
    pub flow: Option<TracedFlow>,
    /// The layers that it passes, in order.
    pub steps: Vec<TraceStep>,
    /// How it would end.
    pub verdict: TraceVerdict,
}

/// The connection that a packet belongs to.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct TracedFlow {
    /// The connection.
    pub flow: FlowInfo,
    /// What the policy says of it.
    pub judgement: String,
    /// It would be cut, and the packet decided without it.
    pub cut: bool,
    /// The packet would run this stored transform, without passing the layers.
    pub stored: Option<String>,
}

/// What one layer would do.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct TraceStep {
    /// The layer.
    pub layer: String,
    /// What decides: `rule N`, `default`, or how the layer treats packets of connections.
    pub decided: String,
    /// What had to hold for the rule.
    pub predicates: Vec<String>,
    /// What is done.
    pub action: String,
    /// What changes of the packet, as `field=value`.
    pub changes: Vec<String>,
    /// What the layer tells later ones, as `name=value`.
    pub notes: Vec<String>,
}

/// How a packet would end.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceVerdict {
    /// It goes on.
    Forward {
        /// The packet as it leaves.
        packet: FlowId,
        /// All that changes, as `field=value`.
        changes: Vec<String>,
        /// External address and port, where its connection is translated.
        nat: Option<String>,
    },
    /// The sender gets this frame back.
    Reply {
        /// The frame.
        frame: Vec<u8>,
    },
    /// It is dropped.
    Drop {
        /// Name of the reason, as in counters.
        reason: String,
    },
}
