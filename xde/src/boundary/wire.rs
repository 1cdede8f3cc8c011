// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Headers that a boundary reads besides those of the engine. Reading one beyond the end of the
//! bytes is [`BoundaryDrop::Truncated`].

use super::counters::BoundaryDrop;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

macro_rules! header {
    ($(#[doc = $doc:literal] $name:ident { $($field:ident: $ty:ty),+ $(,)? })+) => { $(
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub(super) struct $name { $(pub $field: $ty),+ }
    )+ };
}

header! {
    /// Both ports of TCP and UDP.
    Ports { src: U16, dst: U16 }
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
