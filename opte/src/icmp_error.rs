// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! ICMP errors on the slow path, which is the only one they have.
//!
//! An error makes no flow. One that is about a packet of a connection goes the way of that
//! connection's packets, any other goes by the rules alone; either way the quoted packet is
//! translated back as the error itself is (RFC 5508, section 4.2). What holds of an error that
//! follows a connection or is translated: its checksum and that of the quoted IPv4 header were
//! right as it came (REQ-3), and what it quotes is translated, too (REQ-4, REQ-5). Errors between
//! guests of the VPC that follow nothing are not looked at: who gets them checks them.

use crate::checksum::Sum;
use crate::decide::{Packet, inner_bytes};
use crate::drop_reason::DropReason;
use crate::flow_key::FlowKey;
use crate::frame::{ChecksumState, Frame, Rewrite};
use crate::headers::Headers;
use crate::host::Host;
use crate::judge::judge;
use crate::policy::Policy;
use crate::port::{Passed, Port};
use crate::quote::Quote;
use crate::rule::Facts;
use crate::walk::{self, Walk};
use core::net::IpAddr;
use opte_api::{Direction, Protocol};

/// An error that the rules let pass.
pub(crate) struct LetError<'a> {
    pub direction: Direction,
    pub headers: &'a Headers,
    pub key: &'a FlowKey,
    /// None: it is cut within the quoted IP header.
    pub quote: Option<&'a Quote>,
    /// It goes the way of the connection that it quotes.
    pub follows: bool,
    /// It is translated.
    pub translated: bool,
}

impl<H: Host> Port<H> {
    /// Decides about an ICMP error.
    #[inline(never)]
    pub(crate) fn decide_error<F: Frame>(
        &self,
        policy: &Policy,
        packet: &Packet<'_>,
        frame: &mut F,
        rewrite: &mut Rewrite,
    ) -> Result<Passed, DropReason> {
        let Packet { direction, headers, key, .. } = packet;
        let (direction, quote) = (*direction, Quote::read(frame.head(), headers)?);
        let about = quote.as_ref().and_then(|quote| quote.connection(direction, key));
        let flow = about.and_then(|about| self.flows.find(&about, direction));
        let flow = flow.filter(|flow| self.judge(policy, flow, None).is_ok());
        // Whichever way the connection was opened, the error is no opening.
        let connection = flow.as_ref().map(|flow| flow.connection_from(direction.reverse()));
        let choice = flow.as_ref().map_or_else(|| self.chooser.hash(key), |flow| self.choice(flow));
        let bytes = inner_bytes(frame, headers);
        let facts = Facts::of(headers);
        let mut walk = Walk::new(&policy.rules, direction, facts, choice, connection, Some(bytes));
        walk.origin(headers.mark);
        if let walk::Passed::Reply(bytes) = self.run(&mut walk)? {
            return Ok(Passed::Reply(bytes));
        }
        let (edit, binding) = (walk.edit, walk.binding);
        drop(walk);
        let (follows, translated, quote) = (flow.is_some(), binding.is_some(), quote.as_ref());
        let error = LetError { direction, headers, key, quote, follows, translated };
        self.check_error(policy, frame, &error)?;
        if let (Some(quote), Some(binding)) = (quote, binding) {
            quote.translate(frame, headers, direction, &binding)?;
        }
        self.compile(&edit, packet).apply(frame, headers, rewrite).map(|()| Passed::Decided)
    }

    /// Refuses an error that is wrong, or is about nothing that it might be about.
    pub(crate) fn check_error<F: Frame>(
        &self,
        policy: &Policy,
        frame: &F,
        error: &LetError<'_>,
    ) -> Result<(), DropReason> {
        if !error.follows && !error.translated {
            return Ok(());
        }
        if !is_sum_right(frame, error.headers, error.key) {
            return Err(DropReason::IcmpChecksum);
        }
        let (head, headers) = (frame.head(), error.headers);
        if error.quote.is_some_and(|quote| !quote.has_right_header(head, headers)) {
            return Err(DropReason::QuoteChecksum);
        }
        if !error.follows && !self.is_related(policy, error) {
            return Err(DropReason::IcmpUnrelated);
        }
        Ok(())
    }

    /// The packet that a translated error quotes is translated, too. What comes in with a quote that
    /// is cut is left to the rules.
    fn is_related(&self, policy: &Policy, error: &LetError<'_>) -> bool {
        match error.direction {
            Direction::In => error.quote.is_none_or(|quote| quote.is_from(error.key.dst())),
            Direction::Out => {
                let key = error.quote.and_then(Quote::answer_key);
                let flow = key.and_then(|key| self.flows.find(&key, error.direction));
                let sentence = flow.map(|flow| judge(&policy.rules, &self.facts(&flow)));
                sentence.is_some_and(|sentence| sentence.reason().is_none())
            }
        }
    }
}

/// The checksum of an ICMP message is right, or it is not here to be checked: whoever sends the
/// packet on completes it, or somebody has verified it.
fn is_sum_right<F: Frame>(frame: &F, headers: &Headers, key: &FlowKey) -> bool {
    if frame.offload().checksum != ChecksumState::Complete {
        return true;
    }
    let (start, end) = (usize::from(headers.transport), headers.end as usize);
    let sum = match frame.head().get(start..end) {
        Some(message) => Some(Sum::default().bytes(message)),
        // There is no padding behind what is too long for the head.
        None => frame.sum(start).filter(|_| end == frame.len()),
    };
    let pseudo = pseudo_header(key, end.saturating_sub(start));
    sum.is_none_or(|sum| pseudo.word(sum.folded()).folded() == u16::MAX)
}

/// That of ICMPv6 (RFC 4443, section 2.3); ICMP has none.
fn pseudo_header(key: &FlowKey, len: usize) -> Sum {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (key.src(), key.dst()) else { return Sum::default() };
    // An IP packet is at most 64 KiB long.
    let sum = Sum::default().bytes(&src.octets()).bytes(&dst.octets());
    sum.word(len as u16).word(u16::from(Protocol::ICMPV6.0))
}
