// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Multicast: which group of the underlay carries a group of the guests, where packets to it are
//! sent, and which ports hear it.

use crate::PortName;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::str::FromStr;
use opte_api::{OpteError, Vni};
use serde::{Deserialize, Serialize};

/// VNI of multicast: groups are the same for all VPCs.
pub const MULTICAST_VNI: u32 = 77;
/// Most sources that a filter names.
pub const MAX_SOURCES: usize = 64;
/// Most next hops of one underlay group.
pub const MAX_NEXT_HOPS: usize = 64;
/// Most groups that are mapped, and most underlay groups with next hops.
pub const MAX_GROUPS: usize = 1 << 16;
/// Most groups that one port hears.
pub const MAX_SUBSCRIPTIONS: usize = 1024;

/// An address of the scope that underlay groups have (admin-local, RFC 7346): ff04::/16.
pub const fn is_underlay_group(ip: Ipv6Addr) -> bool {
    ip.segments()[0] == 0xff04
}

/// Which underlay group carries a group.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub struct M2pEntry {
    /// Group of the guests.
    pub group: IpAddr,
    /// Group of the underlay.
    pub underlay: Ipv6Addr,
}

impl M2pEntry {
    /// Checks both.
    pub fn validate(&self) -> Result<(), OpteError> {
        check_group(self.group)?;
        check_underlay(self.underlay)
    }
}

/// It is a group.
pub fn check_group(group: IpAddr) -> Result<(), OpteError> {
    if group.is_multicast() {
        return Ok(());
    }
    Err(OpteError::invalid("multicast group", format!("{group} is no multicast address")))
}

/// It is an underlay group.
pub fn check_underlay(underlay: Ipv6Addr) -> Result<(), OpteError> {
    if is_underlay_group(underlay) {
        return Ok(());
    }
    Err(OpteError::invalid("underlay group", format!("{underlay} is outside of ff04::/16")))
}

/// To whom a next hop passes a packet on.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Replication {
    /// To listeners outside.
    External,
    /// To other hosts.
    Underlay,
    /// To both.
    Both,
}

impl Replication {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::External, Self::Underlay, Self::Both];

    /// The two bits that say so in a packet.
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::External => "external",
            Self::Underlay => "underlay",
            Self::Both => "both",
        })
    }
}

impl FromStr for Replication {
    type Err = OpteError;

    fn from_str(text: &str) -> Result<Self, OpteError> {
        match text {
            "external" => Ok(Self::External),
            "underlay" => Ok(Self::Underlay),
            "both" => Ok(Self::Both),
            _ => Err(OpteError::invalid("replication", "use external, underlay or both")),
        }
    }
}

/// Whether a filter names those who are heard, or those who are not (RFC 3376, section 2).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterMode {
    /// Only those named.
    Include,
    /// All but those named.
    #[default]
    Exclude,
}

/// Which sources are heard. The default excludes nobody; to include nobody is to hear nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct SourceFilter {
    /// How the sources are meant.
    pub mode: FilterMode,
    /// Whom it names.
    pub sources: BTreeSet<IpAddr>,
}

impl SourceFilter {
    /// A packet from there passes.
    pub fn allows(&self, source: IpAddr) -> bool {
        self.sources.contains(&source) == matches!(self.mode, FilterMode::Include)
    }

    /// Checks that it names few sources, and hosts only.
    pub fn validate(&self) -> Result<(), OpteError> {
        if self.sources.len() > MAX_SOURCES {
            let what = "sources of a filter".into();
            return Err(OpteError::Limit { what, limit: MAX_SOURCES as u64 });
        }
        match self.sources.iter().find(|source| !is_source(**source)) {
            None => Ok(()),
            Some(source) => {
                let why = format!("{source} is no address that a guest sends from");
                Err(OpteError::invalid("source filter", why))
            }
        }
    }
}

fn is_source(ip: IpAddr) -> bool {
    let is_odd = match ip {
        IpAddr::V4(ip) => ip.is_broadcast() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(is_odd || ip.is_multicast() || ip.is_unspecified() || ip.is_loopback())
}

impl fmt::Display for SourceFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match (self.mode, self.sources.is_empty()) {
            (FilterMode::Exclude, true) => return f.write_str("any"),
            (FilterMode::Include, true) => return f.write_str("none"),
            (FilterMode::Exclude, false) => "exclude=",
            (FilterMode::Include, false) => "include=",
        };
        for (at, source) in self.sources.iter().enumerate() {
            write!(f, "{}{source}", if at == 0 { mode } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for SourceFilter {
    type Err = OpteError;

    fn from_str(text: &str) -> Result<Self, OpteError> {
        let form = "use any, none, include=ADDRESS,... or exclude=ADDRESS,...";
        let bad = || OpteError::invalid("source filter", form);
        let (mode, sources) = match (text, text.split_once('=')) {
            ("any", _) => (FilterMode::Exclude, ""),
            ("none", _) => (FilterMode::Include, ""),
            (_, Some(("exclude", sources))) => (FilterMode::Exclude, sources),
            (_, Some(("include", sources))) => (FilterMode::Include, sources),
            _ => return Err(bad()),
        };
        let words = sources.split(',').filter(|_| text.contains('='));
        let sources = words.map(|word| word.parse().map_err(|_| bad()));
        Ok(Self { mode, sources: sources.collect::<Result<_, _>>()? })
    }
}

/// A next hop of an underlay group.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct NextHop {
    /// Where the packet is sent next: a switch or a host, which passes it on.
    pub addr: Ipv6Addr,
    /// Virtual network, which is that of multicast.
    pub vni: Vni,
    /// To whom it passes the packet on.
    pub replication: Replication,
    /// Sources whose packets somebody behind it hears.
    pub filter: SourceFilter,
}

impl NextHop {
    /// Checks all of it.
    pub fn validate(&self) -> Result<(), OpteError> {
        if self.addr.is_multicast() || self.addr.is_unspecified() {
            let why = format!("{} is no unicast address", self.addr);
            return Err(OpteError::invalid("next hop", why));
        }
        if self.vni.get() != MULTICAST_VNI {
            let why = format!("its VNI is {}, but that of multicast is {MULTICAST_VNI}", self.vni);
            return Err(OpteError::invalid("next hop", why));
        }
        self.filter.validate()
    }
}

/// An underlay group and where packets to it are sent.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct ForwardingEntry {
    /// Group of the underlay.
    pub underlay: Ipv6Addr,
    /// Each gets a copy.
    pub next_hops: Vec<NextHop>,
}

/// A port that hears a group.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Subscriber {
    /// The port.
    pub port: PortName,
    /// Whom it hears there.
    pub filter: SourceFilter,
}

/// A group and who hears it.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct SubscriptionEntry {
    /// Group of the guests.
    pub group: IpAddr,
    /// The underlay group that carries it; without one nobody hears anything.
    pub underlay: Option<Ipv6Addr>,
    /// Ports of this host.
    pub subscribers: Vec<Subscriber>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn filters_include_and_exclude() {
        let allows = |filter: &str, source: &str| {
            filter.parse::<SourceFilter>().unwrap().allows(source.parse().unwrap())
        };
        assert!(allows("any", "10.0.0.1") && !allows("none", "10.0.0.1"));
        assert!(allows("include=10.0.0.1,fd00::1", "fd00::1"));
        assert!(!allows("include=10.0.0.1", "10.0.0.2"));
        assert!(!allows("exclude=10.0.0.1", "10.0.0.1"));
        assert!(allows("exclude=10.0.0.1", "10.0.0.2"));
        assert_eq!(SourceFilter::default().to_string(), "any");
        for text in ["any", "none", "include=10.0.0.1,fd00::1", "exclude=10.0.0.1"] {
            assert_eq!(text.parse::<SourceFilter>().unwrap().to_string(), text);
        }
        for bad in ["", "all", "include", "include=", "exclude=10.0.0.1,", "only=10.0.0.1"] {
            assert!(bad.parse::<SourceFilter>().is_err(), "{bad}");
        }
    }

    #[test]
    fn filters_name_hosts() {
        for bad in ["224.0.0.1", "0.0.0.0", "127.0.0.1", "255.255.255.255", "169.254.1.1"]
            .into_iter()
            .chain(["ff04::1", "::", "::1", "fe80::1"])
        {
            let filter =
                SourceFilter { sources: [bad.parse().unwrap()].into(), ..Default::default() };
            assert!(filter.validate().unwrap_err().to_string().contains(bad), "{bad}");
        }
        let many = (0..=MAX_SOURCES as u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()));
        let filter = SourceFilter { sources: many.collect(), ..Default::default() };
        assert!(matches!(filter.validate(), Err(OpteError::Limit { limit: 64, .. })));
    }

    #[test]
    fn groups_and_next_hops_are_checked() {
        let entry = |group: &str, underlay: &str| {
            M2pEntry { group: group.parse().unwrap(), underlay: underlay.parse().unwrap() }
                .validate()
                .is_ok()
        };
        assert!(entry("239.1.1.1", "ff04::1") && entry("ff05::1", "ff04::1"));
        assert!(!entry("10.0.0.1", "ff04::1") && !entry("239.1.1.1", "ff05::1"));
        let hop = |addr: &str, vni| NextHop {
            addr: addr.parse().unwrap(),
            vni: Vni::new(vni).unwrap(),
            replication: Replication::Both,
            filter: SourceFilter::default(),
        };
        assert!(hop("fd00::1", 77).validate().is_ok());
        assert!(hop("fd00::1", 99).validate().is_err());
        assert!(hop("ff04::1", 77).validate().is_err());
        for mode in Replication::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
    }
}
