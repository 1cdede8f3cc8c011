// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Where the fields of a packet are, by address family.

use core::hash::Hash;

/// Where the fields of one address family are, from the inner Ethernet header on.
pub trait Layout: Copy {
    /// A 5-tuple. The one whose bits are all zero belongs to no packet.
    type Key: Copy + Default + Eq + Hash;
    /// An address.
    type Address: Copy + Default + AsRef<[u8]> + AsMut<[u8]>;
    /// EtherType and the byte behind it.
    const KIND: [u8; 3];
    /// Next protocol.
    const PROTOCOL: usize;
    /// Source address.
    const SRC: usize;
    /// Destination address.
    const DST: usize;
    /// Transport header.
    const TRANSPORT: usize;

    /// The 5-tuple of a packet that is long enough.
    fn key(packet: &[u8]) -> Self::Key;
}

/// IPv4 without options.
#[derive(Clone, Copy)]
pub enum Ipv4 {}

/// IPv6 without extensions.
#[derive(Clone, Copy)]
pub enum Ipv6 {}

/// `N` bytes of a packet that is long enough.
#[inline]
pub(super) fn number<const N: usize>(packet: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&packet[at..at + N]);
    bytes
}

impl Layout for Ipv4 {
    type Key = (u64, u64);
    type Address = [u8; 4];
    const KIND: [u8; 3] = [0x08, 0x00, 0x45];
    const PROTOCOL: usize = 23;
    const SRC: usize = 26;
    const DST: usize = 30;
    const TRANSPORT: usize = 34;

    #[inline]
    fn key(packet: &[u8]) -> Self::Key {
        let ports = u64::from(u32::from_ne_bytes(number(packet, Self::TRANSPORT)));
        let protocol = u64::from(packet[Self::PROTOCOL]);
        (u64::from_ne_bytes(number(packet, Self::SRC)), protocol << 32 | ports)
    }
}

impl Layout for Ipv6 {
    type Key = (u64, u64, u64, u64, u64);
    type Address = [u8; 16];
    const KIND: [u8; 3] = [0x86, 0xdd, 0x60];
    const PROTOCOL: usize = 20;
    const SRC: usize = 22;
    const DST: usize = 38;
    const TRANSPORT: usize = 54;

    #[inline]
    fn key(packet: &[u8]) -> Self::Key {
        let word = |at: usize| u64::from_ne_bytes(number(packet, at));
        let ports = u64::from(u32::from_ne_bytes(number(packet, Self::TRANSPORT)));
        let protocol = u64::from(packet[Self::PROTOCOL]);
        (word(22), word(30), word(38), word(46), protocol << 32 | ports)
    }
}
