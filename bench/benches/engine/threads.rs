// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Two threads beside one. Both hand batches of 32 over to the driver.
//!
//! Packets are written before; threads begin together, and a round lasts until the last has
//! ended. Rounds of one thread and of two take turns. A round is repeated if threads did not
//! begin together or one had to make room for another program; on a machine where that happens
//! to all of them, two threads look slower than they are.

use bench::alone::preemptions;
use bench::flows::{Flows, Frames, Traffic};
use bench::measure::{Figure, Plan, median};
use bench::packet::{Family, Stage, Transport};
use bench::path::Hose;
use bench::report::{Report, Row};
use bench::world::{IDLE, World};
use opte_api::Direction;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use xde::host::Moment;

/// How often a round is tried.
const ATTEMPTS: usize = 5;
/// Looks for the other thread before it is given way.
const SPINS: usize = 20_000;
const TRAFFIC: Traffic = Traffic::outside(Family::V4, Transport::Udp);

/// By what the threads share.
pub fn run(plan: Plan, report: &mut Report) {
    report.begin("threads", "two threads to one, by 32", "flows");
    use Direction::{In, Out};
    for count in plan.choose(&[1, 8_000][..], &[1]) {
        for (name, ways, guests) in [
            ("one port, each way", [Out, In], [0, 0]),
            ("one port, both out", [Out, Out], [0, 0]),
            ("two ports, both out", [Out, Out], [0, 1]),
        ] {
            let world = World::with_guests(1 << 20, 2);
            let open = |guest| Flows::open(&world, Traffic { guest, ..TRAFFIC }, *count);
            let flows = [0, 1].map(|guest| (guest == 0 || guests[1] == 1).then(|| open(guest)));
            let mut hits = |thread: usize, frames: &mut Frames| {
                let flows = flows[guests[thread]].as_ref().expect("opened");
                frames.fill(flows, ways[thread]);
            };
            let bench = Bench { world: world.clone(), ways, guests };
            bench.measure(plan, report, name, *count, &mut hits, &mut |now| now);
        }
    }
    for (name, guests) in [("new flows, one port", [0, 0]), ("new flows, two ports", [0, 1])] {
        let world = World::with_guests(1 << 20, 2);
        let mut next = 0;
        let mut firsts = |thread: usize, frames: &mut Frames| {
            let traffic = Traffic { guest: guests[thread], ..TRAFFIC };
            let mut bytes = Vec::new();
            for frame in &mut frames.frames {
                bytes.clear();
                traffic.write_out(next, Stage::Syn, &mut bytes);
                frame.fill(&bytes);
                next += 1;
            }
        };
        let bench = Bench { world: world.clone(), ways: [Out, Out], guests };
        let mut expire = |now: Moment| {
            let now = now.plus_millis(IDLE + 1000);
            world.driver.poll(now);
            now
        };
        bench.measure(plan, report, name, 0, &mut firsts, &mut expire);
    }
}

struct Bench {
    world: World,
    ways: [Direction; 2],
    guests: [usize; 2],
}

/// Makes the packets of a thread.
type Fill<'a> = &'a mut dyn FnMut(usize, &mut Frames);
/// What is done after a round; answers the time from then on.
type After<'a> = &'a mut dyn FnMut(Moment) -> Moment;

impl Bench {
    fn measure(
        &self,
        plan: Plan,
        report: &mut Report,
        name: &str,
        flows: usize,
        fill: Fill<'_>,
        after: After<'_>,
    ) {
        // First packets take long, and so does the removal of their flows.
        let count = plan.choose(if flows == 0 { 1_024 } else { 8_192 }, 64);
        let mut lanes = [1, 2].map(|seed| (Frames::of(count, seed), Hose::default()));
        let mut now = self.world.now;
        let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
        for _ in 0..plan.repetitions {
            let mut rounds = [const { Vec::new() }; 3];
            for _ in 0..plan.choose(7, 1) {
                for (threads, times) in [&[0][..], &[1], &[0, 1]].into_iter().zip(&mut rounds) {
                    for attempt in 1.. {
                        let round = self.round(&mut lanes, threads, now, fill);
                        now = after(now);
                        if round.good || attempt == ATTEMPTS {
                            times.push(round.micros);
                            break;
                        }
                    }
                }
            }
            // Packets in a microsecond are millions in a second.
            let [first, second, both] = rounds.map(median);
            let alone = 2.0 * count as f64 / (first + second);
            let together = 2.0 * count as f64 / both;
            rates[0].push(alone);
            rates[1].push(together);
            ratios.push(together / alone);
        }
        let [alone, together] = rates.map(Figure::of);
        report.add(Row::new(format!("{name}: one thread"), flows, alone).unit("M/s"));
        report.add(Row::new(format!("{name}: two threads"), flows, together).unit("M/s"));
        report.add(Row::new(name, flows, Figure::of(ratios)).unit("x"));
    }

    /// Takes all packets of `threads` through.
    fn round(
        &self,
        lanes: &mut [(Frames, Hose); 2],
        threads: &[usize],
        now: Moment,
        fill: Fill<'_>,
    ) -> Round {
        for thread in threads {
            let (frames, hose) = &mut lanes[*thread];
            fill(*thread, frames);
            hose.load(&mut frames.frames);
        }
        let ready = AtomicUsize::new(0);
        let ready = &ready;
        let spans: Vec<Span> = std::thread::scope(|scope| {
            let lanes = lanes.iter_mut().enumerate().filter(|(n, _)| threads.contains(n));
            let runs: Vec<_> = lanes
                .map(|(thread, (_, hose))| {
                    scope.spawn(move || {
                        ready.fetch_add(1, Ordering::AcqRel);
                        let mut spins = 0;
                        while ready.load(Ordering::Acquire) < threads.len() {
                            spins += 1;
                            if spins > SPINS {
                                // The other thread may need this processor.
                                std::thread::yield_now();
                            }
                            std::hint::spin_loop();
                        }
                        let guest = self.world.devices[self.guests[thread]].id;
                        let preempted = preemptions();
                        let start = Instant::now();
                        hose.run(&self.world, guest, self.ways[thread], now);
                        let end = Instant::now();
                        Span { start, end, alone: preempted == preemptions() }
                    })
                })
                .collect();
            runs.into_iter().map(|run| run.join().expect("a thread has ended well")).collect()
        });
        for thread in threads {
            let (frames, hose) = &mut lanes[*thread];
            let sent: usize = frames.frames.len();
            hose.unload(&mut frames.frames);
            assert!(sent == 0 && !frames.frames.is_empty());
        }
        let first = spans.iter().map(|span| span.start).min();
        let late = spans.iter().map(|span| span.start).max();
        let end = spans.iter().map(|span| span.end).max();
        let (Some(first), Some(late), Some(end)) = (first, late, end) else { unreachable!() };
        let together = (late - first) * 20 < end - first;
        Round {
            micros: (end - first).as_nanos() as f64 / 1000.0,
            good: together && spans.iter().all(|span| span.alone),
        }
    }
}

/// What became of a thread in a round.
struct Span {
    start: Instant,
    end: Instant,
    /// It had a processor all the time.
    alone: bool,
}

struct Round {
    micros: f64,
    /// Threads ran side by side.
    good: bool,
}
