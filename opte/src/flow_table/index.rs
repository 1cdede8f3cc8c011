// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Hashes to cell numbers: arrays with linear probing that are read without a lock.
//!
//! There is one array for each shard of the table. Who changes it holds the lock of that shard;
//! who reads it needs none. A reader may miss an entry that is being moved, and may find one whose
//! cell has gone to another flow. So what is found must be compared with the cell, and what is not
//! found is looked for again under the lock before anything is concluded from it.
//!
//! Memory never moves and is never given back before the table ends. An array doubles by one more
//! part, and files its entries anew: they hold their whole tags, so no cell is looked at. The parts
//! of neighbouring shards are made together, so that a reader finds its way by a few bytes that all
//! packets use, and waits for one line of memory only: that of the entry.

use super::memory_for;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use once_cell::race::OnceBox;

/// Logarithm of the entries of the first part.
const FIRST_BITS: u32 = 4;
/// Parts of an array: with all of them it has 2^17 entries.
const PARTS: usize = 14;
/// Shards whose parts are made together.
const GROUP: usize = 16;
/// No cell.
const EMPTY: u64 = 0;

/// One entry in a word: the tag in the upper half, the number of the cell plus one in the lower.
const fn entry(hash: u64, cell: u32) -> u64 {
    hash & 0xffff_ffff_0000_0000 | (cell as u64 + 1)
}

/// The upper half of a hash tells entries of one shard apart; the lower half chose the shard.
const fn tag(word: u64) -> u32 {
    (word >> 32) as u32
}

/// Where a probe for this word begins.
const fn home(word: u64, bits: u32) -> usize {
    (tag(word) >> (32 - bits)) as usize
}

/// The part of an array that entry `at` is in, and the logarithm of that part's length.
#[inline]
const fn part_of(at: usize) -> (usize, u32) {
    match at >> FIRST_BITS {
        0 => (0, FIRST_BITS),
        rest => ((rest.ilog2() + 1) as usize, rest.ilog2() + FIRST_BITS),
    }
}

/// A group of shards. Each part holds the entries of one shard behind those of another.
#[derive(Default)]
struct Group {
    parts: [OnceBox<Box<[AtomicU64]>>; PARTS],
    /// Logarithm of the number of places of each shard; zero while it has no part.
    bits: [AtomicU8; GROUP],
}

/// The index of a table.
pub struct Index {
    groups: Box<[Group]>,
    /// Entries of each shard: read and written under its lock alone.
    used: Box<[AtomicU32]>,
}

/// The array of one shard.
#[derive(Clone, Copy)]
pub struct Array<'a> {
    group: &'a Group,
    bits: &'a AtomicU8,
    /// Which shard.
    shard: usize,
    used: &'a [AtomicU32],
}

impl Index {
    /// An index without entries, for so many shards.
    pub fn new(shards: usize) -> Self {
        Self {
            groups: (0..shards.div_ceil(GROUP)).map(|_| Group::default()).collect(),
            used: (0..shards).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// The array of a shard.
    #[inline]
    pub fn array(&self, shard: usize) -> Option<Array<'_>> {
        let group = self.groups.get(shard / GROUP)?;
        Some(Array { group, bits: group.bits.get(shard % GROUP)?, shard, used: &self.used })
    }
}

impl Array<'_> {
    #[inline]
    fn at(&self, at: usize) -> Option<&AtomicU64> {
        let (part, bits) = part_of(at);
        let offset = at & ((1 << bits) - 1) | (self.shard % GROUP) << bits;
        self.group.parts.get(part)?.get()?.get(offset)
    }

    fn load(&self, at: usize) -> u64 {
        self.at(at).map_or(EMPTY, |entry| entry.load(Ordering::Relaxed))
    }

    fn store(&self, at: usize, word: u64) {
        if let Some(entry) = self.at(at) {
            // What the entry leads to was written before.
            entry.store(word, Ordering::Release);
        }
    }

    /// The first cell with the tag of `hash` for which `is` holds.
    #[inline]
    pub fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let bits = u32::from(self.bits.load(Ordering::Acquire));
        if bits == 0 {
            return None;
        }
        let mask = (1 << bits) - 1;
        let start = home(hash, bits);
        for step in 0..=mask {
            let word = self.at((start + step) & mask)?.load(Ordering::Acquire);
            let cell = (word as u32).wrapping_sub(1);
            if tag(word) == tag(hash) && word != EMPTY && is(cell) {
                return Some(cell);
            }
            if word == EMPTY {
                return None;
            }
        }
        None
    }

    /// Enters a cell. False if the array is full and cannot grow. Under the lock.
    pub fn insert(&self, hash: u64, cell: u32) -> bool {
        let Some(count) = self.used.get(self.shard) else { return false };
        let used = count.load(Ordering::Relaxed);
        let mut bits = u32::from(self.bits.load(Ordering::Relaxed));
        // Three quarters: beyond that, probes grow long.
        if bits == 0 || used >= 3 << bits >> 2 {
            if !self.grow() {
                return false;
            }
            bits = u32::from(self.bits.load(Ordering::Relaxed));
        }
        self.file(entry(hash, cell), bits);
        count.store(used + 1, Ordering::Relaxed);
        true
    }

    fn file(&self, word: u64, bits: u32) {
        let mask = (1 << bits) - 1;
        let mut at = home(word, bits);
        while self.load(at) != EMPTY {
            at = (at + 1) & mask;
        }
        self.store(at, word);
    }

    /// Doubles the array. False if it has its full size, or there is no memory.
    fn grow(&self) -> bool {
        let bits = u32::from(self.bits.load(Ordering::Relaxed));
        let old = if bits == 0 { 0 } else { 1 << bits };
        let (part, part_bits) = part_of(old);
        let Some(fresh) = self.group.parts.get(part) else { return false };
        let mut words = Vec::new();
        let made = fresh.get_or_try_init(|| {
            let entries = memory_for(GROUP << part_bits, || AtomicU64::new(EMPTY));
            entries.map(Box::new).ok_or(())
        });
        if made.is_err() || words.try_reserve_exact(old).is_err() {
            return false;
        }
        words.extend((0..old).map(|at| self.load(at)).filter(|word| *word != EMPTY));
        (0..old).for_each(|at| self.store(at, EMPTY));
        let bits = if bits == 0 { FIRST_BITS } else { bits + 1 };
        self.bits.store(bits as u8, Ordering::Release);
        words.into_iter().for_each(|word| self.file(word, bits));
        true
    }

    /// Takes an entry out, and closes the gap. Under the lock.
    pub fn remove(&self, hash: u64, cell: u32) -> bool {
        let bits = u32::from(self.bits.load(Ordering::Relaxed));
        if bits == 0 {
            return false;
        }
        let (mask, word) = ((1 << bits) - 1, entry(hash, cell));
        let mut hole = home(word, bits);
        loop {
            match self.load(hole) {
                EMPTY => return false,
                found if found == word => break,
                _ => hole = (hole + 1) & mask,
            }
        }
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let word = self.load(next);
            if word == EMPTY {
                break;
            }
            // It may move back if that does not bring it before its home.
            let from_home = next.wrapping_sub(home(word, bits)) & mask;
            if from_home >= next.wrapping_sub(hole) & mask {
                self.store(hole, word);
                hole = next;
            }
        }
        self.store(hole, EMPTY);
        if let Some(count) = self.used.get(self.shard) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_follow_each_other() {
        let mut at = 0;
        for part in 0..PARTS {
            let bits = FIRST_BITS + part.saturating_sub(1) as u32;
            for offset in 0..1 << bits {
                assert_eq!((part_of(at), at & ((1 << bits) - 1)), ((part, bits), offset));
                at += 1;
            }
        }
    }

    proptest! {
        /// Few tags, so that many entries share one.
        #[test]
        fn is_a_list(steps in proptest::collection::vec((any::<bool>(), 0u64..40, 0u32..60), 0..400)) {
            let table = Index::new(20);
            let (index, other) = (table.array(17).unwrap(), table.array(18).unwrap());
            let mut model: Vec<(u64, u32)> = Vec::new();
            for (insert, tag, cell) in steps {
                // The last places, so that probes wrap round.
                let hash = (0xffff_fff0 + tag) << 32;
                let known = model.iter().position(|entry| *entry == (hash, cell));
                match (insert, known) {
                    (true, None) => {
                        prop_assert!(index.insert(hash, cell));
                        model.push((hash, cell));
                    }
                    (true, Some(_)) => {}
                    (false, known) => {
                        prop_assert_eq!(index.remove(hash, cell), known.is_some());
                        known.map(|at| model.swap_remove(at));
                    }
                }
                for (hash, cell) in &model {
                    prop_assert_eq!(index.find(*hash, |found| found == *cell), Some(*cell));
                }
                prop_assert_eq!(index.find(hash, |_| false), None);
                prop_assert_eq!(other.find(hash, |_| true), None);
            }
        }
    }
}
