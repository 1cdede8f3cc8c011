// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How long single packets wait while connections are opened and expire all the time.
//!
//! One packet of two opens a connection; the other is a hit of a connection opened some time ago.
//! The clock goes on so that as many connections expire as are opened. Four times in each second of
//! that clock it is time for upkeep: either `upkeep()` is called between packets for as long as it
//! says so, and the packet behind each call waits for it, or another thread calls `poll()`. Each
//! packet is timed alone, so each time has a reading of the clock in it. The limit loop's packets,
//! 32 timed together, show what the machine itself (interrupts, other guests of its host) does in
//! that time. What other programs take is not counted (see [`bench::alone`]).

use bench::alone::{Sample, distribution, time};
use bench::buffer::Buffer;
use bench::flows::Traffic;
use bench::limit::Limit;
use bench::limit::layout::Ipv4;
use bench::measure::{Distribution, Figure, Plan};
use bench::opener::Clock;
use bench::packet::{Family, Stage, Transport};
use bench::path::pass;
use bench::report::{Report, Row};
use bench::world::World;
use opte::port::Batch;
use opte_api::Direction;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use xde::host::Moment;

/// Packets of the limit loop that are timed together.
const MANY: usize = 32;
/// How far back the connections are that have hits.
const BACK: usize = 4_096;
const TRAFFIC: Traffic = Traffic::outside(Family::V4, Transport::Udp);

/// A distribution and the share of times that were left out of it.
type Part = (Distribution, f64);

/// By number of live connections, and by who calls `poll()`.
pub fn run(plan: Plan, report: &mut Report) {
    report.begin("upkeep", "single packets and calls of poll()", "alive");
    let samples = plan.choose(200_000, 500);
    for alive in plan.choose(&[64_000, 1_000_000][..], &[1_000]) {
        let repeats = plan.choose(5, 1);
        let noise: Vec<Part> = (0..repeats).map(|_| limit_loop(samples)).collect();
        add(report, "the limit loop, 32 packets", *alive, &noise);
        let mut traffic = Stream::new(*alive);
        let parts = (0..repeats).map(|_| traffic.polled_here(samples));
        let (packets, polls): (Vec<Part>, Vec<Part>) = parts.unzip();
        add(report, "upkeep() between packets, a packet", *alive, &packets);
        add(report, "upkeep() between packets, a call", *alive, &polls);
        let parts = (0..repeats).map(|_| traffic.polled_elsewhere(samples));
        let (packets, polls): (Vec<Part>, Vec<Part>) = parts.unzip();
        add(report, "poll() by another thread, a packet", *alive, &packets);
        add(report, "poll() by another thread, a call", *alive, &polls);
    }
}

pub fn add(report: &mut Report, name: &str, alive: usize, parts: &[Part]) {
    type Get = fn(&Distribution) -> f64;
    let gets: [(&str, Get); 4] =
        [("p50", |d| d.p50), ("p99", |d| d.p99), ("p99.99", |d| d.p9999), ("max", |d| d.max)];
    for (which, get) in gets {
        let figure = Figure::of(parts.iter().map(|(d, _)| get(d) / 1000.0).collect());
        report.add(Row::new(format!("{name}, {which}"), alive, figure).unit("us"));
    }
    let left_out = Figure::of(parts.iter().map(|(_, share)| 100.0 * share).collect());
    report.add(Row::new(format!("{name}, left out"), alive, left_out).unit("%"));
}

/// The limit loop, many hits of one flow at a time: they take about as long as a packet that opens a
/// connection, so interrupts meet them as often.
fn limit_loop(samples: usize) -> Part {
    let world = World::new(1 << 10);
    let (mut bytes, mut batch) = (Vec::new(), Batch::default());
    TRAFFIC.write_out(0, Stage::Syn, &mut bytes);
    let mut frame = Buffer::new(&bytes);
    assert!(pass(
        world.port(),
        &world.port().policy(),
        world.now,
        Direction::Out,
        &mut frame,
        &mut batch
    ));
    let mut limit = Limit::<Ipv4>::new(Direction::Out, Transport::Udp, 1);
    limit.learn(&bytes, frame.bytes());
    let times = (0..samples).map(|_| {
        time(|| {
            for _ in 0..MANY {
                frame.fill(&bytes);
                assert!(limit.pass(&mut frame, 0));
            }
        })
    });
    distribution(&times.collect::<Vec<Sample>>(), &[])
}

/// Packets without end.
struct Stream {
    world: World,
    clock: Clock,
    next: usize,
    hit: bool,
    /// There is more upkeep to do.
    busy: bool,
    bytes: Vec<u8>,
    frame: Buffer,
}

impl Stream {
    /// With `alive` connections opened.
    fn new(alive: usize) -> Self {
        let world = World::new(1 << 21);
        let clock = Clock::new(world.now, alive);
        let (bytes, frame) = (Vec::new(), Buffer::default());
        let mut stream = Self { world, clock, next: 0, hit: false, busy: false, bytes, frame };
        while stream.next < alive {
            stream.packet();
            stream.clock.is_poll_due();
        }
        stream
    }

    /// Sends the next packet.
    fn packet(&mut self) -> Sample {
        self.hit = !self.hit && self.next > BACK;
        let index = if self.hit { self.next - BACK } else { self.next };
        if !self.hit {
            self.next += 1;
            self.clock.opened(1);
        }
        self.bytes.clear();
        TRAFFIC.write_out(index, Stage::Syn, &mut self.bytes);
        self.frame.fill(&self.bytes);
        let (now, mut batch) = (self.clock.now(), Batch::default());
        let (port, frame, mut passed) = (self.world.port(), &mut self.frame, false);
        let policy = port.policy();
        let sample = time(|| passed = pass(port, &policy, now, Direction::Out, frame, &mut batch));
        assert!(passed && (batch.tally.side(Direction::Out).hits == 1) == self.hit);
        sample
    }

    /// Times of packets, each with the call of `poll()` that it waits for; and of these calls.
    fn polled_here(&mut self, samples: usize) -> (Part, Part) {
        let (mut packets, mut polls) = (Vec::with_capacity(samples), Vec::new());
        for _ in 0..samples {
            self.busy |= self.clock.is_poll_due();
            if self.busy {
                let (world, now, busy) = (&self.world, self.clock.now(), &mut self.busy);
                let poll = time(|| *busy = world.driver.upkeep(now));
                polls.push(poll);
                packets.push(self.packet().after(poll));
            } else {
                packets.push(self.packet());
            }
        }
        (distribution(&packets, &[]), distribution(&polls, &[]))
    }

    /// Times of packets, and of calls of `poll()` by another thread.
    fn polled_elsewhere(&mut self, samples: usize) -> (Part, Part) {
        let (due, end) = (AtomicU64::new(0), AtomicBool::new(false));
        let world = self.world.clone();
        std::thread::scope(|scope| {
            let poller = scope.spawn(|| polls_on_demand(&world, &due, &end));
            let mut packets = Vec::with_capacity(samples);
            for _ in 0..samples {
                if self.clock.is_poll_due() {
                    due.store(self.clock.now().as_millis(), Ordering::Relaxed);
                }
                packets.push(self.packet());
            }
            end.store(true, Ordering::Relaxed);
            let polls = poller.join().expect("the other thread has ended well");
            (distribution(&packets, &polls), distribution(&polls, &[]))
        })
    }
}

/// Calls `poll()` whenever there is another moment to do so; answers how long each call took.
fn polls_on_demand(world: &World, due: &AtomicU64, end: &AtomicBool) -> Vec<Sample> {
    let (mut polls, mut done) = (Vec::new(), 0);
    while !end.load(Ordering::Relaxed) {
        let millis = due.load(Ordering::Relaxed);
        if millis == done {
            std::thread::yield_now();
            continue;
        }
        done = millis;
        polls.push(time(|| world.driver.poll(Moment::from_millis(millis))));
    }
    polls
}
