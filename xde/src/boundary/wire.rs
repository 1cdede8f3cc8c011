// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Headers as they stand on the wire. Reading one beyond the end of the bytes is
//! [`BoundaryDrop::Truncated`]; nothing here can panic.

use super::counters::BoundaryDrop;
use core::net::{Ipv4Addr, Ipv6Addr};
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const ETHER_LEN: usize = size_of::<Ethernet>();
pub(super) const ETHERTYPE_ARP: u16 = 0x0806;
pub(super) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;
pub(super) const ETHERTYPE_TRANSPARENT: u16 = 0x6558;

macro_rules! header {
    ($(#[doc = $doc:literal] $name:ident { $($field:ident: $ty:ty),+ $(,)? })+) => { $(
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub(super) struct $name { $(pub $field: $ty),+ }
    )+ };
}

header! {
    /// Ethernet II.
    Ethernet { dst: [u8; 6], src: [u8; 6], kind: U16 }
    /// IPv4 without options (RFC 791, section 3.1).
    Ipv4 {
        version_words: u8,
        traffic_class: u8,
        total_len: U16,
        id: U16,
        fragment: U16,
        hop_limit: u8,
        protocol: u8,
        checksum: U16,
        src: [u8; 4],
        dst: [u8; 4],
    }
    /// IPv6 (RFC 8200, section 3).
    Ipv6 {
        version_class_label: U32,
        payload_len: U16,
        protocol: u8,
        hop_limit: u8,
        src: [u8; 16],
        dst: [u8; 16],
    }
    /// The front of an IPv6 extension header (RFC 8200, section 4).
    Extension { protocol: u8, words: u8, rest: [u8; 6] }
    /// The fragment header (RFC 8200, section 4.5).
    Fragment { protocol: u8, reserved: u8, offset_flags: U16, id: U32 }
    /// Both ports of TCP and UDP.
    Ports { src: U16, dst: U16 }
    /// ICMP for either family; `id` is the identifier of echo messages (RFC 792, RFC 4443).
    Icmp { kind: u8, code: u8, checksum: U16, id: U16, tail: U16 }
    /// ARP for IPv4 on Ethernet (RFC 826).
    Arp {
        hardware: U16,
        protocol: U16,
        hardware_len: u8,
        protocol_len: u8,
        operation: U16,
        sender_mac: [u8; 6],
        sender_ip: [u8; 4],
        target_mac: [u8; 6],
        target_ip: [u8; 4],
    }
    /// Neighbour solicitation and advertisement (RFC 4861, sections 4.3 and 4.4).
    Neighbour { kind: u8, code: u8, checksum: U16, flags: U32, target: [u8; 16] }
    /// A link-layer address option (RFC 4861, section 4.6.1).
    LinkAddress { kind: u8, words: u8, mac: [u8; 6] }
    /// Geneve (RFC 8926, section 3.4).
    Geneve { version_words: u8, flags: u8, protocol: U16, vni: [u8; 3], reserved: u8 }
    /// The front of a Geneve option (RFC 8926, section 3.5).
    GeneveOption { class: U16, kind: u8, words: u8 }
}

/// A header at the front of `bytes`, and what follows it.
pub(super) fn split<T>(bytes: &[u8]) -> Result<(&T, &[u8]), BoundaryDrop>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(bytes).map_err(|_| BoundaryDrop::Truncated)
}

/// A header at the front of `bytes`, to be edited.
pub(super) fn edit<T>(bytes: &mut [u8]) -> Result<&mut T, BoundaryDrop>
where
    T: FromBytes + IntoBytes + KnownLayout + Unaligned,
{
    T::mut_from_prefix(bytes).map(|(header, _)| header).map_err(|_| BoundaryDrop::Truncated)
}

impl Ipv4 {
    pub(super) fn addrs(&self) -> [Ipv4Addr; 2] {
        [self.src.into(), self.dst.into()]
    }

    pub(super) fn header_len(&self) -> usize {
        usize::from(self.version_words & 0xf) * 4
    }
}

impl Ipv6 {
    pub(super) fn addrs(&self) -> [Ipv6Addr; 2] {
        [self.src.into(), self.dst.into()]
    }
}
