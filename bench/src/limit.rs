// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The least work that gives the same bytes, written by hand: the yardstick beside each hit.
//!
//! Parse Ethernet, IP and transport, look the 5-tuple up once by a keyed hash, write MAC
//! addresses, one address and one port, bring two checksums up to date (RFC 1624), put outer
//! headers in front with their two lengths or take them off, count, note the time. No policy, no
//! lock, no TCP state, no odd packets. What is written is learnt from the engine's own output, so
//! both must give the same bytes, and a test holds them to it.

use crate::buffer::Buffer;
use crate::packet::Transport;
use core::hash::Hash;
use core::marker::PhantomData;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use opte_api::Direction;

/// Ethernet, IPv6, UDP and Geneve without options.
const OUTER: usize = 70;
const UDP: u8 = 17;

/// Where the fields of one address family are, from the inner Ethernet header on.
pub trait Layout {
    /// A 5-tuple.
    type Key: Copy + Eq + Hash;
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
pub enum Ipv4 {}

/// IPv6 without extensions.
pub enum Ipv6 {}

fn number<const N: usize>(packet: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&packet[at..at + N]);
    bytes
}

impl Layout for Ipv4 {
    type Key = (u64, u64);
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

/// What is done with the packets of one direction of one flow.
struct Entry {
    macs: [u8; 12],
    address: [u8; 16],
    port: [u8; 2],
    source_port: [u8; 2],
    ip_delta: u16,
    transport_delta: u16,
    template: u32,
    packets: u32,
    bytes: u64,
    last: u64,
}

/// The loop's flow table.
pub struct Limit<L: Layout> {
    direction: Direction,
    entries: HashMap<L::Key, Entry, FixedState>,
    templates: Vec<[u8; OUTER]>,
    layout: PhantomData<L>,
}

fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// One's-complement difference of two pieces of equal, even length.
fn delta(old: &[u8], new: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> Vec<u16> {
        bytes.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect()
    };
    let minus = words(old).into_iter().map(|word| u32::from(!word));
    let plus = words(new).into_iter().map(u32::from);
    fold(minus.chain(plus).sum())
}

#[inline]
fn update(packet: &mut [u8], at: usize, delta: u16) {
    let sum = !u16::from_be_bytes(number(packet, at));
    let sum = !fold(u32::from(sum) + u32::from(delta));
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

impl<L: Layout> Limit<L> {
    /// A table for packets that go one way.
    pub fn new(direction: Direction) -> Self {
        let entries = HashMap::with_hasher(FixedState::with_seed(0x1234_5678));
        Self { direction, entries, templates: Vec::new(), layout: PhantomData }
    }

    const ADDRESS: usize = L::DST - L::SRC;

    /// The fields that change: an address and a port.
    const fn places(&self) -> (usize, usize) {
        match self.direction {
            Direction::Out => (L::SRC, L::TRANSPORT),
            Direction::In => (L::DST, L::TRANSPORT + 2),
        }
    }

    /// Enters the flow of a packet of which the engine made `after` out of `before`.
    pub fn learn(&mut self, before: &[u8], after: &[u8]) {
        let (before, outer, after) = match self.direction {
            Direction::Out => (before, after.first_chunk::<OUTER>(), &after[OUTER..]),
            Direction::In => (&before[before.len() - after.len()..], None, after),
        };
        let outer = *outer.unwrap_or(&[0; OUTER]);
        let mut template = outer;
        template[54..56].fill(0);
        template[18..20].fill(0);
        template[58..60].fill(0);
        let known = self.templates.iter().position(|other| *other == template);
        let known = known.unwrap_or_else(|| {
            self.templates.push(template);
            self.templates.len() - 1
        });
        let (address, port) = self.places();
        let (address, port) = (address..address + Self::ADDRESS, port..port + 2);
        let address_delta = delta(&before[address.clone()], &after[address.clone()]);
        let port_delta = delta(&before[port.clone()], &after[port.clone()]);
        let mut bytes = [0; 16];
        bytes[..Self::ADDRESS].copy_from_slice(&after[address]);
        let entry = Entry {
            macs: number(after, 0),
            address: bytes,
            port: number(after, port.start),
            source_port: number(&outer, 54),
            ip_delta: if L::KIND[0] == 0x08 { address_delta } else { 0 },
            transport_delta: fold(u32::from(address_delta) + u32::from(port_delta)),
            template: known as u32,
            packets: 0,
            bytes: 0,
            last: 0,
        };
        self.entries.insert(L::key(before), entry);
    }

    /// The loop's body. False if the packet is none of ours.
    #[inline]
    pub fn pass(&mut self, frame: &mut Buffer, transport: Transport, now: u64) -> bool {
        if self.direction == Direction::In {
            let outer = frame.bytes();
            if outer.len() < OUTER || outer[12..14] != [0x86, 0xdd] || outer[20] != UDP {
                return false;
            }
            if outer[56..58] != [0x17, 0xc1] || outer[64..66] != [0x65, 0x58] {
                return false;
            }
            let options = usize::from(outer[62] & 0x3f) * 4;
            frame.strip(OUTER + options);
        }
        let places = self.places();
        let packet = frame.bytes_mut();
        let len = packet.len();
        let sum_at = match transport {
            Transport::Udp => L::TRANSPORT + 6,
            Transport::Tcp => L::TRANSPORT + 16,
        };
        if len < sum_at + 2 || packet[12..15] != L::KIND {
            return false;
        }
        let Some(entry) = self.entries.get_mut(&L::key(packet)) else { return false };
        let (address, port) = places;
        packet[..12].copy_from_slice(&entry.macs);
        packet[address..address + Self::ADDRESS].copy_from_slice(&entry.address[..Self::ADDRESS]);
        packet[port..port + 2].copy_from_slice(&entry.port);
        if L::KIND[0] == 0x08 {
            update(packet, 24, entry.ip_delta);
        }
        update(packet, sum_at, entry.transport_delta);
        if self.direction == Direction::Out {
            let whole = frame.grow::<OUTER>();
            whole[..OUTER].copy_from_slice(&self.templates[entry.template as usize]);
            let udp_len = (len as u16 + 16).to_be_bytes();
            whole[18..20].copy_from_slice(&udp_len);
            whole[54..56].copy_from_slice(&entry.source_port);
            whole[58..60].copy_from_slice(&udp_len);
        }
        entry.packets += 1;
        entry.bytes += len as u64;
        entry.last = now;
        true
    }
}
