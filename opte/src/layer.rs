// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Layers: named tables of rules that packets pass in order.

use crate::drop_reason::DropReason;
use crate::table::Table;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use opte_api::Direction;

/// What happens when no rule matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DefaultAction {
    /// The packet passes.
    Allow,
    /// The connection passes, both ways.
    AllowStateful,
    /// The packet is dropped.
    Deny(DropReason),
}

impl fmt::Display for DefaultAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::AllowStateful => "allow (stateful)",
            Self::Deny(_) => "deny",
        })
    }
}

/// What a layer does with packets that go against the way their connection was opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Return {
    /// Runs its rules, as for any packet.
    Rules,
    /// Lets them pass: the connection was let. Rules of such a layer let packets pass or drop them, and
    /// do nothing else.
    Pass,
    /// Undoes the connection's translation.
    Translate,
}

/// The rules of one direction.
#[derive(Clone)]
pub struct LayerSide {
    /// The rules.
    pub table: Table,
    /// What happens when none matches.
    pub default: DefaultAction,
    default_hits: Arc<AtomicU64>,
}

impl LayerSide {
    /// A side whose default has not been used yet.
    pub fn new(table: Table, default: DefaultAction) -> Self {
        Self { table, default, default_hits: Arc::default() }
    }

    /// This side with other rules; the uses of its default go on being counted.
    pub fn with_table(&self, table: Table) -> Self {
        Self { table, default: self.default, default_hits: self.default_hits.clone() }
    }

    pub(crate) fn default_hit(&self) {
        self.default_hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Packets for which no rule matched.
    pub fn default_hits(&self) -> u64 {
        self.default_hits.load(Ordering::Relaxed)
    }
}

/// A layer. Immutable: a change makes another one.
pub struct Layer {
    /// Its name.
    pub name: &'static str,
    /// Rules out and in.
    pub sides: [LayerSide; 2],
    /// What it does with packets against the opening direction.
    pub on_return: Return,
}

impl Layer {
    /// The rules of a direction.
    pub const fn side(&self, direction: Direction) -> &LayerSide {
        let [out, inbound] = &self.sides;
        match direction {
            Direction::Out => out,
            Direction::In => inbound,
        }
    }

    /// Its rules let packets pass or drop them, and do nothing else.
    pub fn only_filters(&self) -> bool {
        self.on_return == Return::Pass
    }

    /// This layer with other rules in one direction.
    #[must_use]
    pub fn with_table(&self, direction: Direction, table: Table) -> Self {
        let mut sides = self.sides.clone();
        let [out, inbound] = &mut sides;
        let side = match direction {
            Direction::Out => out,
            Direction::In => inbound,
        };
        *side = side.with_table(table);
        Self { name: self.name, sides, on_return: self.on_return }
    }
}
