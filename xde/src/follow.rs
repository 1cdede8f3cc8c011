// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Fragments follow the first one of their packet, where only that shows whose they are (RFC 4787,
//! section 11, REQ-14).
//!
//! What the first fragment has shown is known for a while, and later ones follow it. One that comes
//! before the first waits, for a shorter while, and then comes anew. Nothing is put together.
//!
//! Both memories are bounded. What is oldest gives way: a flood of fragments harms other fragments
//! of the same memory, and nothing else.

use alloc::collections::{BTreeMap, VecDeque};
use core::num::Saturating;
use opte::host::Moment;

/// Packets of which the first fragment is known.
pub const MAX_FOLLOWED: usize = 4096;
/// How long it is known, in milliseconds, as a port knows it.
pub const FOLLOWED_MS: u64 = opte::fragments::LIFE_MS;
/// Bytes of fragments that wait for a first one.
pub const WAITING_BYTES: usize = 256 << 10;
/// How long they wait, in milliseconds: networks reorder by less.
pub const WAITING_MS: u64 = 1_000;

/// A fragment that waits.
pub(crate) trait Waits {
    /// How many bytes are kept for it.
    fn size(&self) -> usize;
}

/// Who counts what becomes of fragments.
pub(crate) trait Account {
    /// A packet of which the first fragment was known is forgotten early.
    fn forgotten(&self);
    /// A fragment waits.
    fn waits(&self);
    /// A fragment has waited in vain.
    fn given_up(&self);
}

/// What is known of packets `K`: what their first fragments have shown, `S`, and fragments that
/// wait, `W`.
pub(crate) struct Follow<K, S, W> {
    followed: BTreeMap<K, (S, Moment)>,
    /// The same, the oldest first; what has been said anew is there again.
    order: VecDeque<(K, Moment)>,
    waiting: VecDeque<(K, Moment, W)>,
    /// Of those that wait, and those that are ready.
    waiting_bytes: Saturating<usize>,
    ready: VecDeque<W>,
}

impl<K, S, W> Default for Follow<K, S, W> {
    fn default() -> Self {
        Self {
            followed: BTreeMap::new(),
            order: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_bytes: Saturating(0),
            ready: VecDeque::new(),
        }
    }
}

impl<K: Copy + Ord, S: Copy, W: Waits> Follow<K, S, W> {
    /// What the first fragment of a packet has shown.
    pub fn shown(&self, packet: &K, now: Moment) -> Option<S> {
        let (shown, since) = self.followed.get(packet)?;
        (now.since(*since) < FOLLOWED_MS).then_some(*shown)
    }

    /// A first fragment has passed: others follow it.
    pub fn passed(&mut self, packet: K, shown: S, now: Moment, account: &impl Account) {
        let old = |(_, since): &(K, Moment)| now.since(*since) >= FOLLOWED_MS;
        while self.order.front().is_some_and(old) {
            self.forget_first();
        }
        while self.order.len() >= MAX_FOLLOWED {
            self.forget_first();
            account.forgotten();
        }
        self.give_up_old(now, account);
        let before = self.followed.insert(packet, (shown, now));
        if before.is_none_or(|(_, since)| since != now) {
            self.order.push_back((packet, now));
        }
        let (theirs, others) = core::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(waits_for, ..)| *waits_for == packet);
        self.waiting = others;
        self.ready.extend(theirs.into_iter().map(|(.., waited)| waited));
    }

    fn give_up_first(&mut self, account: &impl Account) {
        if let Some((.., oldest)) = self.waiting.pop_front() {
            self.waiting_bytes -= oldest.size();
            account.given_up();
        }
    }

    fn give_up_old(&mut self, now: Moment, account: &impl Account) {
        let old = |(_, since, _): &(K, Moment, W)| now.since(*since) >= WAITING_MS;
        while self.waiting.front().is_some_and(old) {
            self.give_up_first(account);
        }
    }

    fn forget_first(&mut self) {
        let Some((packet, since)) = self.order.pop_front() else { return };
        if self.followed.get(&packet).is_some_and(|(_, newest)| *newest == since) {
            self.followed.remove(&packet);
        }
    }

    /// Keeps a fragment until the first one comes. False: there is no room.
    pub fn wait(&mut self, packet: K, waits: W, now: Moment, account: &impl Account) -> bool {
        self.give_up_old(now, account);
        let size = waits.size();
        while self.waiting_bytes.0 + size > WAITING_BYTES {
            if self.waiting.is_empty() {
                return false;
            }
            self.give_up_first(account);
        }
        self.waiting_bytes += size;
        self.waiting.push_back((packet, now, waits));
        account.waits();
        true
    }

    /// One that has waited long enough.
    pub fn ready(&mut self) -> Option<W> {
        let waited = self.ready.pop_front()?;
        self.waiting_bytes -= waited.size();
        Some(waited)
    }

    /// Fragments that wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
