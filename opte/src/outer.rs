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
use zerocopy::{Immutable, IntoBytes};

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
const ETHERTYPE_TRANSPARENT: u32 = 0x6558;

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
#[repr(align(8))]
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

/// Outer headers without options, as bytes in their order.
#[derive(Immutable, IntoBytes)]
#[repr(C)]
struct BaseHeaders {
    macs: [u8; 12],
    /// EtherType, and the IPv6 header up to the hop limit.
    before_addresses: [u8; 10],
    src: [u8; 16],
    dst: [u8; 16],
    udp: [u8; UDP_LEN],
    /// Version, length of the options, flags, EtherType of the payload.
    geneve: [u8; 4],
    /// Virtual network, and a reserved byte.
    vni: [u8; 4],
}

/// Header bytes in front of an inner frame.
#[derive(Clone, Copy, Debug)]
pub struct OuterBytes {
    /// The headers are its end.
    room: [u8; Outer::MAX_LEN],
    len: u8,
}

impl OuterBytes {
    /// All headers, from outer Ethernet (with zero MAC addresses) to the last Geneve option.
    pub fn as_slice(&self) -> &[u8] {
        self.room.get(Outer::MAX_LEN - usize::from(self.len)..).unwrap_or_default()
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
    #[inline]
    pub fn len(&self) -> usize {
        OUTER_BASE_LEN + usize::from(self.options.len)
    }

    /// Never true; for completeness beside [`Outer::len`].
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The headers in front of an inner frame of `inner_len` bytes.
    pub fn headers(&self, inner_len: usize) -> OuterBytes {
        let mut room = [0; Self::MAX_LEN];
        self.write(&mut room, inner_len);
        OuterBytes { room, len: self.len() as u8 }
    }

    /// Writes the headers of an inner frame of `inner_len` bytes to the end of `room`; what `room`
    /// has in front of them is lost. Lengths saturate at 16 bits: a longer frame is one that the
    /// host cuts first. The UDP checksum is zero, as RFC 6935 and RFC 6936 allow for tunnels.
    #[inline]
    pub fn write(&self, room: &mut [u8; Self::MAX_LEN], inner_len: usize) {
        // By length, so that all offsets are known when this is compiled.
        match self.options.len {
            0 => self.write_from::<OPTIONS_MAX>(room, inner_len),
            4 => self.write_from::<4>(room, inner_len),
            _ => self.write_from::<0>(room, inner_len),
        }
    }

    #[inline]
    fn write_from<const AT: usize>(&self, room: &mut [u8; Self::MAX_LEN], inner_len: usize) {
        let rest = room.get_mut(AT..);
        let Some((base, options)) = rest.and_then(<[u8]>::split_first_chunk_mut::<OUTER_BASE_LEN>)
        else {
            return;
        };
        let len = UDP_LEN + GENEVE_LEN + OPTIONS_MAX - AT + inner_len;
        let [l0, l1] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
        let [s0, s1] = self.source_port.to_be_bytes();
        let [d0, d1] = GENEVE_PORT.to_be_bytes();
        let (c0, c1) = (0x60 | self.traffic_class >> 4, self.traffic_class << 4);
        // The flow label tells flows apart as the source port does (RFC 6438, section 3), for
        // routers that do not look further.
        let words = ((OPTIONS_MAX - AT) / 4) as u32;
        let header = BaseHeaders {
            macs: [0; 12],
            before_addresses: [0x86, 0xdd, c0, c1, s0, s1, l0, l1, 17, HOP_LIMIT],
            src: self.src.octets(),
            dst: self.dst.octets(),
            udp: [s0, s1, d0, d1, l0, l1, 0, 0],
            geneve: (words << 24 | ETHERTYPE_TRANSPARENT).to_be_bytes(),
            vni: (self.vni.get() << 8).to_be_bytes(),
        };
        *base = zerocopy::transmute!(header);
        options.iter_mut().zip(self.options.bytes).for_each(|(to, from)| *to = from);
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
        assert_eq!(&bytes[14..18], &[0x6b, 0x80, 0x12, 0x34]);
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
