// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One part of the flow table: an index of keys, the slots they lead to, and a timer wheel.
//!
//! A slot holds what belongs to one direction of one flow, and is only touched under the lock of
//! its shard. The wheel holds the slots of opening directions; it decides when to look whether a
//! flow is still alive.

use crate::flow::Flow;
use crate::flow_key::FlowKey;
use crate::geneve::Mark;
use crate::headers::{Headers, MacPair};
use crate::host::{Host, Moment};
use crate::policy::Generation;
use crate::slab::Slab;
use crate::transform::Transform;
use crate::wheel::{Link, Links, Wheel};
use alloc::sync::Arc;
use hashbrown::HashTable;
use opte_api::Direction;

/// A transform, and the circumstances under which it holds.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// The policy that decided.
    pub generation: Generation,
    /// MAC addresses of the packet for which it was decided.
    pub macs: MacPair,
    /// Origin of that packet.
    pub mark: Mark,
    /// What to do.
    pub transform: Transform,
}

impl Stored {
    /// Holds for this packet under policy `generation`.
    #[inline]
    pub fn holds(&self, generation: Generation, headers: &Headers) -> bool {
        self.generation == generation && self.mark == headers.mark && self.macs == headers.macs
    }
}

/// One direction of a flow.
pub struct Slot<H: Host> {
    /// The connection.
    pub flow: Arc<Flow<H>>,
    /// What is done with its packets; `None` while no packet has come this way.
    pub stored: Option<Stored>,
    /// Forwarded packets.
    pub packets: u64,
    /// Bytes of their inner frames.
    pub bytes: u64,
    /// When the last of them came, or the flow was opened.
    pub last: Moment,
    key: FlowKey,
    direction: Direction,
    tag: u32,
    link: Link,
}

impl<H: Host> Slot<H> {
    /// A slot whose first packet has not come yet.
    pub fn new(
        flow: Arc<Flow<H>>,
        direction: Direction,
        hash: u64,
        stored: Option<Stored>,
        now: Moment,
    ) -> Self {
        let key = *flow.key(direction);
        let link = Link::default();
        Self { flow, stored, packets: 0, bytes: 0, last: now, key, direction, tag: tag(hash), link }
    }

    /// Belongs to the direction in which its flow was opened.
    pub fn is_opening(&self) -> bool {
        self.direction == self.flow.opening.direction
    }

    /// Counts a forwarded packet.
    #[inline]
    pub fn touch(&mut self, now: Moment, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
        self.last = now;
    }
}

#[derive(Clone, Copy)]
struct Entry {
    id: u32,
    tag: u32,
}

/// The upper half of a hash tells slots of one shard apart; the lower half chose the shard.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

struct SlotLinks<'a, H: Host>(&'a mut Slab<Slot<H>>);

impl<H: Host> Links for SlotLinks<'_, H> {
    fn get(&self, id: u32) -> Option<Link> {
        self.0.get(id).map(|slot| slot.link)
    }

    fn set(&mut self, id: u32, link: Link) {
        if let Some(slot) = self.0.get_mut(id) {
            slot.link = link;
        }
    }
}

/// One part of the flow table.
pub struct Shard<H: Host> {
    index: HashTable<Entry>,
    slots: Slab<Slot<H>>,
    wheel: Wheel,
}

impl<H: Host> Default for Shard<H> {
    fn default() -> Self {
        Self { index: HashTable::new(), slots: Slab::default(), wheel: Wheel::default() }
    }
}

/// Timer ticks of 64 ms: fine enough for limits of seconds.
const fn tick(moment: Moment) -> u64 {
    moment.as_millis() >> 6
}

impl<H: Host> Shard<H> {
    fn id(&self, key: &FlowKey, direction: Direction, hash: u64) -> Option<u32> {
        let tag = tag(hash);
        let found = self.index.find(spread(tag), |entry| {
            entry.tag == tag
                && self
                    .slots
                    .get(entry.id)
                    .is_some_and(|slot| slot.key == *key && slot.direction == direction)
        });
        found.map(|entry| entry.id)
    }

    /// The slot of packets that go `direction` with `key`.
    #[inline]
    pub fn get_mut(
        &mut self,
        key: &FlowKey,
        direction: Direction,
        hash: u64,
    ) -> Option<&mut Slot<H>> {
        let id = self.id(key, direction, hash)?;
        self.slots.get_mut(id)
    }

    /// Enters a slot whose key is not here yet. False if there is no room for it.
    pub fn insert(&mut self, slot: Slot<H>) -> bool {
        let tag = slot.tag;
        let Some(id) = self.slots.insert(slot) else { return false };
        self.index.insert_unique(spread(tag), Entry { id, tag }, |entry| spread(entry.tag));
        true
    }

    /// Takes out the slot of `flow` that packets of `direction` have.
    pub fn remove(&mut self, flow: &Arc<Flow<H>>, direction: Direction, hash: u64) -> bool {
        let Some(id) = self.own_id(flow, direction, hash) else { return false };
        self.wheel.remove(&mut SlotLinks(&mut self.slots), id);
        if let Ok(entry) = self.index.find_entry(spread(tag(hash)), |entry| entry.id == id) {
            entry.remove();
        }
        self.slots.remove(id).is_some()
    }

    /// Sets when to look at `flow`, whose opening slot is here, again.
    pub fn schedule(&mut self, flow: &Arc<Flow<H>>, hash: u64, at: Moment) {
        if let Some(id) = self.own_id(flow, flow.opening.direction, hash) {
            // Rounded up: a flow is never looked at before its time.
            self.wheel.insert(&mut SlotLinks(&mut self.slots), id, tick(at) + 1);
        }
    }

    /// The same, behind all flows whose time is about the same.
    pub fn defer(&mut self, flow: &Arc<Flow<H>>, hash: u64, at: Moment) {
        if let Some(id) = self.own_id(flow, flow.opening.direction, hash) {
            self.wheel.remove(&mut SlotLinks(&mut self.slots), id);
            self.schedule(flow, hash, at);
        }
    }

    /// A flow whose time to be looked at has come; it must be scheduled again, or removed.
    pub fn poll_due(&mut self, now: Moment) -> Option<Arc<Flow<H>>> {
        let id = self.wheel.poll(&mut SlotLinks(&mut self.slots), tick(now))?;
        self.slots.get(id).map(|slot| slot.flow.clone())
    }

    /// About the next flow whose time will come.
    pub fn soonest(&mut self) -> Option<Arc<Flow<H>>> {
        let id = self.wheel.soonest(&SlotLinks(&mut self.slots))?;
        self.slots.get(id).map(|slot| slot.flow.clone())
    }

    /// All slots.
    pub fn slots(&self) -> impl Iterator<Item = &Slot<H>> {
        self.slots.iter()
    }

    fn own_id(&self, flow: &Arc<Flow<H>>, direction: Direction, hash: u64) -> Option<u32> {
        let id = self.id(flow.key(direction), direction, hash)?;
        let ours = self.slots.get(id).is_some_and(|slot| Arc::ptr_eq(&slot.flow, flow));
        ours.then_some(id)
    }
}
