// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Connections that the sweep has ended, while nobody spoke on them. For a while they are
//! remembered, so that whoever speaks then is told: the packet at hand has the numbers that a reset
//! needs.

use crate::flow_key::{FlowKey, KeyHasher};
use crate::host::{Host, Lock, Moment};
use alloc::collections::VecDeque;
use core::sync::atomic::{AtomicU64, Ordering};
use hashbrown::HashTable;
use opte_api::Direction;

/// Connections of one port that are remembered. Of more, the first are forgotten.
pub const MAX_ENDED: usize = 1024;
/// For how long, in milliseconds.
pub const ENDED_MILLIS: u64 = 60_000;

/// A direction of a connection, and when it has ended.
type Entry = (FlowKey, Direction, Moment);

#[derive(Default)]
struct Table {
    known: HashTable<Entry>,
    /// In the order in which they have ended.
    order: VecDeque<(Moment, [FlowKey; 2])>,
}

/// Those of one port.
pub(crate) struct Ended<H: Host> {
    hasher: KeyHasher,
    /// Later than this nobody is remembered, and nobody need look.
    until: AtomicU64,
    table: H::Lock<Table>,
    forgotten: AtomicU64,
}

impl<H: Host> Ended<H> {
    pub fn new(hasher: KeyHasher) -> Self {
        let (until, forgotten) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { hasher, until, table: H::Lock::new(Table::default()), forgotten }
    }

    /// Remembers a connection by what its packets look like that go out and that come in.
    pub fn add(&self, keys: [FlowKey; 2], now: Moment) {
        let crowded = self.table.with(|table| table.add(&self.hasher, keys, now));
        self.forgotten.fetch_add(crowded.into(), Ordering::Relaxed);
        self.until.fetch_max(now.plus_millis(ENDED_MILLIS).as_millis(), Ordering::Relaxed);
    }

    /// A packet like this belonged to one of them.
    pub fn knows(&self, direction: Direction, key: &FlowKey, now: Moment) -> bool {
        self.until.load(Ordering::Relaxed) > now.as_millis()
            && self.table.with(|table| table.knows(&self.hasher, direction, key, now))
    }

    /// How many were forgotten before their time.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }
}

impl Table {
    /// True if another one had to be forgotten for it.
    fn add(&mut self, hasher: &KeyHasher, keys: [FlowKey; 2], now: Moment) -> bool {
        while self.order.front().is_some_and(|(at, _)| now.since(*at) >= ENDED_MILLIS) {
            self.forget_first(hasher);
        }
        let crowded = self.order.len() >= MAX_ENDED;
        if crowded {
            self.forget_first(hasher);
        }
        for (direction, key) in Direction::BOTH.into_iter().zip(keys) {
            self.remove(hasher, direction, &key, |_| true);
            let entry = (key, direction, now);
            self.known.insert_unique(hasher.hash(&key), entry, |(key, ..)| hasher.hash(key));
        }
        self.order.push_back((now, keys));
        crowded
    }

    fn forget_first(&mut self, hasher: &KeyHasher) {
        let Some((ended, keys)) = self.order.pop_front() else { return };
        for (direction, key) in Direction::BOTH.into_iter().zip(keys) {
            // Another one like it may have ended since.
            self.remove(hasher, direction, &key, |at| at == ended);
        }
    }

    fn remove(
        &mut self,
        hasher: &KeyHasher,
        direction: Direction,
        key: &FlowKey,
        ended: impl Fn(Moment) -> bool,
    ) {
        let same = |(known, way, at): &Entry| known == key && *way == direction && ended(*at);
        if let Ok(entry) = self.known.find_entry(hasher.hash(key), same) {
            entry.remove();
        }
    }

    fn knows(&self, hasher: &KeyHasher, direction: Direction, key: &FlowKey, now: Moment) -> bool {
        let lately = |at: Moment| now.since(at) < ENDED_MILLIS;
        let same = |(known, way, at): &Entry| known == key && *way == direction && lately(*at);
        self.known.find(hasher.hash(key), same).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow_table::testing::StdHost;
    use core::net::IpAddr;
    use opte_api::Direction::{In, Out};
    use opte_api::Protocol;

    fn keys(port: u16) -> [FlowKey; 2] {
        let [inside, outside] = [[10, 0, 0, 5], [192, 0, 2, 7]].map(IpAddr::from);
        let out = FlowKey::new(inside, outside, Protocol::UDP, [port, 53]);
        [out, out.mirror()]
    }

    #[test]
    fn connections_are_known_by_both_directions_for_a_while() {
        let ended = Ended::<StdHost>::new(KeyHasher::new(7));
        let now = Moment::from_millis(1000);
        let [out, inbound] = keys(1);
        assert!(!ended.knows(Out, &out, now));
        ended.add([out, inbound], now);
        let knows = |at| [ended.knows(Out, &out, at), ended.knows(In, &inbound, at)];
        assert_eq!(knows(now.plus_millis(59_999)), [true; 2]);
        assert_eq!(knows(now.plus_millis(60_000)), [false; 2]);
        assert!(!ended.knows(In, &out, now), "the other way round it is another one");
        assert!(!ended.knows(Out, &keys(2)[0], now));
        // Once more, later: the first time is over, the second is not.
        ended.add([out, inbound], now.plus_millis(30_000));
        ended.add(keys(2), now.plus_millis(70_000));
        assert_eq!(knows(now.plus_millis(70_000)), [true; 2]);
    }

    #[test]
    fn of_too_many_the_first_are_forgotten() {
        let ended = Ended::<StdHost>::new(KeyHasher::new(7));
        let now = Moment::from_millis(1000);
        let count = MAX_ENDED as u16;
        (0..count + 2).for_each(|port| ended.add(keys(port), now));
        let knows = |port: u16| ended.knows(Out, &keys(port)[0], now);
        assert_eq!([0, 1, 2, count + 1].map(knows), [false, false, true, true]);
        assert_eq!(ended.forgotten(), 2);
    }
}
