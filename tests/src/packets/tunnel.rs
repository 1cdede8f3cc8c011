// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Outer headers: Ethernet, IPv6, UDP and Geneve (RFC 8926).

use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};
use opte::outer::GENEVE_PORT;
use opte_api::Vni;
use std::net::Ipv6Addr;

/// The option that packets from outside carry.
pub const EXTERNAL_MARK: [u8; 4] = [0x01, 0x29, 0, 0];
/// Version and length of the options, flags, and EtherType of the payload.
const GENEVE: [u8; 4] = [0, 0, 0x65, 0x58];

/// Outer headers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tunnel {
    /// Sending host.
    pub src: Ipv6Addr,
    /// Addressed host.
    pub dst: Ipv6Addr,
    /// UDP source port.
    pub source_port: u16,
    /// Virtual network.
    pub vni: Vni,
    /// Options in wire form.
    pub options: Vec<u8>,
}

impl Tunnel {
    /// Headers without options.
    pub fn new(src: &str, dst: &str, vni: u32) -> Self {
        Self {
            src: src.parse().expect("an IPv6 address"),
            dst: dst.parse().expect("an IPv6 address"),
            source_port: 0xc123,
            vni: Vni::new(vni).expect("24 bits"),
            options: Vec::new(),
        }
    }

    /// The same with the mark of packets from outside.
    pub fn external(self) -> Self {
        Self { options: EXTERNAL_MARK.to_vec(), ..self }
    }

    /// The frame with these headers in front of `inner`. The UDP checksum is zero, as tunnels
    /// send it (RFC 6935).
    pub fn around(&self, inner: &[u8]) -> Vec<u8> {
        let words = u8::try_from(self.options.len() / 4).expect("at most 63 words of options");
        let [first, flags, kind @ ..] = GENEVE;
        let mut payload = vec![first | words, flags];
        payload.extend_from_slice(&kind);
        payload.extend_from_slice(&self.vni.to_bytes());
        payload.push(0);
        payload.extend_from_slice(&self.options);
        payload.extend_from_slice(inner);
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([0; 6], [0; 6])
            .ipv6(self.src.octets(), self.dst.octets(), 64)
            .udp(self.source_port, GENEVE_PORT)
            .write(&mut frame, &payload)
            .expect("an inner frame fits into a UDP datagram");
        let at = frame.len() - payload.len() - 2;
        frame[at..at + 2].fill(0);
        frame
    }

    /// The headers of a tunnel frame and what is inside; `None` if it is none.
    pub fn open(frame: &[u8]) -> Option<(Self, Vec<u8>)> {
        let headers = PacketHeaders::from_ethernet_slice(frame).ok()?;
        let (Some(NetHeaders::Ipv6(ip, _)), Some(TransportHeader::Udp(udp))) =
            (&headers.net, &headers.transport)
        else {
            return None;
        };
        let payload = headers.payload.slice();
        let (geneve, rest) = payload.split_first_chunk::<8>()?;
        let [first, _, _, _, v0, v1, v2, _] = *geneve;
        let (options, inner) = rest.split_at_checked(usize::from(first & 0x3f) * 4)?;
        let tunnel = Self {
            src: ip.source.into(),
            dst: ip.destination.into(),
            source_port: udp.source_port,
            vni: Vni::from_bytes([v0, v1, v2]),
            options: options.to_vec(),
        };
        (udp.destination_port == GENEVE_PORT).then(|| (tunnel, inner.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out() {
        let tunnel = Tunnel::new("fd00::1", "fd00::2", 0x123456).external();
        let frame = tunnel.around(b"inner");
        assert_eq!(Tunnel::open(&frame), Some((tunnel, b"inner".to_vec())));
        assert_eq!(Tunnel::open(&frame[..60]), None);
    }
}
