// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What an observer is told, declared once.
//!
//! Structures are `repr(C)` and hold numbers only, so that a tracer can read them as they are.

use crate::cut::CutReason;
use crate::drop_reason::DropReason;
use crate::flow_key::FlowKey;
use crate::policy::Generation;
use opte_api::Direction;

/// Something that happened at a port.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A packet was dropped.
    Dropped(Dropped),
    /// A connection was entered in the flow table.
    FlowOpened(FlowOpened),
    /// A connection left the flow table.
    FlowEnded(FlowEnded),
    /// A policy came into force.
    Published(Published),
}

/// A packet was dropped.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Dropped {
    /// Number of the port.
    pub port: u32,
    /// 0 out, 1 in.
    pub direction: u8,
    /// Index in [`DropReason::ALL`].
    pub reason: u8,
    /// Words of the flow key; zero if the packet had none.
    pub key: [u64; 5],
}

/// A connection was entered in the flow table.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct FlowOpened {
    /// Number of the port.
    pub port: u32,
    /// 0 out, 1 in.
    pub direction: u8,
    /// Words of the opening key.
    pub key: [u64; 5],
}

/// A connection left the flow table.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct FlowEnded {
    /// Number of the port.
    pub port: u32,
    /// Why: a [`FlowEnd`].
    pub end: u8,
    /// Why the policy ended it: index in [`CutReason::ALL`], or 255.
    pub reason: u8,
    /// Words of the opening key.
    pub key: [u64; 5],
}

/// A policy came into force.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Published {
    /// Number of the port.
    pub port: u32,
    /// Number of the policy.
    pub generation: u64,
}

/// Why a connection left the flow table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum FlowEnd {
    /// No packets for longer than its idle limit.
    Expired = 0,
    /// The table was full, and this flow would have been the first to expire.
    Evicted = 1,
    /// The policy no longer allows it, or no longer as it is.
    Cut = 2,
    /// A new connection has the same addresses and ports.
    Replaced = 3,
    /// An operator or the end of its port.
    Cleared = 4,
}

impl FlowEnd {
    /// All causes, in order.
    pub const ALL: &[Self] =
        &[Self::Expired, Self::Evicted, Self::Cut, Self::Replaced, Self::Cleared];

    /// The name that counters and traces use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "flows_expired",
            Self::Evicted => "flows_evicted",
            Self::Cut => "flows_cut",
            Self::Replaced => "flows_replaced",
            Self::Cleared => "flows_cleared",
        }
    }
}

impl Event {
    /// A drop at `port`.
    pub fn dropped(
        port: u32,
        direction: Direction,
        reason: DropReason,
        key: Option<&FlowKey>,
    ) -> Self {
        Self::Dropped(Dropped {
            port,
            direction: direction as u8,
            reason: reason as u8,
            key: key.map_or([0; 5], |key| *key.words()),
        })
    }

    /// An opening at `port`.
    pub fn opened(port: u32, direction: Direction, key: &FlowKey) -> Self {
        Self::FlowOpened(FlowOpened { port, direction: direction as u8, key: *key.words() })
    }

    /// An end at `port`.
    pub fn ended(port: u32, end: FlowEnd, reason: Option<CutReason>, key: &FlowKey) -> Self {
        let reason = reason.map_or(u8::MAX, |reason| reason as u8);
        Self::FlowEnded(FlowEnded { port, end: end as u8, reason, key: *key.words() })
    }

    /// A publication at `port`.
    pub const fn published(port: u32, generation: Generation) -> Self {
        Self::Published(Published { port, generation: generation.0 })
    }
}
