// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! ICMP errors (RFC 792, RFC 1812, RFC 4443).

use super::{header_len, ip};
use crate::checksum::Sum;
use crate::wire::Icmp;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte_api::Protocol;
use zerocopy::IntoBytes;

/// Longest error over IPv4 (RFC 1812, section 4.3.2.3).
const LONGEST_IPV4: usize = 576;
/// Longest error over IPv6 (RFC 4443, section 2.4 c).
const LONGEST_IPV6: usize = 1280;
/// Traffic class of errors: precedence of network control (RFC 1812, section 4.3.2.5).
pub const TRAFFIC_CLASS: u8 = 0xc0;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Complaint {
    /// It has made as many hops as it may (RFC 792, RFC 4443, section 3.3).
    HopLimit,
    /// It is longer than what lies ahead takes, and must not be cut (RFC 1191; RFC 4443,
    /// section 3.2).
    TooBig {
        /// Longest IP packet that may be sent instead.
        mtu: u32,
    },
    /// There is no route to its destination.
    NoRoute,
    /// There is a route, and nobody at its end.
    NoHost,
    /// A rule forbids it (RFC 1812, section 5.2.7.1).
    Prohibited,
}

impl Complaint {
    /// Type and code, of IPv4 or of IPv6.
    const fn kind(self, ipv4: bool) -> [u8; 2] {
        match (self, ipv4) {
            (Self::HopLimit, true) => [11, 0],
            (Self::HopLimit, false) => [3, 0],
            (Self::TooBig { .. }, true) => [3, 4],
            (Self::TooBig { .. }, false) => [2, 0],
            (Self::NoRoute, true) => [3, 0],
            (Self::NoRoute, false) => [1, 0],
            (Self::NoHost, true) => [3, 1],
            (Self::NoHost, false) => [1, 3],
            (Self::Prohibited, true) => [3, 13],
            (Self::Prohibited, false) => [1, 1],
        }
    }

    /// An IPv4 packet that may be cut is not told of its size.
    pub(super) const fn is_about_size(self) -> bool {
        matches!(self, Self::TooBig { .. })
    }

    fn header(self, ipv4: bool) -> Icmp {
        let [kind, code] = self.kind(ipv4);
        let mtu = match self {
            // It has 16 bits here (RFC 1191, section 4), and 32 there.
            Self::TooBig { mtu } if ipv4 => mtu.min(0xffff),
            Self::TooBig { mtu } => mtu,
            _ => 0,
        };
        let (high, low) = ((mtu >> 16) as u16, mtu as u16);
        Icmp { kind, code, checksum: 0.into(), id: high.into(), seq: low.into() }
    }

    /// The error as an IP packet from `from` to `to`, without asking whether it may be sent. It
    /// quotes as much of `about`, an IP packet, as fits into the longest error. `None`: the
    /// addresses are of two families.
    pub fn packet(self, from: IpAddr, to: IpAddr, about: &[u8]) -> Option<Vec<u8>> {
        let ipv4 = from.is_ipv4();
        let longest = if ipv4 { LONGEST_IPV4 } else { LONGEST_IPV6 };
        let room = longest - header_len(ipv4) - size_of::<Icmp>();
        let quote = about.get(..room).unwrap_or(about);
        let mut icmp = self.header(ipv4);
        let mut packet = ip::Header {
            src: from,
            dst: to,
            protocol: if ipv4 { Protocol::ICMP } else { Protocol::ICMPV6 },
            traffic_class: TRAFFIC_CLASS,
        }
        .start(size_of::<Icmp>() + quote.len())?;
        // ICMP over IPv4 has no pseudo-header (RFC 792); ICMPv6 has (RFC 4443, section 2.3).
        let len = size_of::<Icmp>() + quote.len();
        let sum = match ipv4 {
            true => Sum::default(),
            false => ip::pseudo_header(from, to, Protocol::ICMPV6, len),
        };
        icmp.checksum = sum.bytes(icmp.as_bytes()).bytes(quote).complement().into();
        packet.extend_from_slice(icmp.as_bytes());
        packet.extend_from_slice(quote);
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const ALL: [Complaint; 5] = [
        Complaint::HopLimit,
        Complaint::TooBig { mtu: 0x1_0400 },
        Complaint::NoRoute,
        Complaint::NoHost,
        Complaint::Prohibited,
    ];

    #[test]
    fn errors_quote_what_they_are_about() {
        for (ipv4, longest) in [(true, 576), (false, 1280)] {
            for complaint in ALL {
                for payload in [0, 9, 400, 2000] {
                    let frame = udp(ipv4, payload);
                    let error = answer(&frame, |it| it.complain(complaint, gateway(ipv4)));
                    let error = error.unwrap();
                    let (ip, icmp) = open(&error);
                    assert_eq!((ip.src, ip.dst), (gateway(ipv4), source(ipv4)));
                    assert_eq!(icmp[..2], complaint.kind(ipv4));
                    assert!(frame[14..].starts_with(&icmp[8..]));
                    let whole = header_len(ipv4) + 8 + frame.len() - 14;
                    assert_eq!(error.len() - 14, whole.min(longest));
                }
            }
        }
    }

    #[test]
    fn the_mtu_is_told_as_each_family_has_room() {
        let mtu = Complaint::TooBig { mtu: 0x1_0400 };
        for (ipv4, field) in [(true, [0, 0, 0xff, 0xff]), (false, [0, 1, 4, 0])] {
            let error = answer(&udp(ipv4, 9), |it| it.complain(mtu, gateway(ipv4)));
            assert_eq!(open(&error.unwrap()).1[4..8], field);
        }
    }

    #[test]
    fn a_packet_that_may_be_cut_is_not_told_of_its_size() {
        let mut frame = udp(true, 9);
        set(&mut frame, 14 + 6, &[0, 0]);
        let mtu = Complaint::TooBig { mtu: 1400 };
        assert_eq!(answer(&frame, |it| it.complain(mtu, gateway(true))), None);
        assert!(answer(&frame, |it| it.complain(Complaint::NoHost, gateway(true))).is_some());
    }

    #[test]
    fn nobody_is_told_who_must_not_be() {
        let none = |frame: &[u8], ipv4| {
            let told = answer(frame, |it| it.complain(Complaint::NoHost, gateway(ipv4)));
            assert_eq!(told, None);
        };
        for ipv4 in [true, false] {
            none(&udp(ipv4, 9), !ipv4);
            let error = answer(&udp(ipv4, 9), |it| it.complain(Complaint::NoHost, gateway(ipv4)));
            none(&error.unwrap(), ipv4);
            let len = if ipv4 { 4 } else { 16 };
            let (src, dst) = if ipv4 { (14 + 12, 14 + 16) } else { (14 + 8, 14 + 24) };
            let (nobody, group) = ([0; 16], [0xff; 16]);
            for (at, bytes) in [(src, nobody), (src, group), (dst, nobody), (dst, group)] {
                let mut frame = udp(ipv4, 9);
                set(&mut frame, at, &bytes[..len]);
                none(&frame, ipv4);
            }
            for at in [0, 6] {
                let mut frame = udp(ipv4, 9);
                set(&mut frame, at, &[1]);
                none(&frame, ipv4);
            }
        }
    }
}
