// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Routes: where a destination leads.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use opte_api::{IpCidr, OpteError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where a route leads.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub enum RouterTarget {
    /// Nowhere: packets are dropped.
    Drop,
    /// To the outside, by the gateway named, or by the unnamed default gateway.
    InternetGateway(Option<Uuid>),
    /// To the guest with this address.
    Ip(IpAddr),
    /// To whichever guest of the subnet has the destination address.
    Subnet(IpCidr),
    /// Nowhere: packets are dropped, and their sender is told.
    Blackhole,
}

/// Who made a route. At equal prefix a custom route wins.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouterClass {
    /// Made by the tenant.
    Custom,
    /// Made by the system.
    System,
}

/// One route. Its identity is all of its fields.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub struct RouteEntry {
    /// Destination prefix.
    pub dest: IpCidr,
    /// Where it leads.
    pub target: RouterTarget,
    /// Who made it.
    pub class: RouterClass,
}

impl RouteEntry {
    /// Checks that destination and target go together.
    pub fn validate(&self) -> Result<(), OpteError> {
        let ipv4 = self.dest.is_ipv4();
        let same_family = match self.target {
            RouterTarget::Drop | RouterTarget::Blackhole | RouterTarget::InternetGateway(_) => true,
            RouterTarget::Ip(ip) => ip.is_ipv4() == ipv4,
            RouterTarget::Subnet(subnet) => subnet.is_ipv4() == ipv4,
        };
        if !same_family {
            let why = "destination and target must be of one address family";
            return Err(OpteError::invalid("route", why));
        }
        if self.target == RouterTarget::InternetGateway(Some(Uuid::nil())) {
            return Err(OpteError::invalid("route", "the nil UUID names no gateway"));
        }
        if self.dest.is_multicast() {
            return Err(OpteError::invalid("route", "multicast destinations are not routed"));
        }
        Ok(())
    }
}

/// Most routes with one prefix and class.
pub const MAX_EQUAL_ROUTES: usize = 64;
/// Share of a route that was given none.
pub const DEFAULT_WEIGHT: u16 = 1;

/// A route with its share: routes with one prefix and class share their connections out by weight.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub struct WeightedRoute {
    /// The route.
    pub route: RouteEntry,
    /// Its share, at least 1.
    pub weight: u16,
}

impl WeightedRoute {
    /// Checks the route and its share.
    pub fn validate(&self) -> Result<(), OpteError> {
        if self.weight == 0 {
            return Err(OpteError::invalid("route", "its weight must be at least 1"));
        }
        self.route.validate()
    }
}

impl From<RouteEntry> for WeightedRoute {
    fn from(route: RouteEntry) -> Self {
        Self { route, weight: DEFAULT_WEIGHT }
    }
}

/// A route as it is now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct RouteInfo {
    /// The route.
    pub route: RouteEntry,
    /// Its share among those of its prefix and class.
    pub weight: u16,
    /// No other route of its prefix stands before it.
    pub in_use: bool,
    /// Packets that it let open a connection, or ended.
    pub hits: u64,
}

impl fmt::Display for RouterTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop => f.write_str("drop"),
            Self::Blackhole => f.write_str("blackhole"),
            Self::InternetGateway(None) => f.write_str("ig"),
            Self::InternetGateway(Some(uuid)) => write!(f, "ig={uuid}"),
            Self::Ip(ip) => write!(f, "ip={ip}"),
            Self::Subnet(subnet) => write!(f, "subnet={subnet}"),
        }
    }
}

impl FromStr for RouterTarget {
    type Err = OpteError;

    fn from_str(text: &str) -> Result<Self, OpteError> {
        let bad = |why: &dyn fmt::Display| OpteError::invalid("route target", why);
        match text.split_once('=') {
            None if text == "drop" => Ok(Self::Drop),
            None if text == "blackhole" => Ok(Self::Blackhole),
            None if text == "ig" => Ok(Self::InternetGateway(None)),
            Some(("ig", uuid)) => {
                uuid.parse().map(|uuid| Self::InternetGateway(Some(uuid))).map_err(|e| bad(&e))
            }
            Some(("ip" | "ip4" | "ip6", ip)) => ip.parse().map(Self::Ip).map_err(|e| bad(&e)),
            Some(("subnet" | "sub4" | "sub6", subnet)) => {
                subnet.parse().map(Self::Subnet).map_err(|e| bad(&e))
            }
            _ => Err(bad(&"use drop, blackhole, ig, ig=UUID, ip=ADDRESS or subnet=PREFIX")),
        }
    }
}

impl fmt::Display for RouterClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Custom => "custom",
            Self::System => "system",
        })
    }
}

impl FromStr for RouterClass {
    type Err = OpteError;

    fn from_str(text: &str) -> Result<Self, OpteError> {
        match text {
            "custom" => Ok(Self::Custom),
            "system" => Ok(Self::System),
            _ => Err(OpteError::invalid("route class", "use system or custom")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn target_text_round_trips() {
        for text in [
            "drop",
            "blackhole",
            "ig",
            "ig=6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "ip=10.0.0.1",
            "subnet=fd00::/64",
        ] {
            assert_eq!(text.parse::<RouterTarget>().unwrap().to_string(), text);
        }
        for bad in ["", "ig=", "ip=x", "subnet=10.0.0.0", "gateway"] {
            assert!(bad.parse::<RouterTarget>().is_err(), "{bad}");
        }
    }

    #[test]
    fn families_must_agree() {
        let route = |dest: &str, target: &str| RouteEntry {
            dest: dest.parse().unwrap(),
            target: target.parse().unwrap(),
            class: RouterClass::System,
        };
        assert!(route("0.0.0.0/0", "ig").validate().is_ok());
        assert!(route("0.0.0.0/0", "ip=::1").validate().is_err());
        assert!(route("ff00::/8", "ig").validate().is_err());
    }
}
