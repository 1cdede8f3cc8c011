// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Many connections of the guest with the outside, all alive, and the packets they have.

use crate::buffer::Buffer;
use crate::measure::{BATCH, Dice};
use crate::packet::{Family, Packet, Shape, Stage, Transport, Tunnel};
use crate::path::pass;
use crate::world::{
    BOUNDARY_IP, HOST_IP, PEER_HOST_IP, PEER_MAC, World, external_ip, external_number, guest_ip,
    guest_mac, peer_ip, vni,
};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use opte::outer::GeneveOptions;
use opte::port::Batch;
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
    /// Number of the guest.
    pub guest: usize,
}

/// Connections number zero and up: how the guest is known to the other side of each, as number
/// of an external address and port. It is kept short, for it shares the caches with the engine.
pub struct Flows {
    traffic: Traffic,
    seen_as: Vec<(u16, u16)>,
}

/// Guest ports of one remote address and port.
const PORTS: usize = 1 << 14;

impl Traffic {
    /// Small packets of the first guest with servers outside.
    pub const fn outside(family: Family, transport: Transport) -> Self {
        Self { shape: Shape::small(family, transport), remote: Remote::Outside, guest: 0 }
    }

    /// The guest's end of connection `index`.
    fn local(&self, index: usize) -> SocketAddr {
        let port = 20_000 + (index % PORTS) as u16;
        SocketAddr::new(guest_ip(self.shape.family, self.guest), port)
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
        let macs = [guest_mac(self.guest), GATEWAY_MAC];
        let (src, dst) = (self.local(index), self.remote(index));
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
        let macs = [self.peer_mac(), guest_mac(self.guest)];
        let src = self.remote(index);
        Packet { shape: self.shape, macs, src, dst: seen_as, stage }.write(bytes);
    }
}

impl Flows {
    /// Opens `count` connections, with packets both ways.
    pub fn open(world: &World, traffic: Traffic, count: usize) -> Self {
        let mut flows = Self { traffic, seen_as: Vec::with_capacity(count) };
        let (mut bytes, mut frame) = (Vec::new(), Buffer::default());
        for index in 0..count {
            let seen_as = traffic.first(world, index, &mut frame);
            flows.seen_as.push((external_number(seen_as.ip()), seen_as.port()));
            for stage in [Stage::SynAck, Stage::Later, Stage::LaterAnswer] {
                bytes.clear();
                let direction = match stage {
                    Stage::Later => Direction::Out,
                    _ => Direction::In,
                };
                let small = traffic.without_payload();
                match direction {
                    Direction::Out => small.write_out(index, stage, &mut bytes),
                    Direction::In => small.write_in(index, seen_as, stage, &mut bytes),
                }
                frame.fill(&bytes);
                send(world, traffic.guest, direction, &mut frame);
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
                let (number, port) = self.seen_as[index];
                let family = self.traffic.shape.family;
                let ip = match self.traffic.remote {
                    Remote::Outside => external_ip(family, number),
                    Remote::Peer => guest_ip(family, self.traffic.guest),
                };
                let seen_as = SocketAddr::new(ip, port);
                self.traffic.write_in(index, seen_as, Stage::LaterAnswer, bytes);
            }
        }
    }
}

impl Traffic {
    fn without_payload(self) -> Self {
        Self { shape: Shape { ip_len: 0, ..self.shape }, ..self }
    }

    /// Sends the first packet of a connection; answers how the other side knows the guest.
    fn first(self, world: &World, index: usize, frame: &mut Buffer) -> SocketAddr {
        let (small, mut bytes) = (self.without_payload(), Vec::new());
        small.write_out(index, Stage::Syn, &mut bytes);
        frame.fill(&bytes);
        send(world, self.guest, Direction::Out, frame);
        let inner = &frame.bytes()[frame.bytes().len() - small.shape.frame_len()..];
        let (ip, ports): (IpAddr, usize) = match small.shape.family {
            Family::V4 => (octets::<4>(inner, 26).into(), 34),
            Family::V6 => (octets::<16>(inner, 22).into(), 54),
        };
        SocketAddr::new(ip, u16::from_be_bytes(octets(inner, ports)))
    }
}

fn octets<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("a whole packet")
}

fn send(world: &World, guest: usize, direction: Direction, frame: &mut Buffer) {
    let mut batch = Batch::default();
    let port = &world.devices[guest].port;
    assert!(
        pass(port, &port.policy(), world.now, direction, frame, &mut batch),
        "a packet is not forwarded"
    );
}

/// A batch of frames of random connections.
pub struct Frames {
    /// The frames.
    pub frames: Vec<Buffer>,
    bytes: Vec<u8>,
    dice: Dice,
}

impl Frames {
    /// Frames without bytes. Those with another seed choose other connections, which matters where
    /// several take turns on one table: what one has touched is in the caches of the next.
    pub fn new(seed: u64) -> Self {
        Self::of(BATCH, seed)
    }

    /// So many of them.
    pub fn of(count: usize, seed: u64) -> Self {
        let frames = (0..count).map(|_| Buffer::default()).collect();
        Self { frames, bytes: Vec::new(), dice: Dice::new(seed) }
    }

    /// Makes them packets of connections that are under way, each of another.
    pub fn fill(&mut self, flows: &Flows, direction: Direction) {
        for frame in &mut self.frames {
            self.bytes.clear();
            flows.write(direction, self.dice.below(flows.count()), &mut self.bytes);
            frame.fill(&self.bytes);
        }
    }
}
