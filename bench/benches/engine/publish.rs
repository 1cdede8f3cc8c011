// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How long a change takes to be in force, and how long packets wait for it, by the number of live
//! connections.
//!
//! One thread sends packets of connections in random order, each timed alone; another changes
//! external addresses and rules all the time, as a control plane does that sends everything again.
//! Behind each change the connections are judged: with their next packet, and by upkeep, which the
//! first thread calls between packets as a host does.

use bench::alone::{Sample, distribution, time};
use bench::buffer::Buffer;
use bench::flows::{Flows, Traffic};
use bench::measure::{Dice, Figure, Plan};
use bench::packet::{Family, Transport};
use bench::path::pass;
use bench::report::{Report, Row};
use bench::world::{World, external_ips, port_name, unrelated_rule};
use opte::port::Batch;
use opte_api::Direction;
use opte_api::frame::encode_request;
use oxide_vpc_api::GatewayMap;
use oxide_vpc_api::request::{AddFwRule, SetExternalIps};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const TRAFFIC: Traffic = Traffic::outside(Family::V4, Transport::Udp);
/// Packets between two changes: a change every few hundred microseconds.
const APART: usize = 1_000;

/// By number of live connections.
pub fn run(plan: Plan, report: &mut Report) {
    report.begin("publish", "changes under traffic", "alive");
    let samples = plan.choose(200_000, 2_000);
    for alive in plan.choose(&[1_000, 64_000, 1_000_000][..], &[256]) {
        let world = World::new(1 << 21);
        let flows = Flows::open(&world, TRAFFIC, *alive);
        let (mut calls, mut packets) = (Vec::new(), Vec::new());
        for _ in 0..plan.choose(3, 1) {
            let (call, packet) = changes_under_traffic(&world, &flows, samples);
            calls.push(call);
            packets.push(packet);
        }
        for (name, samples) in [("a change", calls), ("a packet", packets)] {
            let parts: Vec<_> = samples.iter().map(|samples| distribution(samples, &[])).collect();
            crate::upkeep::add(report, name, *alive, &parts);
        }
        let kept = 100.0 * f64::from(world.port().flows().count()) / *alive as f64;
        let kept = Figure { min: kept, median: kept, max: kept };
        report.add(Row::new("flows kept", *alive, kept).unit("%"));
    }
}

/// Times of changes, and of packets meanwhile.
fn changes_under_traffic(
    world: &World,
    flows: &Flows,
    samples: usize,
) -> (Vec<Sample>, Vec<Sample>) {
    let (due, end) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let changer = scope.spawn(|| change_on_demand(world, &due, &end));
        let (mut dice, mut bytes, mut frame) = (Dice::new(9), Vec::new(), Buffer::default());
        let mut packets = Vec::with_capacity(samples);
        for number in 0..samples {
            due.store(number / APART, Ordering::Relaxed);
            bytes.clear();
            flows.write(Direction::Out, dice.below(flows.count()), &mut bytes);
            frame.fill(&bytes);
            let (port, mut batch) = (world.port(), Batch::default());
            let packet = time(|| {
                let policy = port.policy();
                pass(port, &policy, world.now, Direction::Out, &mut frame, &mut batch);
            });
            packets.push(packet);
            world.driver.upkeep(world.now);
        }
        end.store(true, Ordering::Relaxed);
        (changer.join().expect("the other thread has ended well"), packets)
    })
}

/// Makes a change whenever the next one is due; answers how long each took.
fn change_on_demand(world: &World, due: &AtomicUsize, end: &AtomicBool) -> Vec<Sample> {
    let (mut times, mut done) = (Vec::new(), 0);
    while !end.load(Ordering::Relaxed) {
        if due.load(Ordering::Relaxed) <= done {
            std::hint::spin_loop();
            continue;
        }
        done += 1;
        let request = change(done);
        times.push(time(|| drop(world.control(&request))));
    }
    times
}

/// The request of change number `n`.
fn change(n: usize) -> Vec<u8> {
    let port = port_name(0);
    let request = if n.is_multiple_of(2) {
        let [ipv4, ipv6] = [Family::V4, Family::V6].map(|family| Some(external_ips(family)));
        encode_request(&SetExternalIps { port, ipv4, ipv6, gateways: GatewayMap::new() })
    } else {
        encode_request(&AddFwRule { port, rule: unrelated_rule(n) })
    };
    request.expect("small")
}
