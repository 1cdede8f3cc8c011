// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The packet quoted inside an ICMP error: the one place beside [`crate::transform`] where packet
//! bytes are written.
//!
//! A quote is the beginning of a packet, cut anywhere. Its addresses and ports are translated as
//! far as they are there. The transport checksum in a quote is left alone: it covers bytes that
//! the quote does not have.

use crate::checksum::{Delta, Sum};
use crate::drop_reason::DropReason;
use crate::flow_key::FlowKey;
use crate::frame::{ChecksumState, Frame};
use crate::headers::{Headers, skip_extensions};
use crate::nat::NatBinding;
use crate::wire::{IPV4_LEN, IPV6_LEN, Icmp, Ipv4, Ipv6, view, view_mut};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use opte_api::{Direction, Protocol};

/// Address, and port or identifier, of one end.
type Place = (IpAddr, Option<u16>);

/// A quoted packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quote {
    /// Where its IP header begins.
    ip: usize,
    src: IpAddr,
    dst: IpAddr,
    transport: Option<Transport>,
}

/// As much of the transport header as every error quotes: eight bytes, of which protocols without
/// ports need none.
#[derive(Clone, Copy, Debug)]
struct Transport {
    at: usize,
    protocol: Protocol,
    /// As they stand in a key.
    ports: [u16; 2],
}

impl Quote {
    /// Reads the quote of an ICMP error. `None`: it is cut within its IP header.
    pub fn read(head: &[u8], headers: &Headers) -> Result<Option<Self>, DropReason> {
        let ip = usize::from(headers.transport) + size_of::<Icmp>();
        let end = head.len().min(headers.end as usize);
        let packet = head.get(..end).ok_or(DropReason::Truncated)?;
        if packet.len() <= ip {
            return Err(DropReason::Truncated);
        }
        let ipv4 = headers.key().is_some_and(FlowKey::is_ipv4);
        Ok(if ipv4 { Self::read_ipv4(packet, ip) } else { Self::read_ipv6(packet, ip) })
    }

    fn read_ipv4(packet: &[u8], ip: usize) -> Option<Self> {
        let header: &Ipv4 = view(packet, ip).ok()?;
        let header_len = usize::from(header.version_ihl & 0xf) * 4;
        if header.version_ihl >> 4 != 4 || header_len < IPV4_LEN {
            return None;
        }
        let first = header.fragment.get() & 0x1fff == 0;
        let protocol = Protocol(header.protocol);
        Some(Self {
            ip,
            src: Ipv4Addr::from(header.src).into(),
            dst: Ipv4Addr::from(header.dst).into(),
            transport: Transport::read(packet, ip + header_len, protocol).filter(|_| first),
        })
    }

    fn read_ipv6(packet: &[u8], ip: usize) -> Option<Self> {
        let header: &Ipv6 = view(packet, ip).ok()?;
        if header.first.get() >> 28 != 6 {
            return None;
        }
        let start = ip + IPV6_LEN;
        let transport = skip_extensions(packet, header.next, start, packet.len()).ok();
        Some(Self {
            ip,
            src: Ipv6Addr::from(header.src).into(),
            dst: Ipv6Addr::from(header.dst).into(),
            transport: transport
                .and_then(|(protocol, at)| Transport::read(packet, at, Protocol(protocol))),
        })
    }

    /// The key of packets that answer the quoted one and go the way of the error.
    pub fn answer_key(&self) -> Option<FlowKey> {
        let Transport { protocol, ports, .. } = self.transport?;
        Some(FlowKey::new(self.src, self.dst, protocol, ports).mirror())
    }

    /// That key, if the error speaks for an end of the connection.
    pub fn answered(&self, direction: Direction, error: &FlowKey) -> Option<FlowKey> {
        let told_by_end = match direction {
            // To the address that the quoted packet came from: any router may say so.
            Direction::In => self.is_from(error.dst()),
            // A guest is an end: it speaks of what it received, to who sent it.
            Direction::Out => error.src() == self.dst && self.is_from(error.dst()),
        };
        self.answer_key().filter(|_| told_by_end)
    }

    /// The same, if the error is about a connection.
    pub fn connection(&self, direction: Direction, error: &FlowKey) -> Option<FlowKey> {
        self.answered(direction, error).filter(|_| error.is_about_connection())
    }

    /// The quoted packet came from this address.
    pub fn is_from(&self, ip: IpAddr) -> bool {
        self.src == ip
    }

    /// The checksum of the quoted IPv4 header is right. IPv6 has none, and a header that is cut
    /// cannot be summed.
    pub fn has_right_header(&self, head: &[u8], headers: &Headers) -> bool {
        let packet = head.get(..head.len().min(headers.end as usize)).unwrap_or_default();
        let Some(first) = packet.get(self.ip).filter(|_| self.src.is_ipv4()) else { return true };
        let len = usize::from(first & 0xf) * 4;
        let header = packet.get(self.ip..self.ip + len);
        header.is_none_or(|header| Sum::default().bytes(header).folded() == u16::MAX)
    }

    /// Translates the quote as the packets of `binding` are translated that go against the error,
    /// and keeps the error's own checksum right.
    pub fn translate(
        &self,
        frame: &mut impl Frame,
        headers: &Headers,
        direction: Direction,
        binding: &NatBinding,
    ) -> Result<(), DropReason> {
        let private = (binding.private_ip, binding.external_port.map(|_| binding.private_port));
        let external = (binding.external_ip, binding.external_port);
        let inbound = direction == Direction::In;
        // The guest's end of the quoted packet: its source if the error comes in.
        let guest = if inbound { (external, private) } else { (private, external) };
        if self.end(inbound) != guest.0.0 {
            return Ok(());
        }
        let complete = !matches!(frame.offload().checksum, ChecksumState::Partial { .. });
        let head = frame.head_mut();
        let mut delta = self.write_end(head, guest, inbound, Delta::default())?;
        if let Some(remote) = &binding.remote {
            let [seen, real] = remote.ports.map_or([None; 2], |ports| ports.map(Some));
            let (seen, real) = ((remote.seen_ip, seen), (remote.real_ip, real));
            let ends = if inbound { (real, seen) } else { (seen, real) };
            if self.end(!inbound) == ends.0.0 {
                delta = self.write_end(head, ends, !inbound, delta)?;
            }
        }
        if complete {
            let icmp: &mut Icmp = view_mut(head, headers.transport.into())?;
            icmp.checksum.set(delta.update(icmp.checksum.get()));
        }
        Ok(())
    }

    const fn end(&self, at_src: bool) -> IpAddr {
        if at_src { self.src } else { self.dst }
    }

    /// Writes address and port of one end in the place of others.
    fn write_end(
        &self,
        head: &mut [u8],
        (old, new): (Place, Place),
        at_src: bool,
        delta: Delta,
    ) -> Result<Delta, DropReason> {
        let delta = self.write_address(head, new.0, at_src, delta)?;
        match old.1.zip(new.1) {
            Some(ports) => self.write_port(head, ports, at_src, delta),
            None => Ok(delta),
        }
    }

    fn write_address(
        &self,
        head: &mut [u8],
        new: IpAddr,
        at_src: bool,
        delta: Delta,
    ) -> Result<Delta, DropReason> {
        match new {
            IpAddr::V4(new) => {
                let ip: &mut Ipv4 = view_mut(head, self.ip)?;
                let field = if at_src { &mut ip.src } else { &mut ip.dst };
                let address = Delta::default().replace(field, &new.octets());
                let delta = delta.replace(field, &new.octets());
                *field = new.octets();
                let old_sum = ip.checksum;
                ip.checksum.set(address.update(old_sum.get()));
                Ok(delta.replace(&old_sum.to_bytes(), &ip.checksum.to_bytes()))
            }
            IpAddr::V6(new) => {
                let ip: &mut Ipv6 = view_mut(head, self.ip)?;
                let field = if at_src { &mut ip.src } else { &mut ip.dst };
                let delta = delta.replace(field, &new.octets());
                *field = new.octets();
                Ok(delta)
            }
        }
    }

    fn write_port(
        &self,
        head: &mut [u8],
        (old, new): (u16, u16),
        at_src: bool,
        delta: Delta,
    ) -> Result<Delta, DropReason> {
        let Some(Transport { at, protocol, .. }) = self.transport else { return Ok(delta) };
        let offset = match protocol {
            Protocol::TCP | Protocol::UDP if at_src => 0,
            Protocol::TCP | Protocol::UDP => 2,
            Protocol::ICMP | Protocol::ICMPV6 => 4,
            _ => return Ok(delta),
        };
        let field: &mut [u8; 2] = view_mut(head, at + offset)?;
        if *field != old.to_be_bytes() {
            return Ok(delta);
        }
        let delta = delta.replace(field, &new.to_be_bytes());
        *field = new.to_be_bytes();
        Ok(delta)
    }
}

impl Transport {
    fn read(packet: &[u8], at: usize, protocol: Protocol) -> Option<Self> {
        let first = || view::<[u8; 8]>(packet, at).ok();
        let ports = match protocol {
            Protocol::TCP | Protocol::UDP => first().map(|[a, b, c, d, ..]| [[*a, *b], [*c, *d]]),
            Protocol::ICMP | Protocol::ICMPV6 => {
                first().map(|[a, b, _, _, e, f, ..]| [[*a, *b], [*e, *f]])
            }
            _ => Some([[0, 0]; 2]),
        };
        Some(Self { at, protocol, ports: ports?.map(u16::from_be_bytes) })
    }
}
