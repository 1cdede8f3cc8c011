// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One direction of a flow, as the flow table keeps it: all that a packet needs which runs a
//! stored transform.

use crate::flow::Flow;
use crate::flow_key::FlowKey;
use crate::headers::Headers;
use crate::host::{Host, Moment};
use crate::policy::{Generation, Policy};
use crate::tcp::{TcpFlags, TcpState, is_plain};
use crate::transform::Transform;
use alloc::sync::Arc;
use opte_api::Direction;

/// A transform, and the policy under which it holds.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The policy that decided.
    pub generation: Generation,
    /// What to do.
    pub transform: Transform,
}

impl Stored {
    /// The same for fragments without a transport header.
    pub(crate) fn for_later_fragments(&self) -> Self {
        Self { generation: self.generation, transform: self.transform.for_later_fragments() }
    }

    /// Holds for this packet under `policy`, if its connection does: what has changed since would only
    /// have let the packet pass or not.
    pub fn still_holds(&self, policy: &Policy, headers: &Headers) -> bool {
        (policy.ways_since..=policy.generation).contains(&self.generation)
            && self.transform.is_for(headers)
    }

    /// Holds for this packet under policy `generation`.
    #[inline]
    pub fn holds(&self, generation: Generation, headers: &Headers) -> bool {
        self.generation == generation && self.transform.is_for(headers)
    }
}

/// One direction of a flow.
pub struct Slot<H: Host> {
    key: FlowKey,
    /// Forwarded packets.
    pub packets: u64,
    /// Bytes of their inner frames.
    pub bytes: u64,
    /// When the last of them came, or the flow was opened.
    pub last: Moment,
    /// What is done with its packets; `None` while no packet has come this way.
    pub stored: Option<Stored>,
    /// The connection.
    pub flow: Arc<Flow<H>>,
    /// A copy of the connection's TCP state, so that a hit does not reach for the flow. It may lag
    /// behind for as long as a packet on another CPU is about to change it.
    tcp: Option<TcpState>,
}

impl<H: Host> Slot<H> {
    /// A slot whose first packet has not come yet.
    pub fn new(
        flow: Arc<Flow<H>>,
        direction: Direction,
        stored: Option<Stored>,
        now: Moment,
    ) -> Self {
        let (key, tcp) = (*flow.key(direction), flow.tcp_state());
        Self { key, packets: 0, bytes: 0, last: now, stored, flow, tcp }
    }

    /// Belongs to packets of this key.
    #[inline]
    pub fn is_for(&self, key: &FlowKey) -> bool {
        self.key == *key
    }

    /// A packet with these control bits changes nothing about the connection's state.
    #[inline]
    pub fn is_plain(&self, flags: TcpFlags) -> bool {
        self.tcp.is_none_or(|state| is_plain(flags, state))
    }

    /// Takes over the connection's TCP state.
    pub fn refresh(&mut self) {
        self.tcp = self.flow.tcp_state();
    }

    /// Counts a forwarded packet, which keeps the flow alive.
    #[inline]
    pub fn touch(&mut self, now: Moment, bytes: usize) {
        self.count(bytes);
        self.last = now;
    }

    /// Counts a forwarded packet.
    #[inline]
    pub const fn count(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}
