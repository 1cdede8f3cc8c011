// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a boundary must know of an IP packet, read once: where it goes, how long it is, and
//! which external tuple it belongs to.
//!
//! A [`Packet`] that was parsed whole has consistent lengths: `transport <= len`, and `len` is
//! at most the bytes given. Of a packet quoted inside an ICMP error only a front is there.

use super::counters::BoundaryDrop;
use super::fragments::Datagram;
use super::wire::{self, Ports};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use opte::checksum::{Delta, Sum};
use opte::flow_key::FlowKey;
use opte::headers::MAX_EXTENSION_HEADERS;
use opte::wire::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Extension, IPV4_LEN, IPV6_LEN, Icmp, Ipv4, Ipv6};
use opte_api::Protocol;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// How much of a packet is at hand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// The front that an ICMP error quotes.
    Quoted,
}

/// Part of a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    Whole,
    FirstFragment,
    LaterFragment,
}

/// One of the two ends of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Source,
    Destination,
}

/// What an ICMP message of either family is to a router.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum IcmpClass {
    Echo,
    Error,
    LinkOnly,
    Other,
}

/// How a packet shows which entry of an address takes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Selector {
    /// By a TCP or UDP port, or an echo identifier.
    Port(u16),
    /// Not at all: its ports are in another fragment.
    LaterFragment,
    /// Not at all: its protocol has no ports.
    NoPort,
}

/// The external tuple that a packet belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Tuple {
    pub ip: IpAddr,
    pub selector: Selector,
}

/// The facts of an IP packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub addrs: [IpAddr; 2],
    pub protocol: Protocol,
    pub traffic_class: u8,
    pub hop_limit: u8,
    pub part: Part,
    /// Identification of a fragment.
    id: u32,
    /// May not be cut into fragments: always so in IPv6.
    pub atomic: bool,
    /// Bytes of the packet, its IP header included and padding behind it not.
    pub len: usize,
    /// Where the header after all IP headers begins.
    transport: usize,
}

impl Packet {
    /// The whole packet in a frame of this EtherType.
    pub fn in_frame(ether_type: u16, bytes: &[u8]) -> Result<Self, BoundaryDrop> {
        let version = match ether_type {
            ETHERTYPE_IPV4 => 4,
            ETHERTYPE_IPV6 => 6,
            _ => return Err(BoundaryDrop::EtherType),
        };
        match bytes.first() {
            Some(byte) if byte >> 4 != version => Err(BoundaryDrop::IpVersion),
            _ => Self::parse(bytes, Extent::Whole),
        }
    }

    pub fn parse(bytes: &[u8], extent: Extent) -> Result<Self, BoundaryDrop> {
        let packet = match bytes.first().ok_or(BoundaryDrop::Truncated)? >> 4 {
            4 => ipv4(bytes, extent),
            6 => ipv6(bytes),
            _ => Err(BoundaryDrop::IpVersion),
        }?;
        match extent {
            Extent::Whole if packet.transport > packet.len => Err(BoundaryDrop::IpLength),
            Extent::Whole if packet.len > bytes.len() => Err(BoundaryDrop::Truncated),
            Extent::Quoted => Ok(Self { len: packet.len.min(bytes.len()), ..packet }),
            Extent::Whole => Ok(packet),
        }
    }

    pub fn is_ipv4(&self) -> bool {
        self.addr(End::Source).is_ipv4()
    }

    pub fn addr(&self, end: End) -> IpAddr {
        let [src, dst] = self.addrs;
        end.of(src, dst)
    }

    /// The tuple of the guest, which is at `guest` of this packet. An ICMP error belongs to the
    /// packet that it quotes, in which the guest is at the other end (RFC 5508, section 4).
    pub fn tuple(&self, bytes: &[u8], guest: End) -> Result<Tuple, BoundaryDrop> {
        let ip = self.addr(guest);
        let selector = match self.icmp(bytes)? {
            Some((_, IcmpClass::LinkOnly)) => return Err(BoundaryDrop::LinkOnly),
            Some((_, IcmpClass::Error)) => self.quoted_selector(bytes, guest)?,
            _ => self.selector(bytes, guest)?,
        };
        Ok(Tuple { ip, selector })
    }

    /// The datagram that it is a fragment of, if it is one.
    pub fn datagram(&self, host: Option<Ipv6Addr>) -> Datagram {
        Datagram { addrs: self.addrs, protocol: self.protocol, id: self.id, host }
    }

    /// The key that spreads flows over paths. All fragments of a datagram take one path.
    pub fn flow_key(&self, bytes: &[u8]) -> FlowKey {
        let [src, dst] = self.addrs;
        let whole = self.part == Part::Whole;
        let port = |end| match self.selector(bytes, end) {
            Ok(Selector::Port(port)) if whole => port,
            _ => 0,
        };
        FlowKey::new(src, dst, self.protocol, [port(End::Source), port(End::Destination)])
    }

    /// Is an ICMP error, a redirect included: never answered with another.
    pub fn is_icmp_error(&self, bytes: &[u8]) -> bool {
        matches!(self.icmp(bytes), Ok(Some((_, IcmpClass::Error | IcmpClass::LinkOnly))))
    }

    fn selector(&self, bytes: &[u8], guest: End) -> Result<Selector, BoundaryDrop> {
        if self.part == Part::LaterFragment {
            return Ok(Selector::LaterFragment);
        }
        if let Some((icmp, class)) = self.icmp(bytes)? {
            let echo = class == IcmpClass::Echo;
            return Ok(if echo { Selector::Port(icmp.id.get()) } else { Selector::NoPort });
        }
        if !matches!(self.protocol, Protocol::TCP | Protocol::UDP) {
            return Ok(Selector::NoPort);
        }
        let (ports, _) = wire::split::<Ports>(self.payload(bytes)?)?;
        Ok(Selector::Port(guest.of(ports.src, ports.dst).get()))
    }

    fn quoted_selector(&self, bytes: &[u8], guest: End) -> Result<Selector, BoundaryDrop> {
        let bad = |_| BoundaryDrop::BadQuote;
        let (_, quote) = wire::split::<Icmp>(self.payload(bytes)?)?;
        let quoted = Packet::parse(quote, Extent::Quoted).map_err(bad)?;
        if quoted.addr(guest.other()) != self.addr(guest) || quoted.is_icmp_error(quote) {
            return Err(BoundaryDrop::BadQuote);
        }
        quoted.selector(quote, guest.other()).map_err(bad)
    }

    /// The ICMP message of the packet's own family, if it is one and shows its header.
    fn icmp<'a>(&self, bytes: &'a [u8]) -> Result<Option<(&'a Icmp, IcmpClass)>, BoundaryDrop> {
        let icmp = if self.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
        if self.protocol != icmp || self.part == Part::LaterFragment {
            return Ok(None);
        }
        let (header, _) = wire::split::<Icmp>(self.payload(bytes)?)?;
        Ok(Some((header, icmp_class(icmp, header.kind))))
    }

    fn payload<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], BoundaryDrop> {
        bytes.get(self.transport..self.len).ok_or(BoundaryDrop::Truncated)
    }
}

impl End {
    fn other(self) -> Self {
        self.of(Self::Destination, Self::Source)
    }

    pub fn of<T>(self, src: T, dst: T) -> T {
        match self {
            Self::Source => src,
            Self::Destination => dst,
        }
    }
}

fn ipv4(bytes: &[u8], extent: Extent) -> Result<Packet, BoundaryDrop> {
    const MORE_FRAGMENTS: u16 = 0x2000;
    const DO_NOT_FRAGMENT: u16 = 0x4000;
    let (header, _) = wire::split::<Ipv4>(bytes)?;
    let transport = usize::from(header.version_ihl & 0xf) * 4;
    if transport < IPV4_LEN {
        return Err(BoundaryDrop::IpLength);
    }
    // A router checks the sum (RFC 1812, section 5.2.2). In quotes it is often stale.
    let with_options = bytes.get(..transport).ok_or(BoundaryDrop::Truncated)?;
    if extent == Extent::Whole && Sum::default().bytes(with_options).complement() != 0 {
        return Err(BoundaryDrop::IpChecksum);
    }
    let fragment = header.fragment.get();
    Ok(Packet {
        addrs: [header.src, header.dst].map(|ip| Ipv4Addr::from(ip).into()),
        protocol: Protocol(header.protocol),
        traffic_class: header.tos,
        hop_limit: header.ttl,
        part: part(fragment & 0x1fff, fragment & MORE_FRAGMENTS != 0),
        id: header.id.get().into(),
        atomic: fragment & DO_NOT_FRAGMENT != 0,
        len: header.total_len.get().into(),
        transport,
    })
}

fn ipv6(bytes: &[u8]) -> Result<Packet, BoundaryDrop> {
    let (header, mut rest) = wire::split::<Ipv6>(bytes)?;
    let mut packet = Packet {
        addrs: [header.src, header.dst].map(|ip| Ipv6Addr::from(ip).into()),
        protocol: Protocol(header.next),
        traffic_class: (header.first.get() >> 20) as u8,
        hop_limit: header.hop_limit,
        part: Part::Whole,
        id: 0,
        atomic: true,
        len: IPV6_LEN + usize::from(header.payload_len.get()),
        transport: IPV6_LEN,
    };
    for _ in 0..=MAX_EXTENSION_HEADERS {
        let kind = packet.protocol.0;
        if !matches!(kind, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | FRAGMENT) {
            return Ok(packet);
        }
        let (extension, _) = wire::split::<Extension>(rest)?;
        let mut len = (usize::from(extension.len) + 1) * 8;
        if kind == FRAGMENT {
            let fragment = extension.fragment.get();
            packet.part = part(fragment >> 3, fragment & 1 != 0);
            packet.id = extension.id.get();
            len = size_of::<Extension>();
        }
        packet.protocol = Protocol(extension.next);
        packet.transport += len;
        if packet.part == Part::LaterFragment {
            return Ok(packet);
        }
        rest = rest.get(len..).ok_or(BoundaryDrop::Truncated)?;
    }
    Err(BoundaryDrop::ExtensionHeaders)
}

/// An address that may stand in a packet which crosses a router, as source or as destination:
/// unicast, and neither of one host nor of one link (RFC 1812, section 5.3.7; RFC 3927,
/// section 7; RFC 4291, sections 2.5.2 to 2.5.6).
pub(super) fn may_cross(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let here = ip.octets().first() == Some(&0) || ip.is_loopback() || ip.is_link_local();
            !here && !ip.is_multicast() && !ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            let here = ip.is_unspecified() || ip.is_loopback() || ip.is_unicast_link_local();
            !here && !ip.is_multicast() && ip.to_ipv4_mapped().is_none()
        }
    }
}

/// Takes one hop off a packet that has one.
pub(super) fn decrement_hop_limit(bytes: &mut [u8]) -> Result<(), BoundaryDrop> {
    if bytes.first().is_some_and(|byte| byte >> 4 == 6) {
        let header = wire::edit::<Ipv6>(bytes)?;
        header.hop_limit = header.hop_limit.checked_sub(1).ok_or(BoundaryDrop::HopLimit)?;
        return Ok(());
    }
    let header = wire::edit::<Ipv4>(bytes)?;
    let old = [header.ttl, header.protocol];
    header.ttl = header.ttl.checked_sub(1).ok_or(BoundaryDrop::HopLimit)?;
    let delta = Delta::default().replace(&old, &[header.ttl, header.protocol]);
    header.checksum.set(delta.update(header.checksum.get()));
    Ok(())
}

fn part(offset: u16, more: bool) -> Part {
    match (offset, more) {
        (0, false) => Part::Whole,
        (0, true) => Part::FirstFragment,
        _ => Part::LaterFragment,
    }
}

fn icmp_class(protocol: Protocol, kind: u8) -> IcmpClass {
    match (protocol, kind) {
        // RFC 792; router discovery is RFC 1256.
        (Protocol::ICMP, 0 | 8) => IcmpClass::Echo,
        (Protocol::ICMP, 3 | 4 | 11 | 12) => IcmpClass::Error,
        (Protocol::ICMP, 5 | 9 | 10) => IcmpClass::LinkOnly,
        // Types below 128 are errors (RFC 4443, section 2.1); listeners are RFC 2710 and RFC
        // 3810, neighbours RFC 4861.
        (Protocol::ICMPV6, 128 | 129) => IcmpClass::Echo,
        (Protocol::ICMPV6, 0..128) => IcmpClass::Error,
        (Protocol::ICMPV6, 130..=137 | 143) => IcmpClass::LinkOnly,
        _ => IcmpClass::Other,
    }
}
