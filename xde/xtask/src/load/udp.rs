// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Small UDP packets, many at once, and how many of them arrived.

use crate::load::SINK;
use anyhow::{Context, Result, bail};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use serde::{Deserialize, Serialize};
use std::io::IoSlice;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Payload of a frame of 60 bytes, 64 with its check sequence: Ethernet 14, IPv4 20, UDP 8.
pub const PAYLOAD: usize = 18;
/// Packets of one system call, at most.
const BATCH: usize = 64;
/// Packets of one run, at most.
const MOST: u64 = 10_000_000;
/// A generator that was kept from running longer than this does not catch up: what nobody could
/// have taken at once says nothing about a rate.
const DEBT: f64 = 0.001;
/// Between two looks at what is due.
const NAP: Duration = Duration::from_micros(30);
/// How long full queues may take to empty, before the sink must answer.
const DRAIN: Duration = Duration::from_secs(3);
/// Share of packets that may be lost at a rate that counts as clean.
const CLEAN: f64 = 0.001;
/// How near the search comes: rates differ by less than this factor.
const NEAR: f64 = 1.04;
/// Attempts at one rate, since a single loss may have another cause.
const ATTEMPTS: usize = 3;

/// What a packet is for; the first byte after the number of its run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// To be counted.
    Data = 0,
    /// Asks how many of the run have come.
    Question = 1,
}

/// The payload of a packet.
pub fn packet(run: u64, kind: Kind) -> [u8; PAYLOAD] {
    let mut bytes = [0; PAYLOAD];
    bytes[..8].copy_from_slice(&run.to_be_bytes());
    bytes[8] = kind as u8;
    bytes
}

/// What a run of packets came to.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Burst {
    /// Packets that the kernel took.
    pub sent: u64,
    /// Packets that came.
    pub received: u64,
    /// Between the first and the last one sent.
    pub seconds: f64,
    /// CPU time of the sender, in nanoseconds.
    pub cpu_ns: u64,
}

impl Burst {
    /// Packets sent in a second.
    pub fn offered(&self) -> f64 {
        self.sent as f64 / self.seconds
    }

    /// Packets that arrived, for each second of sending.
    pub fn delivered(&self) -> f64 {
        self.received as f64 / self.seconds
    }

    /// Share of packets that did not arrive.
    pub fn loss(&self) -> f64 {
        1.0 - self.received as f64 / self.sent.max(1) as f64
    }
}

/// Sends runs of packets to one sink.
pub struct Generator {
    socket: UdpSocket,
    run: u64,
}

impl Generator {
    /// For the sink at that address. Fails when it does not answer.
    pub fn new(to: Ipv4Addr) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((to, SINK))?;
        let mut generator = Self { socket, run: fastrand::u64(..) };
        generator.ask().context("before the first packet")?;
        Ok(generator)
    }

    /// Sends packets at `rate` per second, or as fast as can be, and asks how many came.
    pub fn blast(&mut self, rate: Option<f64>, length: Duration) -> Result<Burst> {
        self.run = self.run.wrapping_add(1);
        // A sleep may be late by the slack, which is longer than the nap.
        nix::sys::prctl::set_timerslack(1000)?;
        let cpu = cpu_ns()?;
        let (sent, seconds) = self.send(rate, length)?;
        let cpu_ns = cpu_ns()?.saturating_sub(cpu);
        let received = self.ask()?;
        Ok(Burst { sent, received, seconds, cpu_ns })
    }

    fn send(&self, rate: Option<f64>, length: Duration) -> Result<(u64, f64)> {
        let bytes = packet(self.run, Kind::Data);
        let slices = [IoSlice::new(&bytes)];
        let mut controls: Vec<_> = (0..BATCH).map(|_| SendAncillaryBuffer::default()).collect();
        let mut messages: Vec<MMsgHdr<'_>> =
            controls.iter_mut().map(|control| MMsgHdr::new(&slices, control)).collect();
        let begin = Instant::now();
        let mut pacer = Pacer::new(rate);
        let mut sent = 0;
        while sent < MOST && begin.elapsed() < length {
            let due = pacer.due(begin.elapsed().as_secs_f64());
            if due == 0 {
                sleep(NAP);
                continue;
            }
            let taken = sendmmsg(&self.socket, &mut messages[..due], SendFlags::empty())?;
            pacer.took(taken);
            sent += taken as u64;
        }
        Ok((sent, begin.elapsed().as_secs_f64()))
    }

    /// Asks the sink until it answers. Packets on their way are older than the question, but may
    /// be in another queue: so the count must have stood still between two answers.
    fn ask(&mut self) -> Result<u64> {
        let question = packet(self.run, Kind::Question);
        self.socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let begin = Instant::now();
        let mut last = None;
        while begin.elapsed() < DRAIN {
            self.socket.send(&question)?;
            let mut answer = [0; PAYLOAD];
            // An answer may be lost like any packet.
            let Ok(len) = self.socket.recv(&mut answer) else { continue };
            let Some(count) = count_of(self.run, &answer[..len]) else { continue };
            if last == Some(count) {
                return Ok(count);
            }
            last = Some(count);
            sleep(Duration::from_millis(5));
        }
        bail!("the sink does not answer")
    }
}

/// An answer of the sink: the number of the run, and how many of its packets came.
pub fn answer(run: u64, count: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&run.to_be_bytes());
    bytes[8..].copy_from_slice(&count.to_be_bytes());
    bytes
}

fn count_of(run: u64, bytes: &[u8]) -> Option<u64> {
    let (of, count) = bytes.split_at_checked(8)?;
    (of == run.to_be_bytes()).then_some(())?;
    Some(u64::from_be_bytes(count.try_into().ok()?))
}

/// Says how many packets are due.
struct Pacer {
    rate: Option<f64>,
    credit: f64,
    seen: f64,
}

impl Pacer {
    fn new(rate: Option<f64>) -> Self {
        Self { rate, credit: 0.0, seen: 0.0 }
    }

    /// How many to send at `now`, in seconds since the beginning.
    fn due(&mut self, now: f64) -> usize {
        let Some(rate) = self.rate else { return BATCH };
        let most = (rate * DEBT).max(1.0);
        self.credit = (self.credit + (now - self.seen) * rate).min(most);
        self.seen = now;
        (self.credit as usize).min(BATCH)
    }

    fn took(&mut self, packets: usize) {
        self.credit -= packets as f64;
    }
}

/// CPU time of this thread.
fn cpu_ns() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    text.split_whitespace().next().context("schedstat is empty")?.parse().context("schedstat")
}

/// The highest rate that loses almost nothing.
pub fn clean(to: Ipv4Addr, length: Duration) -> Result<Burst> {
    let mut generator = Generator::new(to)?;
    search(|rate| generator.blast(rate, length))
}

/// Halves the gap between a rate that was clean and one that was not, on a scale of factors.
fn search(mut attempt: impl FnMut(Option<f64>) -> Result<Burst>) -> Result<Burst> {
    let flat_out = attempt(None)?;
    if flat_out.loss() <= CLEAN {
        return Ok(flat_out);
    }
    let mut high = flat_out.offered();
    // What got through under too much load is a good guess, but not always an upper limit.
    let mut rate = flat_out.delivered().clamp(high / 64.0, high / NEAR);
    let mut best: Option<Burst> = None;
    while best.is_none_or(|best| best.offered() * NEAR < high) && high > 1000.0 {
        let found = first_clean(&mut attempt, rate)?;
        match found {
            // A generator that cannot do the rate has found its own limit.
            Some(burst) if burst.offered() < rate * 0.9 => {
                high = rate.min(high);
                let better = best.is_none_or(|best| best.offered() < burst.offered());
                best = if better { Some(burst) } else { best };
                if !better {
                    break;
                }
            }
            Some(burst) => best = Some(burst),
            None => high = rate,
        }
        let low = best.map_or(high / 4.0, |best| best.offered());
        rate = (low * high).sqrt();
    }
    best.context("no rate is without loss")
}

fn first_clean(
    attempt: &mut impl FnMut(Option<f64>) -> Result<Burst>,
    rate: f64,
) -> Result<Option<Burst>> {
    for _ in 0..ATTEMPTS {
        let burst = attempt(Some(rate))?;
        if burst.loss() <= CLEAN {
            return Ok(Some(burst));
        }
        // Far too much is not a coincidence.
        if burst.loss() > 0.2 {
            break;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that loses all above `limit`, with a generator that can do `most`.
    fn path(limit: f64, most: f64) -> impl FnMut(Option<f64>) -> Result<Burst> {
        move |rate| {
            let sent = rate.unwrap_or(most).min(most);
            let received = sent.min(limit) as u64;
            Ok(Burst { sent: sent as u64, received, seconds: 1.0, cpu_ns: 0 })
        }
    }

    #[test]
    fn the_search_comes_near_the_limit() {
        for limit in [3e3, 50e3, 123e3, 600e3] {
            let found = search(path(limit, 700e3)).unwrap().offered();
            assert!(found <= limit * 1.002 && found > limit / 1.05, "{limit}: {found}");
        }
    }

    #[test]
    fn a_path_faster_than_the_generator_is_clean_at_once() {
        assert_eq!(search(path(9e6, 700e3)).unwrap().sent, 700_000);
    }

    #[test]
    fn a_generator_that_fails_its_rate_ends_the_search() {
        let mut offered = Vec::new();
        let found = search(|rate| {
            offered.push(rate);
            // Flat out loses; with pauses the generator never gets above 100 000.
            match rate {
                None => path(200e3, 700e3)(None),
                Some(_) => path(200e3, 100e3)(rate),
            }
        });
        assert_eq!(found.unwrap().sent, 100_000);
        assert!(offered.len() < 20, "{offered:?}");
    }

    #[test]
    fn nothing_gets_through() {
        assert!(search(path(0.0, 700e3)).is_err());
    }

    #[test]
    fn the_pacer_keeps_its_rate_and_forgives_debts() {
        let mut pacer = Pacer::new(Some(100_000.0));
        let mut sent = 0;
        for micros in 0..10_000 {
            let due = pacer.due(f64::from(micros) / 1e6);
            pacer.took(due);
            sent += due;
        }
        assert!((995..=1000).contains(&sent), "{sent}");
        // A pause of a second owes a millisecond.
        let mut late = 0;
        loop {
            let due = pacer.due(1.01);
            if due == 0 {
                break;
            }
            pacer.took(due);
            late += due;
        }
        assert_eq!(late, 100);
    }

    #[test]
    fn answers_are_read_for_their_run_only() {
        assert_eq!(count_of(7, &answer(7, 123)), Some(123));
        assert_eq!(count_of(8, &answer(7, 123)), None);
        assert_eq!(count_of(7, &answer(7, 123)[..12]), None);
    }
}
