// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! First match among many rules, at a cost that hardly grows with their number.
//!
//! Tuple space search (Srinivasan, Suri and Varghese, 1999), one dimension at a time. A node
//! either lists a few rules, or tells its rules apart by one [`dimension`]: each rule is filed
//! under the blocks of values that it names, or, if it names none, under the rest. Looking up
//! asks for the blocks that hold the packet's value, of those lengths that are in use, and then
//! the rest, leaving out whatever cannot go before the best rule so far. What a block leads to
//! is a superset of what matches; in the end every rule is tried as a whole. So the tree decides
//! how fast a rule is found, and never which.
//!
//! Adding and removing a rule changes the nodes on its way only; the tree is flat arrays, so that
//! the copy for the next policy is a few moves of memory.

mod dimension;
mod places;
mod tree;

use crate::meta::Meta;
use crate::rule::{Facts, Rule};
use alloc::sync::Arc;
use alloc::vec::Vec;
use places::Places;
use tree::{Change, Filing, Tree};

/// Rules, compiled for look-ups. Cloning shares the rules and copies the tree.
#[derive(Clone)]
pub struct Classifier {
    rules: Places,
    tree: Tree,
    /// Rules removed since the tree was made: what they leave behind is not used again.
    removed: usize,
}

impl Classifier {
    /// Compiles rules, in any order.
    pub fn new(mut rules: Vec<Arc<Rule>>) -> Self {
        // From the last to the first, each goes to the head of its lists.
        rules.sort_by_cached_key(|rule| core::cmp::Reverse(rule.rank()));
        let mut tree = Tree::with_capacity(rules.len());
        let rules = Places::new(rules);
        for (place, rule) in rules.iter() {
            tree.change(&rules, &Filing::new(rule, Change::File(place)));
        }
        Self { rules, tree, removed: 0 }
    }

    /// Adds a rule.
    pub fn insert(&mut self, rule: Arc<Rule>) {
        let place = self.rules.push(rule.clone());
        self.tree.change(&self.rules, &Filing::new(&rule, Change::File(place)));
    }

    /// Takes away the rule of this rank; false if there is none. `rule` tells where it is filed.
    pub fn remove(&mut self, rule: &Rule) -> bool {
        let filing = Filing::new(rule, Change::Strike);
        let Some(place) = self.tree.change(&self.rules, &filing) else { return false };
        self.rules.clear(place);
        self.removed += 1;
        if self.removed > self.len() {
            *self = Self::new(self.rules().cloned().collect());
        }
        true
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.rules.len() - self.removed
    }

    /// There are no rules.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rules in no order.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter().map(|(_, rule)| rule)
    }

    /// The first rule by rank that matches, and its place.
    pub fn first(&self, facts: &Facts, meta: &Meta) -> Option<(usize, &Arc<Rule>)> {
        let (place, rule) = self.tree.first(&self.rules, facts, meta)?;
        Some((place as usize, rule))
    }

    /// The first by rank that matches of those that go behind the rule at `place`. Tries all:
    /// only rules that answer packets are ever passed over, and there are few of those.
    pub fn behind(&self, place: usize, facts: &Facts, meta: &Meta) -> Option<(usize, &Arc<Rule>)> {
        let passed = self.rules.get(u32::try_from(place).ok()?)?.rank();
        let behind = self.rules.iter().filter(|(_, rule)| rule.rank() > passed);
        let matching = behind.filter(|(_, rule)| rule.matches(facts, meta));
        let first = matching.min_by_key(|(_, rule)| rule.rank())?;
        Some((first.0 as usize, first.1))
    }
}
