// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Flows that are carried from one port to another: what there is to carry, and how it is entered
//! again.
//!
//! A flow that is entered again has its keys, translation, lease, TCP state, counters and the time
//! of its last packets, and no transforms: the policy of its new port judges it when the port runs,
//! as after any change.

use crate::flow::{Flow, NewFlow, Opening};
use crate::flow_key::FlowKey;
use crate::flow_table::InsertError;
use crate::host::{Host, Moment};
use crate::nat::{Lease, NatBinding};
use crate::policy::Generation;
use crate::port::Port;
use crate::tcp::{Tracker, TrackerParts};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use opte_api::Direction;

/// One direction of a flow.
#[derive(Clone, Copy, Debug)]
pub struct KeptSide {
    /// The key of packets that go this way.
    pub key: FlowKey,
    /// Forwarded packets.
    pub packets: u64,
    /// Bytes of their inner frames.
    pub bytes: u64,
    /// When the last of them came.
    pub last: Moment,
}

/// A flow without its port.
#[derive(Clone, Copy, Debug)]
pub struct KeptFlow {
    /// The packet that opened it.
    pub opening: Opening,
    /// What leaves the guest, and what reaches it.
    pub sides: [KeptSide; 2],
    /// How it is translated.
    pub binding: Option<NatBinding>,
    /// It has its external port on loan.
    pub leased: bool,
    /// State of the connection, if it is one of TCP.
    pub tcp: Option<TrackerParts>,
}

/// Why a flow is not entered again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeptError {
    /// There are as many flows as there may be.
    Full,
    /// Another flow has one of its keys.
    Exists,
}

impl<H: Host> Port<H> {
    /// Flows from number `first` on, at most `most` of them; and the number to go on with, if
    /// there may be more. While the port does not run, nobody else changes its flows, so that all
    /// parts together are all flows.
    pub fn kept(&self, first: u32, most: usize) -> (Vec<KeptFlow>, Option<u32>) {
        let mut rest = self.flows.flows_from(first);
        let mut kept = Vec::new();
        while kept.len() < most {
            let Some((_, flow)) = rest.next() else { return (kept, None) };
            kept.extend(self.kept_flow(&flow));
        }
        (kept, rest.next().map(|(number, _)| number))
    }

    fn kept_flow(&self, flow: &Arc<Flow<H>>) -> Option<KeptFlow> {
        let side = |way| {
            let side = self.flows.snapshot(flow, way)?;
            let (packets, bytes) = (side.packets, side.bytes);
            Some(KeptSide { key: *flow.key(way), packets, bytes, last: side.last })
        };
        Some(KeptFlow {
            opening: flow.opening,
            sides: [side(Direction::Out)?, side(Direction::In)?],
            binding: flow.binding(),
            leased: flow.is_leased(),
            tcp: flow.tracker().map(|tracker| tracker.parts()),
        })
    }

    /// Enters a flow again, with the lease that it is to have.
    pub fn enter_kept(&self, kept: &KeptFlow, lease: Option<Lease>) -> Result<(), KeptError> {
        let [out, inbound] = kept.sides.map(|side| side.key);
        let (key, back) = match kept.opening.direction {
            Direction::Out => (out, inbound),
            Direction::In => (inbound, out),
        };
        let flow = Arc::new(Flow::new(NewFlow {
            opening: kept.opening,
            key,
            far_key: back.mirror(),
            binding: kept.binding,
            // Of equal ways its first packet takes one again.
            way: None,
            lease,
            allowed_by: None,
            tracker: kept.tcp.map(Tracker::from_parts),
            generation: Generation::NONE,
        }));
        // As if it had been entered then, so that its time comes when it would have come.
        let [out, inbound] = kept.sides.map(|side| side.last);
        let last = out.max(inbound);
        let entered = self.flows.insert(&flow, None, &self.policy().rules.idle, last);
        entered.map_err(|error| match error {
            InsertError::Full => KeptError::Full,
            InsertError::Exists(_) => KeptError::Exists,
        })?;
        // Once the port runs, all are judged.
        self.sweep.store(0, Ordering::Release);
        for (way, side) in Direction::BOTH.into_iter().zip(&kept.sides) {
            self.flows.with_side(&flow, way, |slot| {
                (slot.packets, slot.bytes, slot.last) = (side.packets, side.bytes, side.last);
            });
        }
        Ok(())
    }
}
