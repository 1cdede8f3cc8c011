// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The compiled form of an edit for one direction of one flow, and the only writer of packets.
//!
//! Old and new values of every field are known when a flow is decided, so what a rewrite does to
//! each checksum is known too: [`Transform`] holds new bytes and checksum deltas, and applying it
//! never looks at what the packet said before. What many flows have in common (MAC addresses,
//! translated addresses, outer headers) stands in a [`Path`] that they share.

use crate::care::Care;
use crate::checksum::Delta;
use crate::drop_reason::DropReason;
use crate::ecn;
use crate::edit::{HeaderEdit, OuterEdit};
use crate::flow_key::FlowKey;
use crate::frame::{ChecksumState, Frame, Rewrite};
use crate::geneve::Mark;
use crate::headers::{Headers, MacPair};
use crate::outer::Outer;
use crate::wire::{ETHER_LEN, Icmp, Ipv4, Ipv6, Tcp, Udp, view_mut};
use alloc::sync::Arc;
use core::net::{IpAddr, Ipv6Addr};
use opte_api::Protocol;

/// What the packets of many flows have in common: where they come from, and where they go.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Path {
    /// MAC addresses as they come.
    old_macs: MacPair,
    /// What the outer headers said of their origin.
    mark: Mark,
    /// MAC addresses as they leave.
    macs: MacPair,
    /// Source address as it leaves, if it changes; IPv4 as an IPv4-mapped address.
    src: Option<[u8; 16]>,
    /// Destination address as it leaves, if it changes.
    dst: Option<[u8; 16]>,
    /// What becomes of the outer headers; the source port is each flow's own.
    outer: OuterEdit,
    /// What of an inner traffic class is seen in outer headers.
    class_mask: u8,
    /// Something is asked of each packet.
    cares: bool,
    /// What is asked of packets besides.
    care: Care,
}

/// An edit, ready to be applied to any packet of one direction of one flow.
#[derive(Clone, Debug)]
pub struct Transform {
    path: Arc<Path>,
    ports: [u16; 2],
    ip_delta: Delta,
    /// Addresses of the pseudo-header, and ports or identifier.
    transport_delta: Delta,
    /// Addresses of the pseudo-header alone, for checksums that somebody else completes.
    pseudo_delta: Delta,
    /// Outer source port, where outer headers are put in front.
    source_port: u16,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Neither addresses nor ports change.
    Untouched,
    Tcp,
    Udp,
    Echo,
    /// ICMP messages other than queries.
    Icmp,
    /// Addresses only.
    Other,
}

impl Path {
    /// The path of packets with these headers under `edit`, and their outer source port.
    fn new(edit: &HeaderEdit, headers: &Headers, old: &FlowKey, new: &FlowKey) -> (Self, u16) {
        let changed = |old: IpAddr, new: IpAddr| (old != new).then(|| octets(new));
        let (outer, source_port) = match edit.outer {
            OuterEdit::Set(outer) => {
                (OuterEdit::Set(Outer { source_port: 0, ..outer }), outer.source_port)
            }
            other => (other, 0),
        };
        let care = edit.care.unwrap_or_default();
        let path = Self {
            class_mask: care.class_mask(),
            cares: !care.is_idle(),
            care,
            old_macs: headers.macs,
            mark: headers.mark,
            macs: edit.macs(headers.macs),
            src: changed(old.src(), new.src()),
            dst: changed(old.dst(), new.dst()),
            outer,
        };
        (path, source_port)
    }
}

impl Transform {
    /// Compiles `edit` for packets of `key` with MAC addresses and mark as in `headers`. `share`
    /// finds a path that others have already.
    pub fn compile(
        edit: &HeaderEdit,
        key: &FlowKey,
        headers: &Headers,
        share: impl FnOnce(Path) -> Arc<Path>,
    ) -> Self {
        let new = edit.key(*key);
        let (path, source_port) = Path::new(edit, headers, key, &new);
        let kind = match key.protocol() {
            _ if new == *key => Kind::Untouched,
            Protocol::TCP => Kind::Tcp,
            Protocol::UDP => Kind::Udp,
            _ if key.is_query() => Kind::Echo,
            Protocol::ICMP | Protocol::ICMPV6 => Kind::Icmp,
            _ => Kind::Other,
        };
        let mut address_delta = Delta::default();
        for (old, new) in [(key.src(), &path.src), (key.dst(), &path.dst)] {
            if let Some(new) = new {
                address_delta = address_delta.replace(&octets(old), new);
            }
        }
        // ICMP over IPv4 has no pseudo-header (RFC 792); ICMPv6 has (RFC 4443, section 2.3).
        let pseudo_delta =
            if key.protocol() == Protocol::ICMP { Delta::default() } else { address_delta };
        let ports = [new.src_port(), new.dst_port()];
        let transport_delta = pseudo_delta
            .replace(&key.src_port().to_be_bytes(), &ports[0].to_be_bytes())
            .replace(&key.dst_port().to_be_bytes(), &ports[1].to_be_bytes());
        Self {
            path: share(path),
            ports,
            ip_delta: if key.is_ipv4() { address_delta } else { Delta::default() },
            transport_delta,
            pseudo_delta,
            source_port,
            kind,
        }
    }

    /// The same for fragments without a transport header.
    #[must_use]
    pub(crate) fn for_later_fragments(&self) -> Self {
        let kind = if self.kind == Kind::Untouched { Kind::Untouched } else { Kind::Other };
        Self { kind, ..self.clone() }
    }

    /// Was compiled for packets with these MAC addresses and this mark.
    #[inline]
    pub fn is_for(&self, headers: &Headers) -> bool {
        self.path.mark == headers.mark && self.path.old_macs == headers.macs
    }

    /// The same, whichever host of the underlay has sent the packet.
    pub fn is_for_any_sender(&self, headers: &Headers) -> bool {
        self.path.mark.from_anywhere() == headers.mark.from_anywhere()
            && self.path.old_macs == headers.macs
    }

    /// Rewrites the inner headers of `frame` in place, and tells the host the rest by `rewrite`.
    #[inline]
    pub fn apply(
        &self,
        frame: &mut impl Frame,
        headers: &Headers,
        rewrite: &mut Rewrite,
    ) -> Result<(), DropReason> {
        if self.path.cares || ecn::matters(headers.ecn) {
            self.take_care(frame, headers)?;
        }
        let partial = matches!(frame.offload().checksum, ChecksumState::Partial { .. });
        let class = self.write(frame.head_mut(), headers, partial)?;
        match &self.path.outer {
            OuterEdit::Keep => *rewrite = Rewrite::default(),
            OuterEdit::Strip => {
                rewrite.strip = headers.ether;
                rewrite.outer = None;
            }
            OuterEdit::Set(outer) => {
                rewrite.strip = headers.ether;
                let mut outer = *outer;
                outer.source_port = self.source_port;
                outer.traffic_class |= class & self.path.class_mask;
                rewrite.outer = Some(outer);
            }
        }
        Ok(())
    }

    /// What is asked of few packets; nothing has been written before.
    #[cold]
    fn take_care(&self, frame: &mut impl Frame, headers: &Headers) -> Result<(), DropReason> {
        if self.path.cares {
            self.path.care.take(frame, headers)?;
        }
        if ecn::matters(headers.ecn) && self.path.outer == OuterEdit::Strip {
            ecn::decapsulate(frame.head_mut(), headers.ip(), headers.ecn)?;
        }
        Ok(())
    }

    /// What is asked of the packets of a connection that opens, which run no stored transform.
    pub(crate) fn clamp(&self, frame: &mut impl Frame, headers: &Headers) {
        // No such option, or one that asks for less already.
        let _ = self.path.care.clamp(frame, headers);
    }

    /// Writes what changes. Answers the traffic class.
    #[inline]
    fn write(&self, head: &mut [u8], headers: &Headers, partial: bool) -> Result<u8, DropReason> {
        let path = &*self.path;
        let frame = head.get_mut(usize::from(headers.ether)..);
        // The Ethernet header, and where both families have their version and traffic class.
        let front: Option<&mut [u8; ETHER_LEN + 2]> = frame.and_then(<[u8]>::first_chunk_mut);
        let [macs @ .., _, _, first, second] = front.ok_or(DropReason::Truncated)?;
        *macs = path.macs.0;
        let class = if *first >> 4 == 4 { *second } else { *first << 4 | *second >> 4 };
        if self.kind == Kind::Untouched {
            return Ok(class);
        }
        if path.src.is_some() || path.dst.is_some() {
            self.write_addresses(head, headers)?;
        }
        self.write_transport(head, headers.transport.into(), partial).map(|()| class)
    }

    #[inline]
    fn write_addresses(&self, head: &mut [u8], headers: &Headers) -> Result<(), DropReason> {
        let path = &*self.path;
        let ipv4 = headers.key().is_some_and(FlowKey::is_ipv4);
        if ipv4 {
            let ip: &mut Ipv4 = view_mut(head, headers.ip())?;
            if let Some([.., a, b, c, d]) = path.src {
                ip.src = [a, b, c, d];
            }
            if let Some([.., a, b, c, d]) = path.dst {
                ip.dst = [a, b, c, d];
            }
            ip.checksum.set(self.ip_delta.update(ip.checksum.get()));
        } else {
            let ip: &mut Ipv6 = view_mut(head, headers.ip())?;
            ip.src = path.src.unwrap_or(ip.src);
            ip.dst = path.dst.unwrap_or(ip.dst);
        }
        Ok(())
    }

    #[inline]
    fn write_transport(&self, head: &mut [u8], at: usize, partial: bool) -> Result<(), DropReason> {
        let [src_port, dst_port] = self.ports;
        let update = |sum: u16| {
            if partial {
                self.pseudo_delta.update_partial(sum)
            } else {
                self.transport_delta.update(sum)
            }
        };
        match self.kind {
            Kind::Tcp => {
                let tcp: &mut Tcp = view_mut(head, at)?;
                tcp.src_port.set(src_port);
                tcp.dst_port.set(dst_port);
                tcp.checksum.set(update(tcp.checksum.get()));
            }
            Kind::Udp => {
                let udp: &mut Udp = view_mut(head, at)?;
                udp.src_port.set(src_port);
                udp.dst_port.set(dst_port);
                // Zero means that there is none (RFC 768), so a sum of zero is sent as ones.
                let sum = udp.checksum.get();
                if partial {
                    udp.checksum.set(update(sum));
                } else if sum != 0 {
                    let sum = update(sum);
                    udp.checksum.set(if sum == 0 { u16::MAX } else { sum });
                }
            }
            Kind::Echo | Kind::Icmp => {
                let icmp: &mut Icmp = view_mut(head, at)?;
                if self.kind == Kind::Echo {
                    icmp.id.set(dst_port);
                }
                icmp.checksum.set(update(icmp.checksum.get()));
            }
            Kind::Other | Kind::Untouched => {}
        }
        Ok(())
    }
}

impl core::fmt::Display for Transform {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut parts = Parts { f, separator: "" };
        let Path { old_macs, macs, src, dst, outer, .. } = &*self.path;
        let ip = |octets: &[u8; 16]| Ipv6Addr::from(*octets).to_canonical();
        parts.show("src_mac", (macs.src() != old_macs.src()).then(|| macs.src()))?;
        parts.show("dst_mac", (macs.dst() != old_macs.dst()).then(|| macs.dst()))?;
        parts.show("src_ip", src.as_ref().map(ip))?;
        parts.show("dst_ip", dst.as_ref().map(ip))?;
        let [src_port, dst_port] = self.ports;
        match self.kind {
            Kind::Tcp | Kind::Udp => {
                parts.show("src_port", Some(src_port))?;
                parts.show("dst_port", Some(dst_port))?;
            }
            Kind::Echo => parts.show("echo_id", Some(dst_port))?,
            Kind::Icmp | Kind::Other | Kind::Untouched => {}
        }
        match outer {
            OuterEdit::Keep => Ok(()),
            OuterEdit::Strip => parts.show("outer", Some("strip")),
            OuterEdit::Set(outer) => {
                parts.show("underlay", Some(outer.dst))?;
                parts.show("vni", Some(outer.vni))
            }
        }
    }
}

/// Words with spaces between them.
struct Parts<'a, 'b> {
    f: &'a mut core::fmt::Formatter<'b>,
    separator: &'static str,
}

impl Parts<'_, '_> {
    fn show(&mut self, name: &str, value: Option<impl core::fmt::Display>) -> core::fmt::Result {
        let Some(value) = value else { return Ok(()) };
        write!(self.f, "{}{name}={value}", self.separator)?;
        self.separator = " ";
        Ok(())
    }
}

fn octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}
