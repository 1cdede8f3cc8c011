// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What an observer is told, declared once.
//!
//! Structures are `repr(C)` and hold numbers only, so that a tracer can read them as they are. The
//! same declarations make [`EVENTS`], from which the tracers' own declarations are written.

use crate::drop_reason::DropReason;
use crate::flow_key::FlowKey;
use crate::rule::RuleId;
use core::mem::{offset_of, size_of};
use opte_api::Direction;

/// Number that events have for packets which reach no port.
pub const NO_PORT: u32 = u32::MAX;
/// Number that events have where no rule decided, but a layer's default.
pub const NO_RULE: u64 = u64::MAX;
/// Number that events have for connections that no policy ended.
pub const NO_REASON: u8 = u8::MAX;

/// An event: what one probe says.
pub trait Traced: Copy + Into<Event> {
    /// Name of its probe, and all else that tracers know of it.
    const SHAPE: &'static EventShape;
}

/// What tracers know of an event.
#[derive(Debug)]
pub struct EventShape {
    /// Name of the structure.
    pub name: &'static str,
    /// Name of the probe.
    pub probe: &'static str,
    /// Size of the structure, in bytes.
    pub size: usize,
    /// Its fields, in order.
    pub fields: &'static [FieldShape],
    /// When it is told, in words.
    pub text: &'static str,
}

/// What tracers know of a field.
#[derive(Debug)]
pub struct FieldShape {
    /// Its name.
    pub name: &'static str,
    /// Its place, in bytes from the beginning.
    pub offset: usize,
    /// Its type.
    pub kind: FieldKind,
}

/// Type of a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FieldKind {
    /// A number without sign, of that many bytes.
    Number(usize),
    /// An IPv6 or IPv4-mapped address, or a UUID: 16 bytes.
    Bytes16,
    /// A [`KeyShown`].
    Key,
}

/// Types that fields may have.
pub trait Field {
    /// What tracers call it.
    const KIND: FieldKind;
}

macro_rules! fields {
    ($($ty:ty: $kind:expr),* $(,)?) => { $(impl Field for $ty { const KIND: FieldKind = $kind; })* };
}
fields! {
    u8: FieldKind::Number(1), u16: FieldKind::Number(2), u32: FieldKind::Number(4),
    u64: FieldKind::Number(8), [u8; 16]: FieldKind::Bytes16, KeyShown: FieldKind::Key,
}

/// A flow key as tracers read it. All zero where a packet had none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub struct KeyShown {
    /// Source address; IPv4 as IPv4-mapped address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
    /// Source port, or ICMP type and code.
    pub src_port: u16,
    /// Destination port, or echo identifier.
    pub dst_port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// 4 or 6.
    pub family: u8,
}

impl From<&FlowKey> for KeyShown {
    fn from(key: &FlowKey) -> Self {
        let [s0, s1, d0, d1, _] = *key.words();
        let bytes = |high: u64, low: u64| (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        Self {
            src: bytes(s0, s1),
            dst: bytes(d0, d1),
            src_port: key.src_port(),
            dst_port: key.dst_port(),
            protocol: key.protocol().0,
            family: if key.is_ipv4() { 4 } else { 6 },
        }
    }
}

macro_rules! events {
    ($(#[doc = $text:literal] $probe:literal $name:ident {
        $($(#[$doc:meta])* $field:ident: $ty:ty),* $(,)?
    })*) => {
        $(
            #[doc = $text]
            #[derive(Clone, Copy, Debug)]
            #[repr(C)]
            pub struct $name { $($(#[$doc])* pub $field: $ty),* }

            impl Traced for $name {
                const SHAPE: &'static EventShape = &EventShape {
                    name: stringify!($name),
                    probe: $probe,
                    size: size_of::<Self>(),
                    fields: &[$(FieldShape {
                        name: stringify!($field),
                        offset: offset_of!(Self, $field),
                        kind: <$ty as Field>::KIND,
                    }),*],
                    text: $text,
                };
            }

            impl From<$name> for Event {
                fn from(event: $name) -> Self {
                    Self::$name(event)
                }
            }
        )*

        /// Something that happened.
        #[derive(Clone, Copy, Debug)]
        pub enum Event { $(#[doc = $text] $name($name)),* }

        /// All events.
        pub const EVENTS: &[&EventShape] = &[$(<$name as Traced>::SHAPE),*];
    };
}

events! {
    /// A packet was dropped.
    "dropped" Dropped {
        /// Number of the port.
        port: u32,
        /// 0 out, 1 in.
        direction: u8,
        /// Index in [`DropReason::ALL`].
        reason: u8,
        /// The packet's flow.
        key: KeyShown,
    }
    /// A rule, or a layer's default, decided about a packet that ran no stored transform.
    "rule-matched" RuleMatched {
        /// Number of the rule, or [`NO_RULE`].
        rule: u64,
        /// Number of the port.
        port: u32,
        /// 0 out, 1 in.
        direction: u8,
        /// Number of the layer, in the order in which outbound packets pass them.
        layer: u8,
        /// The packet's flow as it came.
        key: KeyShown,
    }
    /// A layer stamped something into the metadata of a packet that ran no stored transform.
    "stamped" Stamped {
        /// Number of the port.
        port: u32,
        /// 0 out, 1 in.
        direction: u8,
        /// Number of the slot.
        slot: u8,
        /// Its value: the last bytes of these.
        value: [u8; 16],
        /// The packet's flow as it came.
        key: KeyShown,
    }
    /// A connection was entered in the flow table.
    "flow-opened" FlowOpened {
        /// The rule that let it be, or [`NO_RULE`].
        rule: u64,
        /// Number of the port.
        port: u32,
        /// 0 out, 1 in.
        direction: u8,
        /// The opening packet as it came.
        key: KeyShown,
        /// The reply as it will come: where the connection is translated, it shows how.
        back: KeyShown,
    }
    /// A connection left the flow table.
    "flow-ended" FlowEnded {
        /// Number of the port.
        port: u32,
        /// Why: a [`FlowEnd`].
        end: u8,
        /// Why the policy ended it: index in [`crate::cut::CutReason::ALL`], or [`NO_REASON`].
        reason: u8,
        /// The opening packet as it came.
        key: KeyShown,
        /// The reply as it would come.
        back: KeyShown,
    }
    /// There was no external port for a new connection. At most one is told in each second of a port.
    "exhausted" Exhausted {
        /// Number of the port.
        port: u32,
        /// Index in [`DropReason::ALL`]: whether there is none left, or it may have no more.
        reason: u8,
        /// The packet's flow as it came.
        key: KeyShown,
    }
    /// A TCP connection changed its state.
    "tcp-state" TcpChanged {
        /// Number of the port.
        port: u32,
        /// 0 out, 1 in.
        direction: u8,
        /// State before, as [`crate::tcp::TcpState`] numbers them.
        from: u8,
        /// State now.
        to: u8,
        /// Control bits of the segment.
        flags: u8,
        /// The segment's flow as it came.
        key: KeyShown,
    }
    /// It was decided where in the underlay packets of a flow go.
    "next-hop" NextHop {
        /// Number of the port.
        port: u32,
        /// VNI of the outer headers.
        vni: u32,
        /// Outer destination address.
        outer_dst: [u8; 16],
        /// The packet's flow as it came.
        key: KeyShown,
    }
    /// A policy came into force.
    "published" Published {
        /// Number of the policy.
        generation: u64,
        /// Number of the port.
        port: u32,
    }
    /// A packet begins to be decided: it ran no stored transform.
    "decide-begin" DecideBegun {
        /// Number of the port.
        port: u32,
        /// 0 out, 1 in.
        direction: u8,
    }
    /// It was decided.
    "decide-end" DecideEnded {
        /// Number of the port.
        port: u32,
        /// 0 out, 1 in.
        direction: u8,
    }
    /// A batch of frames begins to be processed.
    "batch-begin" BatchBegun {
        /// Frames in it.
        frames: u32,
        /// Number of the port of the guest that sent them, or [`NO_PORT`].
        port: u32,
    }
    /// It was processed.
    "batch-end" BatchEnded {
        /// Frames that were in it.
        frames: u32,
        /// Number of the port of the guest that sent them, or [`NO_PORT`].
        port: u32,
    }
    /// A request begins to be served.
    "control-begin" ControlBegun {
        /// Command number.
        code: u16,
    }
    /// It was served.
    "control-end" ControlEnded {
        /// Command number.
        code: u16,
        /// 0 if it was refused.
        served: u8,
    }
}

impl Dropped {
    /// A drop at `port`.
    pub fn new(port: u32, direction: Direction, reason: DropReason, key: Option<&FlowKey>) -> Self {
        let key = key.map(KeyShown::from).unwrap_or_default();
        Self { port, direction: direction as u8, reason: reason as u8, key }
    }
}

/// The number that events have for a rule.
pub fn rule_number(rule: Option<RuleId>) -> u64 {
    rule.map_or(NO_RULE, |rule| rule.0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use opte_api::Protocol;

    #[test]
    fn each_event_has_a_probe_of_its_own() {
        let probes: BTreeSet<&str> = EVENTS.iter().map(|event| event.probe).collect();
        assert_eq!(probes.len(), EVENTS.len());
    }

    #[test]
    fn keys_are_shown_in_network_order() {
        let ip = |text: &str| text.parse().unwrap();
        let key = FlowKey::new(ip("10.0.0.1"), ip("192.0.2.7"), Protocol::UDP, [53, 4000]);
        let shown = KeyShown::from(&key);
        assert_eq!(shown.src[10..], [0xff, 0xff, 10, 0, 0, 1]);
        assert_eq!(shown.dst[10..], [0xff, 0xff, 192, 0, 2, 7]);
        assert_eq!((shown.src_port, shown.dst_port), (53, 4000));
        assert_eq!((shown.protocol, shown.family), (17, 4));
        let key = FlowKey::new(ip("fd00::1"), ip("2001:db8::2"), Protocol::TCP, [1, 2]);
        assert_eq!(KeyShown::from(&key).dst[..4], [0x20, 0x01, 0x0d, 0xb8]);
    }
}
