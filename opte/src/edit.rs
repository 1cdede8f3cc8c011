// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Decided edits as registers: one optional value for each field that may be rewritten.
//!
//! Laws, held by property tests: [`HeaderEdit::then`] is associative, [`HeaderEdit::NONE`] is its
//! identity, and applying `a.then(b)` equals applying `a`, then `b`. So whatever many layers
//! decide folds into one edit.

use crate::care::Care;
use crate::flow_key::FlowKey;
use crate::headers::MacPair;
use crate::outer::Outer;
use core::fmt;
use core::net::IpAddr;
use opte_api::{MacAddr, Protocol};

/// What becomes of the outer headers.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum OuterEdit {
    /// They stay.
    #[default]
    Keep,
    /// They are taken off.
    Strip,
    /// These take the place of whatever there is.
    Set(Outer),
}

/// Edits of one packet, or of all packets that go one way within a flow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HeaderEdit {
    /// Inner source MAC.
    pub src_mac: Option<MacAddr>,
    /// Inner destination MAC.
    pub dst_mac: Option<MacAddr>,
    /// Source address, of the family that the packet has.
    pub src_ip: Option<IpAddr>,
    /// Destination address, of the family that the packet has.
    pub dst_ip: Option<IpAddr>,
    /// TCP or UDP source port.
    pub src_port: Option<u16>,
    /// TCP or UDP destination port.
    pub dst_port: Option<u16>,
    /// Identifier of an ICMP query.
    pub echo_id: Option<u16>,
    /// Outer headers.
    pub outer: OuterEdit,
    /// What is asked of the packet besides.
    pub care: Option<Care>,
}

impl HeaderEdit {
    /// Changes nothing.
    pub const NONE: Self = Self {
        src_mac: None,
        dst_mac: None,
        src_ip: None,
        dst_ip: None,
        src_port: None,
        dst_port: None,
        echo_id: None,
        outer: OuterEdit::Keep,
        care: None,
    };

    /// This edit, and then `next`: field by field what `next` says, else what this one says.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self {
            src_mac: next.src_mac.or(self.src_mac),
            dst_mac: next.dst_mac.or(self.dst_mac),
            src_ip: next.src_ip.or(self.src_ip),
            dst_ip: next.dst_ip.or(self.dst_ip),
            src_port: next.src_port.or(self.src_port),
            dst_port: next.dst_port.or(self.dst_port),
            echo_id: next.echo_id.or(self.echo_id),
            outer: if next.outer == OuterEdit::Keep { self.outer } else { next.outer },
            care: next.care.or(self.care),
        }
    }

    /// What this edit says otherwise than one that it was made of.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        fn new<T: Copy + PartialEq>(now: Option<T>, before: Option<T>) -> Option<T> {
            now.filter(|_| now != before)
        }
        Self {
            src_mac: new(self.src_mac, before.src_mac),
            dst_mac: new(self.dst_mac, before.dst_mac),
            src_ip: new(self.src_ip, before.src_ip),
            dst_ip: new(self.dst_ip, before.dst_ip),
            src_port: new(self.src_port, before.src_port),
            dst_port: new(self.dst_port, before.dst_port),
            echo_id: new(self.echo_id, before.echo_id),
            outer: if self.outer == before.outer { OuterEdit::Keep } else { self.outer },
            care: new(self.care, before.care),
        }
    }

    /// The key that a packet has after this edit.
    #[must_use]
    pub fn key(&self, mut key: FlowKey) -> FlowKey {
        key = self.src_ip.map_or(key, |ip| key.with_src(ip));
        key = self.dst_ip.map_or(key, |ip| key.with_dst(ip));
        if key.is_icmp() {
            let id = self.echo_id.filter(|_| key.is_query());
            return id.map_or(key, |id| key.with_dst_port(id));
        }
        if !matches!(key.protocol(), Protocol::TCP | Protocol::UDP) {
            return key;
        }
        key = self.src_port.map_or(key, |port| key.with_src_port(port));
        self.dst_port.map_or(key, |port| key.with_dst_port(port))
    }

    /// The MAC addresses that a packet has after this edit.
    #[must_use]
    pub fn macs(&self, macs: MacPair) -> MacPair {
        MacPair::new(self.dst_mac.unwrap_or(macs.dst()), self.src_mac.unwrap_or(macs.src()))
    }
}

/// Words `field=value`, with spaces between them.
impl fmt::Display for HeaderEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut word = |name: &str, value: Option<&dyn fmt::Display>| -> fmt::Result {
            let Some(value) = value else { return Ok(()) };
            write!(f, "{separator}{name}={value}")?;
            separator = " ";
            Ok(())
        };
        fn shown<T: fmt::Display>(value: &Option<T>) -> Option<&dyn fmt::Display> {
            value.as_ref().map(|value| value as &dyn fmt::Display)
        }
        word("src_mac", shown(&self.src_mac))?;
        word("dst_mac", shown(&self.dst_mac))?;
        word("src_ip", shown(&self.src_ip))?;
        word("dst_ip", shown(&self.dst_ip))?;
        word("src_port", shown(&self.src_port))?;
        word("dst_port", shown(&self.dst_port))?;
        word("echo_id", shown(&self.echo_id))?;
        match &self.outer {
            OuterEdit::Keep => {}
            OuterEdit::Strip => word("outer", Some(&"strip"))?,
            OuterEdit::Set(outer) => {
                word("underlay", Some(&outer.dst))?;
                word("vni", Some(&outer.vni))?;
            }
        }
        let Some(care) = &self.care else { return Ok(()) };
        let number = |value: u16| Some(value).filter(|value| *value != 0);
        word("hop", care.hop.then_some(&"counted" as &dyn fmt::Display))?;
        word("longest", shown(&number(care.longest)))?;
        word("segment", shown(&number(care.segment)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use proptest::prelude::*;

    fn mac() -> impl Strategy<Value = Option<MacAddr>> {
        proptest::option::of(any::<[u8; 6]>().prop_map(MacAddr))
    }

    fn ipv4() -> impl Strategy<Value = Option<IpAddr>> {
        proptest::option::of(any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()))
    }

    /// Edits of IPv4 packets.
    pub fn edits() -> impl Strategy<Value = HeaderEdit> {
        let port = || proptest::option::of(any::<u16>());
        (mac(), mac(), ipv4(), ipv4(), port(), port(), port(), any::<bool>()).prop_map(
            |(src_mac, dst_mac, src_ip, dst_ip, src_port, dst_port, echo_id, strip)| HeaderEdit {
                src_mac,
                dst_mac,
                src_ip,
                dst_ip,
                src_port,
                dst_port,
                echo_id,
                outer: if strip { OuterEdit::Strip } else { OuterEdit::Keep },
                care: strip.then(|| Care { hop: strip, ..Care::default() }),
            },
        )
    }

    proptest! {
        #[test]
        fn then_is_a_monoid(a in edits(), b in edits(), c in edits()) {
            prop_assert_eq!(a.then(b).then(c), a.then(b.then(c)));
            prop_assert_eq!(a.then(HeaderEdit::NONE), a);
            prop_assert_eq!(HeaderEdit::NONE.then(a), a);
            // What a step has changed is what it takes to get there.
            prop_assert_eq!(a.then(a.then(b).since(&a)), a.then(b));
        }
    }
}
