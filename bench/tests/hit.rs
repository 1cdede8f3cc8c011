// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the benchmarks measure comes out right, and a hit allocates nothing.

use bench::buffer::Buffer;
use bench::flows::{Flows, Remote, Traffic};
use bench::limit::Limit;
use bench::limit::layout::{Ipv4, Ipv6, Layout};
use bench::packet::{Family, Shape, Transport};
use bench::path::{Hose, pass};
use bench::sums;
use bench::world::{BOUNDARY_IP, HOST_IP, PEER_HOST_IP, World};
use opte::frame::Rewrite;
use opte::outer::Outer;
use opte::port::Batch;
use opte_api::Direction;
use xde::host::{Egress, PortId, UnderlayShape};

/// More than a batch, and no whole number of batches.
const COUNT: usize = 70;

fn shapes() -> impl Iterator<Item = Shape> {
    let families = [Family::V4, Family::V6].into_iter();
    let pairs = families.flat_map(|f| [Transport::Udp, Transport::Tcp].map(|t| (f, t)));
    pairs.flat_map(|(f, t)| [Shape::small(f, t), Shape::large(f, t)])
}

fn outside(shape: Shape) -> Traffic {
    Traffic { shape, ..Traffic::outside(shape.family, shape.transport) }
}

fn packet(flows: &Flows, direction: Direction, index: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    flows.write(direction, index, &mut bytes);
    bytes
}

/// Takes each flow's packet through the engine, which must run a stored transform.
fn hits(world: &World, flows: &Flows, direction: Direction) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pairs = (0..flows.count()).map(|index| {
        let (before, mut batch) = (packet(flows, direction, index), Batch::default());
        let mut frame = Buffer::new(&before);
        let (port, policy) = (world.port(), world.port().policy());
        assert!(pass(port, &policy, world.now, direction, &mut frame, &mut batch));
        assert_eq!(batch.tally.side(direction).hits, 1);
        (before, frame.bytes().to_vec())
    });
    pairs.collect()
}

/// `bytes` begins with outer headers to `host` whose lengths are right; answers what they hold.
fn inner(bytes: &[u8], host: core::net::Ipv6Addr) -> &[u8] {
    let options = usize::from(bytes[62] & 0x3f) * 4;
    let udp_len = (bytes.len() - 54) as u16;
    assert_eq!(bytes[12..14], [0x86, 0xdd]);
    assert_eq!(bytes[18..20], udp_len.to_be_bytes());
    assert_eq!((&bytes[22..38], &bytes[38..54]), (&HOST_IP.octets()[..], &host.octets()[..]));
    assert_eq!(bytes[56..60], [0x17, 0xc1, udp_len.to_be_bytes()[0], udp_len.to_be_bytes()[1]]);
    &bytes[70 + options..]
}

#[test]
fn packets_come_out_with_right_checksums_and_lengths() {
    for shape in shapes() {
        for (remote, host) in [(Remote::Outside, BOUNDARY_IP), (Remote::Peer, PEER_HOST_IP)] {
            let world = World::new(1 << 10);
            let flows = Flows::open(&world, Traffic { remote, ..outside(shape) }, COUNT);
            for (before, after) in hits(&world, &flows, Direction::Out) {
                let inner = inner(&after, host);
                assert_eq!(inner.len(), before.len(), "{shape}");
                assert!(sums::are_right(&before[14..]) && sums::are_right(&inner[14..]), "{shape}");
                assert_eq!(inner[26..] != before[26..], remote == Remote::Outside, "{shape}");
            }
            for (index, (_, after)) in hits(&world, &flows, Direction::In).iter().enumerate() {
                assert_eq!(after.len(), shape.frame_len());
                assert!(sums::are_right(&after[14..]), "{shape}");
                // An answer is addressed as what it answers was sent.
                let sent = packet(&flows, Direction::Out, index);
                let (src, dst, ports) = match shape.family {
                    Family::V4 => (26..30, 30..34, 34),
                    Family::V6 => (22..38, 38..54, 54),
                };
                assert_eq!((&after[dst.clone()], &after[src.clone()]), (&sent[src], &sent[dst]));
                assert_eq!(after[ports + 2..ports + 4], sent[ports..ports + 2]);
            }
        }
    }
}

fn agree<L: Layout>(shape: Shape) {
    let world = World::new(1 << 10);
    let flows = Flows::open(&world, outside(shape), COUNT);
    for direction in Direction::BOTH {
        let pairs = hits(&world, &flows, direction);
        let mut limit = Limit::<L>::new(direction, shape.transport, COUNT);
        pairs.iter().for_each(|(before, after)| limit.learn(before, after));
        let before = || pairs.iter().map(|(before, _)| Buffer::new(before));
        let mut together: Vec<Buffer> = before().collect();
        assert!(limit.pass_all(&mut together, 0));
        let mut driven: Vec<Buffer> = before().collect();
        let mut hose = Hose::default();
        hose.load(&mut driven);
        hose.run(&world, world.devices[0].id, direction, world.now);
        hose.unload(&mut driven);
        assert_eq!(driven.len(), COUNT);
        for (index, mut frame) in before().enumerate() {
            assert!(limit.pass(&mut frame, 0));
            let after = &pairs[index].1[..];
            assert_eq!(frame.bytes(), after, "{direction} {shape}, the limit loop");
            assert_eq!(together[index].bytes(), after, "{direction} {shape}, its batches");
            assert_eq!(driven[index].bytes(), after, "{direction} {shape}, the driver");
        }
    }
}

#[test]
fn limit_loop_refuses_strangers() {
    let shape = Shape::small(Family::V4, Transport::Udp);
    let world = World::new(1 << 10);
    let flows = Flows::open(&world, outside(shape), COUNT);
    let mut limit = Limit::<Ipv4>::new(Direction::Out, shape.transport, COUNT);
    let pairs = hits(&world, &flows, Direction::Out);
    pairs.iter().skip(1).for_each(|(before, after)| limit.learn(before, after));
    let mut frames: Vec<Buffer> = pairs.iter().map(|(before, _)| Buffer::new(before)).collect();
    assert!(!limit.pass_all(&mut frames[..2], 0));
    assert!(!limit.pass(&mut Buffer::new(&pairs[0].0), 0));
}

#[test]
fn limit_loop_and_batches_give_the_same_bytes() {
    for shape in shapes() {
        match shape.family {
            Family::V4 => agree::<Ipv4>(shape),
            Family::V6 => agree::<Ipv6>(shape),
        }
    }
}

/// Counts frames, and drops them.
#[derive(Default)]
struct Sink {
    frames: usize,
}

impl Egress<Buffer> for Sink {
    fn to_underlay(&mut self, mut frame: Buffer, rewrite: &Rewrite) {
        frame.rewrite(rewrite);
        self.frames += 1;
    }

    fn to_guest(&mut self, _port: PortId, mut frame: Buffer, rewrite: &Rewrite) {
        frame.rewrite(rewrite);
        self.frames += 1;
    }

    fn answer(&mut self, _bytes: Vec<u8>, _outer: &Outer) {
        panic!("no measured packet is refused");
    }

    fn reply(&mut self, _port: PortId, bytes: Vec<u8>) {
        panic!("a reply of {} bytes", bytes.len());
    }
}

#[test]
fn a_hit_allocates_nothing() {
    for shape in shapes() {
        let world = World::new(1 << 10);
        let flows = Flows::open(&world, outside(shape), COUNT);
        for direction in Direction::BOTH {
            let mut batch: Vec<Buffer> =
                (0..COUNT).map(|index| Buffer::new(&packet(&flows, direction, index))).collect();
            let mut sink = Sink::default();
            let info = allocation_counter::measure(|| match direction {
                Direction::Out => {
                    world.driver.from_guest(world.devices[0].id, &mut batch, world.now, &mut sink);
                }
                Direction::In => {
                    let outer = UnderlayShape::Ethernet;
                    world.driver.from_underlay(outer, &mut batch, world.now, &mut sink);
                }
            });
            assert_eq!((info.count_total, sink.frames), (0, COUNT), "{direction} {shape}");
        }
    }
}

#[test]
fn allocations_are_seen() {
    let world = World::new(1 << 10);
    let traffic = Traffic::outside(Family::V4, Transport::Udp);
    let info = allocation_counter::measure(|| {
        Flows::open(&world, traffic, 1);
    });
    assert!(info.count_total > 0);
}
