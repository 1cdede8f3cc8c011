// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The compiled form of an edit for one direction of one flow, and the only writer of packets.
//!
//! Old and new values of every field are known when a flow is decided, so what a rewrite does to
//! each checksum is known too: [`Transform`] holds new bytes and checksum deltas, and applying it
//! never looks at what the packet said before.

use crate::checksum::Delta;
use crate::drop_reason::DropReason;
use crate::edit::{HeaderEdit, OuterEdit};
use crate::flow_key::FlowKey;
use crate::frame::{ChecksumState, Frame, Rewrite};
use crate::headers::Headers;
use crate::wire::{Ether, Icmp, Ipv4, Ipv6, Tcp, Udp, view_mut};
use core::net::{IpAddr, Ipv6Addr};
use opte_api::{MacAddr, Protocol};

/// An edit, ready to be applied to any packet of one direction of one flow.
#[derive(Clone, Copy, Debug)]
pub struct Transform {
    src_mac: Option<MacAddr>,
    dst_mac: Option<MacAddr>,
    kind: Kind,
    addresses: bool,
    src: [u8; 16],
    dst: [u8; 16],
    ports: [u16; 2],
    ip_delta: Delta,
    /// Addresses of the pseudo-header, and ports or identifier.
    transport_delta: Delta,
    /// Addresses of the pseudo-header alone, for checksums that somebody else completes.
    pseudo_delta: Delta,
    outer: OuterEdit,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Neither addresses nor ports change.
    Untouched,
    Tcp,
    Udp,
    Echo,
    /// ICMP messages other than echo.
    Icmp,
    /// Addresses only.
    Other,
}

impl Transform {
    /// Compiles `edit` for packets of `key`.
    pub fn compile(edit: &HeaderEdit, key: &FlowKey) -> Self {
        let new = edit.key(*key);
        let (src, dst) = (octets(new.src()), octets(new.dst()));
        let (old_src, old_dst) = (octets(key.src()), octets(key.dst()));
        let addresses = src != old_src || dst != old_dst;
        let kind = match key.protocol() {
            _ if new == *key => Kind::Untouched,
            Protocol::TCP => Kind::Tcp,
            Protocol::UDP => Kind::Udp,
            _ if key.is_echo() => Kind::Echo,
            Protocol::ICMP | Protocol::ICMPV6 => Kind::Icmp,
            _ => Kind::Other,
        };
        let address_delta = Delta::default().replace(&old_src, &src).replace(&old_dst, &dst);
        // ICMP over IPv4 has no pseudo-header (RFC 792); ICMPv6 has (RFC 4443, section 2.3).
        let pseudo_delta =
            if key.protocol() == Protocol::ICMP { Delta::default() } else { address_delta };
        let ports = [new.src_port(), new.dst_port()];
        let transport_delta = pseudo_delta
            .replace(&key.src_port().to_be_bytes(), &ports[0].to_be_bytes())
            .replace(&key.dst_port().to_be_bytes(), &ports[1].to_be_bytes());
        Self {
            src_mac: edit.src_mac,
            dst_mac: edit.dst_mac,
            kind,
            addresses,
            src,
            dst,
            ports,
            ip_delta: if key.is_ipv4() { address_delta } else { Delta::default() },
            transport_delta,
            pseudo_delta,
            outer: edit.outer,
        }
    }

    /// Rewrites the inner headers of `frame` in place, and tells the host the rest.
    #[inline]
    pub fn apply(&self, frame: &mut impl Frame, headers: &Headers) -> Result<Rewrite, DropReason> {
        let partial = matches!(frame.offload().checksum, ChecksumState::Partial { .. });
        self.write(frame.head_mut(), headers, partial)?;
        Ok(match self.outer {
            OuterEdit::Keep => Rewrite::default(),
            OuterEdit::Strip => Rewrite { strip: headers.ether, outer: None },
            OuterEdit::Set(outer) => Rewrite { strip: headers.ether, outer: Some(outer) },
        })
    }

    #[inline]
    fn write(&self, head: &mut [u8], headers: &Headers, partial: bool) -> Result<(), DropReason> {
        if self.src_mac.is_some() || self.dst_mac.is_some() {
            let ether: &mut Ether = view_mut(head, headers.ether.into())?;
            ether.src = self.src_mac.map_or(ether.src, |mac| mac.0);
            ether.dst = self.dst_mac.map_or(ether.dst, |mac| mac.0);
        }
        if self.kind == Kind::Untouched {
            return Ok(());
        }
        if self.addresses {
            self.write_addresses(head, headers)?;
        }
        self.write_transport(head, headers.transport.into(), partial)
    }

    #[inline]
    fn write_addresses(&self, head: &mut [u8], headers: &Headers) -> Result<(), DropReason> {
        let ipv4 = headers.key().is_some_and(FlowKey::is_ipv4);
        if ipv4 {
            let ip: &mut Ipv4 = view_mut(head, headers.ip.into())?;
            ip.src.copy_from_slice(&self.src[12..]);
            ip.dst.copy_from_slice(&self.dst[12..]);
            ip.checksum.set(self.ip_delta.update(ip.checksum.get()));
        } else {
            let ip: &mut Ipv6 = view_mut(head, headers.ip.into())?;
            ip.src = self.src;
            ip.dst = self.dst;
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

    /// What becomes of the outer headers.
    pub const fn outer(&self) -> OuterEdit {
        self.outer
    }
}

impl core::fmt::Display for Transform {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut parts = Parts { f, separator: "" };
        parts.show("src_mac", self.src_mac)?;
        parts.show("dst_mac", self.dst_mac)?;
        if self.addresses {
            parts.show("src_ip", Some(Ipv6Addr::from(self.src).to_canonical()))?;
            parts.show("dst_ip", Some(Ipv6Addr::from(self.dst).to_canonical()))?;
        }
        let [src_port, dst_port] = self.ports;
        match self.kind {
            Kind::Tcp | Kind::Udp => {
                parts.show("src_port", Some(src_port))?;
                parts.show("dst_port", Some(dst_port))?;
            }
            Kind::Echo => parts.show("echo_id", Some(dst_port))?,
            Kind::Icmp | Kind::Other | Kind::Untouched => {}
        }
        match self.outer {
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
