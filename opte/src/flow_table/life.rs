// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How flows end: because somebody says so, by time, or to make room for others.

use super::{Budget, FlowTable};
use crate::flow::Flow;
use crate::host::{Host, Moment};
use crate::policy::IdleLimits;
use crate::slot::Slot;
use crate::tcp::TcpState;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use opte_api::Direction;

/// An established TCP connection is not evicted until it was idle for this long, in milliseconds.
pub const PROTECTED_IDLE: u64 = 60_000;

const EVICTION_TRIES: u32 = 8;

impl<H: Host> FlowTable<H> {
    /// Looks at how a flow was used, and does as `f` says. True if that took the flow out.
    fn review(&self, flow: &Arc<Flow<H>>, f: impl FnOnce(Use) -> Review) -> bool {
        let hashes = self.hashes(flow);
        let number = flow.number();
        let taken = self.locked(hashes, || {
            match f(self.used(flow)?) {
                Review::End => {
                    self.timers.cancel(number);
                    self.count.fetch_sub(1, Ordering::Relaxed);
                    return Some(self.clear(flow, hashes));
                }
                Review::At(at) => self.timers.schedule(number, at),
                Review::Defer(at) => self.timers.defer(number, at),
            }
            None
        });
        // What was in the cells ends outside of all locks.
        let Some(slots) = taken.flatten() else { return false };
        self.cells.give_back(number);
        for slot in slots.iter().flatten() {
            self.ended.add(flow.allowed_by(), slot.packets, slot.bytes);
        }
        true
    }

    /// How the flow was used; `None` if it is not in the table.
    fn used(&self, flow: &Arc<Flow<H>>) -> Option<Use> {
        let [out, inbound] =
            Direction::BOTH.map(|way| self.with_side(flow, way, |slot| (slot.last, slot.packets)));
        let ((a, out), (b, inbound)) = (out?, inbound?);
        Some(Use { last: [a, b], both_ways: out > 0 && inbound > 0 })
    }

    /// Takes a flow out. False if it was out already.
    pub fn remove(&self, flow: &Arc<Flow<H>>) -> bool {
        self.review(flow, |_| Review::End)
    }

    /// Takes note of a change of the flow's TCP state: of what is plain, and of when to look
    /// whether the flow is still alive.
    pub fn refresh(&self, flow: &Arc<Flow<H>>, limits: &IdleLimits, now: Moment) {
        for direction in Direction::BOTH {
            self.with_side(flow, direction, Slot::refresh);
        }
        self.review(flow, |_| Review::At(now.plus_millis(flow.idle_limit(limits))));
    }

    /// Takes note that other limits hold now: the flow is looked at when its time comes by these.
    pub fn refile(&self, flow: &Arc<Flow<H>>, limits: &IdleLimits) {
        self.review(flow, |used| {
            let last = used.last(flow, limits);
            let end = last.plus_millis(flow.idle_limit(limits));
            Review::At(if used.both_ways { end } else { end.min(unproven(last)) })
        });
    }

    /// No flow is to be looked at before later.
    pub fn is_quiet(&self, now: Moment) -> bool {
        self.timers.is_quiet(now)
    }

    /// Takes out flows that have been idle for too long, as far as `budget` goes; tells `ended` of
    /// each. True if there may be more.
    pub fn expire(
        &self,
        limits: &IdleLimits,
        now: Moment,
        budget: &mut Budget,
        mut ended: impl FnMut(&Flow<H>),
    ) -> bool {
        self.timers.poll(now, budget, |number| {
            let Some(flow) = self.cells.flow(number) else { return };
            let expired = self.review(&flow, |used| {
                // The limit is asked for under the lock: who changes it looks again after.
                let end = used.last(&flow, limits).plus_millis(flow.idle_limit(limits));
                match end <= now {
                    true => Review::End,
                    false if used.both_ways => Review::At(end),
                    false => Review::At(end.min(unproven(now))),
                }
            });
            if expired {
                ended(&flow);
            }
        })
    }

    /// Makes room by giving up a flow that would be among the first to expire: O(1), any
    /// protocol, but no established TCP connection that both ends have used, and lately. Answers
    /// the flow. `start` is any number; different ones begin to look in different places.
    pub fn evict(&self, start: u32, limits: &IdleLimits, now: Moment) -> Option<Arc<Flow<H>>> {
        for offset in 0..EVICTION_TRIES {
            let wheel = start.wrapping_add(offset) % self.timers.wheels();
            let Some(number) = self.timers.soonest(wheel) else { continue };
            let Some(flow) = self.cells.flow(number) else { continue };
            let established = flow.tcp_state() == Some(TcpState::Established);
            let evicted = self.review(&flow, |used| {
                if established
                    && used.both_ways
                    && now.since(used.last(&flow, limits)) < PROTECTED_IDLE
                {
                    // It was used since it was scheduled: out of the way of those that were not.
                    return Review::Defer(
                        used.last(&flow, limits).plus_millis(flow.idle_limit(limits)),
                    );
                }
                Review::End
            });
            if evicted {
                return Some(flow);
            }
        }
        None
    }
}

/// How a flow was used.
#[derive(Clone, Copy)]
struct Use {
    /// When the last packet of each direction came.
    last: [Moment; 2],
    /// Packets went both ways.
    both_ways: bool,
}

impl Use {
    /// When the last packet came that keeps the flow alive (RFC 4787, REQ-6).
    fn last<H: Host>(&self, flow: &Flow<H>, limits: &IdleLimits) -> Moment {
        let [out, inbound] = self.last;
        let mapped = flow.lease().is_some() && flow.tcp_state().is_none();
        if limits.mapped_by_outbound && mapped { out } else { out.max(inbound) }
    }
}

/// What becomes of a flow that was looked at.
enum Review {
    /// It is taken out.
    End,
    /// It is looked at again then.
    At(Moment),
    /// The same, behind all others whose time is about the same.
    Defer(Moment),
}

/// When to look at a flow that only one side has used, however long it may live: so a flood of
/// what claims to be established is given up before the connections that it crowds.
pub(super) const fn unproven(now: Moment) -> Moment {
    now.plus_millis(PROTECTED_IDLE)
}
