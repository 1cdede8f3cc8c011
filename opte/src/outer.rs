// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The outer headers of a packet between hosts: Ethernet, IPv6, UDP, Geneve (RFC 8926).
//!
//! [`Outer`] is the decided form: one small register that is copied, compared and stored with a
//! flow. Bytes are made from it when the inner length is known, so that a frame which is cut
//! into segments gets right lengths in each.

use core::net::Ipv6Addr;
use opte_api::Vni;

/// UDP port of Geneve (RFC 8926, section 3.3).
pub const GENEVE_PORT: u16 = 6081;
/// Ethernet, IPv6, UDP and Geneve headers without options, in bytes.
pub const OUTER_BASE_LEN: usize = ETHER_LEN + IPV6_LEN + UDP_LEN + GENEVE_LEN;

pub(crate) const ETHER_LEN: usize = 14;
pub(crate) const IPV6_LEN: usize = 40;
pub(crate) const UDP_LEN: usize = 8;
pub(crate) const GENEVE_LEN: usize = 8;
const OPTIONS_MAX: usize = 8;
const HOP_LIMIT: u8 = 64;
const ETHERTYPE_TRANSPARENT: [u8; 2] = [0x65, 0x58];

/// Geneve options in wire form, up to eight bytes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct GeneveOptions {
    bytes: [u8; OPTIONS_MAX],
    len: u8,
}

impl GeneveOptions {
    /// No options.
    pub const NONE: Self = Self { bytes: [0; OPTIONS_MAX], len: 0 };

    /// Options that are a multiple of four bytes long and at most eight; others are `None`.
    pub fn new(wire: &[u8]) -> Option<Self> {
        let mut options = Self { bytes: [0; OPTIONS_MAX], len: u8::try_from(wire.len()).ok()? };
        options.bytes.get_mut(..wire.len())?.copy_from_slice(wire);
        wire.len().is_multiple_of(4).then_some(options)
    }

    /// The wire form.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// Everything that is decided about a packet's outer headers.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Outer {
    /// This host.
    pub src: Ipv6Addr,
    /// The next host.
    pub dst: Ipv6Addr,
    /// UDP source port: entropy of the flow for multipath (RFC 8926, section 3.3).
    pub source_port: u16,
    /// Virtual network.
    pub vni: Vni,
    /// Geneve options.
    pub options: GeneveOptions,
    /// DSCP and ECN.
    pub traffic_class: u8,
}

/// Header bytes in front of an inner frame.
#[derive(Clone, Copy, Debug)]
pub struct OuterBytes {
    bytes: [u8; Outer::MAX_LEN],
    len: u8,
}

impl OuterBytes {
    /// All headers, from outer Ethernet (with zero MAC addresses) to the last Geneve option.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// From the Geneve header on: what is sent through a UDP socket.
    pub fn geneve(&self) -> &[u8] {
        self.as_slice().get(ETHER_LEN + IPV6_LEN + UDP_LEN..).unwrap_or_default()
    }
}

impl Outer {
    /// Longest headers, in bytes.
    pub const MAX_LEN: usize = OUTER_BASE_LEN + OPTIONS_MAX;

    /// Length of the headers, in bytes.
    pub fn len(&self) -> usize {
        OUTER_BASE_LEN + usize::from(self.options.len)
    }

    /// Never true; for completeness beside [`Outer::len`].
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The headers in front of an inner frame of `inner_len` bytes. Lengths saturate at 16 bits:
    /// a longer frame is one that the host cuts first. The UDP checksum is zero, as RFC 6935 and
    /// RFC 6936 allow for tunnels.
    pub fn headers(&self, inner_len: usize) -> OuterBytes {
        let udp_len =
            u16::try_from(UDP_LEN + GENEVE_LEN + usize::from(self.options.len) + inner_len)
                .unwrap_or(u16::MAX);
        let mut bytes = [0u8; Self::MAX_LEN];
        let [e0, e1] = 0x86ddu16.to_be_bytes();
        let [u0, u1] = udp_len.to_be_bytes();
        let [s0, s1] = self.source_port.to_be_bytes();
        let [d0, d1] = GENEVE_PORT.to_be_bytes();
        let [v0, v1, v2] = self.vni.to_bytes();
        let class = self.traffic_class;
        let [t0, t1] = ETHERTYPE_TRANSPARENT;
        bytes[12..22].copy_from_slice(&[
            e0,
            e1,
            0x60 | (class >> 4),
            class << 4,
            0,
            0,
            u0,
            u1,
            17,
            HOP_LIMIT,
        ]);
        bytes[22..38].copy_from_slice(&self.src.octets());
        bytes[38..54].copy_from_slice(&self.dst.octets());
        bytes[54..70].copy_from_slice(&[
            s0,
            s1,
            d0,
            d1,
            u0,
            u1,
            0,
            0,
            self.options.len / 4,
            0,
            t0,
            t1,
            v0,
            v1,
            v2,
            0,
        ]);
        bytes[70..78].copy_from_slice(&self.options.bytes);
        OuterBytes { bytes, len: OUTER_BASE_LEN as u8 + self.options.len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_carry_lengths_and_options() {
        let outer = Outer {
            src: Ipv6Addr::LOCALHOST,
            dst: Ipv6Addr::UNSPECIFIED,
            source_port: 0x1234,
            vni: Vni::new(99).unwrap(),
            options: GeneveOptions::new(&[1, 0x29, 0, 0]).unwrap(),
            traffic_class: 0xb8,
        };
        let built = outer.headers(100);
        let bytes = built.as_slice();
        assert_eq!(bytes.len(), outer.len());
        assert_eq!(&bytes[14..18], &[0x6b, 0x80, 0, 0]);
        assert_eq!(&bytes[18..20], &120u16.to_be_bytes());
        assert_eq!(&bytes[54..62], &[0x12, 0x34, 0x17, 0xc1, 0, 120, 0, 0]);
        assert_eq!(built.geneve(), &[1, 0, 0x65, 0x58, 0, 0, 99, 0, 1, 0x29, 0, 0]);
    }

    #[test]
    fn options_are_words() {
        assert_eq!(GeneveOptions::new(&[0; 3]), None);
        assert_eq!(GeneveOptions::new(&[0; 12]), None);
        assert_eq!(GeneveOptions::new(&[7; 8]).unwrap().as_slice(), &[7; 8]);
    }
}
