// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Which part of something large one wants to see: filters, and pages.
//!
//! Pages hold under change: what is there from the first page of a dump to its last is shown
//! exactly once; what comes or goes meanwhile is shown once or not at all. A cursor says where the
//! last page ended, is of use with the same request only, and never becomes invalid.

use crate::request::{DumpLayer, DumpTcpFlows, DumpUft, DumpV2b, DumpV2p};
use crate::{PortName, PortRange};
use alloc::string::String;
use core::net::IpAddr;
use opte_api::{Direction, FlowId, IpCidr, OpteError, Protocol, Vni};
use serde::{Deserialize, Serialize};

/// Most entries of a page, and how many it has unless told otherwise.
pub const MAX_PAGE: u32 = 16_384;
/// Most entries that are looked at for a page: a filter that few match does not hold up other
/// requests. A page may so be empty and yet have another behind it.
pub const MAX_LOOKED_AT: u32 = 262_144;

/// The names of TCP states, as dumps show them and filters take them.
pub const TCP_STATES: &[&str] = &[
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RCVD",
    "ESTABLISHED",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "CLOSE_WAIT",
    "CLOSING",
    "LAST_ACK",
    "TIME_WAIT",
];

/// A part of a dump.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Page<C> {
    /// Where the page before ended: its `next`. `None` for the first page.
    pub after: Option<C>,
    /// Most entries of this page; 0, or more than [`MAX_PAGE`], is that.
    pub limit: u32,
}

impl<C> Default for Page<C> {
    fn default() -> Self {
        Self { after: None, limit: 0 }
    }
}

impl<C> Page<C> {
    /// Most entries of this page.
    pub fn limit(&self) -> usize {
        let limit = if self.limit == 0 { MAX_PAGE } else { self.limit.min(MAX_PAGE) };
        limit as usize
    }
}

/// Which flows. What is not said does not matter; all that is said must hold of packets of one of
/// the flow's two directions, as they come: so the guest's own addresses and external ones are
/// both found.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FlowFilter {
    /// IP protocol.
    pub protocol: Option<Protocol>,
    /// Source addresses.
    pub src: Option<IpCidr>,
    /// Destination addresses.
    pub dst: Option<IpCidr>,
    /// Source or destination port; for ICMP the echo identifier.
    pub port: Option<PortRange>,
    /// State of the TCP connection, one of [`TCP_STATES`] in any case.
    pub state: Option<String>,
    /// Which way the connection was opened.
    pub opened: Option<Direction>,
}

impl FlowFilter {
    /// Nothing is said: every flow matches.
    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }

    /// Checks names and ranges.
    pub fn validate(&self) -> Result<(), OpteError> {
        if let Some(state) = &self.state
            && !TCP_STATES.iter().any(|known| known.eq_ignore_ascii_case(state))
        {
            let why = alloc::format!("'{state}' is none of {}", TCP_STATES.join(", "));
            return Err(OpteError::invalid("TCP state", why));
        }
        if let Some(range) = self.port.filter(|range| range.first > range.last) {
            return Err(OpteError::invalid("port range", alloc::format!("{range} is no range")));
        }
        Ok(())
    }

    /// A flow with packets like these, out and in, is meant.
    pub fn matches(&self, keys: &[FlowId; 2], state: Option<&str>, opened: Direction) -> bool {
        let state_fits = self
            .state
            .as_ref()
            .is_none_or(|wanted| state.is_some_and(|state| wanted.eq_ignore_ascii_case(state)));
        state_fits
            && self.opened.is_none_or(|wanted| wanted == opened)
            && keys.iter().any(|key| self.fits(key))
    }

    fn fits(&self, key: &FlowId) -> bool {
        let inside = |prefix: &Option<IpCidr>, ip| prefix.is_none_or(|prefix| prefix.contains(ip));
        let icmp = matches!(key.protocol, Protocol::ICMP | Protocol::ICMPV6);
        let port_fits = self.port.is_none_or(|PortRange { first, last }| {
            let in_range = |port| (first..=last).contains(&port);
            in_range(key.dst_port) || (!icmp && in_range(key.src_port))
        });
        self.protocol.is_none_or(|protocol| protocol == key.protocol)
            && inside(&self.src, key.src)
            && inside(&self.dst, key.dst)
            && port_fits
    }
}

/// Which mappings.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MappingFilter {
    /// The VPC.
    pub vni: Option<Vni>,
    /// Addresses of guests; or prefixes that hold, or lie in, this one.
    pub within: Option<IpCidr>,
}

impl MappingFilter {
    /// A guest is meant.
    pub fn has_guest(&self, vni: Vni, ip: IpAddr) -> bool {
        self.vni.is_none_or(|wanted| wanted == vni)
            && self.within.is_none_or(|prefix| prefix.contains(ip))
    }

    /// A prefix towards the outside is meant.
    pub fn has_prefix(&self, prefix: IpCidr) -> bool {
        self.within.is_none_or(|within| {
            let (long, short) = if within.prefix_len() > prefix.prefix_len() {
                (within, prefix)
            } else {
                (prefix, within)
            };
            short.contains(long.addr())
        })
    }
}

impl DumpLayer {
    /// The first page of all flows of a layer.
    pub fn of(port: PortName, layer: impl Into<String>) -> Self {
        let (filter, page) = Default::default();
        Self { port, layer: layer.into(), filter, page }
    }
}

impl DumpUft {
    /// The first page of all flows of a port.
    pub fn of(port: PortName) -> Self {
        let (filter, page) = Default::default();
        Self { port, filter, page }
    }
}

impl DumpTcpFlows {
    /// The first page of all connections of a port.
    pub fn of(port: PortName) -> Self {
        let (filter, page) = Default::default();
        Self { port, filter, page }
    }
}

impl Default for DumpV2p {
    fn default() -> Self {
        let (filter, page) = Default::default();
        Self { filter, page }
    }
}

impl Default for DumpV2b {
    fn default() -> Self {
        let (filter, page) = Default::default();
        Self { filter, page }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(protocol: Protocol, src: &str, src_port: u16, dst: &str, dst_port: u16) -> FlowId {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        FlowId { protocol, src, src_port, dst, dst_port }
    }

    fn web() -> [FlowId; 2] {
        [
            id(Protocol::TCP, "172.30.0.5", 40000, "198.51.100.9", 443),
            id(Protocol::TCP, "198.51.100.9", 443, "203.0.113.7", 16384),
        ]
    }

    fn filter(change: impl FnOnce(&mut FlowFilter)) -> FlowFilter {
        let mut filter = FlowFilter::default();
        change(&mut filter);
        filter
    }

    fn range(first: u16, last: u16) -> Option<PortRange> {
        Some(PortRange { first, last })
    }

    #[test]
    fn all_that_is_said_must_hold_of_one_direction() {
        let prefix = |text: &str| Some(text.parse().unwrap());
        let meant =
            |filter: &FlowFilter| filter.matches(&web(), Some("ESTABLISHED"), Direction::Out);
        for (expected, filter) in [
            (true, FlowFilter::default()),
            (true, filter(|f| f.protocol = Some(Protocol::TCP))),
            (false, filter(|f| f.protocol = Some(Protocol::UDP))),
            (true, filter(|f| f.src = prefix("172.30.0.0/16"))),
            (true, filter(|f| f.src = prefix("198.51.100.0/24"))),
            (true, filter(|f| f.dst = prefix("203.0.113.7/32"))),
            (false, filter(|f| f.dst = prefix("172.30.0.5/32"))),
            (true, filter(|f| f.port = range(443, 443))),
            (true, filter(|f| f.port = range(16000, 17000))),
            (false, filter(|f| f.port = range(1, 442))),
            // Each holds of some direction, but not of the same.
            (
                false,
                filter(|f| (f.src, f.dst) = (prefix("172.30.0.5/32"), prefix("203.0.113.7/32"))),
            ),
            (true, filter(|f| f.state = Some("established".into()))),
            (false, filter(|f| f.state = Some("CLOSING".into()))),
            (true, filter(|f| f.opened = Some(Direction::Out))),
            (false, filter(|f| f.opened = Some(Direction::In))),
        ] {
            assert_eq!(meant(&filter), expected, "{filter:?}");
            assert_eq!(filter.is_any(), filter == FlowFilter::default());
        }
    }

    #[test]
    fn icmp_has_an_identifier_and_no_state() {
        let key = id(Protocol::ICMP, "10.0.0.1", 8 << 8, "10.0.0.2", 77);
        let meant = |f: &FlowFilter| f.matches(&[key, key], None, Direction::Out);
        assert!(meant(&filter(|f| f.port = range(77, 77))));
        assert!(!meant(&filter(|f| f.port = range(8 << 8, 8 << 8))), "type and code are no port");
        assert!(!meant(&filter(|f| f.state = Some("ESTABLISHED".into()))));
    }

    #[test]
    fn filters_are_checked() {
        assert!(filter(|f| f.state = Some("time_wait".into())).validate().is_ok());
        let error = filter(|f| f.state = Some("open".into())).validate().unwrap_err();
        assert!(alloc::format!("{error}").contains("ESTABLISHED"), "{error}");
        assert!(filter(|f| f.port = range(9, 3)).validate().is_err());
    }

    #[test]
    fn prefixes_that_hold_or_lie_in_another_are_meant() {
        let within = |text: &str| MappingFilter { within: text.parse().ok(), vni: None };
        let prefix = |text: &str| text.parse::<IpCidr>().unwrap();
        assert!(within("10.1.0.0/16").has_prefix(prefix("10.0.0.0/8")));
        assert!(within("10.0.0.0/8").has_prefix(prefix("10.1.0.0/16")));
        assert!(!within("10.1.0.0/16").has_prefix(prefix("10.2.0.0/16")));
        assert!(!within("10.0.0.0/8").has_prefix(prefix("::/0")));
        assert!(MappingFilter::default().has_prefix(prefix("::/0")));
    }

    #[test]
    fn pages_are_bounded() {
        let limit = |limit| Page::<u32> { after: None, limit }.limit();
        assert_eq!([limit(0), limit(7), limit(u32::MAX)], [16_384, 7, 16_384]);
    }
}
