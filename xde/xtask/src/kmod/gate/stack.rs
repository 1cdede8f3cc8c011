// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How much of the stack the module takes at worst, from each place at which the kernel calls it.
//!
//! The sum of frames along the longest chain of calls. It is an upper bound of what the module
//! itself takes, with these grains of salt:
//!
//! * a function that calls itself, by whatever detour, is counted [`LEVELS`] times: what does that
//!   here are trees of maps and descriptions of values, which are no deeper;
//! * what happens after something has panicked is not counted: the machine ends;
//! * whom a call through a table or a pointer may reach is narrowed by what the sources say: see
//!   [`dispatch`];
//! * what the kernel's own functions take comes on top.

use super::dispatch;
use super::graph::{Call, Graph, Target};
use super::tables::Place;
use super::{Module, Report};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Largest depth. A kernel's stack has 20 KiB, of which who calls and whom we call take some, too.
const MAX_DEPTH: u64 = 18 << 10;
/// How often functions that call themselves are counted.
const LEVELS: u64 = 4;

/// The longest chain from one place.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Depth {
    /// Bytes.
    pub bytes: u64,
    /// Functions of the chain, each with its frame, the first one first.
    pub chain: Vec<(String, u64)>,
}

/// Finds the longest chains; none may be longer than [`MAX_DEPTH`].
pub fn check(module: &Module<'_>, report: &mut Report) -> Result<()> {
    let graph = Graph::read(module)?;
    let mut stack = Stack::new(&graph);
    report.depths = stack.depths();
    let name = |place: &Place| graph.functions.get(place).map(|function| function.name.clone());
    report.recursive = stack.recursive.iter().filter_map(name).collect();
    report.unknown_calls = stack.unknown;
    let too_deep = report.depths.iter().filter(|depth| depth.bytes > MAX_DEPTH).map(|depth| {
        let first = depth.chain.first().map(|(name, _)| name.as_str()).unwrap_or_default();
        format!("{first} may take {} bytes of stack, more than {MAX_DEPTH}", depth.bytes)
    });
    report.problems.extend(too_deep);
    Ok(())
}

/// Finds longest chains.
struct Stack<'a> {
    graph: &'a Graph,
    /// Bytes of the longest chain from a function, and who comes next in it.
    known: BTreeMap<Place, (u64, Option<Place>)>,
    /// Functions that are being looked at.
    open: BTreeSet<Place>,
    /// Functions that call themselves.
    recursive: BTreeSet<Place>,
    /// Calls whose target is not known.
    unknown: usize,
}

impl<'a> Stack<'a> {
    /// Of all functions.
    fn new(graph: &'a Graph) -> Self {
        let calls = graph.functions.values().flat_map(|function| &function.calls);
        let unknown = calls.filter(|call| call.target == Target::Unknown).count();
        let (known, open, recursive) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { graph, known, open, recursive, unknown }
    }

    /// The longest chain from each function that the kernel knows, longest first.
    fn depths(&mut self) -> Vec<Depth> {
        let exported = self.graph.functions.iter().filter(|(_, it)| it.name.starts_with('_'));
        let exported = exported.map(|(place, _)| *place);
        let entries: BTreeSet<Place> =
            exported.chain(self.graph.entries.iter().chain(&self.graph.taken).copied()).collect();
        let mut depths: Vec<Depth> = entries.into_iter().map(|place| self.depth(place)).collect();
        depths.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.chain.cmp(&b.chain)));
        depths
    }

    fn depth(&mut self, place: Place) -> Depth {
        let bytes = self.bytes(place);
        let mut chain = Vec::new();
        let (mut next, mut seen) = (Some(place), BTreeSet::new());
        while let Some(place) = next.filter(|place| seen.insert(*place)) {
            let Some(function) = self.graph.functions.get(&place) else { break };
            chain.push((function.name.clone(), function.frame));
            next = self.known.get(&place).and_then(|(_, next)| *next);
        }
        Depth { bytes, chain }
    }

    fn bytes(&mut self, place: Place) -> u64 {
        if let Some((bytes, _)) = self.known.get(&place) {
            return *bytes;
        }
        let Some(function) = self.graph.functions.get(&place) else { return 0 };
        if never_returns(&function.name) {
            return function.frame;
        }
        if !self.open.insert(place) {
            self.recursive.insert(place);
            return (LEVELS - 1) * function.frame;
        }
        let mut longest = (function.frame, None);
        for Call { target, tail } in &function.calls {
            let own = if *tail { 0 } else { function.frame };
            for next in self.targets(&function.name, target) {
                let bytes = own + self.bytes(next);
                if bytes > longest.0 {
                    longest = (bytes, Some(next));
                }
            }
        }
        self.open.remove(&place);
        self.known.insert(place, longest);
        longest.0
    }

    fn targets(&self, caller: &str, target: &Target) -> Vec<Place> {
        let may_be = |place: &&Place| {
            let name = self.graph.functions.get(*place).map(|function| function.name.as_str());
            name.is_some_and(|name| dispatch::may_call(caller, name))
        };
        match target {
            Target::Function(place) => vec![*place],
            Target::Import(_) => Vec::new(),
            Target::Method(at) => {
                self.graph.methods.get(at).into_iter().flatten().filter(may_be).copied().collect()
            }
            Target::Unknown => self.graph.taken.iter().filter(may_be).copied().collect(),
        }
    }
}

/// Functions after which the machine ends.
fn never_returns(name: &str) -> bool {
    let ends = ["panick", "panic_", "_failed", "handle_alloc_error", "handle_error", "_fail"];
    ends.iter().any(|part| name.contains(part))
}
