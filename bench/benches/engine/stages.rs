// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Where the time of a hit goes: the same packets with one more step each time, as far as it can
//! be seen from outside.

use bench::buffer::Buffer;
use bench::flows::{Flows, Frames, Traffic};
use bench::measure::{Plan, compare, timed};
use bench::packet::{Family, Transport};
use bench::path::{Hose, parse, pass};
use bench::report::{Report, Row};
use bench::world::World;
use opte::port::{Batch, Turn, Verdict};
use opte_api::Direction;
use std::hint::black_box;
use std::time::Duration;

/// IPv4 from the guest, with one connection and with many.
pub fn run(plan: Plan, report: &mut Report) {
    report.begin("stages", "hit, step by step", "flows");
    for transport in [Transport::Udp, Transport::Tcp] {
        for count in plan.choose(&[1, 64_000][..], &[1]) {
            let world = World::new(1 << 20);
            let flows = Flows::open(&world, Traffic::outside(Family::V4, transport), *count);
            Stages { world, flows }.measure(plan, report);
        }
    }
}

struct Stages {
    world: World,
    flows: Flows,
}

impl Stages {
    fn measure(&self, plan: Plan, report: &mut Report) {
        let mut frames = [1, 2, 3, 4].map(Frames::new);
        let [a, b, c, d] = &mut frames;
        let mut hose = Hose::default();
        let figures = compare(
            plan,
            [
                &mut || {
                    self.batch(a, |frame| {
                        black_box(parse(Direction::Out, frame)).expect("a good packet");
                    })
                },
                &mut || self.batch(b, |frame| self.process(frame)),
                &mut || {
                    let (port, mut batch) = (self.world.port(), Batch::default());
                    let policy = port.policy();
                    self.batch(c, |frame| {
                        let now = self.world.now;
                        assert!(pass(port, &policy, now, Direction::Out, frame, &mut batch));
                    })
                },
                &mut || {
                    d.fill(&self.flows, Direction::Out);
                    hose.load(&mut d.frames);
                    let guest = self.world.devices[0].id;
                    let time =
                        timed(|| hose.run(&self.world, guest, Direction::Out, self.world.now));
                    hose.unload(&mut d.frames);
                    time
                },
            ],
        );
        let steps = [
            "parse",
            "+ look-up, transform",
            "+ outer headers",
            "the same through the driver, by 32",
        ];
        for (step, figure) in steps.into_iter().zip(figures) {
            let name = format!("out {}: {step}", self.flows.shape());
            report.add(Row::new(name, self.flows.count(), figure));
        }
    }

    fn batch(&self, frames: &mut Frames, mut step: impl FnMut(&mut Buffer)) -> Duration {
        frames.fill(&self.flows, Direction::Out);
        timed(|| frames.frames.iter_mut().for_each(&mut step))
    }

    fn process(&self, frame: &mut Buffer) {
        let headers = parse(Direction::Out, frame);
        let headers = headers.as_ref().map_err(|reason| *reason);
        let (port, mut batch) = (self.world.port(), Batch::default());
        let policy = port.policy();
        let turn =
            Turn { policy: &policy, direction: Direction::Out, now: self.world.now, cell: None };
        let verdict = port.process(turn, frame, headers, &mut batch);
        assert_eq!(black_box(verdict), Verdict::Forward);
    }
}
