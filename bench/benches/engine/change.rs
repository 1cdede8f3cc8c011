// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Changes of policy while connections are alive.

use bench::buffer::Buffer;
use bench::flows::{Flows, Traffic};
use bench::measure::{BATCH, Dice, Figure, Plan, median, timed};
use bench::packet::{Family, Transport};
use bench::path::pass;
use bench::report::{Report, Row};
use bench::world::{
    World, external_ips, port_name, unrelated_route, unrelated_rule, unrelated_rules,
};
use opte::port::Batch;
use opte_api::Direction;
use opte_api::frame::encode_request;
use oxide_vpc_api::GatewayMap;
use oxide_vpc_api::request::{AddFwRule, AddRoute, SetExternalIps};

/// Rules that are replaced.
const RULES: usize = 1_000;
const FLOWS: usize = 8_000;

/// By kind of change.
pub fn run(plan: Plan, report: &mut Report) {
    report.begin("change", "a change while 8 000 flows live", "flows");
    let count = plan.choose(FLOWS, BATCH);
    for transport in [Transport::Udp, Transport::Tcp] {
        let traffic = Traffic::outside(Family::V4, transport);
        for (name, change) in CHANGES {
            let mut scene = Scene::new(traffic, count);
            let costs = scene.repeat(plan, 1, *change);
            let name = format!("{} {name}", traffic.shape);
            report.add(Row::new(format!("{name}: the call"), count, costs.call).unit("us"));
            let steps = ["then first out", "then first in", "then out again"];
            for (step, figure) in steps.into_iter().zip(costs.packets) {
                report.add(Row::new(format!("{name}: {step}"), count, figure));
            }
            let kept = Figure { min: costs.kept, median: costs.kept, max: costs.kept };
            report.add(Row::new(format!("{name}: flows kept"), count, kept).unit("%"));
        }
    }
}

/// By number of changes in a row that the flows have not seen.
pub fn run_generations(plan: Plan, report: &mut Report) {
    report.begin("generations", "changes in a row, 8 000 UDP flows", "changes");
    let count = plan.choose(FLOWS, BATCH);
    let traffic = Traffic::outside(Family::V4, Transport::Udp);
    for changes in plan.choose(&[1, 10, 100][..], &[1, 2]) {
        let mut scene = Scene::new(traffic, count);
        let costs = scene.repeat(plan, *changes, |n| rules(10, n));
        report.add(Row::new("the call", *changes, costs.call).unit("us"));
        let steps = ["then first out", "then first in", "then out again"];
        for (step, figure) in steps.into_iter().zip(costs.packets) {
            report.add(Row::new(step, *changes, figure));
        }
        let bytes = Figure { min: scene.bytes, median: scene.bytes, max: scene.bytes };
        report.add(Row::new("memory for each change", *changes, bytes).unit("B"));
    }
}

/// The request of change number `n` as bytes.
type Change = fn(usize) -> Vec<u8>;

const CHANGES: &[(&str, Change)] = &[
    ("1000 rules, one differs", |n| rules(RULES, n)),
    ("one rule added", |n| {
        encode_request(&AddFwRule { port: port_name(0), rule: unrelated_rule(n) }).expect("small")
    }),
    ("one route added", |n| {
        encode_request(&AddRoute { port: port_name(0), route: unrelated_route(n) }).expect("small")
    }),
    ("the same addresses", |_| {
        let [ipv4, ipv6] = [Family::V4, Family::V6].map(|family| Some(external_ips(family)));
        let gateways = GatewayMap::new();
        let request = SetExternalIps { port: port_name(0), ipv4, ipv6, gateways };
        encode_request(&request).expect("small")
    }),
];

fn rules(count: usize, variant: usize) -> Vec<u8> {
    encode_request(&unrelated_rules(count, variant)).expect("below the limit of a request")
}

struct Scene {
    world: World,
    flows: Flows,
    order: Vec<usize>,
    done: usize,
    bytes: f64,
}

struct Costs {
    /// Microseconds.
    call: Figure,
    /// Nanoseconds for each packet out, then in, then out again.
    packets: [Figure; 3],
    /// Share of the flows that are still there, as percentage.
    kept: f64,
}

impl Scene {
    fn new(traffic: Traffic, count: usize) -> Self {
        let world = World::new(1 << 16);
        world.control(&rules(RULES, 0));
        let flows = Flows::open(&world, traffic, count);
        let mut order: Vec<usize> = (0..count).collect();
        let mut dice = Dice::new(5);
        (1..count).rev().for_each(|at| order.swap(at, dice.below(at + 1)));
        Self { world, flows, order, done: 0, bytes: 0.0 }
    }

    /// Repeats: `changes` changes in a row, then packets of all flows.
    fn repeat(&mut self, plan: Plan, changes: usize, change: Change) -> Costs {
        let (mut calls, mut packets) = (Vec::new(), [const { Vec::new() }; 3]);
        // What there was before is not what is changed here.
        self.world.control(&change(self.done));
        self.packets(Direction::Out);
        for _ in 0..plan.repetitions {
            let requests: Vec<Vec<u8>> = (1..=changes).map(|n| change(self.done + n)).collect();
            self.done += changes;
            let info = allocation_counter::measure(|| {
                for request in &requests {
                    let mut answer = Vec::new();
                    let time = timed(|| answer = self.world.control(request));
                    calls.push(time.as_nanos() as f64 / 1000.0);
                }
            });
            self.bytes = info.bytes_current as f64 / changes as f64;
            let ways = [Direction::Out, Direction::In, Direction::Out];
            for (direction, figures) in ways.into_iter().zip(&mut packets) {
                figures.push(self.packets(direction));
            }
        }
        let opened = self.counter("flows_opened");
        let kept = 100.0 * self.flows.count() as f64 / opened;
        Costs { call: Figure::of(calls), packets: packets.map(Figure::of), kept }
    }

    /// A packet of each flow: the median over batches, nanoseconds for each packet.
    fn packets(&self, direction: Direction) -> f64 {
        let (mut bytes, mut frames) = (Vec::new(), vec![Buffer::default(); BATCH]);
        let port = self.world.port();
        let batches = self.order.chunks(BATCH).map(|indices| {
            for (index, frame) in indices.iter().zip(&mut frames) {
                bytes.clear();
                self.flows.write(direction, *index, &mut bytes);
                frame.fill(&bytes);
            }
            let (mut batch, policy) = (Batch::default(), port.policy());
            let time = timed(|| {
                for frame in frames.iter_mut().take(indices.len()) {
                    // Lost with its flow if the change has cut it; see the line about kept flows.
                    pass(port, &policy, self.world.now, direction, frame, &mut batch);
                }
            });
            time.as_nanos() as f64 / indices.len() as f64
        });
        median(batches.collect())
    }

    fn counter(&self, name: &str) -> f64 {
        let list = self.world.port().counters().list();
        list.iter().find(|(known, _)| known == name).map_or(0.0, |(_, value)| *value as f64)
    }
}
