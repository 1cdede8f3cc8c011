// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Packets as guests and the boundary send them, with right checksums.

use crate::sums;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use opte::outer::{GeneveOptions, Outer};
use opte_api::{MacAddr, Vni};

/// Address family of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Transport of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// What the packets of a measurement have in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    /// Address family.
    pub family: Family,
    /// Transport.
    pub transport: Transport,
    /// Length of the IP packet; shorter than its headers means that it has no payload.
    pub ip_len: usize,
}

impl Shape {
    /// Packets without payload.
    pub const fn small(family: Family, transport: Transport) -> Self {
        Self { family, transport, ip_len: 0 }
    }

    /// Packets of 1400 bytes, IP header included.
    pub const fn large(family: Family, transport: Transport) -> Self {
        Self { family, transport, ip_len: 1400 }
    }

    const fn ip_header(self) -> usize {
        match self.family {
            Family::V4 => 20,
            Family::V6 => 40,
        }
    }

    const fn transport_header(self) -> usize {
        match self.transport {
            Transport::Udp => 8,
            Transport::Tcp => 20,
        }
    }

    const fn payload(self) -> usize {
        self.ip_len.saturating_sub(self.ip_header() + self.transport_header())
    }

    /// Length of the frame, Ethernet header included.
    pub const fn frame_len(self) -> usize {
        14 + self.ip_header() + self.transport_header() + self.payload()
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport, self.family)
    }
}

/// Which segment of a TCP connection; of no meaning for UDP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The first.
    Syn,
    /// Its answer.
    SynAck,
    /// Any later segment of who began.
    Later,
    /// Any later segment of the other side.
    LaterAnswer,
}

impl Stage {
    /// Flags, sequence and acknowledgment number.
    const fn fields(self) -> (u8, u32, u32) {
        match self {
            Self::Syn => (0x02, 1000, 0),
            Self::SynAck => (0x12, 5000, 1001),
            Self::Later => (0x10, 1001, 5001),
            Self::LaterAnswer => (0x10, 5001, 1001),
        }
    }
}

/// One inner frame.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// What it shares with others.
    pub shape: Shape,
    /// Source and destination MAC.
    pub macs: [MacAddr; 2],
    /// Source.
    pub src: SocketAddr,
    /// Destination.
    pub dst: SocketAddr,
    /// Place in a TCP connection.
    pub stage: Stage,
}

impl Packet {
    /// Appends the frame to `bytes`.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        let [src_mac, dst_mac] = self.macs;
        bytes.extend_from_slice(&dst_mac.0);
        bytes.extend_from_slice(&src_mac.0);
        match self.shape.family {
            Family::V4 => bytes.extend_from_slice(&0x0800u16.to_be_bytes()),
            Family::V6 => bytes.extend_from_slice(&0x86ddu16.to_be_bytes()),
        }
        let ip = bytes.len();
        self.write_ip(bytes);
        self.write_transport(bytes);
        bytes.extend((0..self.shape.payload()).map(|at| at as u8));
        assert_eq!(bytes.len() - start, self.shape.frame_len());
        sums::complete(&mut bytes[ip..]);
    }

    fn write_ip(&self, bytes: &mut Vec<u8>) {
        let len = self.shape.frame_len() - 14;
        let protocol = match self.shape.transport {
            Transport::Udp => 17,
            Transport::Tcp => 6,
        };
        if self.shape.family == Family::V4 {
            bytes.extend_from_slice(&[0x45, 0]);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
            bytes.extend_from_slice(&[0, 1, 0x40, 0, 64, protocol, 0, 0]);
        } else {
            bytes.extend_from_slice(&[0x60, 0, 0, 0]);
            bytes.extend_from_slice(&(len as u16 - 40).to_be_bytes());
            bytes.extend_from_slice(&[protocol, 64]);
        }
        for ip in [self.src.ip(), self.dst.ip()] {
            match ip {
                IpAddr::V4(ip) => bytes.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => bytes.extend_from_slice(&ip.octets()),
            }
        }
    }

    fn write_transport(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.src.port().to_be_bytes());
        bytes.extend_from_slice(&self.dst.port().to_be_bytes());
        match self.shape.transport {
            Transport::Udp => {
                bytes.extend_from_slice(&(self.shape.payload() as u16 + 8).to_be_bytes());
                bytes.extend_from_slice(&[0, 0]);
            }
            Transport::Tcp => {
                let (flags, seq, ack) = self.stage.fields();
                bytes.extend_from_slice(&seq.to_be_bytes());
                bytes.extend_from_slice(&ack.to_be_bytes());
                bytes.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            }
        }
    }
}

/// Outer headers of a frame from another host.
#[derive(Clone, Copy, Debug)]
pub struct Tunnel {
    /// Sending host.
    pub src: Ipv6Addr,
    /// This host.
    pub dst: Ipv6Addr,
    /// Virtual network.
    pub vni: Vni,
    /// Geneve options.
    pub options: GeneveOptions,
}

impl Tunnel {
    /// Appends outer headers for an inner frame of `inner_len` bytes.
    pub fn write(&self, inner_len: usize, bytes: &mut Vec<u8>) {
        let outer = Outer {
            src: self.src,
            dst: self.dst,
            source_port: 0xc123,
            vni: self.vni,
            options: self.options,
            traffic_class: 0,
        };
        bytes.extend_from_slice(outer.headers(inner_len).as_slice());
    }
}
