// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Tables of rules: by priority, or by longest prefix of the destination.

use crate::meta::Meta;
use crate::rule::{Facts, Rule};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte_api::IpCidr;
use prefix_trie::PrefixMap;

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

/// Rules that each stand for one destination prefix.
pub struct PrefixTable {
    rules: Vec<Arc<Rule>>,
    v4: PrefixMap<(u32, u8), Arc<Rule>>,
    v6: PrefixMap<(u128, u8), Arc<Rule>>,
}

impl PrefixTable {
    /// A table of these prefixes. Where a prefix stands twice, the first rule by
    /// [`Rule::rank`] is taken.
    pub fn new(mut entries: Vec<(IpCidr, Arc<Rule>)>) -> Self {
        entries.sort_by_key(|(prefix, rule)| {
            (core::cmp::Reverse(prefix.prefix_len()), prefix.addr(), rule.rank())
        });
        let mut table = Self {
            rules: Vec::with_capacity(entries.len()),
            v4: PrefixMap::new(),
            v6: PrefixMap::new(),
        };
        for (prefix, rule) in entries {
            match prefix.addr() {
                IpAddr::V4(ip) => {
                    let slot = table.v4.entry((ip.to_bits(), prefix.prefix_len()));
                    slot.or_insert_with(|| rule.clone());
                }
                IpAddr::V6(ip) => {
                    let slot = table.v6.entry((ip.to_bits(), prefix.prefix_len()));
                    slot.or_insert_with(|| rule.clone());
                }
            }
            table.rules.push(rule);
        }
        table
    }

    fn longest(&self, dst: IpAddr) -> Option<&Arc<Rule>> {
        match dst {
            IpAddr::V4(ip) => self.v4.get_lpm(&(ip.to_bits(), 32)).map(|(_, rule)| rule),
            IpAddr::V6(ip) => self.v6.get_lpm(&(ip.to_bits(), 128)).map(|(_, rule)| rule),
        }
    }
}
