// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Tables of rules: by priority, or by longest prefix of the destination.

use crate::meta::Meta;
use crate::rule::{Facts, Rule};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use opte_api::IpCidr;

/// The rules of one direction of a layer.
pub enum Table {
    /// Tried in the order of [`Rule::rank`]; the first that matches decides.
    Priority(Vec<Arc<Rule>>),
    /// The rule of the longest prefix that holds the destination decides.
    Prefix(PrefixTable),
}

impl Table {
    /// A table without rules.
    pub const EMPTY: Self = Self::Priority(Vec::new());

    /// A table by priority.
    pub fn by_priority(mut rules: Vec<Arc<Rule>>) -> Self {
        rules.sort_by_key(|rule| rule.rank());
        Self::Priority(rules)
    }

    /// The first rule at or behind place `from` that matches, and its place.
    pub fn matching(&self, facts: &Facts, meta: &Meta, from: usize) -> Option<(usize, &Arc<Rule>)> {
        match self {
            Self::Priority(rules) => {
                let rest = rules.iter().enumerate().skip(from);
                rest.into_iter().find(|(_, rule)| rule.matches(facts, meta))
            }
            Self::Prefix(table) if from == 0 => {
                table.longest(facts.key?.dst()).map(|rule| (0, rule))
            }
            Self::Prefix(_) => None,
        }
    }

    /// All rules in the order of trial.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        match self {
            Self::Priority(rules) => rules.iter(),
            Self::Prefix(table) => table.rules.iter(),
        }
    }
}

/// Rules that each stand for one destination prefix. Looking one up costs one probe for each
/// prefix length in use, however many prefixes there are.
pub struct PrefixTable {
    rules: Vec<Arc<Rule>>,
    by_prefix: HashMap<IpCidr, Arc<Rule>, FixedState>,
    /// Lengths in use of IPv4 and of IPv6 prefixes, longest first.
    lengths: [Vec<u8>; 2],
}

impl PrefixTable {
    /// A table of these prefixes. Where a prefix stands twice, the first rule by
    /// [`Rule::rank`] is taken.
    pub fn new(mut entries: Vec<(IpCidr, Arc<Rule>)>) -> Self {
        entries.sort_by_key(|(prefix, rule)| {
            (core::cmp::Reverse(prefix.prefix_len()), prefix.addr(), rule.rank())
        });
        // Whoever sends packets only looks up, so the hash needs no secret.
        let mut table = Self {
            rules: Vec::with_capacity(entries.len()),
            by_prefix: HashMap::with_capacity_and_hasher(entries.len(), FixedState::default()),
            lengths: [Vec::new(), Vec::new()],
        };
        let [v4, v6] = &mut table.lengths;
        for (prefix, rule) in entries {
            let lengths = if prefix.is_ipv4() { &mut *v4 } else { &mut *v6 };
            if lengths.last() != Some(&prefix.prefix_len()) {
                lengths.push(prefix.prefix_len());
            }
            table.by_prefix.entry(prefix).or_insert_with(|| rule.clone());
            table.rules.push(rule);
        }
        table
    }

    fn longest(&self, dst: IpAddr) -> Option<&Arc<Rule>> {
        let [v4, v6] = &self.lengths;
        let lengths = if dst.is_ipv4() { v4 } else { v6 };
        let mut prefixes = lengths.iter().filter_map(|len| IpCidr::new(dst, *len).ok());
        prefixes.find_map(|prefix| self.by_prefix.get(&prefix))
    }
}
