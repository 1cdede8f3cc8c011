// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! All flows of a port, found by the key of either direction.
//!
//! Each direction of a flow has a cell in [`cells`], found by way of an [`index`] that is read
//! without a lock; the lock of the cell is the only one that a packet takes which runs a stored
//! transform. The index is cut into shards. Both directions of a flow are entered and taken out
//! together, under the locks of both their shards: so a flow is in the table under both of its
//! keys or not at all.
//!
//! Locks are nested in this order only: the shard with the lower number, the other shard, and then
//! one of a cell, a timer wheel, or the list of free cells.

mod cells;
mod ended;
mod index;
mod life;
#[cfg(test)]
pub(crate) mod testing;
mod timers;

use self::ended::Ended;
pub use self::ended::Traffic;
use crate::flow::Flow;
use crate::flow_key::{FlowKey, KeyHasher};
use crate::host::{Host, Lock, Moment};
use crate::policy::IdleLimits;
use crate::rule::RuleId;
use crate::slot::{Slot, Stored};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use cells::{Cells, cell_of, is_way};
use core::cmp::Ordering::{Equal, Greater, Less};
use core::sync::atomic::{AtomicU32, Ordering};
use index::{Array, Index};
pub use life::PROTECTED_IDLE;
use life::unproven;
use opte_api::Direction;
pub use timers::Budget;
use timers::Timers;

/// Most flows of one port, unless told otherwise.
pub const DEFAULT_FLOW_LIMIT: u32 = 1 << 20;

const MAX_SHARDS: u32 = 1024;
const FLOWS_PER_SHARD: u32 = 64;

/// Why a flow was not entered.
pub enum InsertError<H: Host> {
    /// One of its keys belongs to this flow already.
    Exists(Arc<Flow<H>>),
    /// The table is full, and its keys are not in it.
    Full,
}

/// What a dump shows of one direction.
#[derive(Clone, Debug, Default)]
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

/// The lock of who changes a shard's part of the index.
#[repr(align(64))]
struct Shard<H: Host>(H::Lock<()>);

/// All flows of a port.
pub struct FlowTable<H: Host> {
    index: Index,
    shards: Box<[Shard<H>]>,
    cells: Cells<H>,
    timers: Timers<H>,
    hasher: KeyHasher,
    capacity: u32,
    limit: AtomicU32,
    count: AtomicU32,
    ended: Ended<H>,
}

impl<H: Host> FlowTable<H> {
    /// A table of at most `capacity` flows.
    pub fn new(capacity: u32, seed: u64) -> Self {
        let shards = (capacity / FLOWS_PER_SHARD).clamp(1, MAX_SHARDS).next_power_of_two();
        Self {
            index: Index::new(shards as usize),
            shards: (0..shards).map(|_| Shard(H::Lock::new(()))).collect(),
            cells: Cells::new(capacity),
            timers: Timers::new(capacity),
            hasher: KeyHasher::new(seed),
            capacity,
            limit: AtomicU32::new(capacity),
            count: AtomicU32::new(0),
            ended: Ended::new(),
        }
    }

    /// What connections have carried so far that are or were let be by a rule. Each flow counts for
    /// the rule that lets it be now, or did at last. Looks at every flow.
    pub fn traffic(&self) -> BTreeMap<RuleId, Traffic> {
        let mut sums = self.ended.all();
        for flow in self.flows() {
            let Some(rule) = flow.allowed_by() else { continue };
            for direction in Direction::BOTH {
                let seen = self.with_side(&flow, direction, |slot| (slot.packets, slot.bytes));
                let (packets, bytes) = seen.unwrap_or_default();
                sums.entry(rule).or_default().add(packets, bytes);
            }
        }
        sums
    }

    /// Most flows it takes at present.
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets how many flows it takes, up to as many as it was made for. Flows that are in stay.
    pub fn set_limit(&self, limit: u32) {
        let limit = limit.min(self.capacity);
        self.limit.store(limit, Ordering::Relaxed);
        self.cells.set_limit(limit);
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

    #[inline]
    fn array(&self, hash: u64) -> Option<Array<'_>> {
        self.index.array(self.place(hash))
    }

    const fn place(&self, hash: u64) -> usize {
        hash as usize & (self.shards.len() - 1)
    }

    /// The cell that packets of `key` which go `direction` are likely to need. Whose it is must be
    /// asked by [`FlowTable::at`]; that there is none does not mean that there is no flow.
    #[inline(always)]
    pub fn candidate(&self, key: &FlowKey, direction: Direction) -> Option<u32> {
        let hash = self.hash(key, direction);
        self.array(hash)?.find(hash, |cell| is_way(cell, direction))
    }

    /// Brings the memory of a cell near.
    #[inline]
    pub fn glance(&self, cell: u32) {
        self.cells.glance(cell);
    }

    /// Runs `f` with the slot in a cell, alone, if it is one for packets of `key`.
    #[inline]
    pub fn at<R>(&self, cell: u32, key: &FlowKey, f: impl FnOnce(&mut Slot<H>) -> R) -> Option<R> {
        self.cells.with(cell, |slot| slot.as_mut().filter(|slot| slot.is_for(key)).map(f))?
    }

    /// The flow of packets of `key` that go `direction`.
    pub fn find(&self, key: &FlowKey, direction: Direction) -> Option<Arc<Flow<H>>> {
        let hash = self.hash(key, direction);
        self.shards.get(self.place(hash))?.0.with(|()| self.search(key, direction, hash))
    }

    /// The same, under the lock of the shard.
    fn search(&self, key: &FlowKey, direction: Direction, hash: u64) -> Option<Arc<Flow<H>>> {
        let mut found = None;
        self.array(hash)?.find(hash, |cell| {
            found = Some(cell)
                .filter(|cell| is_way(*cell, direction))
                .and_then(|cell| self.at(cell, key, |slot| slot.flow.clone()));
            found.is_some()
        });
        found
    }

    /// Runs `f` with the slot of one direction of `flow`, if the flow is still in the table.
    pub fn with_side<R>(
        &self,
        flow: &Arc<Flow<H>>,
        direction: Direction,
        f: impl FnOnce(&mut Slot<H>) -> R,
    ) -> Option<R> {
        self.cells.with(cell_of(flow.number(), direction), |slot| {
            slot.as_mut().filter(|slot| Arc::ptr_eq(&slot.flow, flow)).map(f)
        })?
    }

    fn hashes(&self, flow: &Flow<H>) -> [u64; 2] {
        Direction::BOTH.map(|direction| self.hash(flow.key(direction), direction))
    }

    /// Runs `f` under the locks of the shards of both hashes.
    fn locked<R>(&self, hashes: [u64; 2], f: impl FnOnce() -> R) -> Option<R> {
        let [a, b] = hashes.map(|hash| self.place(hash));
        let (out, inbound) = (&self.shards.get(a)?.0, &self.shards.get(b)?.0);
        Some(match a.cmp(&b) {
            Equal => out.with(|()| f()),
            Less => out.with(|()| inbound.with(|()| f())),
            Greater => inbound.with(|()| out.with(|()| f())),
        })
    }

    /// Enters a flow, which never was in a table, under both of its keys, or not at all.
    pub fn insert(
        &self,
        flow: &Arc<Flow<H>>,
        stored: Option<Stored>,
        limits: &IdleLimits,
        now: Moment,
    ) -> Result<(), InsertError<H>> {
        let hashes = self.hashes(flow);
        let Some(number) = self.cells.take() else {
            // Nobody is to make room for a flow whose key is in already.
            let vacant = self.locked(hashes, || self.vacant(flow, hashes));
            return vacant.unwrap_or(Ok(())).and(Err(InsertError::Full));
        };
        flow.set_number(number);
        let entered = self.locked(hashes, || {
            self.vacant(flow, hashes)?;
            self.enter(flow, hashes, stored, now)?;
            let end = now.plus_millis(flow.idle_limit(limits));
            self.timers.schedule(number, end.min(unproven(now)));
            self.count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        let entered = entered.unwrap_or(Err(InsertError::Full));
        if entered.is_err() {
            self.cells.give_back(number);
        }
        entered
    }

    /// Neither of the flow's keys is in the table. Under the locks of both shards.
    fn vacant(&self, flow: &Flow<H>, hashes: [u64; 2]) -> Result<(), InsertError<H>> {
        for (direction, hash) in Direction::BOTH.into_iter().zip(hashes) {
            if let Some(other) = self.search(flow.key(direction), direction, hash) {
                return Err(InsertError::Exists(other));
            }
        }
        Ok(())
    }

    /// Enters both directions, or none. Under the locks of both shards.
    fn enter(
        &self,
        flow: &Arc<Flow<H>>,
        hashes: [u64; 2],
        mut stored: Option<Stored>,
        now: Moment,
    ) -> Result<(), InsertError<H>> {
        for direction in Direction::BOTH {
            let stored = stored.take_if(|_| direction == flow.opening.direction);
            let slot = Slot::new(flow.clone(), direction, stored, now);
            self.cells.with(cell_of(flow.number(), direction), |place| *place = Some(slot));
        }
        let entered = Direction::BOTH.into_iter().zip(hashes).all(|(direction, hash)| {
            let cell = cell_of(flow.number(), direction);
            self.array(hash).is_some_and(|array| array.insert(hash, cell))
        });
        if !entered {
            self.clear(flow, hashes);
            return Err(InsertError::Full);
        }
        Ok(())
    }

    /// Empties both cells and takes them out of the index; answers what was in them. Under the
    /// locks of both shards.
    fn clear(&self, flow: &Flow<H>, hashes: [u64; 2]) -> [Option<Slot<H>>; 2] {
        let cells = Direction::BOTH.map(|direction| cell_of(flow.number(), direction));
        for (cell, hash) in cells.into_iter().zip(hashes) {
            if let Some(array) = self.array(hash) {
                array.remove(hash, cell);
            }
        }
        cells.map(|cell| self.cells.with(cell, Option::take)?)
    }

    /// One more than the highest number that a flow has had.
    pub fn numbers(&self) -> u32 {
        self.cells.numbers()
    }

    /// The flow of a number, if there is one.
    pub fn numbered(&self, number: u32) -> Option<Arc<Flow<H>>> {
        self.cells.flow(number)
    }

    /// All flows at about one moment.
    pub fn flows(&self) -> Vec<Arc<Flow<H>>> {
        self.flows_from(0).map(|(_, flow)| flow).collect()
    }

    /// Flows by number, from this one on. A flow keeps its number for as long as it is in the
    /// table, so whoever goes on behind the last number that was seen misses none that stayed and
    /// sees none twice.
    pub fn flows_from(&self, first: u32) -> impl Iterator<Item = (u32, Arc<Flow<H>>)> {
        self.cells.flows_from(first)
    }

    /// What a dump shows of one direction of `flow`.
    pub fn snapshot(&self, flow: &Arc<Flow<H>>, direction: Direction) -> Option<SideSnapshot> {
        self.with_side(flow, direction, |slot| SideSnapshot {
            packets: slot.packets,
            bytes: slot.bytes,
            stored: slot.stored.clone(),
            last: slot.last,
        })
    }
}

/// So many values in one piece of memory, which may be large. `None` if there is none: the table is
/// full then, and the host lives on.
fn memory_for<T>(count: usize, make: impl Fn() -> T) -> Option<Box<[T]>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).ok()?;
    values.extend((0..count).map(|_| make()));
    Some(values.into_boxed_slice())
}
