// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Parsing of inner frames, once, into [`Headers`].
//!
//! Guarantees: every offset in [`Headers`] lies within the frame's head, and every length that a
//! header promises is there. Checksums are not verified: what a guest sends wrong stays wrong by
//! the same difference.

mod plain;

use crate::drop_reason::DropReason;
use crate::flow_key::{Ends, FlowKey};
use crate::fragments::Fragment;
use crate::geneve::Mark;
use crate::tcp::{Segment, SeqNumber, TcpFlags};
use crate::wire::{
    ETHER_LEN, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ether, Extension, IPV4_LEN, IPV6_LEN,
    Icmp, Ipv4, Ipv6, Tcp, Udp, view,
};
use core::fmt;
use opte_api::{MacAddr, Protocol};

/// Most extension headers of one IPv6 packet.
pub const MAX_EXTENSION_HEADERS: usize = 8;

const IGMP: u8 = 2;
const NO_NEXT_HEADER: u8 = 59;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// Destination and source address of the inner Ethernet header, as they stand there.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct MacPair(pub(crate) [u8; 12]);

impl MacPair {
    /// The pair of these addresses.
    pub fn new(dst: MacAddr, src: MacAddr) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (dst.0, src.0);
        Self([a, b, c, d, e, f, g, h, i, j, k, l])
    }

    /// Destination.
    pub const fn dst(&self) -> MacAddr {
        let [a, b, c, d, e, f, ..] = self.0;
        MacAddr([a, b, c, d, e, f])
    }

    /// Source.
    pub const fn src(&self) -> MacAddr {
        let [.., a, b, c, d, e, f] = self.0;
        MacAddr([a, b, c, d, e, f])
    }
}

impl fmt::Debug for MacPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} < {}", self.dst(), self.src())
    }
}

/// What lies behind the inner Ethernet header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Payload {
    /// ARP: no flow, no offsets.
    Arp,
    /// An IP packet that belongs to the flow of this key.
    Ip(FlowKey),
    /// A fragment of one. Only the first has ports in its key.
    Fragment(FlowKey, Fragment),
}

/// All that is known of a frame after one look at it.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    /// Where the inner Ethernet header begins.
    pub ether: u16,
    /// Where the transport header begins.
    pub transport: u16,
    /// Where the IP packet ends; behind it is padding.
    pub end: u32,
    /// Inner MAC addresses.
    pub macs: MacPair,
    /// The flow, or ARP.
    pub payload: Payload,
    /// Control bits of TCP packets; none of others.
    pub flags: TcpFlags,
    /// What the outer headers said of the frame's origin.
    pub mark: Mark,
    /// The ECN field of the outer headers.
    pub ecn: u8,
}

impl Headers {
    /// Parses the Ethernet frame that begins at `ether` in `head`; `len` is the length of the
    /// whole frame, of which `head` is the front.
    #[inline]
    pub fn parse(head: &[u8], len: usize, ether: usize, mark: Mark) -> Result<Self, DropReason> {
        let frame = head.get(ether..).unwrap_or_default();
        let len = len.saturating_sub(ether);
        match plain::plain(frame, len).and_then(|plain| plain.at(ether, mark)) {
            Some(headers) => Ok(headers),
            None => Self::parse_any(frame, len, ether, mark),
        }
    }

    /// The same, for any frame. `frame` and `len` begin at the Ethernet header.
    fn parse_any(frame: &[u8], len: usize, ether: usize, mark: Mark) -> Result<Self, DropReason> {
        let offset = |at: usize| u16::try_from(ether + at).map_err(|_| DropReason::Truncated);
        let header: &Ether = view(frame, 0)?;
        let macs = MacPair::new(MacAddr(header.dst), MacAddr(header.src));
        let packet = match header.ether_type.get() {
            ETHERTYPE_IPV4 => parse_ipv4(frame, len, ETHER_LEN)?,
            ETHERTYPE_IPV6 => parse_ipv6(frame, len, ETHER_LEN)?,
            ETHERTYPE_ARP => {
                return Ok(Self {
                    ether: offset(0)?,
                    transport: offset(ETHER_LEN)?,
                    end: (ether + len) as u32,
                    macs,
                    payload: Payload::Arp,
                    flags: TcpFlags::default(),
                    mark,
                    ecn: 0,
                });
            }
            _ => return Err(DropReason::EtherType),
        };
        let (ports, flags) = packet.transport(frame)?;
        Ok(Self {
            ether: offset(0)?,
            transport: offset(packet.at)?,
            end: (ether + packet.end) as u32,
            macs,
            payload: packet.payload(ports),
            flags,
            mark,
            ecn: 0,
        })
    }

    /// Where the IP header begins, or the ARP packet.
    pub const fn ip(&self) -> usize {
        self.ether as usize + ETHER_LEN
    }

    /// The TCP header, of TCP packets. `head` is that which was parsed.
    pub fn segment(&self, head: &[u8]) -> Option<Segment> {
        self.segment_behind(head, 0)
    }

    /// The same, if the first `skipped` bytes of what was parsed are missing from `head`.
    pub(crate) fn segment_behind(&self, head: &[u8], skipped: usize) -> Option<Segment> {
        if self.key()?.protocol() != Protocol::TCP {
            return None;
        }
        let header: &Tcp = view(head, usize::from(self.transport).checked_sub(skipped)?).ok()?;
        let data = usize::from(self.transport) + usize::from(header.offset >> 4) * 4;
        Some(Segment {
            flags: self.flags,
            seq: SeqNumber(header.seq.get()),
            ack: SeqNumber(header.ack.get()),
            // An IP packet is at most 64 KiB long.
            payload_len: (self.end as usize).saturating_sub(data) as u32,
            window: header.window.get(),
        })
    }

    /// An ICMP error: it carries the beginning of another packet.
    pub fn is_icmp_error(&self) -> bool {
        self.key().is_some_and(FlowKey::is_icmp_error)
    }

    /// The key, if the frame belongs to a flow.
    pub const fn key(&self) -> Option<&FlowKey> {
        match &self.payload {
            Payload::Ip(key) | Payload::Fragment(key, _) => Some(key),
            Payload::Arp => None,
        }
    }
}

/// An IP packet whose transport header begins at `at` and whose data ends at `end`.
struct Packet {
    ends: Ends,
    protocol: Protocol,
    at: usize,
    end: usize,
    fragment: Option<Fragment>,
}

#[inline]
fn parse_ipv4(head: &[u8], len: usize, at: usize) -> Result<Packet, DropReason> {
    let header: &Ipv4 = view(head, at)?;
    if header.version_ihl >> 4 != 4 {
        return Err(DropReason::IpVersion);
    }
    let header_len = usize::from(header.version_ihl & 0xf) * 4;
    let total_len = usize::from(header.total_len.get());
    if header_len < IPV4_LEN || total_len < header_len {
        return Err(DropReason::IpLength);
    }
    if at + total_len > len {
        return Err(DropReason::Truncated);
    }
    // More fragments, or not the first (RFC 791, section 3.1).
    let field = header.fragment.get();
    let fragment = (field & 0x3fff != 0).then(|| Fragment {
        id: header.id.get().into(),
        offset: field << 3,
        more: field & 0x2000 != 0,
    });
    Ok(Packet {
        fragment,
        ends: Ends::ipv4(header.src, header.dst),
        protocol: Protocol(header.protocol),
        at: at + header_len,
        end: at + total_len,
    })
}

#[inline]
fn parse_ipv6(head: &[u8], len: usize, at: usize) -> Result<Packet, DropReason> {
    let header: &Ipv6 = view(head, at)?;
    if header.first.get() >> 28 != 6 {
        return Err(DropReason::IpVersion);
    }
    let end = at + IPV6_LEN + usize::from(header.payload_len.get());
    if end > len {
        return Err(DropReason::Truncated);
    }
    let (protocol, transport, fragment) = walk_extensions(head, header.next, at + IPV6_LEN, end)?;
    Ok(Packet {
        fragment,
        ends: Ends::ipv6(header.src, header.dst),
        protocol: Protocol(protocol),
        at: transport,
        end,
    })
}

/// Walks the extension headers of a packet that must be whole. Answers the transport protocol and
/// where its header begins.
#[inline]
pub(crate) fn skip_extensions(
    head: &[u8],
    next: u8,
    at: usize,
    end: usize,
) -> Result<(u8, usize), DropReason> {
    match walk_extensions(head, next, at, end)? {
        (protocol, transport, None) => Ok((protocol, transport)),
        (_, _, Some(_)) => Err(DropReason::Fragment),
    }
}

/// Walks the extension headers (RFC 8200, section 4) from `at` on. Answers the transport
/// protocol, where its header begins, and which fragment this is; behind the fragment header of
/// any but the first there is only data.
#[inline]
fn walk_extensions(
    head: &[u8],
    mut next: u8,
    mut at: usize,
    end: usize,
) -> Result<(u8, usize, Option<Fragment>), DropReason> {
    let mut fragment: Option<Fragment> = None;
    for index in 0..=MAX_EXTENSION_HEADERS {
        let allowed = match next {
            // Only right behind the IPv6 header (section 4.1).
            HOP_BY_HOP => index == 0,
            ROUTING | DESTINATION | FRAGMENT => true,
            _ => return Ok((next, at, fragment)),
        };
        if !allowed || index == MAX_EXTENSION_HEADERS {
            return Err(DropReason::ExtensionHeaders);
        }
        let extension: &Extension = view(head, at)?;
        let len = if next == FRAGMENT {
            let field = extension.fragment.get();
            // An atomic fragment (RFC 6946) is whole; all others are pieces, which are not cut
            // into pieces again.
            if field & 0xfff9 != 0 {
                if fragment.is_some() {
                    return Err(DropReason::ExtensionHeaders);
                }
                let (offset, more) = (field & 0xfff8, field & 1 != 0);
                fragment = Some(Fragment { id: extension.id.get(), offset, more });
                if offset != 0 {
                    let at = at + size_of::<Extension>();
                    let within = at <= end;
                    let found = (extension.next, at, fragment);
                    return within.then_some(found).ok_or(DropReason::ExtensionHeaders);
                }
            }
            size_of::<Extension>()
        } else {
            (usize::from(extension.len) + 1) * 8
        };
        // A packet under way to somewhere else first: neither the firewall nor the checksum would
        // see its true destination (RFC 8200, section 8.1; RFC 5095).
        let segments_left = extension.fragment.get() & 0xff;
        if next == ROUTING && segments_left != 0 {
            return Err(DropReason::ExtensionHeaders);
        }
        next = extension.next;
        at += len;
        if at > end {
            return Err(DropReason::ExtensionHeaders);
        }
    }
    Err(DropReason::ExtensionHeaders)
}

impl Packet {
    fn payload(&self, ports: [u16; 2]) -> Payload {
        let key = FlowKey::of(self.ends, self.protocol, ports);
        self.fragment.map_or(Payload::Ip(key), |fragment| Payload::Fragment(key, fragment))
    }

    /// Ports as they stand in a key, and TCP control bits.
    #[inline]
    fn transport(&self, head: &[u8]) -> Result<([u16; 2], TcpFlags), DropReason> {
        match self.fragment {
            None => self.whole_transport(head),
            // The transport header must be whole in the first fragment (RFC 1858; RFC 7112).
            Some(fragment) if fragment.is_first() => {
                self.whole_transport(head).map_err(|reason| match reason {
                    DropReason::Truncated | DropReason::TransportLength => {
                        DropReason::FragmentMalformed
                    }
                    other => other,
                })
            }
            Some(_) => Ok(([0, 0], TcpFlags::default())),
        }
    }

    #[inline]
    fn whole_transport(&self, head: &[u8]) -> Result<([u16; 2], TcpFlags), DropReason> {
        match (self.protocol, self.ends.is_ipv4()) {
            (Protocol::TCP, _) => self.tcp(head),
            (Protocol::UDP, _) => self.udp(head),
            (Protocol::ICMP, true) | (Protocol::ICMPV6, false) => self.icmp(head),
            (Protocol::ICMP | Protocol::ICMPV6 | Protocol(IGMP | NO_NEXT_HEADER), _) => {
                Err(DropReason::Protocol)
            }
            _ => Ok(([0, 0], TcpFlags::default())),
        }
    }

    #[inline]
    fn header<'a, T>(&self, head: &'a [u8]) -> Result<&'a T, DropReason>
    where
        T: zerocopy::FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
    {
        if self.at + size_of::<T>() > self.end {
            return Err(DropReason::Truncated);
        }
        view(head, self.at)
    }

    #[inline(always)]
    fn tcp(&self, head: &[u8]) -> Result<([u16; 2], TcpFlags), DropReason> {
        let header: &Tcp = self.header(head)?;
        let header_len = usize::from(header.offset >> 4) * 4;
        if header_len < size_of::<Tcp>() || self.at + header_len > self.end {
            return Err(DropReason::TransportLength);
        }
        let flags = TcpFlags(header.flags);
        if !(flags.is_syn() || flags.is_ack() || flags.is_rst()) {
            return Err(DropReason::TcpFlags);
        }
        Ok(([header.src_port.get(), header.dst_port.get()], flags))
    }

    #[inline(always)]
    fn udp(&self, head: &[u8]) -> Result<([u16; 2], TcpFlags), DropReason> {
        let header: &Udp = self.header(head)?;
        let len = usize::from(header.len.get());
        let beyond = self.at + len > self.end && self.fragment.is_none();
        if len < size_of::<Udp>() || beyond {
            return Err(DropReason::TransportLength);
        }
        Ok(([header.src_port.get(), header.dst_port.get()], TcpFlags::default()))
    }

    #[inline]
    fn icmp(&self, head: &[u8]) -> Result<([u16; 2], TcpFlags), DropReason> {
        let header: &Icmp = self.header(head)?;
        let kind = u16::from_be_bytes([header.kind, header.code]);
        // Echo and timestamp messages.
        let query = match self.ends.is_ipv4() {
            true => matches!(kind, 0x0800 | 0 | 0x0d00 | 0x0e00),
            false => matches!(kind, 0x8000 | 0x8100),
        };
        Ok(([kind, if query { header.id.get() } else { 0 }], TcpFlags::default()))
    }
}

#[cfg(test)]
mod tests;
