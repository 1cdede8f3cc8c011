// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Prefixes that a guest may use besides its own addresses: subnets that are attached to it, and
//! prefixes for which it is a router.

use alloc::collections::BTreeMap;
use alloc::format;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use opte_api::{Direction, IpCidr, OpteError};
use serde::{Deserialize, Serialize};

/// Most attached subnets and transit prefixes of one port, together.
pub const MAX_PREFIXES: usize = 256;

/// How a subnet is attached to a guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Attachment {
    /// Its addresses are known outside: they leave the VPC untranslated, and only that way.
    External,
    /// Its addresses are known inside the VPC; towards the outside they are translated.
    Internal,
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::External => "external",
            Self::Internal => "internal",
        })
    }
}

impl FromStr for Attachment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "external" => Ok(Self::External),
            "internal" => Ok(Self::Internal),
            _ => Err("a subnet is attached as external or internal"),
        }
    }
}

/// In which directions a prefix may be used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct Transit {
    /// As destination of what comes in.
    pub allow_in: bool,
    /// As source of what goes out.
    pub allow_out: bool,
}

impl Transit {
    /// Whether the prefix may be used in this direction.
    pub const fn allows(self, direction: Direction) -> bool {
        match direction {
            Direction::In => self.allow_in,
            Direction::Out => self.allow_out,
        }
    }

    /// The same with another word about one direction, or about both.
    #[must_use]
    pub const fn with(self, direction: Option<Direction>, allow: bool) -> Self {
        match direction {
            Some(Direction::In) => Self { allow_in: allow, ..self },
            Some(Direction::Out) => Self { allow_out: allow, ..self },
            None => Self { allow_in: allow, allow_out: allow },
        }
    }
}

/// What a guest may use besides its own addresses.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct Prefixes {
    /// Subnets attached to the guest, in both directions.
    pub attached: BTreeMap<IpCidr, Attachment>,
    /// Prefixes for which the guest is a router, by direction.
    pub transit: BTreeMap<IpCidr, Transit>,
}

impl Prefixes {
    /// Prefixes that may be used in this direction, without those attached as external.
    pub fn allowed(&self, direction: Direction) -> impl Iterator<Item = IpCidr> {
        let attached = self.attached.iter().filter(|(_, how)| **how == Attachment::Internal);
        let transit = self.transit.iter().filter(move |(_, transit)| transit.allows(direction));
        attached.map(|(prefix, _)| *prefix).chain(transit.map(|(prefix, _)| *prefix))
    }

    /// Subnets attached as external.
    pub fn external(&self) -> impl Iterator<Item = IpCidr> {
        let external = self.attached.iter().filter(|(_, how)| **how == Attachment::External);
        external.map(|(prefix, _)| *prefix)
    }

    /// Parts of prefixes allowed in this direction that no guest may use all the same.
    pub fn reserved(&self, direction: Direction) -> impl Iterator<Item = IpCidr> {
        let overlaps = move |range: &IpCidr| {
            self.transit.iter().any(|(prefix, how)| how.allows(direction) && meet(*prefix, *range))
        };
        reserved_ranges().filter(overlaps)
    }

    /// Checks number and use. `own` are the addresses of guest and gateway.
    pub fn validate(&self, own: impl Iterator<Item = IpAddr> + Clone) -> Result<(), OpteError> {
        if self.attached.len() + self.transit.len() > MAX_PREFIXES {
            let what = "attached subnets and transit prefixes".into();
            return Err(OpteError::Limit { what, limit: MAX_PREFIXES as u64 });
        }
        for prefix in self.attached.keys().chain(self.transit.keys()) {
            check_family(*prefix, own.clone())?;
        }
        for (subnet, how) in &self.attached {
            if let Some(range) = reserved_ranges().find(|range| meet(*subnet, *range)) {
                let why = format!("{subnet} meets {range}, which no guest may use");
                return Err(OpteError::invalid("attached subnet", why));
            }
            let ours = own.clone().find(|ip| subnet.contains(*ip));
            if let Some(ip) = ours.filter(|_| *how == Attachment::External) {
                let why = format!("{subnet} holds {ip}, which is inside the VPC");
                return Err(OpteError::invalid("external attached subnet", why));
            }
        }
        for prefix in self.transit.keys() {
            if let Some(range) = reserved_ranges().find(|range| within(*prefix, *range)) {
                let why = format!("{prefix} lies in {range}, which no guest may use");
                return Err(OpteError::invalid("transit prefix", why));
            }
        }
        Ok(())
    }
}

/// A prefix is of a family that the port speaks; `own` are addresses of the port.
pub fn check_family(
    prefix: IpCidr,
    mut own: impl Iterator<Item = IpAddr>,
) -> Result<(), OpteError> {
    if own.any(|ip| ip.is_ipv4() == prefix.is_ipv4()) {
        return Ok(());
    }
    let family = if prefix.is_ipv4() { "IPv4" } else { "IPv6" };
    Err(OpteError::invalid("prefix", format!("the port has no {family} address for {prefix}")))
}

/// Addresses that mean no one machine beyond a link (RFC 6890): "this network", loopback,
/// groups and broadcast; and in IPv6 the link-local ones and IPv4 in disguise.
fn reserved_ranges() -> impl Iterator<Item = IpCidr> {
    let v4 = |a: u8, len| (IpAddr::V4(Ipv4Addr::new(a, 0, 0, 0)), len);
    let v6 = |bits: u128, len| (IpAddr::V6(Ipv6Addr::from_bits(bits)), len);
    let ranges = [
        v4(0, 8),
        v4(127, 8),
        v4(224, 4),
        (IpAddr::V4(Ipv4Addr::BROADCAST), 32),
        v6(0, 127),
        v6(0xffff << 32, 96),
        v6(0xfe80 << 112, 10),
        v6(0xff << 120, 8),
    ];
    ranges.into_iter().filter_map(|(ip, len)| IpCidr::new(ip, len).ok())
}

fn meet(a: IpCidr, b: IpCidr) -> bool {
    within(a, b) || within(b, a)
}

fn within(inner: IpCidr, outer: IpCidr) -> bool {
    inner.prefix_len() >= outer.prefix_len() && outer.contains(inner.addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> impl Iterator<Item = IpAddr> + Clone {
        ["172.30.0.5", "172.30.0.1", "fd00::5"].into_iter().map(|text| text.parse().unwrap())
    }

    fn attached(subnet: &str, how: Attachment) -> Prefixes {
        let attached = [(subnet.parse().unwrap(), how)].into();
        Prefixes { attached, ..Prefixes::default() }
    }

    fn transit(prefix: &str) -> Prefixes {
        let both = Transit { allow_in: true, allow_out: true };
        let transit = [(prefix.parse().unwrap(), both)].into();
        Prefixes { transit, ..Prefixes::default() }
    }

    #[test]
    fn what_no_guest_may_use_is_refused() {
        use Attachment::{External, Internal};
        for (prefixes, good) in [
            (attached("203.0.113.0/28", External), true),
            (attached("2001:db8:5::/64", External), true),
            (attached("172.30.0.0/22", Internal), true),
            (attached("172.30.0.0/22", External), false),
            (attached("0.0.0.0/0", Internal), false),
            (attached("239.1.0.0/16", Internal), false),
            (attached("fe80::/64", Internal), false),
            (transit("0.0.0.0/0"), true),
            (transit("::/0"), true),
            (transit("127.0.0.0/8"), false),
            (transit("224.0.0.0/8"), false),
            (transit("ff05::/16"), false),
            (transit("::1/128"), false),
        ] {
            assert_eq!(prefixes.validate(own()).is_ok(), good, "{prefixes:?}");
        }
        let only_v4 = own().filter(IpAddr::is_ipv4);
        assert!(transit("fd77::/32").validate(only_v4).is_err());
    }

    #[test]
    fn there_are_not_too_many() {
        let mut prefixes = Prefixes::default();
        let prefix =
            |n: usize| IpCidr::new(Ipv4Addr::from_bits(10 << 24 | (n as u32) << 8).into(), 24);
        for n in 0..MAX_PREFIXES {
            prefixes.transit.insert(prefix(n).unwrap(), Transit::default());
        }
        assert!(prefixes.validate(own()).is_ok());
        prefixes.attached.insert(prefix(MAX_PREFIXES).unwrap(), Attachment::Internal);
        assert!(matches!(prefixes.validate(own()), Err(OpteError::Limit { .. })));
    }

    #[test]
    fn reserved_parts_of_what_is_allowed() {
        let mut prefixes = transit("0.0.0.0/0");
        assert_eq!(prefixes.reserved(Direction::Out).count(), 4);
        prefixes.transit.insert("fd77::/32".parse().unwrap(), Transit::default());
        assert_eq!(prefixes.reserved(Direction::In).count(), 4);
        assert_eq!(transit("10.0.0.0/8").reserved(Direction::Out).count(), 0);
        let out = Transit::default().with(Some(Direction::Out), true);
        prefixes.transit.insert("::/0".parse().unwrap(), out);
        assert_eq!(prefixes.reserved(Direction::Out).count(), 8);
        assert_eq!(prefixes.reserved(Direction::In).count(), 4);
    }
}
