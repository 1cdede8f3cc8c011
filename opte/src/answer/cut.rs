// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the ends of a TCP connection are told that a policy has ended: a reset each.
//!
//! The segment at hand says both sequence numbers, so that the resets are believed (RFC 5961,
//! section 3.2): its sender expects what it acknowledges, and its receiver expects the segment
//! itself. The sender is answered as for any packet that does not pass; the receiver is told the
//! way that the connection's packets took.

use super::Reset;
use crate::flow::Flow;
use crate::frame::{FlatFrame, Rewrite};
use crate::headers::Headers;
use crate::host::{Host, Lock, Moment};
use crate::policy::AnswerPolicy;
use crate::port::Port;
use crate::tcp::Segment;
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte_api::Direction;

/// A packet that the engine has written for the receiver of one that it has dropped.
#[derive(Debug)]
pub struct Told {
    /// The inner frame.
    pub frame: Vec<u8>,
    /// The rest, as for a packet that is forwarded.
    pub rewrite: Rewrite,
}

impl<H: Host> Port<H> {
    /// The ends of the connection that this segment belongs to are told of its end: it is no
    /// attempt to open another, nor a reset itself.
    pub(crate) fn tells_of(&self, policy: &AnswerPolicy, segment: &Segment) -> bool {
        policy.cut && !segment.flags.is_syn() && !segment.flags.is_rst()
    }

    /// What the receiver of a segment is told, whose connection has just ended. `None`: the way to
    /// it is not known, or enough was told lately.
    #[cold]
    pub(crate) fn tell_receiver(
        &self,
        policy: &AnswerPolicy,
        (direction, now): (Direction, Moment),
        headers: &Headers,
        segment: &Segment,
        flow: &Arc<Flow<H>>,
    ) -> Option<Told> {
        let stored = self.flows.snapshot(flow, direction)?.stored?;
        let reset = Reset { seq: segment.seq, ack: None };
        let mut frame = FlatFrame::new(reset.frame(headers.macs, flow.key(direction)));
        let own = Headers::parse(&frame.bytes, frame.bytes.len(), 0, headers.mark).ok()?;
        let mut rewrite = Rewrite::default();
        stored.transform.apply(&mut frame, &own, &mut rewrite).ok()?;
        let sent = self.answers.with(|bucket| bucket.take(policy.rate, now));
        self.counters.answered(sent);
        sent.then_some(Told { frame: frame.bytes, rewrite })
    }
}
