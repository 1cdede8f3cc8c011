// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Ports that were given back and are not to be used again yet.
//!
//! A packet that is still under way to the last owner of a port must not reach the next (RFC 6888,
//! REQ-8). So a port that comes back waits here. Under pressure the one that waits longest goes
//! first.

use crate::host::Moment;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// Ports of one block.
const BLOCK: usize = 1024;
const BLOCKS: usize = 65536 / BLOCK;

/// How long ports wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hold {
    /// For so long, in milliseconds.
    pub millis: u64,
    /// At most so many of one address and protocol.
    pub ports: u32,
}

impl Default for Hold {
    /// 120 s, and as many as there are (RFC 6888, REQ-8).
    fn default() -> Self {
        Self { millis: 120_000, ports: 65_536 }
    }
}

#[derive(Clone, Copy)]
struct Waiting {
    port: u16,
    until: Moment,
}

/// The ports that wait, of one address and protocol: in blocks, so that the oldest of a range is
/// found without looking at those outside of it.
pub(super) struct Quarantine {
    blocks: Vec<VecDeque<Waiting>>,
    len: u32,
}

impl Quarantine {
    pub fn new() -> Self {
        Self { blocks: (0..BLOCKS).map(|_| VecDeque::new()).collect(), len: 0 }
    }

    /// How many wait.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// A port begins to wait.
    pub fn push(&mut self, port: u16, until: Moment) {
        if let Some(block) = self.blocks.get_mut(usize::from(port) / BLOCK) {
            block.push_back(Waiting { port, until });
            self.len += 1;
        }
    }

    /// Takes out a port whose time has come.
    pub fn take_due(&mut self, now: Moment) -> Option<u16> {
        let due = |block: &&mut VecDeque<Waiting>| block.front().is_some_and(|w| w.until <= now);
        let port = self.blocks.iter_mut().find(due)?.pop_front()?.port;
        self.len -= 1;
        Some(port)
    }

    /// When to look for such ports next.
    pub fn next_due(&self) -> Option<Moment> {
        self.blocks.iter().filter_map(|block| block.front()).map(|waiting| waiting.until).min()
    }

    /// Takes out the port of `range` that has the least left to wait.
    pub fn take_oldest(&mut self, range: &RangeInclusive<u16>) -> Option<u16> {
        let (first, last) =
            (usize::from(*range.start()) / BLOCK, usize::from(*range.end()) / BLOCK);
        let oldest = |(index, block): (usize, &VecDeque<Waiting>)| {
            let at = block.iter().position(|waiting| range.contains(&waiting.port))?;
            Some((block.get(at)?.until, index, at))
        };
        let blocks = self.blocks.iter().enumerate().take(last + 1).skip(first);
        let (_, index, at) = blocks.filter_map(oldest).min()?;
        let port = self.blocks.get_mut(index)?.remove(at)?.port;
        self.len -= 1;
        Some(port)
    }

    /// How many of `range` wait.
    pub fn count(&self, range: &RangeInclusive<u16>) -> usize {
        self.blocks.iter().flatten().filter(|waiting| range.contains(&waiting.port)).count()
    }

    /// Takes out a port wherever it stands. False if it does not wait.
    pub fn take(&mut self, port: u16) -> bool {
        let Some(block) = self.blocks.get_mut(usize::from(port) / BLOCK) else { return false };
        let at = block.iter().position(|waiting| waiting.port == port);
        let found = at.and_then(|at| block.remove(at)).is_some();
        self.len -= u32::from(found);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_a_range_goes_first() {
        let mut waiting = Quarantine::new();
        for (port, until) in [(5000, 3), (10, 1), (6000, 2), (5001, 4)] {
            waiting.push(port, Moment::from_millis(until));
        }
        assert_eq!(waiting.take_oldest(&(5000..=7000)), Some(6000));
        assert_eq!(waiting.take_oldest(&(5001..=7000)), Some(5001));
        assert_eq!(waiting.take_oldest(&(5001..=7000)), None);
        assert_eq!((waiting.len(), waiting.count(&(0..=u16::MAX))), (2, 2));
    }

    #[test]
    fn time_brings_them_back() {
        let mut waiting = Quarantine::new();
        waiting.push(9, Moment::from_millis(20));
        waiting.push(60_000, Moment::from_millis(10));
        assert_eq!(waiting.next_due(), Some(Moment::from_millis(10)));
        assert_eq!(waiting.take_due(Moment::from_millis(9)), None);
        assert_eq!(waiting.take_due(Moment::from_millis(20)), Some(9));
        assert_eq!(waiting.take_due(Moment::from_millis(19)), Some(60_000));
        assert_eq!(waiting.next_due(), None);
    }
}
