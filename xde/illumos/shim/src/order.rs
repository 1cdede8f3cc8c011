// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! In which order mutexes are taken: a graph of "held while the other was taken". A circle in it is a
//! deadlock that has not happened yet.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

pub(crate) struct Order {
    after: BTreeMap<usize, BTreeSet<usize>>,
    before: BTreeMap<usize, BTreeSet<usize>>,
}

impl Order {
    pub(crate) const fn new() -> Self {
        Self { after: BTreeMap::new(), before: BTreeMap::new() }
    }

    /// `second` is taken while `first` is held. True: the other way round happened before.
    pub(crate) fn note(&mut self, first: usize, second: usize) -> bool {
        if self.after.get(&first).is_some_and(|known| known.contains(&second)) {
            return false;
        }
        let circle = self.leads_to(second, first);
        self.after.entry(first).or_default().insert(second);
        self.before.entry(second).or_default().insert(first);
        circle
    }

    fn leads_to(&self, from: usize, to: usize) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(at) = next.pop() {
            if at == to {
                return true;
            }
            if seen.insert(at) {
                next.extend(self.after.get(&at).into_iter().flatten());
            }
        }
        false
    }

    /// Mutexes in this memory are no more.
    pub(crate) fn forget(&mut self, at: usize, size: usize) {
        let mut gone: Vec<usize> = self.after.range(at..at + size).map(|(it, _)| *it).collect();
        gone.extend(self.before.range(at..at + size).map(|(it, _)| *it));
        for it in gone {
            for next in self.after.remove(&it).into_iter().flatten() {
                unlink(&mut self.before, next, it);
            }
            for last in self.before.remove(&it).into_iter().flatten() {
                unlink(&mut self.after, last, it);
            }
        }
    }
}

fn unlink(of: &mut BTreeMap<usize, BTreeSet<usize>>, key: usize, it: usize) {
    if let Some(set) = of.get_mut(&key) {
        set.remove(&it);
        if set.is_empty() {
            of.remove(&key);
        }
    }
}
