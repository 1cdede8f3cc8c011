// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Fragments to and from addresses that several hosts share (RFC 4787, section 11, REQ-14).
//!
//! Only the first fragment of a datagram shows ports. What it has shown is known for a while by
//! source, destination, protocol and identification, and later ones follow it. One that comes
//! before the first waits, for a shorter while, and then comes anew. Nothing is put together.
//!
//! Both memories are bounded. What is oldest gives way: a flood of fragments harms other fragments
//! of shared addresses, and nothing else.

use super::counters::{BoundaryDrop, BoundaryEvent, Counters};
use super::packet::{End, Selector};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use opte::host::Moment;
use opte_api::Protocol;

/// Datagrams of which the first fragment is known.
pub const MAX_FOLLOWED: usize = 4096;
/// How long it is known, in milliseconds, as a port knows it.
pub const FOLLOWED_MS: u64 = opte::fragments::LIFE_MS;
/// Bytes of fragments that wait for a first one.
pub const WAITING_BYTES: usize = 256 << 10;
/// How long they wait, in milliseconds: networks reorder by less.
pub const WAITING_MS: u64 = 1_000;

/// Which datagram a fragment is of. Whoever sends fragments, other senders' do not follow them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Datagram {
    pub addrs: [IpAddr; 2],
    pub protocol: Protocol,
    pub id: u32,
    /// The hypervisor host that it comes from; `None`: from outside.
    pub host: Option<Ipv6Addr>,
}

/// A fragment that has waited for the first one of its datagram. It is to be taken anew.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waited {
    /// As they came: a frame of the outside link, or a datagram of the underlay.
    pub bytes: Vec<u8>,
    /// The hypervisor host and the outer traffic class; `None`: from outside.
    pub from: Option<(Ipv6Addr, u8)>,
}

/// What is known of fragments.
#[derive(Default)]
pub(super) struct Fragments {
    followed: BTreeMap<Datagram, ([Selector; 2], Moment)>,
    /// The same, the oldest first; what has been said anew is there again.
    order: VecDeque<(Datagram, Moment)>,
    waiting: VecDeque<(Datagram, Moment, Waited)>,
    /// Of those that wait, and those that are ready.
    waiting_bytes: usize,
    ready: VecDeque<Waited>,
}

impl Fragments {
    /// What the first fragment has shown of the end asked for.
    pub fn shown(&self, datagram: &Datagram, end: End, now: Moment) -> Option<Selector> {
        let (selectors, since) = self.followed.get(datagram)?;
        let [src, dst] = *selectors;
        (now.since(*since) < FOLLOWED_MS).then(|| end.of(src, dst))
    }

    /// A first fragment has passed: others follow it.
    pub fn passed(
        &mut self,
        datagram: Datagram,
        shown: [Selector; 2],
        now: Moment,
        counters: &Counters,
    ) {
        let old = |(_, since): &(Datagram, Moment)| now.since(*since) >= FOLLOWED_MS;
        while self.order.front().is_some_and(old) {
            self.forget_first();
        }
        while self.order.len() >= MAX_FOLLOWED {
            self.forget_first();
            counters.add(BoundaryEvent::FragmentsForgotten, 1);
        }
        self.give_up_old(now, counters);
        let before = self.followed.insert(datagram, (shown, now));
        if before.is_none_or(|(_, since)| since != now) {
            self.order.push_back((datagram, now));
        }
        let (theirs, others) = core::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(waits_for, ..)| *waits_for == datagram);
        self.waiting = others;
        self.ready.extend(theirs.into_iter().map(|(.., waited)| waited));
    }

    fn give_up_first(&mut self, counters: &Counters) {
        if let Some((.., oldest)) = self.waiting.pop_front() {
            self.waiting_bytes -= oldest.bytes.len();
            counters.dropped(BoundaryDrop::Fragment);
        }
    }

    fn give_up_old(&mut self, now: Moment, counters: &Counters) {
        let old = |(_, since, _): &(_, Moment, _)| now.since(*since) >= WAITING_MS;
        while self.waiting.front().is_some_and(old) {
            self.give_up_first(counters);
        }
    }

    fn forget_first(&mut self) {
        let Some((datagram, since)) = self.order.pop_front() else { return };
        if self.followed.get(&datagram).is_some_and(|(_, newest)| *newest == since) {
            self.followed.remove(&datagram);
        }
    }

    /// Keeps a fragment until the first one comes.
    pub fn wait(
        &mut self,
        datagram: Datagram,
        waited: Waited,
        now: Moment,
        counters: &Counters,
    ) -> Result<(), BoundaryDrop> {
        self.give_up_old(now, counters);
        let len = waited.bytes.len();
        while self.waiting_bytes + len > WAITING_BYTES {
            if self.waiting.is_empty() {
                return Err(BoundaryDrop::Fragment);
            }
            self.give_up_first(counters);
        }
        self.waiting_bytes += len;
        self.waiting.push_back((datagram, now, waited));
        counters.add(BoundaryEvent::FragmentsHeld, 1);
        Ok(())
    }

    /// One that has waited long enough.
    pub fn ready(&mut self) -> Option<Waited> {
        let waited = self.ready.pop_front()?;
        self.waiting_bytes -= waited.bytes.len();
        Some(waited)
    }

    /// Fragments that wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
