// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Who is told what. The guest is told by its gateway. Who sends to the guest is told only what a
//! rule says, as if the guest had said it, so that nobody outside learns of gateways.

use super::{Complaint, Original, Rate};
use crate::drop_reason::DropReason;
use crate::event::Exhausted;
use crate::frame::Frame;
use crate::headers::Headers;
use crate::host::{Host, Lock, Observer};
use crate::policy::AnswerPolicy;
use crate::port::{Port, Turn};
use alloc::vec::Vec;
use core::net::IpAddr;
use opte_api::{Direction, Protocol};

/// How often an observer is told that no external port is left.
const ALARMS: Rate = Rate { per_second: 1, burst: 1 };

impl<H: Host> Port<H> {
    /// What the sender of a packet that was dropped is told. `ended`: the policy has ended the
    /// connection that it belonged to.
    #[cold]
    pub(crate) fn answer<F: Frame>(
        &self,
        turn: Turn<'_>,
        frame: &F,
        headers: Result<&Headers, DropReason>,
        reason: DropReason,
        ended: bool,
    ) -> Option<Vec<u8>> {
        let exhausted =
            matches!(reason, DropReason::NatExhausted | DropReason::NatLimit | DropReason::NatRate);
        if exhausted {
            self.alarm(turn, headers, reason);
        }
        let known = Complaint::of(reason).filter(|complaint| !ended || !complaint.is_about_reach());
        let complaint = known.or(ended.then_some(Complaint::Prohibited))?;
        let rejected =
            ended || matches!(reason, DropReason::FirewallReject | DropReason::ConnectionCut);
        if turn.direction == Direction::In && !rejected {
            return None;
        }
        let original = Original::new(frame.head(), headers.ok()?)?;
        let policy = &turn.policy.rules.answers;
        let complaint = match original.key.protocol() {
            // RFC 5508, REQ-8.
            Protocol::ICMP | Protocol::ICMPV6 if exhausted => Complaint::Prohibited,
            _ => complaint.with_size(reason, policy),
        };
        let is_told = rejected || exhausted || reason == DropReason::RouteBlackhole;
        if complaint.is_about_reach() && !is_told && !policy.unreachable {
            return None;
        }
        let reset = if rejected { original.reset() } else { None };
        let complain = || original.complain(complaint, original.speaker(turn.direction, policy)?);
        let answer = reset.or_else(complain)?;
        let sent = self.answers.with(|bucket| bucket.take(policy.rate, turn.now));
        self.counters.answered(sent);
        sent.then_some(answer)
    }

    /// Tells an observer that no external port was left, unless that was told lately (RFC 6888,
    /// REQ-11 C).
    fn alarm(&self, turn: Turn<'_>, headers: Result<&Headers, DropReason>, reason: DropReason) {
        if self.alarms.with(|bucket| bucket.take(ALARMS, turn.now)) {
            let key = headers.ok().and_then(Headers::key);
            self.observer.tell(|| Exhausted {
                port: self.id,
                reason: reason as u8,
                key: key.map(Into::into).unwrap_or_default(),
            });
        }
    }
}

impl Original<'_> {
    /// Whom an error comes from.
    fn speaker(&self, direction: Direction, policy: &AnswerPolicy) -> Option<IpAddr> {
        let [ipv4, ipv6] = policy.gateways;
        match direction {
            Direction::In => Some(self.key.dst()),
            Direction::Out if self.key.is_ipv4() => ipv4,
            Direction::Out => ipv6,
        }
    }
}

impl Complaint {
    /// What is said of a packet that was dropped for this reason (RFC 1812, section 5.2.7.1).
    const fn of(reason: DropReason) -> Option<Self> {
        Some(match reason {
            DropReason::HopLimit => Self::HopLimit,
            DropReason::TooBigInside | DropReason::TooBigOutside => Self::TooBig { mtu: 0 },
            DropReason::NoRoute | DropReason::RouteBlackhole => Self::NoRoute,
            // What may be there again later (RFC 6888, REQ-11 B).
            DropReason::NatExhausted
            | DropReason::NatLimit
            | DropReason::NatRate
            | DropReason::NoMapping
            | DropReason::NoBoundary => Self::NoHost,
            // By configuration (RFC 5508, REQ-8).
            DropReason::FirewallReject
            | DropReason::ConnectionCut
            | DropReason::FirewallRule
            | DropReason::FirewallDefault
            | DropReason::RouteDrop
            | DropReason::NoExternalAddress
            | DropReason::NatProtocol => Self::Prohibited,
            _ => return None,
        })
    }

    /// The same with the size that would not have been too big.
    const fn with_size(self, reason: DropReason, policy: &AnswerPolicy) -> Self {
        let [inside, outside] = policy.longest;
        match reason {
            DropReason::TooBigInside => Self::TooBig { mtu: inside as u32 },
            DropReason::TooBigOutside => Self::TooBig { mtu: outside as u32 },
            _ => self,
        }
    }

    /// It tells where one cannot get, which a guest need not know.
    const fn is_about_reach(self) -> bool {
        matches!(self, Self::NoRoute | Self::NoHost | Self::Prohibited)
    }
}
