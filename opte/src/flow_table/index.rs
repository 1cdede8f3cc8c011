// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Hashes to cell numbers: an array with linear probing that is read without a lock.
//!
//! Who changes it holds the lock of the shard that it belongs to; who reads it needs none. A
//! reader may miss an entry that is being moved, and may find one whose cell has gone to another
//! flow. So what is found must be compared with the cell, and what is not found is looked for
//! again under the lock before anything is concluded from it.
//!
//! Memory never moves and is never given back before the table ends. An index doubles by one more
//! part, and files all entries anew: they hold their whole tags, so no cell is looked at.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use once_cell::race::OnceBox;

/// Entries of the first part, and its logarithm.
const FIRST_BITS: u32 = 4;
/// Parts of an index: the last makes it 2^17 entries large.
const PARTS: usize = 14;
/// No cell.
const EMPTY: u64 = 0;

/// One entry in a word: the tag in the upper half, the number of the cell plus one in the lower.
const fn entry(hash: u64, cell: u32) -> u64 {
    hash & 0xffff_ffff_0000_0000 | (cell as u64 + 1)
}

/// The upper half of a hash tells entries of one index apart; the lower half chose the index.
const fn tag(word: u64) -> u32 {
    (word >> 32) as u32
}

/// Where a probe for this word begins.
const fn home(word: u64, bits: u32) -> usize {
    (tag(word) >> (32 - bits)) as usize
}

/// The place of an entry: which part, and where in it.
#[inline]
const fn place(at: usize) -> (usize, usize) {
    let first = 1 << FIRST_BITS;
    if at < first {
        return (0, at);
    }
    let power = at.ilog2();
    ((power - FIRST_BITS) as usize + 1, at - (1 << power))
}

/// An index without entries at first.
#[derive(Default)]
pub struct Index {
    /// Logarithm of the number of entries; zero while there is no part.
    bits: AtomicU32,
    used: AtomicU32,
    parts: [OnceBox<Box<[AtomicU64]>>; PARTS],
}

impl Index {
    #[inline]
    fn at(&self, at: usize) -> Option<&AtomicU64> {
        let (part, offset) = place(at);
        self.parts.get(part)?.get()?.get(offset)
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
        let bits = self.bits.load(Ordering::Acquire);
        if bits == 0 {
            return None;
        }
        let mask = (1 << bits) - 1;
        let start = home(hash, bits);
        for step in 0..=mask {
            let word = self.at((start + step) & mask)?.load(Ordering::Acquire);
            if word == EMPTY {
                return None;
            }
            let cell = (word as u32).wrapping_sub(1);
            if tag(word) == tag(hash) && is(cell) {
                return Some(cell);
            }
        }
        None
    }

    /// Enters a cell. False if the index has its full size and is full. Under the lock.
    pub fn insert(&self, hash: u64, cell: u32) -> bool {
        let used = self.used.load(Ordering::Relaxed) + 1;
        let mut bits = self.bits.load(Ordering::Relaxed);
        // Three quarters: beyond that, probes grow long.
        if bits == 0 || used as usize > (3 << bits) / 4 {
            if !self.grow() {
                return false;
            }
            bits = self.bits.load(Ordering::Relaxed);
        }
        self.file(entry(hash, cell), bits);
        self.used.store(used, Ordering::Relaxed);
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

    /// Doubles the index.
    fn grow(&self) -> bool {
        let bits = self.bits.load(Ordering::Relaxed);
        let (part, len, next) = match bits {
            0 => (0, 1 << FIRST_BITS, FIRST_BITS),
            bits => (place(1 << bits).0, 1 << bits, bits + 1),
        };
        let Some(fresh) = self.parts.get(part) else { return false };
        let entries = (0..len).map(|_| AtomicU64::new(EMPTY)).collect();
        if fresh.set(Box::new(entries)).is_err() {
            return false;
        }
        let old = if bits == 0 { 0 } else { 1 << bits };
        let words: Vec<u64> = (0..old).map(|at| self.load(at)).filter(|w| *w != EMPTY).collect();
        (0..old).for_each(|at| self.store(at, EMPTY));
        self.bits.store(next, Ordering::Release);
        words.into_iter().for_each(|word| self.file(word, next));
        true
    }

    /// Takes an entry out, and closes the gap. Under the lock.
    pub fn remove(&self, hash: u64, cell: u32) -> bool {
        let bits = self.bits.load(Ordering::Relaxed);
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
        self.used.fetch_sub(1, Ordering::Relaxed);
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
            let len = 1usize << (FIRST_BITS as usize + part.saturating_sub(1));
            for offset in 0..len {
                assert_eq!(place(at), (part, offset));
                at += 1;
            }
        }
    }

    proptest! {
        /// Few tags, so that many entries share one.
        #[test]
        fn is_a_list(steps in proptest::collection::vec((any::<bool>(), 0u64..40, 0u32..60), 0..400)) {
            let index = Index::default();
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
            }
        }
    }
}
