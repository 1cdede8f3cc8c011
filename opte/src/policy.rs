// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! All that decides for a port, as one immutable snapshot with one number.

use crate::answer::Rate;
use crate::layer::Layer;
use crate::nat::Identifications;
use crate::tcp::Timeouts;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::net::IpAddr;
use opte_api::Protocol;

/// Number of a change. Policies have the number of the change that made them; none is used twice.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Generation(pub u64);

impl Generation {
    /// Before any policy: nothing was decided yet.
    pub const NONE: Self = Self(0);

    /// The next number.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How long flows live without packets. The defaults are at least what RFC 4787, REQ-5 (UDP),
/// RFC 5508, REQ-2 (ICMP) and RFC 5382, REQ-5 (TCP) ask of a NAT.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IdleLimits {
    /// TCP, by state.
    pub tcp: Timeouts,
    /// UDP, in milliseconds.
    pub udp: u64,
    /// ICMP and ICMPv6, in milliseconds.
    pub icmp: u64,
    /// Everything else, in milliseconds.
    pub other: u64,
    /// Flows that have a share in a mapping, and are not TCP, are kept alive by what goes out alone:
    /// nobody outside can keep a mapping (RFC 4787, REQ-6).
    pub mapped_by_outbound: bool,
}

impl Default for IdleLimits {
    fn default() -> Self {
        Self {
            tcp: Timeouts::default(),
            udp: 300_000,
            icmp: 60_000,
            other: 120_000,
            mapped_by_outbound: false,
        }
    }
}

impl IdleLimits {
    /// Milliseconds that a flow of a protocol other than TCP may be idle.
    pub const fn of(&self, protocol: Protocol) -> u64 {
        match protocol {
            Protocol::UDP => self.udp,
            Protocol::ICMP | Protocol::ICMPV6 => self.icmp,
            _ => self.other,
        }
    }
}

/// What senders are told of packets that do not pass.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AnswerPolicy {
    /// The gateway's own addresses, for IPv4 and for IPv6: whom errors about the guest's packets
    /// come from. Without one none is sent.
    pub gateways: [Option<IpAddr>; 2],
    /// The guest is told, too, what nobody has forbidden and nobody can deliver.
    pub unreachable: bool,
    /// Both ends are told of a TCP connection that a policy has ended.
    pub cut: bool,
    /// The longest IP packets that the guest may send inside and outside, which it is told if it
    /// sends longer ones.
    pub longest: [u16; 2],
    /// How many answers are sent.
    pub rate: Rate,
}

/// The snapshot. Layers that a change does not touch are shared with the policy before.
#[derive(Clone)]
pub struct Policy {
    /// Its number.
    pub generation: Generation,
    /// The policy since which idle limits are as they are.
    pub idle_since: Generation,
    /// The policy since which all is as it is that says where packets go and what is rewritten: only
    /// filters have changed.
    pub ways_since: Generation,
    /// What decides.
    pub rules: PolicyRules,
}

impl Policy {
    /// The first policy of a port.
    pub const fn first(generation: Generation, rules: PolicyRules) -> Self {
        Self { generation, idle_since: generation, ways_since: generation, rules }
    }

    /// The policy that comes after this one.
    #[must_use]
    pub fn next(&self, generation: Generation, rules: PolicyRules) -> Self {
        let since = |same: bool, before: Generation| if same { before } else { generation };
        let idle_since = since(self.rules.idle == rules.idle, self.idle_since);
        let ways_since = since(self.rules.has_ways_of(&rules), self.ways_since);
        Self { generation, idle_since, ways_since, rules }
    }
}

/// A policy without its number.
#[derive(Clone)]
pub struct PolicyRules {
    /// In the order in which outbound packets pass them.
    pub layers: Vec<Arc<Layer>>,
    /// Tables that all ports of a host share. The engine does not look into them; actions do, by
    /// [`crate::walk::Walk::host_tables`].
    pub host_tables: Arc<dyn Any + Send + Sync>,
    /// How long flows live without packets.
    pub idle: IdleLimits,
    /// TCP connections of which the first segment seen is no SYN may have flows.
    pub pick_up: bool,
    /// What senders are told of packets that do not pass.
    pub answers: AnswerPolicy,
    /// Identifications for IPv4 fragments from addresses outside that the port shares with others.
    pub shared: Vec<Arc<Identifications>>,
}

impl PolicyRules {
    /// Layers and shared tables are the very same, or those that `except` names.
    fn has_parts_of(&self, other: &Self, except: impl Fn(&Layer) -> bool) -> bool {
        let same = |(a, b): (&Arc<Layer>, &Arc<Layer>)| {
            Arc::ptr_eq(a, b) || (except(a) && except(b) && a.name == b.name)
        };
        Arc::ptr_eq(&self.host_tables, &other.host_tables)
            && self.layers.len() == other.layers.len()
            && self.layers.iter().zip(&other.layers).all(same)
    }

    /// A connection that both let be has the same way and the same translation by both.
    fn has_ways_of(&self, other: &Self) -> bool {
        self.has_parts_of(other, Layer::only_filters)
    }

    /// Made of the very same parts: there is nothing to publish.
    pub fn is_same(&self, other: &Self) -> bool {
        self.idle == other.idle
            && self.pick_up == other.pick_up
            && self.answers == other.answers
            && self.shared.len() == other.shared.len()
            && self.shared.iter().zip(&other.shared).all(|(a, b)| Arc::ptr_eq(a, b))
            && self.has_parts_of(other, |_| false)
    }
}
