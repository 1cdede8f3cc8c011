// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Header layouts as views on packet bytes. Nothing here checks a value.

use crate::drop_reason::DropReason;
use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Length of an Ethernet header.
pub const ETHER_LEN: usize = 14;
/// Length of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
/// Length of an IPv6 header without extensions.
pub const IPV6_LEN: usize = 40;

/// Ethernet II.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ether {
    /// Destination.
    pub dst: [u8; 6],
    /// Source.
    pub src: [u8; 6],
    /// EtherType.
    pub ether_type: U16,
}

/// IPv4 without options (RFC 791).
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv4 {
    /// Version, and header length in words.
    pub version_ihl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Length of header and payload.
    pub total_len: U16,
    /// Identification.
    pub id: U16,
    /// Flags and fragment offset.
    pub fragment: U16,
    /// Time to live.
    pub ttl: u8,
    /// Payload protocol.
    pub protocol: u8,
    /// Header checksum.
    pub checksum: U16,
    /// Source.
    pub src: [u8; 4],
    /// Destination.
    pub dst: [u8; 4],
}

/// IPv6 (RFC 8200).
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv6 {
    /// Version, traffic class, flow label.
    pub first: U32,
    /// Length of all that follows this header.
    pub payload_len: U16,
    /// Type of the next header.
    pub next: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source.
    pub src: [u8; 16],
    /// Destination.
    pub dst: [u8; 16],
}

/// TCP without options (RFC 9293).
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Tcp {
    /// Source port.
    pub src_port: U16,
    /// Destination port.
    pub dst_port: U16,
    /// Sequence number.
    pub seq: U32,
    /// Acknowledgment number.
    pub ack: U32,
    /// Header length in words, in the high half.
    pub offset: u8,
    /// Flags.
    pub flags: u8,
    /// Window.
    pub window: U16,
    /// Checksum.
    pub checksum: U16,
    /// Urgent pointer.
    pub urgent: U16,
}

/// UDP (RFC 768).
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub src_port: U16,
    /// Destination port.
    pub dst_port: U16,
    /// Length of header and data.
    pub len: U16,
    /// Checksum; zero is none.
    pub checksum: U16,
}

/// ICMP and ICMPv6 (RFC 792, RFC 4443).
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum.
    pub checksum: U16,
    /// Identifier of an echo message.
    pub id: U16,
    /// Sequence number of an echo message.
    pub seq: U16,
}

/// First bytes of an IPv6 extension header (RFC 6564; the fragment header has this length, too).
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Extension {
    /// Type of the next header.
    pub next: u8,
    /// Length in units of eight bytes, the first not counted; reserved in a fragment header.
    pub len: u8,
    /// Fragment offset and more-fragments flag of a fragment header.
    pub fragment: U16,
    /// Identification of a fragment header.
    pub id: U32,
}

/// Geneve without options (RFC 8926).
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Geneve {
    /// Version, and length of the options in words.
    pub version_len: u8,
    /// Control and critical flags.
    pub flags: u8,
    /// EtherType of the payload.
    pub protocol: U16,
    /// Virtual network identifier.
    pub vni: [u8; 3],
    /// Reserved.
    pub reserved: u8,
}

/// One Geneve option without its data.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct GeneveOption {
    /// Class.
    pub class: U16,
    /// Critical flag and type.
    pub kind: u8,
    /// Length of the data in words, in the low five bits.
    pub len: u8,
}

/// The header at offset `at`.
#[inline]
pub fn view<T>(bytes: &[u8], at: usize) -> Result<&T, DropReason>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    let rest = bytes.get(at..).ok_or(DropReason::Truncated)?;
    T::ref_from_prefix(rest).map(|(header, _)| header).map_err(|_| DropReason::Truncated)
}

/// The header at offset `at`, to be edited.
#[inline]
pub fn view_mut<T>(bytes: &mut [u8], at: usize) -> Result<&mut T, DropReason>
where
    T: FromBytes + IntoBytes + KnownLayout + Unaligned,
{
    let rest = bytes.get_mut(at..).ok_or(DropReason::Truncated)?;
    T::mut_from_prefix(rest).map(|(header, _)| header).map_err(|_| DropReason::Truncated)
}
