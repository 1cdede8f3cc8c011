// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Packets that the tests of this module answer, and what they see of the answer.

use super::{Original, header_len, ip};
use crate::checksum::Sum;
use crate::geneve::Mark;
use crate::headers::{Headers, MacPair};
use crate::tcp::{SeqNumber, TcpFlags};
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte_api::{MacAddr, Protocol};

/// Numbers of the segments of [`tcp`].
pub const SEQ: SeqNumber = SeqNumber(u32::MAX - 1);
pub const ACK: SeqNumber = SeqNumber(0x0102_0304);

const MACS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0, 2]), MacAddr([2, 0, 0, 0, 0, 1])];

fn address(ipv4: bool, last: u8) -> IpAddr {
    if ipv4 { [10, 0, 0, last].into() } else { [0xfd00, 0, 0, 0, 0, 0, 0, last.into()].into() }
}

pub fn source(ipv4: bool) -> IpAddr {
    address(ipv4, 5)
}

pub fn destination(ipv4: bool) -> IpAddr {
    address(ipv4, 9)
}

pub fn gateway(ipv4: bool) -> IpAddr {
    address(ipv4, 1)
}

fn frame(ipv4: bool, protocol: Protocol, transport: &[u8]) -> Vec<u8> {
    let (src, dst) = (source(ipv4), destination(ipv4));
    let header = ip::Header { src, dst, protocol, traffic_class: 0 };
    let mut packet = header.start(transport.len()).unwrap();
    packet.extend_from_slice(transport);
    let [dst, src] = MACS;
    ip::frame(MacPair::new(dst, src), &packet)
}

/// A datagram from port 1024 to port 80.
pub fn udp(ipv4: bool, payload: usize) -> Vec<u8> {
    let mut datagram = vec![7; 8 + payload];
    let [high, low] = (8 + payload as u16).to_be_bytes();
    datagram[..8].copy_from_slice(&[4, 0, 0, 80, high, low, 0, 0]);
    frame(ipv4, Protocol::UDP, &datagram)
}

/// A segment from port 1024 to port 80.
pub fn tcp(ipv4: bool, flags: TcpFlags, payload: usize) -> Vec<u8> {
    let mut segment = vec![7; 20 + payload];
    segment[..4].copy_from_slice(&[4, 0, 0, 80]);
    segment[4..8].copy_from_slice(&SEQ.0.to_be_bytes());
    segment[8..12].copy_from_slice(&ACK.0.to_be_bytes());
    segment[12..14].copy_from_slice(&[0x50, flags.0]);
    frame(ipv4, Protocol::TCP, &segment)
}

pub fn set(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
}

/// What is answered to `frame`, which stands behind ten bytes of something else.
pub fn answer(
    frame: &[u8],
    write: impl FnOnce(&Original<'_>) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut head = vec![0xaa; 10];
    head.extend_from_slice(frame);
    let headers = Headers::parse(&head, head.len(), 10, Mark::GUEST).unwrap();
    write(&Original::new(&head, &headers)?)
}

/// Addresses of an IP header.
pub struct Ends {
    pub src: IpAddr,
    pub dst: IpAddr,
}

/// Proves all checksums of an answer, and that it goes back; shows it from the IP header on.
pub fn open(frame: &[u8]) -> (Ends, &[u8]) {
    let headers = Headers::parse(frame, frame.len(), 0, Mark::GUEST).unwrap();
    let key = headers.key().unwrap();
    let (ends, ipv4) = (Ends { src: key.src(), dst: key.dst() }, key.is_ipv4());
    let (header, transport) = frame[14..].split_at(header_len(ipv4));
    if ipv4 {
        assert_eq!(Sum::default().bytes(header).folded(), 0xffff);
    }
    let sum = match key.protocol() {
        Protocol::ICMP => Sum::default(),
        protocol => ip::pseudo_header(ends.src, ends.dst, protocol, transport.len()),
    };
    assert_eq!(sum.bytes(transport).folded(), 0xffff);
    (ends, transport)
}
