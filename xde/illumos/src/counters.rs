// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What this host itself has done and lost, beside the engine's counters.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

opte::named! {
    /// A counter of the host.
    pub enum Counter {
        /// Messages whose headers lay in pieces, or in memory that others look at, and were copied.
        PullUps = "pull_ups",
        /// Outer headers that needed a block of their own.
        HeaderBlocks = "header_blocks",
        /// Transport checksums that were summed up here.
        Checksums = "checksums_in_software",
        /// Frames that the MAC layer cut into segments for us.
        Cuts = "cuts_in_software",
        /// Next hops that were asked of the IP module.
        RouteLookups = "route_lookups",
        /// Links of the underlay that went down.
        LinksDown = "underlay_links_down",
        /// Links of the underlay that came up again.
        LinksUp = "underlay_links_up",
        /// Lost: there was no memory for a block.
        NoMemory = "lost_no_memory",
        /// Lost: little was left of the reserve when the frame came in.
        MemoryLow = "lost_memory_low",
        /// Lost: its headers were not where the sender said.
        BadMessage = "lost_bad_message",
        /// Lost: there is no such port any more.
        NoSuchPort = "lost_no_such_port",
        /// Lost: nobody has opened the port's link.
        NotStarted = "lost_not_started",
        /// Lost: there is no underlay any more.
        NoUnderlay = "lost_no_underlay",
        /// Lost: no route to the host that it is for.
        NoRoute = "lost_no_route",
        /// Lost: the link address of the next hop is not known.
        NoNeighbour = "lost_no_neighbour",
        /// Lost: the route leaves by a link that is none of the underlay's.
        OtherLink = "lost_other_link",
        /// Lost: the links by which it could leave are down.
        LinkDown = "lost_link_down",
        /// Lost: with its outer headers it is longer than the link carries.
        TooLong = "lost_too_long",
    }
}

/// All counters of a host.
pub struct Counters([AtomicU64; Counter::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Counter::ALL.len()])
    }
}

impl Counters {
    /// Adds one.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds so many.
    pub fn add(&self, counter: Counter, amount: u64) {
        if let Some(counter) = self.0.get(counter as usize) {
            counter.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Value of one.
    pub fn value(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Names and values of all.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let named = Counter::ALL.iter().map(|counter| (counter.name(), self.value(*counter)));
        named.chain([("from_reserve", crate::memory::from_reserve_count())]).collect()
    }
}
