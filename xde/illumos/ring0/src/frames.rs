// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Frames: IPv4 and UDP between guests, each with a number, and Geneve around them.
//!
//! Nothing here comes from the engine: what it makes of a frame is compared with what is written here.

use core::net::Ipv4Addr;
use core::net::Ipv6Addr;

/// Ethernet, IPv4 and UDP headers.
pub const HEADERS: usize = 14 + 20 + 8;
/// What the frames carry.
pub const PAYLOAD: usize = 16;
/// A frame of a guest, in bytes.
pub const FRAME: usize = HEADERS + PAYLOAD;
/// Ethernet, IPv6, UDP and Geneve headers.
pub const OUTER: usize = 14 + 40 + 8 + 8;
/// A frame between hosts, in bytes.
pub const WRAPPED: usize = OUTER + FRAME;
const GENEVE_PORT: u16 = 6081;

/// One end of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct End {
    /// Link address.
    pub mac: [u8; 6],
    /// Address in the network of guests.
    pub ip: Ipv4Addr,
    /// UDP port.
    pub port: u16,
}

/// One end of a frame between hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Host {
    /// Link address.
    pub mac: [u8; 6],
    /// Address between hosts.
    pub ip: Ipv6Addr,
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
}

/// Bytes of a frame; zeros where there are none.
pub fn get<const N: usize>(frame: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(frame.iter().skip(at)).for_each(|(to, from)| *to = *from);
    bytes
}

/// The frame of this number from one guest to another.
pub fn frame(from: End, to: End, number: u64) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    put(&mut frame, 0, &to.mac);
    put(&mut frame, 6, &from.mac);
    put(&mut frame, 12, &[8, 0, 0x45, 0, 0, (FRAME - 14) as u8, 0, 0, 0x40, 0, 64, 17]);
    put(&mut frame, 26, &from.ip.octets());
    put(&mut frame, 30, &to.ip.octets());
    let words = frame.chunks_exact(2).skip(7).take(10);
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    put(&mut frame, 24, &(!(sum as u16)).to_be_bytes());
    put(&mut frame, 34, &from.port.to_be_bytes());
    put(&mut frame, 36, &to.port.to_be_bytes());
    // RFC 768: without a checksum.
    put(&mut frame, 38, &[0, (8 + PAYLOAD) as u8, 0, 0]);
    put(&mut frame, HEADERS, &number.to_be_bytes());
    put(&mut frame, HEADERS + 8, &(!number).to_be_bytes());
    frame
}

/// The number of a frame, if it is one of ours.
pub fn number(frame: &[u8]) -> Option<u64> {
    let number = u64::from_be_bytes(get(frame, HEADERS));
    let again = u64::from_be_bytes(get(frame, HEADERS + 8));
    (frame.len() == FRAME && number == !again).then_some(number)
}

/// A frame of a guest as it travels from host to host.
pub fn wrap(from: Host, to: Host, vni: u32, inner: &[u8; FRAME]) -> [u8; WRAPPED] {
    let mut frame = [0; WRAPPED];
    let len = ((8 + 8 + FRAME) as u16).to_be_bytes();
    put(&mut frame, 0, &to.mac);
    put(&mut frame, 6, &from.mac);
    put(&mut frame, 12, &[0x86, 0xdd, 0x60, 0, 0, 0, len[0], len[1], 17, 64]);
    put(&mut frame, 22, &from.ip.octets());
    put(&mut frame, 38, &to.ip.octets());
    put(&mut frame, 54, &[0xc0, 0]);
    put(&mut frame, 56, &GENEVE_PORT.to_be_bytes());
    put(&mut frame, 58, &[len[0], len[1], 0, 0, 0, 0, 0x65, 0x58]);
    put(&mut frame, 66, &(vni << 8).to_be_bytes());
    put(&mut frame, OUTER, inner);
    frame
}

/// What is in a frame between these hosts, if it is one.
pub fn unwrap(frame: &[u8], from: Host, to: Host, vni: u32) -> Option<&[u8]> {
    let is_it = frame.len() == WRAPPED
        && get(frame, 0) == to.mac
        && get(frame, 6) == from.mac
        && get(frame, 12) == [0x86, 0xdd]
        && get(frame, 22) == from.ip.octets()
        && get(frame, 38) == to.ip.octets()
        && get(frame, 56) == GENEVE_PORT.to_be_bytes()
        && get(frame, 62) == [0, 0, 0x65, 0x58]
        && get(frame, 66) == (vni << 8).to_be_bytes();
    frame.get(OUTER..).filter(|_| is_it)
}
