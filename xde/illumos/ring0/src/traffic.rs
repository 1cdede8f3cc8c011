// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Packets: who sends what to whom, and that all of it arrives as it should.
//!
//! Two threads send: the one below, and the one that interrupts run on. Each frame has a number that says
//! which way and which flow it is of, so that whoever gets it knows what it must look like.

use crate::fault::fail;
use crate::frames::{self, End, frame, wrap};
use crate::world::{FAR, HOSTS, NETWORK, OPEN, PORTS, UNDERLAY, guest, seen};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use xde_illumos_shim::context::Context;
use xde_illumos_shim::guest::{By, Guest};
use xde_illumos_shim::mac;
use xde_illumos_shim::message::{self, Message};

/// Room in front of what a guest sends, for outer headers: of half of the frames.
const ROOM: [usize; 2] = [0, 96];
/// Packets for each flow that begins.
const PACKETS_OF_A_FLOW: u64 = 40;
/// Flows that are in use at a time.
const LIVE_FLOWS: u64 = 512;

/// Sender and receiver of each way, by number of the guest.
const WAYS: [[usize; 2]; 4] = [[0, FAR], [FAR, 0], [0, 1], [1, 0]];
/// The way of what comes in from the other host.
pub const FROM_UNDERLAY: usize = 1;
/// Ways.
pub const WAY_COUNT: usize = WAYS.len();

static SENT: [AtomicU64; WAY_COUNT] = [const { AtomicU64::new(0) }; WAY_COUNT];
static ARRIVED: [AtomicU64; WAY_COUNT] = [const { AtomicU64::new(0) }; WAY_COUNT];
/// Frames between hosts of which IP got the original.
static COPIED: AtomicU64 = AtomicU64::new(0);
/// Packets of all ways that were chosen so far: they say which flows are in use.
static CHOSEN: AtomicU64 = AtomicU64::new(LIVE_FLOWS * PACKETS_OF_A_FLOW);

/// All counts begin anew. Nobody sends.
pub fn begin() {
    SENT.iter().chain(&ARRIVED).chain([&COPIED]).for_each(|it| it.store(0, Ordering::Relaxed));
}

fn load(counts: &[AtomicU64; WAY_COUNT]) -> [u64; WAY_COUNT] {
    counts.each_ref().map(|count| count.load(Ordering::Relaxed))
}

/// Frames that were sent, by way.
pub fn sent() -> [u64; WAY_COUNT] {
    load(&SENT)
}

/// Frames that have arrived as they should, by way.
pub fn arrived() -> [u64; WAY_COUNT] {
    load(&ARRIVED)
}

/// Frames between hosts of which IP got the original, having been made a copy of for the module.
pub fn copied() -> u64 {
    COPIED.load(Ordering::Relaxed)
}

/// Frames that went out of, and came in for, the guest of a port, if all of them arrived.
pub fn of_port(guest: usize) -> [u64; 2] {
    let sent = sent();
    let sum = |end: usize| {
        let ways = WAYS.iter().zip(sent).filter(|(way, _)| way[end] == guest);
        ways.map(|(_, count)| count).sum()
    };
    [sum(0), sum(1)]
}

/// Numbers that look random: xorshift, by George Marsaglia.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed that is not zero.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// Sender and receiver of a flow on a way. The two ways between two guests share their flows.
fn ends(way: usize, flow: u64) -> [End; 2] {
    let [first, last] = OPEN.map(u64::from);
    let span = last - first + 1;
    let (low, high) = ((first + flow % span) as u16, (first + flow / span) as u16);
    let [from, to] = WAYS[way];
    // The guest with the lower number has the port that differs.
    let port = |number: usize, other: usize| if number < other { low } else { high };
    [guest(from, port(from, to)), guest(to, port(to, from))]
}

fn number(way: usize, flow: u64, of_flow: u64) -> u64 {
    (way as u64) << 56 | flow << 28 | of_flow
}

/// Those who have opened the links of the ports.
#[derive(Debug)]
pub struct Guests([Guest; 2]);

impl Guests {
    /// Opens them.
    pub fn open() -> Result<Self, i32> {
        let [first, second] = PORTS;
        Ok(Self([Guest::open(first, By::Mac)?, Guest::open(second, By::DataLink)?]))
    }

    /// Closes them.
    pub fn close(self) {
        self.0.into_iter().for_each(Guest::close);
    }

    /// Sends so many frames of one way.
    pub fn burst(&self, random: &mut Random, way: usize, count: u64, context: Context) {
        let messages: Vec<Message> = (0..count).map(|_| next(random, way)).collect();
        SENT[way].fetch_add(count, Ordering::Relaxed);
        let chain = message::chain(&messages);
        match self.0.get(WAYS[way][0]) {
            Some(guest) => guest.send(chain, context),
            None => mac::arrive(UNDERLAY, chain, context),
        }
    }

    /// Looks at all frames that have arrived.
    pub fn collect(&self) {
        for (number, guest) in self.0.iter().enumerate() {
            for message in guest.received() {
                check(number, &message::bytes(message));
                message::free(message);
            }
        }
        for sent in mac::take_sent(UNDERLAY) {
            let frame = message::bytes(sent.message);
            match frames::unwrap(&frame, HOSTS[0], HOSTS[1], NETWORK) {
                Some(inner) => check(FAR, inner),
                None => fail(format_args!("a frame between hosts is wrong: {frame:x?}")),
            }
            message::free(sent.message);
        }
        for original in mac::take_stack(UNDERLAY) {
            COPIED.fetch_add(1, Ordering::Relaxed);
            message::free(original);
        }
    }
}

/// The next frame of a way.
fn next(random: &mut Random, way: usize) -> Message {
    let chosen = CHOSEN.fetch_add(1, Ordering::Relaxed);
    let newest = chosen / PACKETS_OF_A_FLOW;
    let flow = newest.saturating_sub(random.below(LIVE_FLOWS));
    let number = number(way, flow, chosen & 0xfff_ffff);
    let [sender, receiver] = ends(way, flow);
    if WAYS[way][0] == FAR {
        let inner = frame(sender, receiver, number);
        message::of(&wrap(HOSTS[1], HOSTS[0], NETWORK, &inner), 0)
    } else {
        // A guest knows nobody but its gateway.
        let room = ROOM[random.below(2) as usize];
        message::of(&frame(sender, seen(receiver), number), room)
    }
}

/// Holds a frame to what it must be; `at` is the guest that has it, or will.
fn check(at: usize, got: &[u8]) {
    let Some(number) = frames::number(got) else {
        fail(format_args!("guest {at} got a frame that nobody sent: {got:x?}"));
    };
    let (way, flow) = ((number >> 56) as usize, number >> 28 & 0xfff_ffff);
    let Some(count) = ARRIVED.get(way).filter(|_| WAYS[way][1] == at) else {
        fail(format_args!("guest {at} got frame {number:#x}, which is not for it"));
    };
    let [sender, receiver] = ends(way, flow);
    // To another host a frame travels with the link addresses of both guests.
    let sender = if at == FAR { sender } else { seen(sender) };
    let expected = frame(sender, receiver, number);
    if got != expected {
        fail(format_args!("guest {at} got\n{got:x?}, not\n{expected:x?}"));
    }
    count.fetch_add(1, Ordering::Relaxed);
}
