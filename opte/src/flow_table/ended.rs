// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What flows that are over have carried, by the rule that had let them be.

use crate::host::{Host, Lock};
use crate::rule::RuleId;
use alloc::collections::BTreeMap;

/// Rules of which this is known: more than a port has. Those with the lowest numbers, which are
/// the oldest, are forgotten first.
const RULES: usize = 32_768;

/// Packets and bytes of inner frames, both ways.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Traffic {
    /// Adds some.
    pub const fn add(&mut self, packets: u64, bytes: u64) {
        self.packets += packets;
        self.bytes += bytes;
    }
}

/// The sums of a table.
pub(super) struct Ended<H: Host>(H::Lock<BTreeMap<RuleId, Traffic>>);

impl<H: Host> Ended<H> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self(H::Lock::new(BTreeMap::new()))
    }

    /// A flow is over.
    pub fn add(&self, rule: Option<RuleId>, packets: u64, bytes: u64) {
        let Some(rule) = rule else { return };
        self.0.with(|sums| {
            sums.entry(rule).or_default().add(packets, bytes);
            if sums.len() > RULES {
                sums.pop_first();
            }
        });
    }

    /// All sums.
    pub fn all(&self) -> BTreeMap<RuleId, Traffic> {
        self.0.with(|sums| sums.clone())
    }
}
