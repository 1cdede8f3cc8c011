// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Address prefixes of both families as one type.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A prefix. Host bits are zero, always: construction masks them off.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IpCidr {
    addr: IpAddr,
    len: u8,
}

/// Why a text or a pair is no prefix.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CidrParseError {
    /// No `address/length`.
    #[error("a prefix is an address, a slash and a length, as in 172.30.0.0/22 or fd00::/64")]
    Form,
    /// The length is over 32 (IPv4) or 128 (IPv6).
    #[error("prefix length {0} is longer than the address")]
    Length(u8),
}

impl IpCidr {
    /// The prefix of `len` bits that holds `addr`.
    pub fn new(addr: IpAddr, len: u8) -> Result<Self, CidrParseError> {
        let width = width(addr);
        if len > width {
            return Err(CidrParseError::Length(len));
        }
        let bits = to_bits(addr) & mask(len, width);
        Ok(Self { addr: from_bits(bits, addr.is_ipv4()), len })
    }

    /// The prefix that holds `addr` alone.
    pub const fn host(addr: IpAddr) -> Self {
        Self { addr, len: width(addr) }
    }

    /// All multicast groups of a family (RFC 1112, section 4; RFC 4291, section 2.7).
    pub const fn groups(ipv4: bool) -> Self {
        if ipv4 {
            Self { addr: IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), len: 4 }
        } else {
            Self { addr: IpAddr::V6(Ipv6Addr::from_bits(0xff << 120)), len: 8 }
        }
    }

    /// The first address of the prefix.
    pub const fn addr(self) -> IpAddr {
        self.addr
    }

    /// The prefix length in bits.
    pub const fn prefix_len(self) -> u8 {
        self.len
    }

    /// Holds IPv4 addresses.
    pub const fn is_ipv4(self) -> bool {
        self.addr.is_ipv4()
    }

    /// Holds `addr`; false for the other family.
    pub fn contains(self, addr: IpAddr) -> bool {
        addr.is_ipv4() == self.is_ipv4()
            && (to_bits(addr) ^ to_bits(self.addr)) & mask(self.len, width(addr)) == 0
    }

    /// Shares an address with `other`.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.addr) || other.contains(self.addr)
    }

    /// Bits of an address behind the prefix.
    pub const fn host_len(self) -> u8 {
        width(self.addr) - self.len
    }

    /// What `addr` has behind the prefix.
    pub fn host_bits(self, addr: IpAddr) -> u128 {
        to_bits(addr) & !mask(self.len, width(addr))
    }

    /// The address of the prefix that has this behind it; what does not fit is left out.
    pub fn with_host_bits(self, bits: u128) -> IpAddr {
        let width = width(self.addr);
        let all = if width == 128 { u128::MAX } else { (1 << width) - 1 };
        from_bits(to_bits(self.addr) | bits & all & !mask(self.len, width), self.is_ipv4())
    }

    /// Lies in the multicast range of its family.
    pub fn is_multicast(self) -> bool {
        let groups = Self::groups(self.is_ipv4());
        self.len >= groups.len && groups.contains(self.addr)
    }

    /// The address bits, left-aligned in 128, as longest-prefix tries want them.
    pub fn left_aligned_bits(self) -> u128 {
        to_bits(self.addr) << (128 - u32::from(width(self.addr)))
    }
}

const fn width(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn to_bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => a.to_bits().into(),
        IpAddr::V6(a) => a.to_bits(),
    }
}

fn from_bits(bits: u128, ipv4: bool) -> IpAddr {
    // The bits of an IPv4 address are masked to 32 by every caller.
    if ipv4 { Ipv4Addr::from_bits(bits as u32).into() } else { Ipv6Addr::from_bits(bits).into() }
}

fn mask(len: u8, width: u8) -> u128 {
    let host_bits = u32::from(width - len);
    let all = if width == 128 { u128::MAX } else { (1 << width) - 1 };
    all & u128::MAX.checked_shl(host_bits).unwrap_or(0)
}

impl fmt::Display for IpCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl FromStr for IpCidr {
    type Err = CidrParseError;

    fn from_str(text: &str) -> Result<Self, CidrParseError> {
        let (addr, len) = text.split_once('/').ok_or(CidrParseError::Form)?;
        let addr = addr.parse().map_err(|_| CidrParseError::Form)?;
        if len.is_empty() || !len.bytes().all(|b| b.is_ascii_digit()) {
            return Err(CidrParseError::Form);
        }
        Self::new(addr, len.parse().map_err(|_| CidrParseError::Form)?)
    }
}

impl Serialize for IpCidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (self.addr, self.len).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for IpCidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = alloc::string::String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            let (addr, len) = <(IpAddr, u8)>::deserialize(deserializer)?;
            Self::new(addr, len).map_err(serde::de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn host_bits_are_masked() {
        for (text, masked) in [
            ("172.30.1.77/22", "172.30.0.0/22"),
            ("10.0.0.1/0", "0.0.0.0/0"),
            ("10.0.0.1/32", "10.0.0.1/32"),
            ("fd00::1:5/64", "fd00::/64"),
            ("::1/0", "::/0"),
        ] {
            assert_eq!(text.parse::<IpCidr>().unwrap().to_string(), masked);
        }
    }

    #[test]
    fn bad_text_is_refused() {
        for bad in ["10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "x/8"] {
            assert!(bad.parse::<IpCidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn membership_stays_within_the_family() {
        let all4: IpCidr = "0.0.0.0/0".parse().unwrap();
        assert!(all4.contains("1.2.3.4".parse().unwrap()));
        assert!(!all4.contains("::1".parse().unwrap()));
        assert!("ff02::/16".parse::<IpCidr>().unwrap().is_multicast());
        assert!(!"0.0.0.0/0".parse::<IpCidr>().unwrap().is_multicast());
    }
}
