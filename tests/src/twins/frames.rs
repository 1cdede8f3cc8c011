// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The frames of a random history.

use super::changes::{GUESTS, REMOTE};
use super::steps::{About, Answer, Call, From, Oddity, Peer, Talk, To};
use crate::hypervisor::Left;
use crate::packets::{
    Body, Packet, Tunnel, arp_request, checksums, dhcp_discover, router_solicitation,
};
use crate::setting::{BOUNDARY, Guest, HOSTS, VPC, gateway, outside, vni};
use opte::frame::{ChecksumState, FlatFrame, Offload};
use opte::tcp::TcpFlags;
use opte_api::{MacAddr, Vni};
use oxide_vpc_api::mapping::BOUNDARY_VNI;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use xde::host::PortId;

const LOCAL_PORTS: [u16; 4] = [1000, 1001, 443, 1024];
const REMOTE_PORTS: [u16; 4] = [80, 443, 1000, 53];

/// A frame on its way to a host.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The guest that sends it, or the one that it is for.
    pub guest: usize,
    /// Outer headers, unless the guest sends it.
    pub tunnel: Option<Tunnel>,
    inner: Vec<u8>,
    partial: bool,
}

impl Frame {
    fn from_guest(guest: usize, inner: Vec<u8>) -> Self {
        Self { guest, tunnel: None, inner, partial: false }
    }

    /// What a guest says to somebody.
    pub fn outbound(guest: usize, talk: &Talk) -> Self {
        let sender = GUESTS[guest];
        let ips = [sender.ip(talk.ipv4), peer(talk)];
        let ports = [LOCAL_PORTS[talk.local], REMOTE_PORTS[talk.remote]];
        Self::from_guest(guest, packet(talk, sender.macs(), ips, ports).bytes())
    }

    /// What somebody says to a guest.
    pub fn inbound(guest: usize, talk: &Talk, to: To, from: From) -> Self {
        let receiver = GUESTS[guest];
        let (ip, port) = match to {
            To::Private => (receiver.ip(talk.ipv4), LOCAL_PORTS[talk.local]),
            To::Floating(second) => {
                let number = receiver.0 + if second { 100 } else { 0 };
                (Guest(number).floating(talk.ipv4), LOCAL_PORTS[talk.local])
            }
            To::Snat(offset) => {
                let range = receiver.snat(talk.ipv4);
                (range.ip, range.first_port + offset)
            }
        };
        let macs = [REMOTE.mac(), receiver.mac()];
        let ports = [REMOTE_PORTS[talk.remote], port];
        let inner = packet(talk, macs, [peer(talk), ip], ports).bytes();
        Self { guest, tunnel: Some(outer(from)), inner, partial: false }
    }

    /// The answer to a frame that left a host whose guests' ports are `ports`.
    pub fn answer(left: &Left, ports: [PortId; 2], how: Answer) -> Option<Self> {
        let (guest, tunnel, came) = match left {
            Left::Underlay(bytes) => {
                let (tunnel, inner) = Tunnel::open(bytes)?;
                let from_guest = Packet::read(&inner)?.macs[0];
                let guest = GUESTS.iter().position(|guest| guest.mac() == from_guest)?;
                (guest, Some(back(&tunnel)), inner)
            }
            Left::Guest(port, bytes) => {
                (ports.iter().position(|known| known == port)?, None, bytes.clone())
            }
            Left::Reply(..) | Left::Answer(_) => return None,
        };
        let came_packet = Packet::read(&came)?;
        let mut packet = came_packet.reply();
        match how {
            Answer::Fit => {}
            Answer::Flags(bits) => set_flags(&mut packet, bits),
            Answer::Error => {
                packet = Packet::unreachable(packet.macs, [packet.src, packet.dst], &came);
            }
        }
        Some(Self { guest, tunnel, inner: packet.bytes(), partial: false })
    }

    /// What a guest says to its gateway.
    pub fn link(guest: usize, call: Call) -> Self {
        let sender = GUESTS[guest];
        let (IpAddr::V4(ip), IpAddr::V4(router)) = (sender.ip(true), gateway(true)) else {
            unreachable!("asked for IPv4")
        };
        let inner = match call {
            Call::Arp => arp_request(sender.mac(), ip, router),
            Call::Dhcp(true) => {
                dhcp_discover(sender.mac(), [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST])
            }
            Call::Dhcp(false) => {
                let mut frame = dhcp_discover(sender.mac(), [ip, router]);
                frame[..6].copy_from_slice(&sender.macs()[1].0);
                frame
            }
            Call::Router => router_solicitation(sender.mac()),
            Call::Echo(right) => {
                let mut frame =
                    Packet::echo(sender.macs(), [ip.into(), router.into()], 1000).bytes();
                let last = frame.len() - 1;
                frame[last] ^= u8::from(!right);
                frame
            }
            Call::DhcpPorts => {
                let body = Body::Udp { ports: [68, 67], checksum: true };
                Packet::new(sender.macs(), [ip.into(), router.into()], body).bytes()
            }
        };
        Self::from_guest(guest, inner)
    }

    /// Bytes from a guest, or from the underlay.
    pub fn noise(guest: Option<usize>, bytes: &[u8]) -> Self {
        let tunnel = guest.is_none().then(|| outer(From::Vpc));
        let inner = bytes.to_vec();
        Self { guest: guest.unwrap_or_default(), tunnel, inner, partial: false }
    }

    /// The frame with something unusual about it.
    pub fn odd(mut self, oddity: Oddity) -> Self {
        match oddity {
            Oddity::None => {}
            Oddity::Partial => self.partial = true,
            Oddity::SourceMac => self.flip(11 * 8),
            Oddity::DestinationMac => self.flip(5 * 8),
            Oddity::SourceIp => self.change(|packet| {
                packet.src = match packet.src {
                    IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() ^ 1).into(),
                    IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() ^ 1).into(),
                };
            }),
            Oddity::Flags(bits) => self.change(|packet| set_flags(packet, bits)),
            Oddity::Mark => {
                if let Some(tunnel) = &mut self.tunnel {
                    tunnel.options = if tunnel.options.is_empty() {
                        crate::packets::EXTERNAL_MARK.to_vec()
                    } else {
                        Vec::new()
                    };
                }
            }
            Oddity::Cut(len) => self.inner.truncate(self.inner.len().saturating_sub(len)),
            Oddity::Bit(at) => self.flip(at),
        }
        self
    }

    /// All of its checksums are right, and none is left to a device.
    pub fn is_right(&self) -> bool {
        let inner = &self.inner;
        !self.partial && checksums::verify(inner).is_ok() && checksums::verify_quote(inner).is_ok()
    }

    fn flip(&mut self, bit: usize) {
        let count = self.inner.len() * 8;
        if let Some(byte) = self.inner.get_mut(bit % count.max(1) / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Packet)) {
        if let Some(mut packet) = Packet::read(&self.inner) {
            change(&mut packet);
            self.inner = packet.bytes();
        }
    }

    /// The bytes, and what travels beside them.
    pub fn build(&self) -> FlatFrame {
        let bytes =
            self.tunnel.as_ref().map_or_else(|| self.inner.clone(), |t| t.around(&self.inner));
        let checksum = if self.partial {
            ChecksumState::Partial { start: 34, offset: 6 }
        } else {
            ChecksumState::Complete
        };
        FlatFrame { bytes, offload: Offload { checksum, segments: None } }
    }
}

fn peer(talk: &Talk) -> IpAddr {
    let ipv4 = talk.ipv4;
    match talk.peer {
        Peer::Local(at) => GUESTS[at].ip(ipv4),
        Peer::Remote => REMOTE.ip(ipv4),
        Peer::Nobody => Guest(200).ip(ipv4),
        Peer::Gateway => gateway(ipv4),
        Peer::Outside => outside(ipv4),
        Peer::Elsewhere if ipv4 => Ipv4Addr::new(198, 51, 100, 8).into(),
        Peer::Elsewhere => Ipv6Addr::new(0x2001, 0xdb8, 8, 0, 0, 0, 0, 8).into(),
        Peer::Floating => GUESTS[0].floating(ipv4),
        Peer::Group => group(ipv4),
    }
}

/// The group that guests talk to.
pub(super) fn group(ipv4: bool) -> IpAddr {
    match ipv4 {
        true => Ipv4Addr::new(224, 0, 0, 251).into(),
        false => Ipv6Addr::new(0xff04, 0, 0, 0, 0, 0, 0, 251).into(),
    }
}

fn packet(talk: &Talk, macs: [MacAddr; 2], ips: [IpAddr; 2], ports: [u16; 2]) -> Packet {
    let body = match talk.about {
        About::Tcp(flags, numbers) => Body::Tcp { ports, flags: TcpFlags(flags), numbers },
        About::Udp(checksum) => Body::Udp { ports, checksum },
        About::Echo(request) => {
            let [high, low] = ports[0].to_be_bytes();
            let kind = match (talk.ipv4, request) {
                (true, true) => 8,
                (true, false) => 0,
                (false, true) => 128,
                (false, false) => 129,
            };
            Body::Icmp { kind: [kind, 0], rest: [high, low, 0, 1] }
        }
        About::Icmp(kind, code) => Body::Icmp { kind: [kind, code], rest: [0; 4] },
        About::Other(number) => Body::Other(number),
    };
    let payload = vec![0x55; talk.len];
    Packet { extras: talk.extras, payload, ..Packet::new(macs, ips, body) }
}

fn outer(from: From) -> Tunnel {
    let tunnel = |src, vni: Vni| Tunnel {
        src,
        dst: HOSTS[0],
        source_port: 0xc000,
        vni,
        options: Vec::new(),
    };
    match from {
        From::Vpc => tunnel(HOSTS[1], vni(VPC)),
        From::OtherVpc => tunnel(HOSTS[1], vni(VPC + 1)),
        From::Outside => tunnel(BOUNDARY, vni(VPC)).external(),
        From::Astray => Tunnel { dst: HOSTS[1], ..tunnel(HOSTS[1], vni(VPC)) },
    }
}

/// The outer headers of an answer. The boundary marks what comes from outside, and addresses the
/// guest in its own network and as its own MAC.
fn back(tunnel: &Tunnel) -> Tunnel {
    let answer = Tunnel { src: tunnel.dst, dst: tunnel.src, options: Vec::new(), ..tunnel.clone() };
    if tunnel.vni.get() == BOUNDARY_VNI {
        Tunnel { vni: vni(VPC), ..answer }.external()
    } else {
        answer
    }
}

fn set_flags(packet: &mut Packet, bits: u8) {
    if let Body::Tcp { flags, .. } = &mut packet.body {
        *flags = TcpFlags(bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxide_vpc_api::config::BOUNDARY_MAC;

    #[test]
    fn answers_go_back_where_frames_came_from() {
        let talk = Talk {
            ipv4: true,
            peer: Peer::Outside,
            about: About::Udp(true),
            local: 0,
            remote: 0,
            extras: 0,
            len: 3,
        };
        let out = Frame::outbound(0, &talk);
        let mut sent = Packet::read(&out.inner).unwrap();
        sent.macs[1] = BOUNDARY_MAC;
        let tunnel = Tunnel::new("fd00:a::1", "fd00:99::1", BOUNDARY_VNI);
        let left = Left::Underlay(tunnel.around(&sent.bytes()));
        let answer = Frame::answer(&left, [PortId(0), PortId(1)], Answer::Fit).unwrap();
        let packet = Packet::read(&answer.inner).unwrap();
        assert_eq!((packet.macs[1], packet.src), (GUESTS[0].mac(), outside(true)));
        let outer = answer.tunnel.unwrap();
        assert_eq!((outer.vni.get(), outer.options.len()), (VPC, 4));
    }
}
