// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Frames for tests: built from a description, read back into it, and checked.
//!
//! Headers and checksums are those of the library `etherparse`, so that nothing here shares an
//! error with the engine.

pub mod checksums;
mod link;
mod tunnel;

pub use link::{arp_request, dhcp_discover, router_solicitation};
pub use tunnel::{EXTERNAL_MARK, Tunnel};

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions,
    Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, NetHeaders, PacketBuilder, PacketHeaders,
    TcpHeader, TcpOptionElement, TransportHeader,
};
use opte::tcp::TcpFlags;
use opte_api::{MacAddr, Protocol};
use std::net::IpAddr;

const ECHO_REQUESTS: [u8; 2] = [8, 128];
const ECHO_REPLIES: [u8; 2] = [0, 129];

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body {
    /// TCP; a SYN carries a maximum segment size.
    Tcp {
        /// Source and destination.
        ports: [u16; 2],
        /// Control bits.
        flags: TcpFlags,
        /// Sequence and acknowledgment number.
        numbers: [u32; 2],
    },
    /// UDP.
    Udp {
        /// Source and destination.
        ports: [u16; 2],
        /// There is one (RFC 768: zero says that there is none).
        checksum: bool,
    },
    /// ICMP or ICMPv6, as the addresses are.
    Icmp {
        /// Type and code.
        kind: [u8; 2],
        /// What follows the checksum; identifier and number of an echo message.
        rest: [u8; 4],
    },
    /// Some other protocol; all of it is payload.
    Other(u8),
}

/// A frame with an IP packet in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Packet {
    /// Source and destination MAC.
    pub macs: [MacAddr; 2],
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// The transport header.
    pub body: Body,
    /// Words of IPv4 options (up to 10), or IPv6 extension headers (up to 3: hop-by-hop options,
    /// destination options, an atomic fragment).
    pub extras: usize,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Traffic class: DSCP and ECN.
    pub class: u8,
    /// What follows the transport header.
    pub payload: Vec<u8>,
}

impl Packet {
    /// A packet with a short payload and nothing unusual.
    pub fn new(macs: [MacAddr; 2], [src, dst]: [IpAddr; 2], body: Body) -> Self {
        Self {
            macs,
            src,
            dst,
            body,
            extras: 0,
            ttl: 64,
            class: 0,
            payload: b"to whom it may concern".to_vec(),
        }
    }

    /// An echo request of either family.
    pub fn echo(macs: [MacAddr; 2], ips: [IpAddr; 2], id: u16) -> Self {
        let [kind4, kind6] = ECHO_REQUESTS;
        let kind = if ips[0].is_ipv4() { kind4 } else { kind6 };
        let [high, low] = id.to_be_bytes();
        Self::new(macs, ips, Body::Icmp { kind: [kind, 0], rest: [high, low, 0, 1] })
    }

    /// An ICMP timestamp message (RFC 792), or the answer to one.
    pub fn timestamp(macs: [MacAddr; 2], ips: [IpAddr; 2], id: u16, answer: bool) -> Self {
        let [high, low] = id.to_be_bytes();
        let kind = if answer { 14 } else { 13 };
        let body = Body::Icmp { kind: [kind, 0], rest: [high, low, 0, 1] };
        Self { payload: vec![0; 12], ..Self::new(macs, ips, body) }
    }

    /// An ICMP error of either family (destination unreachable) about the IP packet in `frame`.
    pub fn unreachable(macs: [MacAddr; 2], ips: [IpAddr; 2], frame: &[u8]) -> Self {
        let kind = if ips[0].is_ipv4() { [3, 1] } else { [1, 3] };
        let quote = frame.get(14..frame.len().min(14 + 128)).unwrap_or_default().to_vec();
        let body = Body::Icmp { kind, rest: [0; 4] };
        Self { payload: quote, ..Self::new(macs, ips, body) }
    }

    /// The IP protocol.
    pub fn protocol(&self) -> Protocol {
        match self.body {
            Body::Tcp { .. } => Protocol::TCP,
            Body::Udp { .. } => Protocol::UDP,
            Body::Icmp { .. } if self.src.is_ipv4() => Protocol::ICMP,
            Body::Icmp { .. } => Protocol::ICMPV6,
            Body::Other(number) => Protocol(number),
        }
    }

    /// Source and destination port; of an echo message its identifier, twice.
    pub fn ports(&self) -> [u16; 2] {
        match self.body {
            Body::Tcp { ports, .. } | Body::Udp { ports, .. } => ports,
            Body::Icmp { rest: [high, low, ..], .. } => [u16::from_be_bytes([high, low]); 2],
            Body::Other(_) => [0; 2],
        }
    }

    /// What the other side would send back: addresses, ports and echo type turned round. A SYN is
    /// answered by SYN and ACK, anything else by ACK; all that came is acknowledged.
    pub fn reply(&self) -> Self {
        let body = match self.body {
            Body::Tcp { ports: [a, b], flags, numbers: [seq, ack] } => {
                let both = TcpFlags::SYN | TcpFlags::ACK;
                let is_syn = flags.is_syn() && !flags.is_ack();
                let room = u32::from(flags.is_syn()) + u32::from(flags.is_fin());
                let next = seq.wrapping_add(room).wrapping_add(self.payload.len() as u32);
                let flags = if is_syn { both } else { TcpFlags::ACK };
                Body::Tcp { ports: [b, a], flags, numbers: [ack, next] }
            }
            Body::Udp { ports: [a, b], checksum } => Body::Udp { ports: [b, a], checksum },
            Body::Icmp { kind: [kind, code], rest } => {
                let at = ECHO_REQUESTS.iter().position(|request| *request == kind);
                Body::Icmp { kind: [at.map_or(kind, |at| ECHO_REPLIES[at]), code], rest }
            }
            other @ Body::Other(_) => other,
        };
        let macs = [self.macs[1], self.macs[0]];
        Self { macs, src: self.dst, dst: self.src, body, ..self.clone() }
    }

    /// The frame, with right lengths and checksums.
    pub fn bytes(&self) -> Vec<u8> {
        let [src, dst] = self.macs;
        let ip = PacketBuilder::ethernet2(src.0, dst.0).ip(self.ip_headers());
        let mut bytes = Vec::new();
        let payload = &self.payload;
        match self.body {
            Body::Tcp { .. } => ip.tcp_header(self.tcp_header()).write(&mut bytes, payload),
            Body::Udp { ports: [a, b], .. } => ip.udp(a, b).write(&mut bytes, payload),
            Body::Icmp { kind: [kind, code], rest } if self.src.is_ipv4() => {
                ip.icmpv4_raw(kind, code, rest).write(&mut bytes, payload)
            }
            Body::Icmp { kind: [kind, code], rest } => {
                ip.icmpv6_raw(kind, code, rest).write(&mut bytes, payload)
            }
            Body::Other(number) => ip.write(&mut bytes, IpNumber(number), payload),
        }
        .expect("headers and payload fit into an IP packet");
        if let Body::Udp { checksum: false, .. } = self.body {
            let at = bytes.len() - payload.len() - 2;
            bytes[at..at + 2].fill(0);
        }
        bytes
    }

    fn ip_headers(&self) -> IpHeaders {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let number = IpNumber(self.protocol().0);
                let mut header = Ipv4Header::new(0, self.ttl, number, src.octets(), dst.octets())
                    .expect("no payload is not too much");
                // No operation (RFC 791, section 3.1).
                let options = [1u8; 40];
                let options = options.get(..self.extras * 4).expect("at most 10 words");
                header.options = options.try_into().expect("whole words");
                header.dscp = (self.class >> 2).try_into().expect("six bits");
                header.ecn = (self.class & 3).try_into().expect("two bits");
                IpHeaders::Ipv4(header, Ipv4Extensions::default())
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let header = Ipv6Header {
                    hop_limit: self.ttl,
                    traffic_class: self.class,
                    source: src.octets(),
                    destination: dst.octets(),
                    ..Ipv6Header::default()
                };
                IpHeaders::Ipv6(header, extensions(self.extras))
            }
            _ => panic!("{} and {} are not of one family", self.src, self.dst),
        }
    }

    fn tcp_header(&self) -> TcpHeader {
        let Body::Tcp { ports: [a, b], flags, numbers: [seq, ack] } = self.body else {
            unreachable!("only asked for TCP")
        };
        let mut header = TcpHeader::new(a, b, seq, 4096);
        header.acknowledgment_number = ack;
        header.fin = flags.is_fin();
        header.syn = flags.is_syn();
        header.rst = flags.is_rst();
        header.psh = flags.is_psh();
        header.ack = flags.is_ack();
        header.urg = flags.is_urg();
        if flags.is_syn() {
            let size = TcpOptionElement::MaximumSegmentSize(1400);
            header.set_options(&[size]).expect("one option has room");
        }
        header
    }

    /// The description of a frame; `None` if it holds no whole IP packet.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let headers = PacketHeaders::from_ethernet_slice(frame).ok()?;
        let link = headers.link?.ethernet2()?;
        let net = headers.net?;
        let (ttl, class) = match &net {
            NetHeaders::Ipv4(ip, _) => (ip.time_to_live, ip.dscp.value() << 2 | ip.ecn.value()),
            NetHeaders::Ipv6(ip, _) => (ip.hop_limit, ip.traffic_class),
            NetHeaders::Arp(_) => return None,
        };
        let (src, dst, number, extras): (IpAddr, IpAddr, _, _) = match net {
            NetHeaders::Ipv4(ip, _) => {
                (ip.source.into(), ip.destination.into(), ip.protocol, ip.options.len() / 4)
            }
            NetHeaders::Ipv6(ip, more) => {
                let count = usize::from(more.hop_by_hop_options.is_some())
                    + usize::from(more.destination_options.is_some())
                    + usize::from(more.fragment.is_some());
                let number = more.next_header(ip.next_header).ok()?;
                (ip.source.into(), ip.destination.into(), number, count)
            }
            NetHeaders::Arp(_) => return None,
        };
        let body = match headers.transport {
            Some(TransportHeader::Tcp(tcp)) => Body::Tcp {
                ports: [tcp.source_port, tcp.destination_port],
                flags: TcpFlags(tcp.to_bytes()[13]),
                numbers: [tcp.sequence_number, tcp.acknowledgment_number],
            },
            Some(TransportHeader::Udp(udp)) => Body::Udp {
                ports: [udp.source_port, udp.destination_port],
                checksum: udp.checksum != 0,
            },
            Some(TransportHeader::Icmpv4(icmp)) => icmp_body(&icmp.to_bytes())?,
            Some(TransportHeader::Icmpv6(icmp)) => icmp_body(&icmp.to_bytes())?,
            Some(TransportHeader::Igmp(_)) | None => Body::Other(number.0),
        };
        Some(Self {
            macs: [MacAddr(link.source), MacAddr(link.destination)],
            src,
            dst,
            body,
            extras,
            ttl,
            class,
            payload: headers.payload.slice().to_vec(),
        })
    }
}

fn icmp_body(header: &[u8]) -> Option<Body> {
    let [kind, code, _, _, a, b, c, d, ..] = *header else { return None };
    Some(Body::Icmp { kind: [kind, code], rest: [a, b, c, d] })
}

fn extensions(count: usize) -> Ipv6Extensions {
    // One option that pads to eight bytes (RFC 8200, section 4.2).
    let padding = || {
        let payload = [1, 4, 0, 0, 0, 0];
        Ipv6RawExtHeader::new_raw(IpNumber(0), &payload).expect("eight bytes")
    };
    Ipv6Extensions {
        hop_by_hop_options: (count >= 1).then(padding),
        destination_options: (count >= 2).then(padding),
        fragment: (count >= 3)
            .then(|| Ipv6FragmentHeader::new(IpNumber(0), IpFragOffset::ZERO, false, 77)),
        ..Ipv6Extensions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];

    fn bodies() -> [Body; 5] {
        [
            Body::Tcp { ports: [1, 2], flags: TcpFlags::SYN, numbers: [u32::MAX, 0] },
            Body::Tcp { ports: [1, 2], flags: TcpFlags(0x3d), numbers: [5, 6] },
            Body::Udp { ports: [3, 4], checksum: true },
            Body::Icmp { kind: [8, 0], rest: [1, 2, 3, 4] },
            Body::Other(47),
        ]
    }

    #[test]
    fn frames_read_back_and_verify() {
        let v4 = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        let v6 = ["fd00::1", "fd00::2"].map(|ip| ip.parse().unwrap());
        for (ips, extras) in [(v4, 0), (v4, 3), (v6, 0), (v6, 3)] {
            for body in bodies() {
                let packet = Packet { extras, ..Packet::new(MACS, ips, body) };
                let bytes = packet.bytes();
                assert_eq!(checksums::verify(&bytes), Ok(()), "{packet:?}");
                assert_eq!(Packet::read(&bytes).as_ref(), Some(&packet));
            }
        }
    }

    #[test]
    fn replies_turn_everything_round() {
        let ips = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        let [syn, ..] = bodies().map(|body| Packet::new(MACS, ips, body));
        let Body::Tcp { ports, flags, numbers } = syn.reply().body else { panic!("TCP") };
        assert_eq!((ports, flags), ([2, 1], TcpFlags::SYN | TcpFlags::ACK));
        assert_eq!(numbers[1], syn.payload.len() as u32);
        let pong = Packet::echo(MACS, ips, 9).reply();
        assert_eq!(
            (pong.body, pong.src),
            (Body::Icmp { kind: [0, 0], rest: [0, 9, 0, 1] }, ips[1])
        );
    }
}
