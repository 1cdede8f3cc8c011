// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A port: packets in, verdicts out.
//!
//! [`Port::process`] is the whole data path. A packet whose flow has a stored transform that
//! still holds runs it under the lock of one cell and nothing else: no other lock, no
//! allocation, no reference counted. Every other packet takes the slow path (see `decide`).
//! Both end in one place, where the packet is accounted for.

use crate::answer::{Bucket, Ended, Told};
use crate::counters::{Counters, Tally};
use crate::cut::CutReason;
use crate::drop_reason::DropReason;
use crate::event::{Dropped, FlowEnd, FlowEnded, NO_REASON, Published};
use crate::flow::Flow;
use crate::flow_key::{FlowKey, KeyHasher};
use crate::flow_table::{Budget, FlowTable};
use crate::fragments;
use crate::frame::{FlatFrame, Frame, Rewrite};
use crate::headers::{Headers, Payload};
use crate::host::{Host, Lock, Moment, Observer};
use crate::paths::Paths;
use crate::policy::{Generation, Policy};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use opte_api::Direction;

/// What becomes of a packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It goes on, its inner headers rewritten in place; the host does the rest as it was told.
    Forward,
    /// It is answered: these bytes are an inner frame to its sender.
    Reply(Vec<u8>),
    /// It waits for another, behind which it leaves ([`Batch::released`]).
    Held,
    /// It ends here; its sender may have to be told ([`Batch::answer`]).
    Drop(DropReason),
}

/// The circumstances of one packet.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// By what it is decided: that of the snapshot which its batch loaded.
    pub policy: &'a Policy,
    /// Which way it goes.
    pub direction: Direction,
    /// When.
    pub now: Moment,
    /// What [`Port::likely_cell`] said, if it was asked.
    pub cell: Option<u32>,
}

/// What a host keeps, on one thread, between the packets of a batch for one port.
#[derive(Default)]
pub struct Batch {
    /// What its packets came to.
    pub tally: Tally,
    /// What is left to be done about the packet that was forwarded last.
    pub rewrite: Rewrite,
    /// What the sender of the packet that was dropped last is told: an inner frame to it.
    pub answer: Option<Vec<u8>>,
    /// What has waited for the packet that was forwarded last, and leaves behind it.
    pub released: Vec<(FlatFrame, Rewrite)>,
    /// What the receiver of the packet that was dropped last is told.
    pub told: Option<Told>,
    /// The policy has ended the connection of the packet at hand, whose sender is told so if the
    /// packet opens no other.
    pub(crate) ended: bool,
}

/// Whether packets may run stored transforms.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Caching {
    /// Yes.
    #[default]
    Stored,
    /// No: each packet is decided anew, with the same connections and leases. By this a test
    /// shows that stored transforms change nothing but speed.
    Never,
}

/// What a port is made with.
#[derive(Clone, Copy, Debug)]
pub struct PortOptions {
    /// Its number, for events.
    pub id: u32,
    /// Most flows.
    pub flow_limit: u32,
    /// Secret of hashes and choices. Hosts take it from their random source.
    pub seed: u64,
    /// Whether packets may run stored transforms.
    pub caching: Caching,
}

/// No flow has this number: there is no change that flows are to be judged behind.
pub(crate) const NOTHING_TO_SWEEP: u32 = u32::MAX / 2;

/// A port.
pub struct Port<H: Host> {
    pub(crate) id: u32,
    pub(crate) flows: FlowTable<H>,
    pub(crate) counters: Counters,
    pub(crate) observer: Arc<H::Observer>,
    pub(crate) chooser: KeyHasher,
    pub(crate) caching: Caching,
    pub(crate) paths: Paths<H>,
    pub(crate) answers: H::Lock<Bucket>,
    /// How often it was told that no external port is left.
    pub(crate) alarms: H::Lock<Bucket>,
    /// Connections that the sweep has ended lately.
    pub(crate) swept: Ended<H>,
    pub(crate) fragments: [H::Lock<fragments::Table>; 2],
    /// The newest. Packets bring the one that they are decided by.
    policy: H::Lock<Arc<Policy>>,
    generation: AtomicU64,
    /// Number of the next flow to be judged behind the last change.
    pub(crate) sweep: AtomicU32,
    running: AtomicBool,
}

/// How a packet went, before it is accounted for.
pub(crate) enum Passed {
    /// Ran a stored transform.
    Hit,
    /// Was decided anew.
    Decided,
    /// Was answered.
    Reply(Vec<u8>),
    /// Waits for another.
    Held,
}

impl<H: Host> Port<H> {
    /// A port that takes packets at once.
    pub fn new(options: PortOptions, policy: Arc<Policy>, observer: Arc<H::Observer>) -> Self {
        let generation = policy.generation;
        Self {
            id: options.id,
            flows: FlowTable::new(options.flow_limit, options.seed),
            counters: Counters::default(),
            observer,
            // Another secret than the table's: what a guest can observe of choices must not tell
            // anything about buckets.
            chooser: KeyHasher::new(options.seed.rotate_left(32) ^ 0x6f70_7465),
            caching: options.caching,
            paths: Paths::new(options.seed),
            answers: H::Lock::new(Bucket::default()),
            alarms: H::Lock::new(Bucket::default()),
            swept: Ended::new(KeyHasher::new(options.seed.rotate_left(11) ^ 0x7377_6570)),
            fragments: [(); 2].map(|()| H::Lock::new(fragments::Table::default())),
            policy: H::Lock::new(policy),
            generation: AtomicU64::new(generation.0),
            sweep: AtomicU32::new(NOTHING_TO_SWEEP),
            running: AtomicBool::new(true),
        }
    }

    /// The newest policy.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.with(|policy| policy.clone())
    }

    /// Number of the newest policy.
    pub fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// Takes note of a newer policy, by which packets that come from now on are decided. Each flow
    /// is judged by it with its next packet or by the sweep, whichever comes first; what a packet
    /// with an older policy opens meanwhile is judged at once.
    pub fn publish(&self, next: Arc<Policy>) {
        let generation = next.generation;
        let old = self.policy.with(|policy| {
            self.generation.store(generation.0, Ordering::Release);
            core::mem::replace(policy, next)
        });
        drop(old); // Outside of the lock.
        // Who sees this sees the policy, too.
        self.sweep.store(0, Ordering::Release);
        self.observer.tell(|| Published { generation: generation.0, port: self.id });
    }

    /// Lets the port take packets, or not.
    pub fn set_running(&self, running: bool) {
        self.running.store(running, Ordering::Relaxed);
    }

    /// The port takes packets.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// The flows.
    pub const fn flows(&self) -> &FlowTable<H> {
        &self.flows
    }

    /// Paths that each have one flow only, because more than the limit were in use.
    pub fn unshared_paths(&self) -> u64 {
        self.paths.unshared()
    }

    /// Packets of which fragments are known, bytes that wait, and packets that were given up for
    /// want of room.
    pub fn fragments(&self) -> [u64; 3] {
        let of = |table: &mut fragments::Table| {
            [table.len() as u64, table.held_bytes() as u64, table.evicted]
        };
        let [out, inbound] = self.fragments.each_ref().map(|lock| lock.with(of));
        let ([a, b, c], [d, e, f]) = (out, inbound);
        [a + d, b + e, c + f]
    }

    /// The counters.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where the flow of a packet is likely to be. With [`Port::glance`] for packets to come: so
    /// waits for memory overlap instead of adding up.
    #[inline]
    pub fn likely_cell(&self, direction: Direction, headers: &Headers) -> Option<u32> {
        self.flows.candidate(headers.key()?, direction)
    }

    /// Brings what is at a likely place near, and does nothing else.
    #[inline]
    pub fn glance(&self, cell: u32) {
        self.flows.glance(cell);
    }

    /// Decides about one packet, rewrites its inner headers, and says by `batch.rewrite` what is
    /// left to be done by the host if it is forwarded. `headers` are the result of parsing it, or
    /// why that failed. What happened is added to the batch's tally, which [`Port::finish`] adds to
    /// the port's counters.
    #[inline]
    pub fn process<F: Frame>(
        &self,
        turn: Turn<'_>,
        frame: &mut F,
        headers: Result<&Headers, DropReason>,
        batch: &mut Batch,
    ) -> Verdict {
        let passed = match headers {
            Ok(headers) if self.is_running() => self.pass(turn, frame, headers, batch),
            Ok(_) => Err(DropReason::PortState),
            Err(reason) => Err(reason),
        };
        let direction = turn.direction;
        let side = batch.tally.side(direction);
        match passed {
            Ok(Passed::Reply(bytes)) => {
                side.replies += 1;
                Verdict::Reply(bytes)
            }
            Ok(Passed::Hit) => {
                side.hits += 1;
                side.packets += 1;
                side.bytes += inner_len(frame, headers) as u64;
                Verdict::Forward
            }
            Ok(Passed::Decided) => {
                side.misses += 1;
                side.packets += 1;
                side.bytes += inner_len(frame, headers) as u64;
                Verdict::Forward
            }
            Ok(Passed::Held) => {
                self.counters.held();
                Verdict::Held
            }
            Err(reason) => {
                self.counters.dropped(direction, reason);
                let key = headers.ok().and_then(Headers::key);
                self.observer.tell(|| Dropped::new(self.id, direction, reason, key));
                let ended = core::mem::take(&mut batch.ended) || self.was_swept(turn, headers.ok());
                batch.answer = self.answer(turn, frame, headers, reason, ended);
                Verdict::Drop(reason)
            }
        }
    }

    /// A packet of a connection that the sweep has ended lately. Who resets it knows.
    fn was_swept(&self, turn: Turn<'_>, headers: Option<&Headers>) -> bool {
        let tells = turn.policy.rules.answers.cut && self.is_running();
        let headers = headers.filter(|headers| tells && !headers.flags.is_rst());
        let key = headers.and_then(Headers::key);
        key.is_some_and(|key| self.swept.knows(turn.direction, key, turn.now))
    }

    /// How many of these were forgotten, because there were too many.
    pub fn swept_forgotten(&self) -> u64 {
        self.swept.forgotten()
    }

    /// Ends a batch: counts what its packets came to.
    pub fn finish(&self, batch: &mut Batch) {
        self.counters.add(&core::mem::take(&mut batch.tally));
    }

    #[inline]
    pub(crate) fn pass<F: Frame>(
        &self,
        turn: Turn<'_>,
        frame: &mut F,
        headers: &Headers,
        batch: &mut Batch,
    ) -> Result<Passed, DropReason> {
        match &headers.payload {
            Payload::Ip(key) => self.pass_whole(turn, frame, headers, key, batch),
            Payload::Arp => self.decide_without_flow(turn, frame, headers),
            Payload::Fragment(key, fragment) => {
                self.pass_fragment(turn, frame, headers, (*key, *fragment), batch)
            }
        }
    }

    /// A packet that is whole, or goes as if it were.
    #[inline]
    pub(crate) fn pass_whole<F: Frame>(
        &self,
        turn: Turn<'_>,
        frame: &mut F,
        headers: &Headers,
        key: &FlowKey,
        batch: &mut Batch,
    ) -> Result<Passed, DropReason> {
        let Turn { policy, direction, now, cell } = turn;
        if self.caching == Caching::Stored
            && let Some(cell) = cell.or_else(|| self.flows.candidate(key, direction))
        {
            let generation = policy.generation;
            let hit = self.flows.at(cell, key, |slot| {
                let stored = slot.stored.as_ref()?;
                if !stored.holds(generation, headers) || !slot.is_plain(headers.flags) {
                    return None;
                }
                let applied = stored.transform.apply(frame, headers, &mut batch.rewrite);
                if applied.is_ok() {
                    slot.touch(now, frame.len() - usize::from(headers.ether));
                }
                Some(applied)
            });
            if let Some(Some(applied)) = hit {
                return applied.map(|()| Passed::Hit);
            }
        }
        self.decide(turn, frame, headers, *key, batch)
    }

    /// Removes flows that were idle for too long, as far as `budget` goes. True if there may be
    /// more. A port that does not run keeps its flows as they are.
    #[inline(never)]
    pub fn expire(&self, now: Moment, budget: &mut Budget) -> bool {
        if !self.is_running() || self.flows.is_quiet(now) {
            return false;
        }
        let idle = self.policy().rules.idle;
        self.flows.expire(&idle, now, budget, |flow| self.ended(flow, FlowEnd::Expired, None))
    }

    /// Sets how many flows there may be, up to as many as the port was made for. If there are more,
    /// those are evicted that would be evicted for new ones.
    pub fn set_flow_limit(&self, limit: u32, now: Moment) {
        self.flows.set_limit(limit);
        let idle = self.policy().rules.idle;
        for start in 0..self.flows.count().saturating_sub(self.flows.limit()) {
            // What is left is protected, and goes when its time comes.
            let Some(flow) = self.flows.evict(start, &idle, now) else { break };
            self.ended(&flow, FlowEnd::Evicted, None);
        }
    }

    /// Removes all flows.
    pub fn clear_flows(&self) {
        for flow in self.flows.flows() {
            self.end(&flow, FlowEnd::Cleared);
        }
    }

    /// The port is no more: takes no packets, and ends all flows.
    pub fn close(&self) {
        self.set_running(false);
        for flow in self.flows.flows() {
            self.cut(&flow, CutReason::PortGone);
        }
    }

    /// Removes a flow; false if it had left already.
    pub fn clear_flow(&self, flow: &Arc<Flow<H>>) -> bool {
        self.end(flow, FlowEnd::Cleared)
    }

    /// Takes a flow out of the table, and accounts for it if it was still there.
    pub(crate) fn end(&self, flow: &Arc<Flow<H>>, end: FlowEnd) -> bool {
        let removed = self.flows.remove(flow);
        if removed {
            self.ended(flow, end, None);
        }
        removed
    }

    /// The same for a flow that the policy ends.
    pub(crate) fn cut(&self, flow: &Arc<Flow<H>>, reason: CutReason) {
        if self.flows.remove(flow) {
            self.ended(flow, FlowEnd::Cut, Some(reason));
        }
    }

    pub(crate) fn ended(&self, flow: &Flow<H>, end: FlowEnd, reason: Option<CutReason>) {
        self.counters.ended(end);
        reason.into_iter().for_each(|reason| self.counters.cut(reason));
        let back = flow.key(flow.opening.direction.reverse());
        self.observer.tell(|| FlowEnded {
            port: self.id,
            end: end as u8,
            reason: reason.map_or(NO_REASON, |reason| reason as u8),
            key: flow.opening_key().into(),
            back: back.into(),
        });
    }
}

fn inner_len(frame: &impl Frame, headers: Result<&Headers, DropReason>) -> usize {
    frame.len().saturating_sub(headers.map_or(0, |headers| headers.ether.into()))
}
