// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Where the time of a hit goes: the same packets with one more step each time.

use crate::hit::Frames;
use bench::buffer::Buffer;
use bench::flows::{Flows, Remote, Traffic};
use bench::measure::{BATCH, Plan, compare, timed};
use bench::packet::{Family, Shape, Transport};
use bench::path::{parse, pass};
use bench::table::{Row, print, section};
use bench::world::World;
use opte::counters::Tally;
use opte::frame::{Frame, Rewrite};
use opte::headers::Headers;
use opte::policy::Generation;
use opte_api::Direction;
use std::hint::black_box;
use std::time::Duration;

/// UDP over IPv4 from the guest, with one connection and with many.
pub fn run(plan: Plan) {
    section("hit, step by step");
    let counts: &[usize] = if plan.batches > 2 { &[1, 64_000] } else { &[1] };
    for transport in [Transport::Udp, Transport::Tcp] {
        for count in counts {
            let shape = Shape::small(Family::V4, transport);
            let world = World::new(1 << 20);
            let flows = Flows::open(&world, Traffic { shape, remote: Remote::Outside }, *count);
            let generation = world.device.port.generation();
            Stages { world, flows, generation }.measure(plan);
        }
    }
}

struct Stages {
    world: World,
    flows: Flows,
    generation: Generation,
}

impl Stages {
    fn measure(&self, plan: Plan) {
        let mut frames = [1, 2, 3, 4, 5, 6].map(Frames::new);
        let [a, b, c, d, e, f] = &mut frames;
        let figures = compare(
            plan,
            [
                &mut || {
                    self.batch(a, |frame| {
                        black_box(self.headers(frame));
                    })
                },
                &mut || {
                    self.batch(b, |frame| {
                        black_box(self.hash(frame));
                    })
                },
                &mut || self.batch(c, |frame| self.found(frame)),
                &mut || self.batch(d, |frame| self.touched(frame)),
                &mut || self.batch(e, |frame| self.applied(frame)),
                &mut || {
                    let mut tally = Tally::default();
                    self.batch(f, |frame| {
                        assert!(pass(&self.world, Direction::Out, frame, &mut tally));
                    })
                },
            ],
        );
        let steps = [
            "parse",
            "+ hash",
            "+ lock and look-up",
            "+ check, count, note the time",
            "+ transform",
            "+ TCP state, outer headers: all",
        ];
        for (step, figure) in steps.into_iter().zip(figures) {
            let what = format!("{}: {step}", self.flows.shape());
            print(&Row { what, flows: Some(self.flows.count()), figure, ..Row::default() });
        }
    }

    fn batch(&self, frames: &mut Frames, mut step: impl FnMut(&mut Buffer)) -> Duration {
        frames.fill(&self.flows, Direction::Out);
        assert_eq!(frames.frames.len(), BATCH);
        timed(|| frames.frames.iter_mut().for_each(&mut step))
    }

    fn headers(&self, frame: &Buffer) -> Headers {
        parse(Direction::Out, frame).expect("a good packet")
    }

    fn hash(&self, frame: &Buffer) -> (Headers, u64) {
        let headers = self.headers(frame);
        let key = headers.key().expect("an IP packet");
        let hash = self.world.device.port.flows().hash(key, Direction::Out);
        (headers, hash)
    }

    fn found(&self, frame: &Buffer) {
        let (headers, hash) = self.hash(frame);
        let key = headers.key().expect("an IP packet");
        let flows = self.world.device.port.flows();
        let found = flows.with(key, Direction::Out, hash, |slot| slot.stored.is_some());
        assert_eq!(found, Some(true));
    }

    fn touched(&self, frame: &Buffer) {
        let (headers, hash) = self.hash(frame);
        let key = headers.key().expect("an IP packet");
        let flows = self.world.device.port.flows();
        let found = flows.with(key, Direction::Out, hash, |slot| {
            slot.touch(self.world.now, frame.len());
            slot.stored.as_ref().is_some_and(|stored| stored.holds(self.generation, &headers))
        });
        assert_eq!(found, Some(true));
    }

    fn applied(&self, frame: &mut Buffer) {
        let (headers, hash) = self.hash(frame);
        let key = headers.key().expect("an IP packet");
        let flows = self.world.device.port.flows();
        let rewrite = flows.with(key, Direction::Out, hash, |slot| match &slot.stored {
            Some(stored) if stored.holds(self.generation, &headers) => {
                let len = frame.len();
                let mut rewrite = Rewrite::default();
                let applied = stored.transform.apply(frame, &headers, &mut rewrite);
                slot.touch(self.world.now, len);
                applied.is_ok()
            }
            _ => false,
        });
        assert_eq!(black_box(rewrite), Some(true));
    }
}
