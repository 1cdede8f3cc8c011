// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The tree: which rules may match, told apart by one dimension after the other.

use super::dimension::{Block, Dimension, Dimensions, Value};
use super::places::Places;
use crate::meta::Meta;
use crate::rule::{Facts, Rank, Rule, RuleId};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use hashbrown::HashTable;

/// A leaf with so many rules that could be told apart is split.
const CROWDED: u32 = 8;
const ROOT: u32 = 0;
const END: u32 = u32::MAX;
/// No rule goes behind this.
const LATEST: Rank = (u16::MAX, true, Reverse(RuleId(0)));

/// Nodes by number; children have greater numbers than their parents.
#[derive(Clone)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// Lengths in use of the blocks of each split; IPv4 addresses and all others, IPv6 addresses.
    lengths: Vec<[u128; 2]>,
    entries: Vec<Entry>,
    children: HashTable<Child>,
}

/// A node and all below it.
#[derive(Clone, Copy)]
struct Node {
    /// No rule here goes before this.
    best: Rank,
    /// Dimensions that nodes above have split by.
    used: Dimensions,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// A list of entries by rank. `open`: how many could be told apart further.
    Leaf { first: u32, open: u32 },
    /// The children of a split are in one hash table for all of them.
    Split { dimension: Dimension, rest: u32, lengths: u32 },
}

/// A rule in the list of a leaf.
#[derive(Clone, Copy)]
struct Entry {
    rank: Rank,
    place: u32,
    next: u32,
}

/// What a block of a split leads to. The hash is the whole key: should two blocks of a split
/// share one, their rules share a child, which is slower and still right.
#[derive(Clone, Copy)]
struct Child {
    hash: u64,
    parent: u32,
    node: u32,
}

/// What a change does with a rule in the leaves that it belongs to.
#[derive(Clone, Copy)]
pub(super) enum Change {
    /// Puts the rule of this place there.
    File(u32),
    /// Takes it away.
    Strike,
}

/// A rule on its way to its leaves.
pub(super) struct Filing<'a> {
    rule: &'a Rule,
    rank: Rank,
    named: Dimensions,
    change: Change,
}

impl<'a> Filing<'a> {
    pub fn new(rule: &'a Rule, change: Change) -> Self {
        Self { rule, rank: rule.rank(), named: Dimensions::of(rule), change }
    }
}

impl Tree {
    /// A tree without rules, with room for some.
    pub fn with_capacity(rules: usize) -> Self {
        let mut tree = Self {
            nodes: Vec::with_capacity(rules),
            lengths: Vec::new(),
            entries: Vec::with_capacity(rules),
            children: HashTable::with_capacity(rules),
        };
        tree.leaf(LATEST, Dimensions::NONE);
        tree
    }

    /// Changes all leaves that a rule belongs to; answers the place of a struck rule.
    pub fn change(&mut self, rules: &Places, filing: &Filing<'_>) -> Option<u32> {
        self.change_below(ROOT, rules, filing)
    }

    /// The first rule by rank that matches, and its place.
    pub fn first<'t>(
        &'t self,
        rules: &'t Places,
        facts: &Facts,
        meta: &Meta,
    ) -> Option<(u32, &'t Arc<Rule>)> {
        let mut search = Search { tree: self, rules, facts, meta, best: None };
        search.node(ROOT);
        search.best.map(|(_, place, rule)| (place, rule))
    }

    fn leaf(&mut self, best: Rank, used: Dimensions) -> u32 {
        self.nodes.push(Node { best, used, kind: Kind::Leaf { first: END, open: 0 } });
        self.nodes.len() as u32 - 1
    }

    fn change_below(&mut self, at: u32, rules: &Places, filing: &Filing<'_>) -> Option<u32> {
        let node = self.nodes.get_mut(at as usize)?;
        node.best = node.best.min(filing.rank);
        match (node.kind, filing.change) {
            (Kind::Leaf { .. }, Change::Strike) => self.strike(at, filing),
            (Kind::Leaf { .. }, Change::File(place)) => {
                if self.file(at, place, filing) >= CROWDED {
                    self.split(at, rules);
                }
                None
            }
            (Kind::Split { dimension, rest, lengths }, _) => {
                let mut struck = None;
                dimension.blocks(filing.rule, |block| {
                    let below = match block.len {
                        0 => Some(rest),
                        _ => self.child_for(at, lengths, block, filing),
                    };
                    struck =
                        below.and_then(|below| self.change_below(below, rules, filing)).or(struck);
                });
                struck
            }
        }
    }

    /// The child for a block; made if a rule is to be filed there.
    fn child_for(
        &mut self,
        at: u32,
        lengths: u32,
        block: Block,
        filing: &Filing<'_>,
    ) -> Option<u32> {
        let hash = hash(at, block);
        if let Some(child) = self.child(at, hash) {
            return Some(child);
        }
        let Change::File(_) = filing.change else { return None };
        let [plain, ipv6] = self.lengths.get_mut(lengths as usize)?;
        *(if block.ipv6 { ipv6 } else { plain }) |= 1 << (block.len - 1);
        let node = self.leaf(filing.rank, self.nodes.get(at as usize)?.used);
        self.children.insert_unique(hash, Child { hash, parent: at, node }, |child| child.hash);
        Some(node)
    }

    fn child(&self, parent: u32, hash: u64) -> Option<u32> {
        let same = |child: &Child| child.hash == hash && child.parent == parent;
        self.children.find(hash, same).map(|child| child.node)
    }

    /// Puts a rule into the list of a leaf; answers how many there could be told apart.
    fn file(&mut self, at: u32, place: u32, filing: &Filing<'_>) -> u32 {
        let Some(Node { kind: Kind::Leaf { first, open }, used, .. }) =
            self.nodes.get_mut(at as usize)
        else {
            return 0;
        };
        let mut before = END;
        let mut next = *first;
        while let Some(entry) = self.entries.get(next as usize) {
            if entry.place == place {
                return *open;
            }
            if entry.rank > filing.rank {
                break;
            }
            (before, next) = (next, entry.next);
        }
        let new = self.entries.len() as u32;
        *open += u32::from(!filing.named.without(*used).is_empty());
        match self.entries.get_mut(before as usize) {
            Some(entry) => entry.next = new,
            None => *first = new,
        }
        self.entries.push(Entry { rank: filing.rank, place, next });
        *open
    }

    /// Takes a rule out of the list of a leaf; answers its place.
    fn strike(&mut self, at: u32, filing: &Filing<'_>) -> Option<u32> {
        let node = self.nodes.get_mut(at as usize)?;
        let Kind::Leaf { first, open } = &mut node.kind else { return None };
        let mut before = END;
        let mut next = *first;
        while let Some(entry) = self.entries.get(next as usize).copied() {
            if entry.rank == filing.rank {
                let counted = u32::from(!filing.named.without(node.used).is_empty());
                *open = open.saturating_sub(counted);
                match self.entries.get_mut(before as usize) {
                    Some(before) => before.next = entry.next,
                    None => *first = entry.next,
                }
                return Some(entry.place);
            }
            (before, next) = (next, entry.next);
        }
        None
    }

    /// Makes a leaf a split by the dimension that most of its rules name.
    fn split(&mut self, at: u32, rules: &Places) {
        let Some(Node { kind: Kind::Leaf { first, .. }, used, best }) =
            self.nodes.get(at as usize).copied()
        else {
            return;
        };
        let listed: Vec<Entry> = self.list(first).copied().collect();
        let named = listed.iter().filter_map(|entry| rules.get(entry.place));
        let named = named.map(|rule| Dimensions::of(rule).without(used));
        let Some(dimension) = Dimensions::most_common(named) else { return };
        let used = used.with(dimension);
        let rest = self.leaf(best, used);
        let lengths = self.lengths.len() as u32;
        self.lengths.push([0; 2]);
        if let Some(node) = self.nodes.get_mut(at as usize) {
            *node = Node { best, used, kind: Kind::Split { dimension, rest, lengths } };
        }
        for entry in listed.iter().rev() {
            let Some(rule) = rules.get(entry.place) else { continue };
            self.change_below(at, rules, &Filing::new(rule, Change::File(entry.place)));
        }
    }

    fn list(&self, first: u32) -> impl Iterator<Item = &Entry> {
        let entry = |at: u32| self.entries.get(at as usize);
        core::iter::successors(entry(first), move |last| entry(last.next))
    }
}

/// A look-up under way.
struct Search<'t, 'p> {
    tree: &'t Tree,
    rules: &'t Places,
    facts: &'p Facts,
    meta: &'p Meta,
    best: Option<(Rank, u32, &'t Arc<Rule>)>,
}

impl Search<'_, '_> {
    /// Nothing of this rank or behind it can be the first.
    fn is_late(&self, rank: Rank) -> bool {
        self.best.is_some_and(|(best, ..)| best <= rank)
    }

    fn node(&mut self, mut at: u32) {
        let tree = self.tree;
        while let Some(node) = tree.nodes.get(at as usize).filter(|node| !self.is_late(node.best)) {
            match node.kind {
                Kind::Leaf { first, .. } => return self.leaf(first),
                Kind::Split { dimension, rest, lengths } => {
                    if let Some(value) = dimension.value(self.facts, self.meta) {
                        self.blocks(at, lengths, value);
                    }
                    at = rest;
                }
            }
        }
    }

    /// All children whose block holds the value.
    fn blocks(&mut self, at: u32, lengths: u32, value: Value) {
        let Some([plain, ipv6]) = self.tree.lengths.get(lengths as usize) else { return };
        let mut left = if value.ipv6 { *ipv6 } else { *plain };
        while left != 0 {
            let len = left.trailing_zeros() as u8 + 1;
            left &= left - 1;
            if let Some(child) = self.tree.child(at, hash(at, value.block(len))) {
                self.node(child);
            }
        }
    }

    fn leaf(&mut self, first: u32) {
        let tree = self.tree;
        for entry in tree.list(first) {
            if self.is_late(entry.rank) {
                return;
            }
            let rule = self.rules.get(entry.place);
            if let Some(rule) = rule.filter(|rule| rule.matches(self.facts, self.meta)) {
                self.best = Some((entry.rank, entry.place, rule));
                return;
            }
        }
    }
}

/// Folded multiplication, as in wyhash and foldhash. Packets only look up, and configuration is
/// trusted, so it needs no secret; the constants are digits of pi.
fn hash(at: u32, block: Block) -> u64 {
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let (high, low) = ((block.bits >> 64) as u64, block.bits as u64);
    let kind = u64::from(at) << 16 | u64::from(block.len) << 8 | u64::from(block.ipv6);
    let bits = fold(high ^ 0x243f_6a88_85a3_08d3, low ^ 0x1319_8a2e_0370_7344);
    fold(bits ^ 0xa409_3822_299f_31d0, kind ^ 0x082e_fa98_ec4e_6c89)
}
