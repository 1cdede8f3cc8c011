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
//!
//! There are two loops on one table (see [`flat`]). [`Limit::pass`] takes packet by packet;
//! [`Limit::pass_all`] takes 32 at a time and looks all of them up before it uses any.

pub mod flat;
pub mod layout;

use crate::buffer::Buffer;
use crate::packet::Transport;
use flat::{Flat, TOGETHER};
use layout::{Layout, number};
use opte_api::Direction;

/// Ethernet, IPv6, UDP and Geneve without options.
const OUTER: usize = 70;
const UDP: u8 = 17;

/// What is done with the packets of one direction of one flow.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Entry<L: Layout> {
    bytes: u64,
    last: u64,
    packets: u32,
    ip_delta: u16,
    transport_delta: u16,
    template: u16,
    port: [u8; 2],
    source_port: [u8; 2],
    macs: [u8; 12],
    address: L::Address,
}

impl<L: Layout> Entry<L> {
    /// True of every entry. To know, one has to read the end of it, which has a cache line of its
    /// own with IPv6.
    #[inline]
    const fn is_unicast(&self) -> bool {
        self.macs[0] & 1 == 0
    }
}

impl<L: Layout> Default for Entry<L> {
    fn default() -> Self {
        Self {
            bytes: 0,
            last: 0,
            packets: 0,
            macs: [0; 12],
            address: L::Address::default(),
            port: [0; 2],
            source_port: [0; 2],
            ip_delta: 0,
            transport_delta: 0,
            template: 0,
        }
    }
}

/// The loops and their flow table.
pub struct Limit<L: Layout> {
    road: Road,
    flat: Flat<L>,
}

/// What all packets have in common.
struct Road {
    direction: Direction,
    sum_at: usize,
    templates: Vec<[u8; OUTER]>,
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
    /// A table of `count` flows, whose packets go one way.
    pub fn new(direction: Direction, transport: Transport, count: usize) -> Self {
        let sum_at = match transport {
            Transport::Udp => L::TRANSPORT + 6,
            Transport::Tcp => L::TRANSPORT + 16,
        };
        let road = Road { direction, sum_at, templates: Vec::new() };
        Self { road, flat: Flat::new(count) }
    }

    /// Enters the flow of a packet of which the engine made `after` out of `before`.
    pub fn learn(&mut self, before: &[u8], after: &[u8]) {
        let (before, outer, after) = match self.road.direction {
            Direction::Out => (before, after.first_chunk::<OUTER>(), &after[OUTER..]),
            Direction::In => (&before[before.len() - after.len()..], None, after),
        };
        let outer = *outer.unwrap_or(&[0; OUTER]);
        let (address, port) = self.road.places::<L>();
        let (address, port) = (address..address + L::DST - L::SRC, port..port + 2);
        let address_delta = delta(&before[address.clone()], &after[address.clone()]);
        let port_delta = delta(&before[port.clone()], &after[port.clone()]);
        let mut entry = Entry::<L> {
            macs: number(after, 0),
            port: number(after, port.start),
            source_port: number(&outer, 54),
            ip_delta: if L::KIND[0] == 0x08 { address_delta } else { 0 },
            transport_delta: fold(u32::from(address_delta) + u32::from(port_delta)),
            template: self.road.template(outer),
            ..Entry::default()
        };
        entry.address.as_mut().copy_from_slice(&after[address]);
        self.flat.insert(L::key(before), entry);
    }

    /// One packet. False if it is none of ours.
    #[inline]
    pub fn pass(&mut self, frame: &mut Buffer, now: u64) -> bool {
        let Some(key) = self.road.open::<L>(frame) else { return false };
        let Some(entry) = self.flat.get_mut(&key) else { return false };
        self.road.rewrite(entry, frame, now);
        true
    }

    /// Packets together, 32 at a time. False if one of them is none of ours.
    #[inline]
    pub fn pass_all(&mut self, frames: &mut [Buffer], now: u64) -> bool {
        frames.chunks_mut(TOGETHER).all(|frames| {
            let mut keys = [L::Key::default(); TOGETHER];
            for (frame, key) in frames.iter_mut().zip(&mut keys) {
                let Some(opened) = self.road.open::<L>(frame) else { return false };
                *key = opened;
            }
            let mut places = [0; TOGETHER];
            if !self.flat.find_all(&keys[..frames.len()], &mut places) {
                return false;
            }
            for (frame, place) in frames.iter_mut().zip(places) {
                self.road.rewrite(self.flat.at(place), frame, now);
            }
            true
        })
    }
}

impl Road {
    /// Where the address and the port are that change.
    const fn places<L: Layout>(&self) -> (usize, usize) {
        match self.direction {
            Direction::Out => (L::SRC, L::TRANSPORT),
            Direction::In => (L::DST, L::TRANSPORT + 2),
        }
    }

    /// The number of these outer headers, without what differs from packet to packet.
    fn template(&mut self, outer: [u8; OUTER]) -> u16 {
        let mut template = outer;
        template[54..56].fill(0);
        template[18..20].fill(0);
        template[58..60].fill(0);
        let known = self.templates.iter().position(|other| *other == template);
        known.unwrap_or_else(|| {
            self.templates.push(template);
            self.templates.len() - 1
        }) as u16
    }

    /// Takes outer headers off and reads the 5-tuple.
    #[inline]
    fn open<L: Layout>(&self, frame: &mut Buffer) -> Option<L::Key> {
        if self.direction == Direction::In {
            let outer = frame.bytes();
            if outer.len() < OUTER || outer[12..14] != [0x86, 0xdd] || outer[20] != UDP {
                return None;
            }
            if outer[56..58] != [0x17, 0xc1] || outer[64..66] != [0x65, 0x58] {
                return None;
            }
            let options = usize::from(outer[62] & 0x3f) * 4;
            frame.strip(OUTER + options);
        }
        let packet = frame.bytes();
        let ours = packet.len() >= self.sum_at + 2 && packet[12..15] == L::KIND;
        ours.then(|| L::key(packet))
    }

    #[inline]
    fn rewrite<L: Layout>(&self, entry: &mut Entry<L>, frame: &mut Buffer, now: u64) {
        let (address, port) = self.places::<L>();
        let packet = frame.bytes_mut();
        let len = packet.len();
        packet[..12].copy_from_slice(&entry.macs);
        packet[address..address + L::DST - L::SRC].copy_from_slice(entry.address.as_ref());
        packet[port..port + 2].copy_from_slice(&entry.port);
        if L::KIND[0] == 0x08 {
            update(packet, 24, entry.ip_delta);
        }
        update(packet, self.sum_at, entry.transport_delta);
        if self.direction == Direction::Out {
            let whole = frame.grow::<OUTER>();
            whole[..OUTER].copy_from_slice(&self.templates[usize::from(entry.template)]);
            let udp_len = (len as u16 + 16).to_be_bytes();
            whole[18..20].copy_from_slice(&udp_len);
            whole[54..56].copy_from_slice(&entry.source_port);
            whole[58..60].copy_from_slice(&udp_len);
        }
        entry.packets += 1;
        entry.bytes += len as u64;
        entry.last = now;
    }
}
