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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drop_reason::DropReason;
    use crate::flow_key::FlowKey;
    use crate::headers::MacPair;
    use crate::rule::{Action, Predicate, RuleId};
    use opte_api::Protocol;

    /// A rule about destination port `id`, of TCP if `id` is even.
    fn rule(id: u64, priority: u16) -> Arc<Rule> {
        let port = id as u16;
        let mut predicates = Vec::from([Predicate::DstPort([(port, port)].into())]);
        if id.is_multiple_of(2) {
            predicates.push(Predicate::Protocol(Protocol::TCP));
        }
        let action = Action::Deny(DropReason::FirewallRule);
        Arc::new(Rule::new(RuleId(id), priority, predicates, action))
    }

    fn first(classifier: &Classifier, protocol: Protocol, port: u16) -> Option<u64> {
        let ip = "10.0.0.1".parse().unwrap();
        let key = Some(FlowKey::new(ip, ip, protocol, [9, port]));
        let facts = Facts { key, macs: MacPair::default() };
        classifier.first(&facts, &Meta::default()).map(|(_, rule)| rule.id.0)
    }

    #[test]
    fn rules_are_found_by_what_they_name() {
        let classifier = Classifier::new((0..1000).map(|id| rule(id, 5)).collect());
        assert_eq!(first(&classifier, Protocol::TCP, 500), Some(500));
        assert_eq!(first(&classifier, Protocol::UDP, 500), None);
        assert_eq!(first(&classifier, Protocol::UDP, 501), Some(501));
        assert_eq!(first(&classifier, Protocol::TCP, 1000), None);
    }

    #[test]
    fn a_change_is_seen_by_what_it_makes_only() {
        let before = Classifier::new((0..100).map(|id| rule(id, 5)).collect());
        let mut after = before.clone();
        let catch_all =
            Rule::new(RuleId(100), 4, Vec::new(), Action::Deny(DropReason::FirewallRule));
        after.insert(Arc::new(catch_all));
        assert_eq!(first(&before, Protocol::TCP, 50), Some(50));
        assert_eq!(first(&after, Protocol::TCP, 50), Some(100));
        assert!(after.remove(&Rule::new(
            RuleId(100),
            4,
            Vec::new(),
            Action::Deny(DropReason::FirewallRule)
        )));
        assert_eq!(first(&after, Protocol::TCP, 50), Some(50));
    }

    #[test]
    fn what_removed_rules_leave_behind_is_swept() {
        let mut classifier = Classifier::new((0..100).map(|id| rule(id, 5)).collect());
        for id in 0..90 {
            assert!(classifier.remove(&rule(id, 5)));
            assert!(!classifier.remove(&rule(id, 5)));
            assert_eq!(classifier.len(), 99 - id as usize);
        }
        assert!(classifier.rules.len() < 50);
        assert_eq!(first(&classifier, Protocol::TCP, 50), None);
        assert_eq!(first(&classifier, Protocol::TCP, 98), Some(98));
    }
}
