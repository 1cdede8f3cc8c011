// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Packets to be traced: written by what is said of them, or taken from a capture file.

use anyhow::{Context, bail};
use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder, TcpHeader};
use opte_api::Protocol;
use oxide_vpc_api::trace::TracedPacket;
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::fs::File;
use std::io::{BufReader, Read};
use std::net::IpAddr;
use std::path::Path;

/// What is said of a packet.
#[derive(Clone, Debug)]
pub struct Description {
    /// IP protocol.
    pub protocol: Protocol,
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// Source and destination port.
    pub ports: [u16; 2],
    /// TCP flags, by name.
    pub flags: Vec<TcpFlag>,
    /// ICMP type and code.
    pub icmp: [u8; 2],
    /// ICMP echo identifier.
    pub id: u16,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Bytes behind the last header.
    pub payload: u16,
}

/// A flag of a TCP segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum TcpFlag {
    Syn,
    Ack,
    Fin,
    Rst,
    Psh,
    Urg,
}

impl Description {
    /// The packet, from its IP header on.
    pub fn packet(&self) -> anyhow::Result<TracedPacket> {
        let builder = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                PacketBuilder::ipv4(src.octets(), dst.octets(), self.ttl)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                PacketBuilder::ipv6(src.octets(), dst.octets(), self.ttl)
            }
            _ => bail!("{} and {} are of different families", self.src, self.dst),
        };
        let payload = vec![0; self.payload.into()];
        let [src_port, dst_port] = self.ports;
        let [kind, code] = self.icmp;
        let [a, b] = self.id.to_be_bytes();
        let mut bytes = Vec::new();
        let written = match self.protocol {
            Protocol::TCP => builder.tcp_header(self.tcp()).write_to_vec(&mut bytes, &payload),
            Protocol::UDP => builder.udp(src_port, dst_port).write_to_vec(&mut bytes, &payload),
            Protocol::ICMP if self.src.is_ipv4() => {
                builder.icmpv4_raw(kind, code, [a, b, 0, 1]).write_to_vec(&mut bytes, &payload)
            }
            Protocol::ICMPV6 if self.src.is_ipv6() => {
                builder.icmpv6_raw(kind, code, [a, b, 0, 1]).write_to_vec(&mut bytes, &payload)
            }
            Protocol::ICMP | Protocol::ICMPV6 => {
                bail!("icmp goes with IPv4 and icmp6 with IPv6 addresses")
            }
            other => return self.plain(other, &payload),
        };
        written.with_context(|| format!("{} bytes are too many for a packet", payload.len()))?;
        Ok(TracedPacket::Ip(bytes))
    }

    fn tcp(&self) -> TcpHeader {
        let [src_port, dst_port] = self.ports;
        let has = |flag| self.flags.contains(&flag);
        let mut header = TcpHeader::new(src_port, dst_port, 1, 65_535);
        header.acknowledgment_number = u32::from(has(TcpFlag::Ack));
        (header.syn, header.ack, header.fin) =
            (has(TcpFlag::Syn), has(TcpFlag::Ack), has(TcpFlag::Fin));
        (header.rst, header.psh, header.urg) =
            (has(TcpFlag::Rst), has(TcpFlag::Psh), has(TcpFlag::Urg));
        header
    }

    /// A packet of another protocol: an IP header and nothing known behind it.
    fn plain(&self, protocol: Protocol, payload: &[u8]) -> anyhow::Result<TracedPacket> {
        let mut bytes = Vec::new();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let number = IpNumber(protocol.0);
                let octets = (src.octets(), dst.octets());
                Ipv4Header::new(self.payload, self.ttl, number, octets.0, octets.1)?
                    .write(&mut bytes)?;
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: self.payload,
                next_header: IpNumber(protocol.0),
                hop_limit: self.ttl,
                source: src.octets(),
                destination: dst.octets(),
            }
            .write(&mut bytes)?,
            _ => bail!("{} and {} are of different families", self.src, self.dst),
        }
        bytes.extend_from_slice(payload);
        Ok(TracedPacket::Ip(bytes))
    }
}

/// First bytes of a pcapng file (its Section Header Block).
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Packet `number`, from 1 on as other tools count, of a pcap or pcapng file.
pub fn captured(path: &Path, number: u64) -> anyhow::Result<TracedPacket> {
    let name = path.display();
    let mut file = BufReader::new(File::open(path).with_context(|| format!("cannot read {name}"))?);
    let mut start = [0; 4];
    file.read_exact(&mut start).with_context(|| format!("{name} is no capture"))?;
    let whole = start.as_slice().chain(file);
    let found = if start == PCAPNG { newer(whole, number) } else { older(whole, number) };
    let found = found.with_context(|| format!("cannot read {name} as a capture"))?;
    let Some((link, data)) = found else { bail!("{name} has no packet {number}") };
    match link {
        DataLink::ETHERNET => Ok(TracedPacket::Frame(data)),
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 => Ok(TracedPacket::Ip(data)),
        other => bail!("{name} is of link type {other:?}: use Ethernet or raw IP"),
    }
}

type Found = Option<(DataLink, Vec<u8>)>;

fn older(file: impl Read, number: u64) -> anyhow::Result<Found> {
    let mut reader = PcapReader::new(file)?;
    let link = reader.header().datalink;
    let mut count = 0;
    while let Some(packet) = reader.next_packet() {
        let packet = packet?;
        count += 1;
        if count == number {
            return Ok(Some((link, packet.data.into_owned())));
        }
    }
    Ok(None)
}

fn newer(file: impl Read, number: u64) -> anyhow::Result<Found> {
    let mut reader = PcapNgReader::new(file)?;
    let mut count = 0;
    while let Some(block) = reader.next_block() {
        let (interface, data) = match block? {
            Block::EnhancedPacket(packet) => (packet.interface_id, packet.data.into_owned()),
            // It has no number of its own: it is of the first interface.
            Block::SimplePacket(packet) => (0, packet.data.into_owned()),
            _ => continue,
        };
        count += 1;
        if count == number {
            let interface = reader.interfaces().get(interface as usize);
            let link = interface.context("a packet of an interface that is not described")?;
            return Ok(Some((link.linktype, data)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
    use pcap_file::pcapng::PcapNgWriter;
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
    use std::time::Duration;

    fn description(protocol: Protocol, ipv4: bool) -> Description {
        let ip = |last: u16| -> IpAddr {
            if ipv4 { format!("10.0.0.{last}") } else { format!("fd00::{last}") }.parse().unwrap()
        };
        Description {
            protocol,
            src: ip(1),
            dst: ip(2),
            ports: [40000, 443],
            flags: vec![TcpFlag::Syn, TcpFlag::Ack],
            icmp: [8, 0],
            id: 77,
            ttl: 64,
            payload: 5,
        }
    }

    fn bytes(packet: TracedPacket) -> Vec<u8> {
        match packet {
            TracedPacket::Ip(bytes) | TracedPacket::Frame(bytes) => bytes,
        }
    }

    #[test]
    fn packets_are_as_they_were_described() {
        for ipv4 in [true, false] {
            let icmp = if ipv4 { Protocol::ICMP } else { Protocol::ICMPV6 };
            for protocol in [Protocol::TCP, Protocol::UDP, icmp, Protocol(132)] {
                let packet = bytes(description(protocol, ipv4).packet().unwrap());
                let sliced = SlicedPacket::from_ip(&packet).unwrap();
                assert_eq!(matches!(sliced.net, Some(NetSlice::Ipv4(_))), ipv4);
                match sliced.transport {
                    Some(TransportSlice::Tcp(tcp)) => {
                        assert_eq!((tcp.source_port(), tcp.destination_port()), (40000, 443));
                        assert!(tcp.syn() && tcp.ack() && !tcp.fin());
                    }
                    Some(TransportSlice::Udp(udp)) => {
                        assert_eq!((udp.source_port(), udp.payload().len()), (40000, 5));
                    }
                    Some(TransportSlice::Icmpv4(icmp)) => {
                        assert_eq!((icmp.type_u8(), icmp.bytes5to8()), (8, [0, 77, 0, 1]));
                    }
                    Some(TransportSlice::Icmpv6(icmp)) => assert_eq!(icmp.type_u8(), 8),
                    _ => assert_eq!(protocol, Protocol(132)),
                }
            }
        }
        assert!(description(Protocol::ICMP, false).packet().is_err());
        let mixed =
            Description { dst: "fd00::1".parse().unwrap(), ..description(Protocol::UDP, true) };
        assert!(mixed.packet().unwrap_err().to_string().contains("different families"));
        let long = Description { payload: u16::MAX, ..description(Protocol::TCP, true) };
        assert!(long.packet().is_err());
    }

    #[test]
    fn captures_of_both_kinds_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let packets = [[1u8; 20], [2; 20]];
        let old = folder.path().join("old.pcap");
        let header = PcapHeader { datalink: DataLink::RAW, ..PcapHeader::default() };
        let mut writer = PcapWriter::with_header(File::create(&old).unwrap(), header).unwrap();
        for packet in &packets {
            writer.write_packet(&PcapPacket::new(Duration::ZERO, 20, packet)).unwrap();
        }
        let new = folder.path().join("new.pcapng");
        let mut writer = PcapNgWriter::new(File::create(&new).unwrap()).unwrap();
        let interface =
            InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: 0, options: vec![] };
        writer.write_pcapng_block(interface).unwrap();
        for packet in &packets {
            let block = EnhancedPacketBlock {
                interface_id: 0,
                timestamp: Duration::ZERO,
                original_len: 20,
                data: packet.as_slice().into(),
                options: vec![],
            };
            writer.write_pcapng_block(block).unwrap();
        }
        for (number, packet) in (1..).zip(packets) {
            assert_eq!(captured(&old, number).unwrap(), TracedPacket::Ip(packet.into()));
            assert_eq!(captured(&new, number).unwrap(), TracedPacket::Frame(packet.into()));
        }
        for path in [&old, &new] {
            for number in [0, 3] {
                let error = captured(path, number).unwrap_err().to_string();
                assert!(error.contains("has no packet"), "{error}");
            }
        }
        let other = folder.path().join("text");
        std::fs::write(&other, "no capture at all, but long enough for a header").unwrap();
        assert!(captured(&other, 1).unwrap_err().to_string().contains("as a capture"));
        assert!(captured(&folder.path().join("none"), 1).is_err());
    }
}
