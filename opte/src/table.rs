// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Tables of rules: by priority, or by longest prefix of the destination.
//!
//! A table is a value. Cloning shares what is large; adding or removing a rule makes the next
//! table at the cost of the change, not of the table.

use crate::classifier::Classifier;
use crate::meta::Meta;
use crate::prefix_map::PrefixMap;
use crate::rule::{Facts, Rule, RuleId};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use opte_api::IpCidr;

/// Most rules that are tried one after the other.
pub const MAX_SCANNED: usize = 16;

/// The rules of one direction of a layer.
#[derive(Clone)]
pub enum Table {
    /// Few, sorted, tried in the order of [`Rule::rank`]; the first that matches decides.
    Priority(Vec<Arc<Rule>>),
    /// The same with many.
    Classified(Arc<Classifier>),
    /// The rule of the longest prefix that holds the destination decides.
    Prefix(PrefixTable),
}

impl Table {
    /// A table without rules.
    pub const EMPTY: Self = Self::Priority(Vec::new());

    /// A table by priority.
    pub fn by_priority(mut rules: Vec<Arc<Rule>>) -> Self {
        if rules.len() > MAX_SCANNED {
            return Self::Classified(Arc::new(Classifier::new(rules)));
        }
        rules.sort_unstable_by_key(|rule| rule.rank());
        Self::Priority(rules)
    }

    /// This table by priority with one more rule.
    #[must_use]
    pub fn with_rule(&self, rule: Arc<Rule>) -> Self {
        match self {
            Self::Classified(classifier) => {
                let mut next = Classifier::clone(classifier);
                next.insert(rule);
                Self::Classified(Arc::new(next))
            }
            Self::Priority(_) | Self::Prefix(_) => {
                Self::by_priority(self.unordered().cloned().chain([rule]).collect())
            }
        }
    }

    /// This table by priority without a rule.
    #[must_use]
    pub fn without_rule(&self, rule: &Rule) -> Self {
        match self {
            Self::Classified(classifier) if classifier.len() > MAX_SCANNED => {
                let mut next = Classifier::clone(classifier);
                next.remove(rule);
                Self::Classified(Arc::new(next))
            }
            _ => {
                let rest = self.unordered().filter(|other| other.rank() != rule.rank());
                Self::by_priority(rest.cloned().collect())
            }
        }
    }

    /// The first rule that matches, and its place. `from` is 0, or the place of a rule plus one:
    /// then the first of those that go behind it.
    pub fn matching(&self, facts: &Facts, meta: &Meta, from: usize) -> Option<(usize, &Arc<Rule>)> {
        match (self, from.checked_sub(1)) {
            (Self::Priority(rules), _) => {
                let mut rest = rules.iter().enumerate().skip(from);
                rest.find(|(_, rule)| rule.matches(facts, meta))
            }
            (Self::Classified(classifier), None) => classifier.first(facts, meta),
            (Self::Classified(classifier), Some(place)) => classifier.behind(place, facts, meta),
            (Self::Prefix(table), None) => table.longest(facts).map(|rule| (0, rule)),
            (Self::Prefix(_), Some(_)) => None,
        }
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        match self {
            Self::Priority(rules) => rules.len(),
            Self::Classified(classifier) => classifier.len(),
            Self::Prefix(table) => table.len,
        }
    }

    /// There are no rules.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All rules in the order of trial: by rank, or longest prefix first.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        let mut rules: Vec<&Arc<Rule>> = self.unordered().collect();
        if let Self::Classified(_) = self {
            rules.sort_unstable_by_key(|rule| rule.rank());
        }
        rules.into_iter()
    }

    fn unordered(&self) -> impl Iterator<Item = &Arc<Rule>> {
        let (scanned, classified, prefixes) = match self {
            Self::Priority(rules) => (Some(rules), None, None),
            Self::Classified(classifier) => (None, Some(classifier), None),
            Self::Prefix(table) => (None, None, Some(table)),
        };
        let scanned = scanned.into_iter().flatten();
        let classified = classified.into_iter().flat_map(|classifier| classifier.rules());
        scanned.chain(classified).chain(prefixes.into_iter().flat_map(PrefixTable::rules))
    }
}

/// Rules that each stand for one destination prefix.
#[derive(Clone, Default)]
pub struct PrefixTable {
    prefixes: PrefixMap<Equals>,
    len: usize,
}

/// The rules of one prefix. The first by [`Rule::rank`] is taken.
#[derive(Clone)]
struct Equals {
    first: Arc<Rule>,
    /// By rank.
    others: Vec<Arc<Rule>>,
}

impl PrefixTable {
    /// A table of these prefixes. Where a prefix stands twice, the first rule by
    /// [`Rule::rank`] is taken.
    pub fn new(entries: Vec<(IpCidr, Arc<Rule>)>) -> Self {
        let mut table = Self::default();
        for (prefix, rule) in entries {
            table.insert(prefix, rule);
        }
        table
    }

    /// Adds a rule for a prefix.
    pub fn insert(&mut self, prefix: IpCidr, rule: Arc<Rule>) {
        self.len += 1;
        let equals = match self.prefixes.get(prefix) {
            None => Equals { first: rule, others: Vec::new() },
            Some(known) => {
                let all = known.rules().cloned().chain([rule]).collect();
                let Some(equals) = Equals::new(all) else { return };
                equals
            }
        };
        self.prefixes.insert(prefix, equals);
    }

    /// Takes away the rule of this number, which stands for this prefix.
    pub fn remove(&mut self, prefix: IpCidr, id: RuleId) {
        let Some(known) = self.prefixes.get(prefix) else { return };
        let all = known.rules().count();
        let left: Vec<_> = known.rules().filter(|rule| rule.id != id).cloned().collect();
        self.len -= all - left.len();
        match Equals::new(left) {
            Some(equals) => self.prefixes.insert(prefix, equals),
            None => self.prefixes.remove(prefix),
        };
    }

    fn longest(&self, facts: &Facts) -> Option<&Arc<Rule>> {
        self.prefixes.longest(facts.key?.dst()).map(|equals| &equals.first)
    }

    /// Longest prefix first, then by address and rank.
    fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        let mut entries: Vec<_> = self.prefixes.iter().collect();
        entries.sort_by_cached_key(|(prefix, _)| Reverse(prefix.prefix_len()));
        entries.into_iter().flat_map(|(_, equals)| equals.rules())
    }
}

impl Equals {
    fn new(mut rules: Vec<Arc<Rule>>) -> Option<Self> {
        rules.sort_unstable_by_key(|rule| Reverse(rule.rank()));
        let first = rules.pop()?;
        rules.reverse();
        Some(Self { first, others: rules })
    }

    fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        core::iter::once(&self.first).chain(&self.others)
    }
}
