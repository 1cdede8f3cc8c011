// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Counters of a port. Packets of the fast path are tallied for a batch and added once.

use crate::cut::CutReason;
use crate::drop_reason::DropReason;
use crate::event::FlowEnd;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use opte_api::Direction;

const REASONS: usize = DropReason::ALL.len();
const ENDS: usize = FlowEnd::ALL.len();
const CUTS: usize = CutReason::ALL.len();

/// What the packets of one direction of a batch came to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SideTally {
    /// Forwarded packets.
    pub packets: u64,
    /// Bytes of forwarded inner frames.
    pub bytes: u64,
    /// Packets that ran a stored transform.
    pub hits: u64,
    /// Packets that were decided anew.
    pub misses: u64,
    /// Packets that were answered.
    pub replies: u64,
}

/// What the packets of a batch came to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally([SideTally; 2]);

impl Tally {
    /// The tally of one direction.
    pub fn side(&mut self, direction: Direction) -> &mut SideTally {
        let [out, inbound] = &mut self.0;
        match direction {
            Direction::Out => out,
            Direction::In => inbound,
        }
    }
}

struct SideCounters {
    packets: AtomicU64,
    bytes: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    replies: AtomicU64,
    drops: [AtomicU64; REASONS],
}

impl Default for SideCounters {
    fn default() -> Self {
        Self {
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            replies: AtomicU64::new(0),
            drops: [const { AtomicU64::new(0) }; REASONS],
        }
    }
}

/// All counters of a port since it was made.
pub struct Counters {
    /// Elsewhere, since it is large and a kernel's stack is short.
    sides: Box<[SideCounters]>,
    opened: AtomicU64,
    answers: AtomicU64,
    answers_limited: AtomicU64,
    held: AtomicU64,
    ended: [AtomicU64; ENDS],
    cut: [AtomicU64; CUTS],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            sides: Direction::BOTH.iter().map(|_| SideCounters::default()).collect(),
            opened: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            answers_limited: AtomicU64::new(0),
            held: AtomicU64::new(0),
            ended: [const { AtomicU64::new(0) }; ENDS],
            cut: [const { AtomicU64::new(0) }; CUTS],
        }
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    if amount != 0 {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}

impl Counters {
    /// Adds a batch.
    pub fn add(&self, tally: &Tally) {
        for (side, tally) in self.sides.iter().zip(&tally.0) {
            add(&side.packets, tally.packets);
            add(&side.bytes, tally.bytes);
            add(&side.hits, tally.hits);
            add(&side.misses, tally.misses);
            add(&side.replies, tally.replies);
        }
    }

    /// Counts a drop.
    pub fn dropped(&self, direction: Direction, reason: DropReason) {
        let side = self.sides.get(direction.index());
        if let Some(counter) = side.and_then(|side| side.drops.get(reason.index())) {
            add(counter, 1);
        }
    }

    /// Counts a flow that was entered.
    pub fn opened(&self) {
        add(&self.opened, 1);
    }

    /// Counts an answer to a packet that did not pass, or one that was not sent because there
    /// were too many.
    pub fn answered(&self, sent: bool) {
        add(if sent { &self.answers } else { &self.answers_limited }, 1);
    }

    /// Counts a fragment that waits for the first of its packet.
    pub fn held(&self) {
        add(&self.held, 1);
    }

    /// Counts a flow that ended.
    pub fn ended(&self, end: FlowEnd) {
        if let Some(counter) = self.ended.get(end as usize) {
            add(counter, 1);
        }
    }

    /// Counts why a policy ended a flow.
    pub fn cut(&self, reason: CutReason) {
        if let Some(counter) = self.cut.get(reason as usize) {
            add(counter, 1);
        }
    }

    /// What the packets of one direction came to, drops aside.
    pub fn side(&self, direction: Direction) -> SideTally {
        let Some(side) = self.sides.get(direction.index()) else { return SideTally::default() };
        SideTally {
            packets: side.packets.load(Ordering::Relaxed),
            bytes: side.bytes.load(Ordering::Relaxed),
            hits: side.hits.load(Ordering::Relaxed),
            misses: side.misses.load(Ordering::Relaxed),
            replies: side.replies.load(Ordering::Relaxed),
        }
    }

    /// Packets that were dropped for `reason`.
    pub fn drops(&self, direction: Direction, reason: DropReason) -> u64 {
        let side = self.sides.get(direction.index());
        side.and_then(|side| side.drops.get(reason.index()))
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Names and values of all counters, in a fixed order.
    pub fn list(&self) -> Vec<(alloc::string::String, u64)> {
        let mut list = Vec::new();
        for direction in Direction::BOTH {
            let Some(side) = self.sides.get(direction.index()) else { continue };
            let mut push = |name: &str, counter: &AtomicU64| {
                list.push((alloc::format!("{direction}_{name}"), counter.load(Ordering::Relaxed)));
            };
            push("packets", &side.packets);
            push("bytes", &side.bytes);
            push("hits", &side.hits);
            push("misses", &side.misses);
            push("replies", &side.replies);
            for (reason, counter) in DropReason::ALL.iter().zip(&side.drops) {
                push(&alloc::format!("drop_{}", reason.name()), counter);
            }
        }
        list.push(("answers_sent".into(), self.answers.load(Ordering::Relaxed)));
        list.push(("answers_limited".into(), self.answers_limited.load(Ordering::Relaxed)));
        list.push(("fragments_held".into(), self.held.load(Ordering::Relaxed)));
        list.push(("flows_opened".into(), self.opened.load(Ordering::Relaxed)));
        for (end, counter) in FlowEnd::ALL.iter().zip(&self.ended) {
            list.push((end.name().into(), counter.load(Ordering::Relaxed)));
        }
        for (reason, counter) in CutReason::ALL.iter().zip(&self.cut) {
            let name = alloc::format!("cut_{}", reason.name());
            list.push((name, counter.load(Ordering::Relaxed)));
        }
        list
    }
}
