// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! All flows of a port, found by the key of either direction.
//!
//! The table is cut into shards, each behind its own lock. Both slots of a flow are entered and
//! taken out together, under both locks; these are the only two locks that the engine ever holds
//! at once, and the one of the lower shard is taken first. So a flow is in the table under both
//! of its keys or not at all.

use crate::flow::Flow;
use crate::flow_key::{FlowKey, KeyHasher};
use crate::host::{Host, Lock, Moment};
use crate::policy::IdleLimits;
use crate::shard::{Shard, Slot, Stored};
use crate::tcp::TcpState;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering::{Equal, Greater, Less};
use core::sync::atomic::{AtomicU32, Ordering};
use opte_api::Direction;

/// Most flows of one port, unless told otherwise.
pub const DEFAULT_FLOW_LIMIT: u32 = 1 << 20;
/// An established TCP connection is not evicted until it was idle for this long, in milliseconds.
pub const PROTECTED_IDLE: u64 = 60_000;

const MAX_SHARDS: u32 = 256;
const FLOWS_PER_SHARD: u32 = 64;
const EVICTION_TRIES: u64 = 8;

/// Why a flow was not entered.
pub enum InsertError<H: Host> {
    /// One of its keys belongs to this flow already.
    Exists(Arc<Flow<H>>),
    /// The table is full.
    Full,
}

/// What a dump shows of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct SideSnapshot {
    /// Forwarded packets.
    pub packets: u64,
    /// Bytes of their inner frames.
    pub bytes: u64,
    /// What is done with them.
    pub stored: Option<Stored>,
    /// When the last of them came.
    pub last: Moment,
}

/// All flows of a port.
pub struct FlowTable<H: Host> {
    shards: Box<[H::Lock<Shard<H>>]>,
    hasher: KeyHasher,
    limit: u32,
    count: AtomicU32,
}

impl<H: Host> FlowTable<H> {
    /// A table of at most `limit` flows.
    pub fn new(limit: u32, seed: u64) -> Self {
        let shards = (limit / FLOWS_PER_SHARD).clamp(1, MAX_SHARDS).next_power_of_two();
        Self {
            shards: (0..shards).map(|_| H::Lock::new(Shard::default())).collect(),
            hasher: KeyHasher::new(seed),
            limit,
            count: AtomicU32::new(0),
        }
    }

    /// Most flows it takes.
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Number of flows.
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// The hash by which packets of `key` that go `direction` are found.
    #[inline]
    pub fn hash(&self, key: &FlowKey, direction: Direction) -> u64 {
        // The two directions have different points of view, so equal keys are no conflict.
        self.hasher.hash(key) ^ (direction as u64)
    }

    fn place(&self, hash: u64) -> usize {
        hash as usize & (self.shards.len() - 1)
    }

    /// Runs `f` with the slot of packets of `key` that go `direction`, alone.
    #[inline]
    pub fn with<R>(
        &self,
        key: &FlowKey,
        direction: Direction,
        hash: u64,
        f: impl FnOnce(&mut Slot<H>) -> R,
    ) -> Option<R> {
        let shard = self.shards.get(self.place(hash))?;
        shard.with(|shard| shard.get_mut(key, direction, hash).map(f))
    }

    /// Runs `f` with the slot of one direction of `flow`, if the flow is still in the table.
    pub fn with_side<R>(
        &self,
        flow: &Arc<Flow<H>>,
        direction: Direction,
        f: impl FnOnce(&mut Slot<H>) -> R,
    ) -> Option<R> {
        let key = flow.key(direction);
        self.with(key, direction, self.hash(key, direction), |slot| {
            Arc::ptr_eq(&slot.flow, flow).then(|| f(slot))
        })?
    }

    /// Runs `f` with the shards of both directions' hashes.
    fn with_both<R>(&self, hashes: [u64; 2], f: impl FnOnce(Pair<'_, H>) -> R) -> Option<R> {
        let [a, b] = hashes.map(|hash| self.place(hash));
        let (first, second) = (self.shards.get(a)?, self.shards.get(b)?);
        Some(match a.cmp(&b) {
            Equal => first.with(|out| f(Pair { out, inbound: None })),
            Less => first.with(|out| second.with(|x| f(Pair { out, inbound: Some(x) }))),
            Greater => second.with(|x| first.with(|out| f(Pair { out, inbound: Some(x) }))),
        })
    }

    fn hashes(&self, flow: &Flow<H>) -> [u64; 2] {
        Direction::BOTH.map(|direction| self.hash(flow.key(direction), direction))
    }

    /// Enters a flow under both of its keys, or not at all.
    pub fn insert(
        &self,
        flow: &Arc<Flow<H>>,
        stored: Option<Stored>,
        limits: &IdleLimits,
        now: Moment,
    ) -> Result<(), InsertError<H>> {
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(InsertError::Full);
        }
        let hashes = self.hashes(flow);
        let entered = self.with_both(hashes, |mut pair| {
            pair.vacant(flow, hashes)?;
            pair.enter(flow, hashes, stored, limits, now)
        });
        match entered {
            Some(Ok(())) => Ok(()),
            refused => {
                self.count.fetch_sub(1, Ordering::Relaxed);
                Err(refused.and_then(Result::err).unwrap_or(InsertError::Full))
            }
        }
    }

    /// Takes a flow out. False if it was out already.
    pub fn remove(&self, flow: &Arc<Flow<H>>) -> bool {
        self.remove_if(flow, |_| true)
    }

    /// Takes a flow out if `condition` holds for how it was used.
    fn remove_if(&self, flow: &Arc<Flow<H>>, condition: impl FnOnce(Use) -> bool) -> bool {
        let hashes = self.hashes(flow);
        let removed = self.with_both(hashes, |mut pair| {
            pair.used(flow, hashes).is_some_and(condition) && pair.remove(flow, hashes)
        });
        let removed = removed.unwrap_or(false);
        if removed {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        removed
    }

    fn home<R>(&self, flow: &Arc<Flow<H>>, f: impl FnOnce(&mut Shard<H>, u64) -> R) -> Option<R> {
        let direction = flow.opening.direction;
        let hash = self.hash(flow.key(direction), direction);
        self.shards.get(self.place(hash)).map(|shard| shard.with(|shard| f(shard, hash)))
    }

    /// Sets when to look whether the flow is still alive: its idle limit has changed.
    pub fn reschedule(&self, flow: &Arc<Flow<H>>, limits: &IdleLimits, now: Moment) {
        let at = now.plus_millis(flow.idle_limit(limits));
        self.home(flow, |shard, hash| shard.schedule(flow, hash, at));
    }

    /// Takes out flows that have been idle for too long; tells `ended` of each.
    pub fn expire(&self, limits: &IdleLimits, now: Moment, mut ended: impl FnMut(&Flow<H>)) {
        for shard in &self.shards {
            while let Some(flow) = shard.with(|shard| shard.poll_due(now)) {
                let mut seen = Use { last: now, both_ways: true };
                let expired = self.remove_if(&flow, |used| {
                    seen = used;
                    now.since(used.last) >= flow.idle_limit(limits)
                });
                if expired {
                    ended(&flow);
                } else {
                    // The limit is asked for under the lock: who changes it reschedules after.
                    self.home(&flow, |shard, hash| {
                        let end = seen.last.plus_millis(flow.idle_limit(limits));
                        let at = if seen.both_ways { end } else { end.min(unproven(now)) };
                        shard.schedule(&flow, hash, at);
                    });
                }
            }
        }
    }

    /// Makes room by giving up a flow that would be among the first to expire: O(1), any
    /// protocol, but no established TCP connection that both ends have used, and lately. Answers
    /// the flow.
    pub fn evict(&self, hash: u64, limits: &IdleLimits, now: Moment) -> Option<Arc<Flow<H>>> {
        for offset in 0..EVICTION_TRIES {
            let shard = self.shards.get(self.place(hash.wrapping_add(offset)))?;
            let Some(flow) = shard.with(Shard::soonest) else { continue };
            let established = flow.tcp_state() == Some(TcpState::Established);
            let mut last = now;
            let idle_enough = |used: Use| {
                last = used.last;
                !(established && used.both_ways) || now.since(last) >= PROTECTED_IDLE
            };
            if self.remove_if(&flow, idle_enough) {
                return Some(flow);
            }
            // It was used since it was scheduled: out of the way of those that were not.
            self.home(&flow, |shard, hash| {
                let at = last.plus_millis(flow.idle_limit(limits));
                shard.defer(&flow, hash, at);
            });
        }
        None
    }

    /// All flows at about one moment.
    pub fn flows(&self) -> Vec<Arc<Flow<H>>> {
        let mut flows = Vec::new();
        for shard in &self.shards {
            shard.with(|shard| {
                let home = |slot: &&Slot<H>| slot.is_opening();
                flows.extend(shard.slots().filter(home).map(|slot| slot.flow.clone()));
            });
        }
        flows
    }

    /// What a dump shows of one direction of `flow`.
    pub fn snapshot(&self, flow: &Arc<Flow<H>>, direction: Direction) -> Option<SideSnapshot> {
        self.with_side(flow, direction, |slot| SideSnapshot {
            packets: slot.packets,
            bytes: slot.bytes,
            stored: slot.stored,
            last: slot.last,
        })
    }
}

/// How a flow was used.
#[derive(Clone, Copy)]
struct Use {
    /// When the last packet of either direction came.
    last: Moment,
    /// Packets went both ways.
    both_ways: bool,
}

/// When to look at a flow that only one side has used, however long it may live: so a flood of
/// what claims to be established is given up before the connections that it crowds.
const fn unproven(now: Moment) -> Moment {
    now.plus_millis(PROTECTED_IDLE)
}

/// The shards of both directions of a flow, which may be one and the same.
struct Pair<'a, H: Host> {
    out: &'a mut Shard<H>,
    inbound: Option<&'a mut Shard<H>>,
}

impl<H: Host> Pair<'_, H> {
    fn side(&mut self, direction: Direction) -> &mut Shard<H> {
        match (direction, &mut self.inbound) {
            (Direction::In, Some(inbound)) => inbound,
            _ => self.out,
        }
    }

    fn vacant(&mut self, flow: &Flow<H>, hashes: [u64; 2]) -> Result<(), InsertError<H>> {
        for (direction, hash) in Direction::BOTH.into_iter().zip(hashes) {
            if let Some(slot) = self.side(direction).get_mut(flow.key(direction), direction, hash) {
                return Err(InsertError::Exists(slot.flow.clone()));
            }
        }
        Ok(())
    }

    /// Enters both slots, whose keys are vacant, or none.
    fn enter(
        &mut self,
        flow: &Arc<Flow<H>>,
        hashes: [u64; 2],
        stored: Option<Stored>,
        limits: &IdleLimits,
        now: Moment,
    ) -> Result<(), InsertError<H>> {
        let opened = flow.opening.direction;
        for (direction, hash) in Direction::BOTH.into_iter().zip(hashes) {
            let stored = stored.filter(|_| direction == opened);
            let slot = Slot::new(flow.clone(), direction, hash, stored, now);
            if !self.side(direction).insert(slot) {
                self.remove(flow, hashes);
                return Err(InsertError::Full);
            }
            if direction == opened {
                let end = now.plus_millis(flow.idle_limit(limits));
                self.side(direction).schedule(flow, hash, end.min(unproven(now)));
            }
        }
        Ok(())
    }

    /// How the flow was used; `None` if it is not here.
    fn used(&mut self, flow: &Arc<Flow<H>>, hashes: [u64; 2]) -> Option<Use> {
        let mut used: Option<Use> = None;
        for (direction, hash) in Direction::BOTH.into_iter().zip(hashes) {
            let slot = self.side(direction).get_mut(flow.key(direction), direction, hash);
            let Some(slot) = slot.filter(|slot| Arc::ptr_eq(&slot.flow, flow)) else { continue };
            let before = used.unwrap_or(Use { last: slot.last, both_ways: true });
            used = Some(Use {
                last: before.last.max(slot.last),
                both_ways: before.both_ways && slot.packets > 0,
            });
        }
        used
    }

    /// Takes out both slots; true if any was there.
    fn remove(&mut self, flow: &Arc<Flow<H>>, hashes: [u64; 2]) -> bool {
        let mut removed = false;
        for (direction, hash) in Direction::BOTH.into_iter().zip(hashes) {
            removed |= self.side(direction).remove(flow, direction, hash);
        }
        removed
    }
}
