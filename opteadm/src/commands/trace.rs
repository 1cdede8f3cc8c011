// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a port would do with a packet.

use crate::cli::OnPort;
use crate::console::{Console, Xde};
use crate::packet::{self, Description, TcpFlag};
use crate::values;
use clap::{Args, Subcommand};
use opte_api::{Direction, Protocol, Vni};
use oxide_vpc_api::request::TracePacket;
use oxide_vpc_api::trace::Origin;
use std::net::IpAddr;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Nothing changes by it: no flow, no lease, no counter. A packet that is described travels between the
guest's MAC address and its gateway's; one from a capture has those that it has there.

Examples:
  opteadm trace -p opte0 --dir out --proto tcp --src 172.30.0.5 --dst 198.51.100.9 --dport 443
  opteadm trace -p opte0 --dir in --outside --proto udp --src 198.51.100.9 --dst 203.0.113.7 \\
      --sport 53 --dport 16384
  opteadm trace -p opte0 --dir out --proto icmp --src 172.30.0.5 --dst 172.30.0.6 --icmp 8
  opteadm trace -p opte0 --dir out --pcap guest.pcap --packet 3 --json";

/// Commands that ask what would be.
#[derive(Debug, Subcommand)]
pub enum TraceCommand {
    /// Show layer by layer what a port would do with a packet
    #[command(after_help = EXAMPLES)]
    Trace(Box<TraceArgs>),
}

/// A packet, and where it meets the port.
#[derive(Args, Debug)]
pub struct TraceArgs {
    #[command(flatten)]
    on: OnPort,
    /// Which way the packet goes, seen from the guest: out or in
    #[arg(long, value_name = "DIR")]
    dir: Direction,
    /// VPC of the sender of a packet that comes in [default: that of the port]
    #[arg(long)]
    vni: Option<Vni>,
    /// The packet comes in from outside, by a boundary
    #[arg(long)]
    outside: bool,

    /// Take the packet from this pcap or pcapng file
    #[arg(long, value_name = "FILE", requires = "packet", help_heading = "A packet of a capture")]
    #[arg(conflicts_with_all = ["src", "dst", "sport", "dport", "flags", "icmp", "id", "proto"])]
    pcap: Option<PathBuf>,
    /// Which packet of the file, from 1 on
    #[arg(long, value_name = "NUMBER", requires = "pcap", help_heading = "A packet of a capture")]
    packet: Option<u64>,

    #[command(flatten)]
    described: DescribedArgs,
}

/// A packet by its fields.
#[derive(Args, Debug)]
#[command(next_help_heading = "A packet by its fields")]
pub struct DescribedArgs {
    /// Protocol: tcp, udp, icmp, icmp6 or a number
    #[arg(long, value_parser = values::protocol, required_unless_present = "pcap")]
    proto: Option<Protocol>,
    /// Source address
    #[arg(long, value_name = "ADDRESS", required_unless_present = "pcap")]
    src: Option<IpAddr>,
    /// Destination address
    #[arg(long, value_name = "ADDRESS", required_unless_present = "pcap")]
    dst: Option<IpAddr>,
    /// Source port of TCP and UDP
    #[arg(long, value_name = "PORT", default_value_t = 40_000)]
    sport: u16,
    /// Destination port of TCP and UDP
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    dport: u16,
    /// TCP flags, with commas
    #[arg(long, value_name = "FLAG,...", value_delimiter = ',', default_value = "syn")]
    flags: Vec<TcpFlag>,
    /// ICMP type and code [default: an echo request]
    #[arg(long, value_name = "TYPE[,CODE]", value_parser = icmp)]
    icmp: Option<[u8; 2]>,
    /// ICMP echo identifier
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    id: u16,
    /// Time to live, or hop limit
    #[arg(long, value_name = "HOPS", default_value_t = 64)]
    ttl: u8,
    /// Bytes behind the last header
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    payload: u16,
}

fn icmp(text: &str) -> Result<[u8; 2], String> {
    let (kind, code) = text.split_once(',').unwrap_or((text, "0"));
    let number = |text: &str| text.parse().map_err(|_| "write TYPE or TYPE,CODE, as in 3,4");
    Ok([number(kind)?, number(code)?])
}

impl TraceCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        let Self::Trace(args) = self;
        let request = args.into_request()?;
        console.ask(&request)
    }
}

impl TraceArgs {
    fn into_request(self) -> anyhow::Result<TracePacket> {
        let packet = match (&self.pcap, self.packet) {
            (Some(file), Some(number)) => packet::captured(file, number)?,
            _ => self.described.description()?.packet()?,
        };
        let said = self.vni.is_some() || self.outside;
        let origin = said.then_some(Origin { vni: self.vni, external: self.outside });
        if origin.is_some() && self.dir == Direction::Out {
            anyhow::bail!(
                "--vni and --outside say where a packet comes from: use them with --dir in"
            );
        }
        Ok(TracePacket { port: self.on.port, direction: self.dir, packet, origin })
    }
}

impl DescribedArgs {
    fn description(&self) -> anyhow::Result<Description> {
        let (Some(protocol), Some(src), Some(dst)) = (self.proto, self.src, self.dst) else {
            anyhow::bail!("say --proto, --src and --dst, or --pcap and --packet");
        };
        let echo = if protocol == Protocol::ICMPV6 { [128, 0] } else { [8, 0] };
        Ok(Description {
            protocol,
            src,
            dst,
            ports: [self.sport, self.dport],
            flags: self.flags.clone(),
            icmp: self.icmp.unwrap_or(echo),
            id: self.id,
            ttl: self.ttl,
            payload: self.payload,
        })
    }
}
