// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A flat table: one cache line for each direction of an IPv4 flow, two for IPv6.

use super::Entry;
use super::layout::Layout;
use core::hash::BuildHasher;
use foldhash::fast::FixedState;

/// Look-ups that [`Flat::find_all`] lets wait for memory together.
pub const TOGETHER: usize = 32;

#[repr(C, align(64))]
struct Line<L: Layout> {
    key: L::Key,
    entry: Entry<L>,
}

/// Open addressing, a line after the other, never more than half full.
pub struct Flat<L: Layout> {
    lines: Vec<Line<L>>,
    mask: usize,
    hasher: FixedState,
}

impl<L: Layout> Flat<L> {
    /// Room for `count` flows.
    pub fn new(count: usize) -> Self {
        let len = (2 * count).next_power_of_two();
        let line = || Line { key: L::Key::default(), entry: Entry::default() };
        let lines = core::iter::repeat_with(line).take(len).collect();
        Self { lines, mask: len - 1, hasher: FixedState::with_seed(0x1234_5678) }
    }

    #[inline]
    fn home(&self, key: &L::Key) -> usize {
        self.hasher.hash_one(key) as usize & self.mask
    }

    /// The line of `key`, or the free one where it belongs.
    #[inline]
    fn probe(&self, key: &L::Key, home: usize) -> usize {
        let mut at = home;
        while self.lines[at].key != *key && self.lines[at].key != L::Key::default() {
            at = (at + 1) & self.mask;
        }
        at
    }

    /// Enters a flow.
    pub fn insert(&mut self, key: L::Key, entry: Entry<L>) {
        let at = self.probe(&key, self.home(&key));
        self.lines[at] = Line { key, entry };
    }

    /// One flow.
    #[inline]
    pub fn get_mut(&mut self, key: &L::Key) -> Option<&mut Entry<L>> {
        let at = self.probe(key, self.home(key));
        let line = &mut self.lines[at];
        (line.key == *key).then_some(&mut line.entry)
    }

    /// The places of up to [`TOGETHER`] flows. First come all hashes, then all first looks into
    /// memory, so that these do not wait for each other. False if one is not there.
    #[inline]
    pub fn find_all(&self, keys: &[L::Key], places: &mut [usize; TOGETHER]) -> bool {
        for (key, place) in keys.iter().zip(&mut *places) {
            *place = self.home(key);
        }
        let mut known = true;
        for (key, place) in keys.iter().zip(&mut *places) {
            *place = self.probe(key, *place);
            let line = &self.lines[*place];
            known &= (line.key == *key) & line.entry.is_unicast();
        }
        known
    }

    /// What is at a place.
    #[inline]
    pub fn at(&mut self, place: usize) -> &mut Entry<L> {
        &mut self.lines[place].entry
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{Ipv4, Ipv6};
    use super::*;

    #[test]
    fn a_line_of_ipv4_is_a_cache_line() {
        assert_eq!((size_of::<Line<Ipv4>>(), size_of::<Line<Ipv6>>()), (64, 128));
    }

    #[test]
    fn flows_are_found_together_and_strangers_are_not() {
        let mut flat = Flat::<Ipv4>::new(100);
        let key = |n: u64| (n, 1);
        for n in 0..100 {
            let entry = Entry { packets: n as u32, ..Entry::default() };
            flat.insert(key(n), entry);
        }
        let mut places = [0; TOGETHER];
        let keys: Vec<_> = (40..72).map(key).collect();
        assert!(flat.find_all(&keys, &mut places));
        for (n, place) in (40..72).zip(places) {
            assert_eq!(flat.at(place).packets, n);
            assert_eq!(flat.get_mut(&key(n.into())).map(|entry| entry.packets), Some(n));
        }
        assert!(flat.get_mut(&key(100)).is_none());
        assert!(!flat.find_all(&[key(5), key(100)], &mut places));
    }
}
