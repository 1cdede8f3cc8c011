// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! IP packets as the services read and write them.
//!
//! [`Inbound::parse`] proves what the services rely on: lengths agree with the frame, the IPv4
//! header checksum is right, and the payload is the beginning of an unfragmented datagram. What
//! does not parse is not for a service; the engine's own parser gives it a drop reason.

use super::Checksum;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte_api::{DomainName, MacAddr};
use oxide_vpc_api::PortConfig;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv4Packet, Icmpv6Packet,
    IpProtocol, IpRepr, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, UdpPacket, UdpRepr,
};

/// Longest chain of IPv6 extension headers that is followed.
const MAX_EXTENSIONS: usize = 8;
/// Hop limit of a reply, except in neighbour discovery.
pub(super) const HOP_LIMIT: u8 = 64;
const ETHERNET_HEADER: usize = 14;
const UDP_HEADER: usize = 8;

/// An IP packet from the guest.
pub(super) struct Inbound<'a> {
    pub source_mac: MacAddr,
    pub destination_mac: MacAddr,
    /// Addresses, hop limit, and the protocol and length of `payload`.
    pub ip: IpRepr,
    /// IPv6 extension headers stand before `payload`.
    pub extended: bool,
    pub payload: &'a [u8],
}

impl<'a> Inbound<'a> {
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        let (ip, extended, payload) = match ethernet.ethertype() {
            EthernetProtocol::Ipv4 => parse_ipv4(ethernet.payload())?,
            EthernetProtocol::Ipv6 => parse_ipv6(ethernet.payload())?,
            _ => return None,
        };
        Some(Self {
            source_mac: MacAddr(ethernet.src_addr().0),
            destination_mac: MacAddr(ethernet.dst_addr().0),
            ip,
            extended,
            payload,
        })
    }

    pub fn source(&self) -> IpAddr {
        self.ip.src_addr().into()
    }

    pub fn destination(&self) -> IpAddr {
        self.ip.dst_addr().into()
    }

    /// The UDP header and what it carries, if that is what the packet has.
    pub fn udp(&self) -> Option<UdpPacket<&'a [u8]>> {
        if self.ip.next_header() != IpProtocol::Udp {
            return None;
        }
        UdpPacket::new_checked(self.payload).ok()
    }

    /// The UDP checksum is right, or allowed to be absent.
    pub fn udp_intact(&self, udp: &UdpPacket<&[u8]>, checksum: Checksum) -> bool {
        // Over IPv6 the checksum cannot be left out (RFC 8200, section 8.1).
        let missing = udp.checksum() == 0 && matches!(self.ip, IpRepr::Ipv6(_));
        checksum == Checksum::Partial
            || (!missing && udp.verify_checksum(&self.ip.src_addr(), &self.ip.dst_addr()))
    }
}

fn parse_ipv4(bytes: &[u8]) -> Option<(IpRepr, bool, &[u8])> {
    let packet = Ipv4Packet::new_checked(bytes).ok()?;
    let whole = !packet.more_frags() && packet.frag_offset() == 0;
    if packet.version() != 4 || packet.header_len() < 20 || !whole || !packet.verify_checksum() {
        return None;
    }
    let payload = packet.payload();
    let repr = Ipv4Repr {
        src_addr: packet.src_addr(),
        dst_addr: packet.dst_addr(),
        next_header: packet.next_header(),
        payload_len: payload.len(),
        hop_limit: packet.hop_limit(),
    };
    Some((IpRepr::Ipv4(repr), false, payload))
}

fn parse_ipv6(bytes: &[u8]) -> Option<(IpRepr, bool, &[u8])> {
    let packet = Ipv6Packet::new_checked(bytes).ok()?;
    if packet.version() != 6 {
        return None;
    }
    let (next_header, payload) = skip_extensions(packet.next_header(), packet.payload())?;
    let repr = Ipv6Repr {
        src_addr: packet.src_addr(),
        dst_addr: packet.dst_addr(),
        next_header,
        payload_len: payload.len(),
        hop_limit: packet.hop_limit(),
    };
    Some((IpRepr::Ipv6(repr), next_header != packet.next_header(), payload))
}

/// Walks to the upper protocol (RFC 8200, section 4). A later fragment has none.
fn skip_extensions(mut next: IpProtocol, mut bytes: &[u8]) -> Option<(IpProtocol, &[u8])> {
    for _ in 0..=MAX_EXTENSIONS {
        let is_fragment = next == IpProtocol::Ipv6Frag;
        let is_options =
            matches!(next, IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts);
        if !is_fragment && !is_options {
            return Some((next, bytes));
        }
        let [following, length, offset_high, offset_low, ..] = *bytes else { return None };
        if is_fragment && (offset_high != 0 || offset_low & 0xf8 != 0) {
            return None;
        }
        let units = if is_fragment { 1 } else { usize::from(length) + 1 };
        bytes = bytes.get(units * 8..)?;
        next = following.into();
    }
    None
}

/// The checksum of an ICMP message is right.
pub(super) fn icmp_intact(ip: &IpRepr, message: &[u8]) -> bool {
    match ip {
        IpRepr::Ipv4(_) => Icmpv4Packet::new_checked(message).is_ok_and(|m| m.verify_checksum()),
        IpRepr::Ipv6(ip) => Icmpv6Packet::new_checked(message)
            .is_ok_and(|message| message.verify_checksum(&ip.src_addr, &ip.dst_addr)),
    }
}

/// Writes the checksum of an ICMP message, which has its whole header.
pub(super) fn fill_icmp_checksum(ip: &IpRepr, message: &mut [u8]) {
    match ip {
        IpRepr::Ipv4(_) => Icmpv4Packet::new_unchecked(message).fill_checksum(),
        IpRepr::Ipv6(ip) => {
            Icmpv6Packet::new_unchecked(message).fill_checksum(&ip.src_addr, &ip.dst_addr);
        }
    }
}

/// Builds a frame: Ethernet and IP headers, then whatever `write` puts in the payload, which has
/// `ip.payload_len()` zero bytes.
pub(super) fn frame(
    destination: MacAddr,
    source: MacAddr,
    ip: &IpRepr,
    write: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET_HEADER + ip.buffer_len()];
    let ethertype = match ip {
        IpRepr::Ipv4(_) => EthernetProtocol::Ipv4,
        IpRepr::Ipv6(_) => EthernetProtocol::Ipv6,
    };
    let (src_addr, dst_addr) = (EthernetAddress(source.0), EthernetAddress(destination.0));
    let mut ethernet = EthernetFrame::new_unchecked(frame.as_mut_slice());
    EthernetRepr { src_addr, dst_addr, ethertype }.emit(&mut ethernet);
    let checksums = ChecksumCapabilities::default();
    ip.emit(ethernet.payload_mut(), &checksums);
    if let Some(payload) = ethernet.payload_mut().get_mut(ip.header_len()..) {
        write(payload);
    }
    frame
}

/// Builds a frame that carries `message` in UDP. `ip.payload_len` is set here.
pub(super) fn udp_frame(
    destination: MacAddr,
    source: MacAddr,
    mut ip: IpRepr,
    ports: UdpRepr,
    message: &[u8],
) -> Vec<u8> {
    ip.set_payload_len(UDP_HEADER + message.len());
    frame(destination, source, &ip, |payload| {
        ports.emit(
            &mut UdpPacket::new_unchecked(payload),
            &ip.src_addr(),
            &ip.dst_addr(),
            message.len(),
            |body| body.copy_from_slice(message),
            &ChecksumCapabilities::default(),
        );
    })
}

/// Longest IP packet that is sent for DHCP: never fragmented, never jumbo.
pub(super) fn longest_reply(config: &PortConfig) -> usize {
    usize::from(config.mtu.min(1500))
}

/// The wire form of as many names, from the first, as `room` bytes hold (RFC 1035, section 3.1).
pub(super) fn names_that_fit(names: &[DomainName], room: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for name in names.iter().map(DomainName::encode) {
        if wire.len() + name.len() > room {
            break;
        }
        wire.extend(name);
    }
    wire
}
