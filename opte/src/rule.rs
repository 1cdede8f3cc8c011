// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Rules: what must hold of a packet, and what is done then.

use crate::drop_reason::DropReason;
use crate::flow_key::FlowKey;
use crate::headers::{Headers, MacPair, Payload};
use crate::meta::{Meta, Slot};
use crate::walk::Walk;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use opte_api::{IpCidr, MacAddr, Protocol};

/// What predicates look at: the packet as the layers before have left it.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The flow, or `None` for ARP.
    pub key: Option<FlowKey>,
    /// Inner MAC addresses.
    pub macs: MacPair,
}

impl Facts {
    /// The facts of a packet as it came.
    pub const fn of(headers: &Headers) -> Self {
        let key = match headers.payload {
            Payload::Ip(key) | Payload::Fragment(key, _) => Some(key),
            Payload::Arp => None,
        };
        Self { key, macs: headers.macs }
    }
}

/// A condition. One on something that the packet does not have is false.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Predicate {
    /// ARP.
    Arp,
    /// IPv4 (true) or IPv6 (false).
    Ipv4(bool),
    /// IP protocol.
    Protocol(Protocol),
    /// Source address lies in the prefix.
    Src(IpCidr),
    /// Destination address lies in the prefix.
    Dst(IpCidr),
    /// TCP or UDP source port, first to last.
    SrcPort(u16, u16),
    /// TCP or UDP destination port lies in one of the ranges, first to last.
    DstPort(Vec<(u16, u16)>),
    /// ICMP or ICMPv6 type, first to last.
    IcmpType(u8, u8),
    /// ICMP or ICMPv6 code, first to last.
    IcmpCode(u8, u8),
    /// Inner source MAC.
    SrcMac(MacAddr),
    /// Inner destination MAC.
    DstMac(MacAddr),
    /// A slot of the packet's metadata has this value.
    Meta(Slot, u128),
    /// The contrary.
    Not(Arc<Predicate>),
}

impl Predicate {
    /// Holds for this packet.
    pub fn holds(&self, facts: &Facts, meta: &Meta) -> bool {
        let key = facts.key.as_ref();
        let ported = || key.filter(|k| matches!(k.protocol(), Protocol::TCP | Protocol::UDP));
        let icmp = || key.filter(|k| k.is_icmp()).map(FlowKey::icmp_kind);
        match self {
            Self::Arp => key.is_none(),
            Self::Ipv4(ipv4) => key.is_some_and(|k| k.is_ipv4() == *ipv4),
            Self::Protocol(protocol) => key.is_some_and(|k| k.protocol() == *protocol),
            Self::Src(prefix) => key.is_some_and(|k| prefix.contains(k.src())),
            Self::Dst(prefix) => key.is_some_and(|k| prefix.contains(k.dst())),
            Self::SrcPort(a, b) => ported().is_some_and(|k| (*a..=*b).contains(&k.src_port())),
            Self::DstPort(ranges) => ported().is_some_and(|k| {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&k.dst_port()))
            }),
            Self::IcmpType(a, b) => icmp().is_some_and(|[kind, _]| (*a..=*b).contains(&kind)),
            Self::IcmpCode(a, b) => icmp().is_some_and(|[_, code]| (*a..=*b).contains(&code)),
            Self::SrcMac(mac) => facts.macs.src() == *mac,
            Self::DstMac(mac) => facts.macs.dst() == *mac,
            Self::Meta(slot, bits) => meta.bits(*slot) == Some(*bits),
            Self::Not(inner) => !inner.holds(facts, meta),
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |f: &mut fmt::Formatter<'_>, name: &str, a: u16, b: u16| {
            if a == b { write!(f, "{name}={a}") } else { write!(f, "{name}={a}-{b}") }
        };
        match self {
            Self::Arp => f.write_str("arp"),
            Self::Ipv4(ipv4) => f.write_str(if *ipv4 { "ipv4" } else { "ipv6" }),
            Self::Protocol(protocol) => write!(f, "proto={protocol}"),
            Self::Src(prefix) => write!(f, "src={prefix}"),
            Self::Dst(prefix) => write!(f, "dst={prefix}"),
            Self::SrcPort(a, b) => span(f, "sport", *a, *b),
            Self::DstPort(ranges) => {
                for (at, (first, last)) in ranges.iter().enumerate() {
                    span(f, if at == 0 { "dport" } else { "|dport" }, *first, *last)?;
                }
                Ok(())
            }
            Self::IcmpType(a, b) => span(f, "icmp_type", (*a).into(), (*b).into()),
            Self::IcmpCode(a, b) => span(f, "icmp_code", (*a).into(), (*b).into()),
            Self::SrcMac(mac) => write!(f, "src_mac={mac}"),
            Self::DstMac(mac) => write!(f, "dst_mac={mac}"),
            Self::Meta(slot, bits) => write!(f, "{}={bits:#x}", slot.name()),
            Self::Not(inner) => write!(f, "not {inner}"),
        }
    }
}

/// An action that decides by itself: it may edit the packet, set metadata, translate, or drop.
pub trait Act: Send + Sync {
    /// Decides about the packet of this walk.
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason>;

    /// Shown in dumps.
    fn describe(&self) -> String;
}

/// An answer made in place of a guest's or a remote's peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// This frame goes back to where the packet came from.
    Reply(Vec<u8>),
    /// The packet is dropped.
    Drop(DropReason),
    /// Not a packet to be answered; later rules of the layer are tried.
    Pass,
}

/// An action that answers packets.
pub trait Respond: Send + Sync {
    /// Answers the inner frame. `partial`: its transport checksum is not complete yet.
    fn respond(&self, frame: &[u8], partial: bool) -> Answer;

    /// Shown in dumps.
    fn describe(&self) -> String;
}

/// What a rule does.
#[derive(Clone)]
pub enum Action {
    /// The packet passes this layer.
    Allow,
    /// The connection passes this layer, both ways.
    AllowStateful,
    /// The packet is dropped.
    Deny(DropReason),
    /// Decided by code.
    Act(Arc<dyn Act>),
    /// Answered by code.
    Respond(Arc<dyn Respond>),
}

impl Action {
    /// Ends the packet: at equal priority such a rule goes first.
    const fn denies(&self) -> bool {
        matches!(self, Self::Deny(_))
    }

    /// Shown in dumps.
    pub fn describe(&self) -> String {
        match self {
            Self::Allow => "allow".into(),
            Self::AllowStateful => "allow (stateful)".into(),
            Self::Deny(reason) => alloc::format!("deny ({})", reason.name()),
            Self::Act(act) => act.describe(),
            Self::Respond(respond) => respond.describe(),
        }
    }
}

/// Number of a rule within its layer; never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RuleId(pub u64);

/// Order of trial: priority, then deny before others, then the newest.
pub type Rank = (u16, bool, Reverse<RuleId>);

/// A rule. All predicates must hold; without any, it matches everything.
pub struct Rule {
    /// Its number.
    pub id: RuleId,
    /// Lower goes first.
    pub priority: u16,
    /// What must hold.
    pub predicates: Vec<Predicate>,
    /// What is done then.
    pub action: Action,
    hits: AtomicU64,
}

impl Rule {
    /// A rule that has not matched yet.
    pub fn new(id: RuleId, priority: u16, predicates: Vec<Predicate>, action: Action) -> Self {
        Self { id, priority, predicates, action, hits: AtomicU64::new(0) }
    }

    /// All predicates hold.
    pub fn matches(&self, facts: &Facts, meta: &Meta) -> bool {
        self.predicates.iter().all(|predicate| predicate.holds(facts, meta))
    }

    /// Its place in the order of trial.
    pub const fn rank(&self) -> Rank {
        (self.priority, !self.action.denies(), Reverse(self.id))
    }

    /// Counts a packet that was decided by this rule.
    pub fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Packets that were decided by this rule.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}
