// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Many connections of the guest with the outside, all alive, and the packets they have.

use crate::buffer::Buffer;
use crate::packet::{Family, Packet, Shape, Stage, Transport, Tunnel};
use crate::path::pass;
use crate::world::{
    BOUNDARY_IP, GUEST_MAC, HOST_IP, PEER_HOST_IP, PEER_MAC, World, guest_ip, peer_ip, vni,
};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use opte::counters::Tally;
use opte::outer::GeneveOptions;
use opte_api::{Direction, MacAddr};
use oxide_vpc::overlay::EXTERNAL_MARK;
use oxide_vpc_api::config::{BOUNDARY_MAC, GATEWAY_MAC};

/// Whom the guest talks to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Remote {
    /// Servers outside, by source NAT.
    Outside,
    /// The guest on the other host.
    Peer,
}

/// What the packets of a measurement are.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Their form.
    pub shape: Shape,
    /// The other side.
    pub remote: Remote,
}

/// Connections number zero and up: how the guest is known to the other side of each.
pub struct Flows {
    traffic: Traffic,
    seen_as: Vec<SocketAddr>,
}

/// Guest ports of one remote address and port.
const PORTS: usize = 1 << 14;

impl Traffic {
    /// The guest's end of connection `index`.
    fn guest(&self, index: usize) -> SocketAddr {
        let port = 20_000 + (index % PORTS) as u16;
        SocketAddr::new(guest_ip(self.shape.family), port)
    }

    /// The other end of connection `index`.
    fn remote(&self, index: usize) -> SocketAddr {
        let block = (index / PORTS) as u16;
        match (self.remote, self.shape.family) {
            (Remote::Peer, family) => SocketAddr::new(peer_ip(family), 443 + block),
            (Remote::Outside, Family::V4) => {
                let [high, low] = block.to_be_bytes();
                SocketAddr::new(Ipv4Addr::new(198, 18, high, low).into(), 443)
            }
            (Remote::Outside, Family::V6) => {
                let ip = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, block);
                SocketAddr::new(ip.into(), 443)
            }
        }
    }

    /// Appends a packet of connection `index` as the guest sends it.
    pub fn write_out(&self, index: usize, stage: Stage, bytes: &mut Vec<u8>) {
        let macs = [GUEST_MAC, GATEWAY_MAC];
        let (src, dst) = (self.guest(index), self.remote(index));
        Packet { shape: self.shape, macs, src, dst, stage }.write(bytes);
    }

    fn peer_mac(&self) -> MacAddr {
        match self.remote {
            Remote::Outside => BOUNDARY_MAC,
            Remote::Peer => PEER_MAC,
        }
    }

    /// Appends an answer to who is known as `seen_as`, outer headers included.
    fn write_in(&self, index: usize, seen_as: SocketAddr, stage: Stage, bytes: &mut Vec<u8>) {
        let (src, options) = match self.remote {
            Remote::Outside => (BOUNDARY_IP, GeneveOptions::new(&EXTERNAL_MARK)),
            Remote::Peer => (PEER_HOST_IP, None),
        };
        let options = options.unwrap_or_default();
        Tunnel { src, dst: HOST_IP, vni: vni(), options }.write(self.shape.frame_len(), bytes);
        let macs = [self.peer_mac(), GUEST_MAC];
        let src = self.remote(index);
        Packet { shape: self.shape, macs, src, dst: seen_as, stage }.write(bytes);
    }
}

impl Flows {
    /// Opens `count` connections, with packets both ways.
    pub fn open(world: &World, traffic: Traffic, count: usize) -> Self {
        let mut flows = Self { traffic, seen_as: Vec::with_capacity(count) };
        let (mut bytes, mut frame) = (Vec::new(), Buffer::default());
        let small = Traffic { shape: Shape { ip_len: 0, ..traffic.shape }, ..traffic };
        for index in 0..count {
            bytes.clear();
            small.write_out(index, Stage::Syn, &mut bytes);
            flows.seen_as.push(first(world, &mut frame, &bytes, small.shape));
            let seen_as = flows.seen_as[index];
            for stage in [Stage::SynAck, Stage::Later, Stage::LaterAnswer] {
                bytes.clear();
                match stage {
                    Stage::Later => small.write_out(index, stage, &mut bytes),
                    _ => small.write_in(index, seen_as, stage, &mut bytes),
                }
                frame.fill(&bytes);
                let direction = match stage {
                    Stage::Later => Direction::Out,
                    _ => Direction::In,
                };
                send(world, direction, &mut frame);
                if traffic.shape.transport == Transport::Udp {
                    break;
                }
            }
        }
        flows
    }

    /// Form of their packets.
    pub const fn shape(&self) -> Shape {
        self.traffic.shape
    }

    /// Number of connections.
    pub fn count(&self) -> usize {
        self.seen_as.len()
    }

    /// Appends a packet of a connection that is under way.
    pub fn write(&self, direction: Direction, index: usize, bytes: &mut Vec<u8>) {
        match direction {
            Direction::Out => self.traffic.write_out(index, Stage::Later, bytes),
            Direction::In => {
                let seen_as = self.seen_as[index];
                self.traffic.write_in(index, seen_as, Stage::LaterAnswer, bytes);
            }
        }
    }
}

/// Sends the first packet of a connection; answers how the other side knows its sender.
pub fn first(world: &World, frame: &mut Buffer, bytes: &[u8], shape: Shape) -> SocketAddr {
    frame.fill(bytes);
    send(world, Direction::Out, frame);
    let inner = &frame.bytes()[frame.bytes().len() - shape.frame_len()..];
    let (ip, ports): (IpAddr, usize) = match shape.family {
        Family::V4 => (octets::<4>(inner, 26).into(), 34),
        Family::V6 => (octets::<16>(inner, 22).into(), 54),
    };
    SocketAddr::new(ip, u16::from_be_bytes(octets(inner, ports)))
}

fn octets<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("a whole packet")
}

fn send(world: &World, direction: Direction, frame: &mut Buffer) {
    let mut tally = Tally::default();
    assert!(pass(world, direction, frame, &mut tally), "a packet is not forwarded");
}
