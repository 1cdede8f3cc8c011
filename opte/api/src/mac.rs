// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Ethernet addresses.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MacAddr(pub [u8; 6]);

/// The text is not six colon-separated octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a MAC address is six hexadecimal octets with colons, as in a8:40:25:f0:00:01")]
pub struct MacParseError;

impl MacAddr {
    /// All ones.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The group bit is set (broadcast included).
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The link-local address of this interface: fe80::/64 and the modified EUI-64
    /// (RFC 4291, appendix A).
    pub const fn link_local(self) -> Ipv6Addr {
        let m = self.0;
        Ipv6Addr::from_octets([
            0xfe,
            0x80,
            0,
            0,
            0,
            0,
            0,
            0,
            m[0] ^ 2,
            m[1],
            m[2],
            0xff,
            0xfe,
            m[3],
            m[4],
            m[5],
        ])
    }

    /// The Ethernet group of an IPv6 group (RFC 2464, section 7).
    pub const fn from_ipv6_group(group: Ipv6Addr) -> Self {
        let g = group.octets();
        Self([0x33, 0x33, g[12], g[13], g[14], g[15]])
    }

    /// The Ethernet group of an IP group: of IPv4 the lower 23 bits (RFC 1112, section 6.4).
    pub const fn from_group(group: IpAddr) -> Self {
        match group {
            IpAddr::V4(group) => {
                let [_, a, b, c] = group.octets();
                Self([0x01, 0x00, 0x5e, a & 0x7f, b, c])
            }
            IpAddr::V6(group) => Self::from_ipv6_group(group),
        }
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = MacParseError;

    fn from_str(text: &str) -> Result<Self, MacParseError> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|p| (1..=2).contains(&p.len())).ok_or(MacParseError)?;
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(MacParseError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| MacParseError)?;
        }
        if parts.next().is_some() { Err(MacParseError) } else { Ok(Self(octets)) }
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = alloc::string::String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 6]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn text_round_trip_and_rejects() {
        let mac: MacAddr = "a8:40:25:fa:fa:37".parse().unwrap();
        assert_eq!(mac.to_string(), "a8:40:25:fa:fa:37");
        for bad in
            ["", "a8:40:25:fa:fa", "a8:40:25:fa:fa:37:00", "+8:40:25:fa:fa:37", "a84:0:0:0:0:0"]
        {
            assert_eq!(bad.parse::<MacAddr>(), Err(MacParseError), "{bad}");
        }
    }

    #[test]
    fn groups_have_a_group_address() {
        for (group, mac) in [
            ("239.129.2.3", "01:00:5e:01:02:03"),
            ("224.0.0.1", "01:00:5e:00:00:01"),
            ("ff05::1:3", "33:33:00:01:00:03"),
        ] {
            assert_eq!(MacAddr::from_group(group.parse().unwrap()).to_string(), mac);
        }
    }

    #[test]
    fn link_local_flips_the_universal_bit() {
        let mac = MacAddr([0xa8, 0x40, 0x25, 0xff, 0x77, 0x77]);
        assert_eq!(mac.link_local().to_string(), "fe80::aa40:25ff:feff:7777");
    }
}
