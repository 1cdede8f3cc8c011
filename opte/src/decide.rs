// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The slow path: a packet without a stored transform that holds.
//!
//! Decide first, without a lock, then enter what was decided if nobody else was faster. A
//! packet may find that its connection ended (a policy cut it, a SYN replaced it) and then
//! opens another one in the same call.

use crate::drop_reason::DropReason;
use crate::edit::{HeaderEdit, OuterEdit};
use crate::event::{
    DecideBegun, DecideEnded, FlowEnd, FlowOpened, NextHop, RuleMatched, Stamped, TcpChanged,
    rule_number,
};
use crate::flow::{Flow, NewFlow, Opening};
use crate::flow_key::FlowKey;
use crate::flow_table::InsertError;
use crate::frame::{ChecksumState, Frame, Rewrite};
use crate::headers::Headers;
use crate::host::{Host, Moment, Observer};
use crate::meta::SLOTS;
use crate::nat::Lease;
use crate::policy::Policy;
use crate::port::{Batch, Caching, Passed, Port, Turn};
use crate::rule::Facts;
use crate::slot::Stored;
use crate::tcp::{Outcome, Segment, TcpState, Tracker};
use crate::transform::Transform;
use crate::walk::{self, Bytes, Walk};
use alloc::sync::Arc;
use opte_api::Direction;

/// How often a packet may lose a race against another CPU before it is given up.
const ROUNDS: usize = 4;

/// What became of one attempt to decide about a packet.
enum Round {
    /// It is decided.
    Done(Passed),
    /// Another CPU was faster, or the connection ended: to be decided again.
    Again,
    /// A newer policy ended what the packet has just opened outside of its VPC: to be decided again,
    /// by that policy. Such a packet passes no other port, so it sees no other policy.
    Renew,
}

/// How a flow was entered.
enum Entered {
    /// It is there.
    Yes,
    /// A newer policy has ended it at once.
    Over,
    /// Its place is taken.
    Taken,
}

/// A packet on the slow path.
pub(crate) struct Packet<'a> {
    pub direction: Direction,
    pub headers: &'a Headers,
    pub key: FlowKey,
    now: Moment,
}

impl<H: Host> Port<H> {
    /// A packet that belongs to no flow: it is answered, or it ends.
    pub(crate) fn decide_without_flow<F: Frame>(
        &self,
        turn: Turn<'_>,
        frame: &F,
        headers: &Headers,
    ) -> Result<Passed, DropReason> {
        let mut walk = Walk::new(
            &turn.policy.rules,
            turn.direction,
            Facts::of(headers),
            0,
            None,
            Some(inner_bytes(frame, headers)),
        );
        walk.origin(headers.mark);
        match self.run(&mut walk)? {
            walk::Passed::Reply(bytes) => Ok(Passed::Reply(bytes)),
            walk::Passed::Forward => Err(DropReason::GatewayDeny),
        }
    }

    /// Its frame, and those of both ways that it may go, are apart: hits do without, and a kernel's
    /// stack is short.
    #[inline(never)]
    pub(crate) fn decide<F: Frame>(
        &self,
        turn: Turn<'_>,
        frame: &mut F,
        headers: &Headers,
        key: FlowKey,
        batch: &mut Batch,
    ) -> Result<Passed, DropReason> {
        let packet = Packet { direction: turn.direction, headers, key, now: turn.now };
        let (port, direction) = (self.id, turn.direction as u8);
        self.observer.tell(|| DecideBegun { port, direction });
        let decided = self.rounds(turn.policy, &packet, frame, batch);
        self.observer.tell(|| DecideEnded { port, direction });
        batch.ended &= decided.is_err();
        decided
    }

    fn rounds<F: Frame>(
        &self,
        policy: &Policy,
        packet: &Packet<'_>,
        frame: &mut F,
        batch: &mut Batch,
    ) -> Result<Passed, DropReason> {
        let mut newer = None;
        for _ in 0..ROUNDS {
            let policy = newer.as_deref().unwrap_or(policy);
            match self.round(policy, packet, frame, batch)? {
                Round::Done(passed) => return Ok(passed),
                Round::Again => {}
                Round::Renew => newer = Some(self.policy()),
            }
        }
        Err(DropReason::FlowConflict)
    }

    /// Runs the walk of a packet, and tells which rules decided.
    pub(crate) fn run(&self, walk: &mut Walk<'_>) -> Result<walk::Passed, DropReason> {
        let (direction, key) = (walk.direction, walk.key());
        let passed = walk.run();
        for (layer, rule) in walk.decided() {
            self.observer.tell(|| RuleMatched {
                rule: rule_number(rule),
                port: self.id,
                direction: direction as u8,
                layer,
                key: key.as_ref().map(Into::into).unwrap_or_default(),
            });
        }
        for slot in 0..SLOTS {
            let Some(bits) = walk.meta.bits_at(slot) else { continue };
            self.observer.tell(|| Stamped {
                port: self.id,
                direction: direction as u8,
                slot: slot as u8,
                value: bits.to_be_bytes(),
                key: key.as_ref().map(Into::into).unwrap_or_default(),
            });
        }
        passed
    }

    fn round<F: Frame>(
        &self,
        policy: &Policy,
        packet: &Packet<'_>,
        frame: &mut F,
        batch: &mut Batch,
    ) -> Result<Round, DropReason> {
        let rewrite = &mut batch.rewrite;
        if packet.headers.is_icmp_error() {
            return self.decide_error(policy, packet, frame, rewrite).map(Round::Done);
        }
        match self.flows.find(&packet.key, packet.direction) {
            Some(flow) => self.follow(policy, packet, frame, &flow, batch),
            None => self.open(policy, packet, frame, rewrite),
        }
    }

    pub(crate) fn compile(&self, edit: &HeaderEdit, packet: &Packet<'_>) -> Transform {
        if let OuterEdit::Set(outer) = &edit.outer {
            self.observer.tell(|| NextHop {
                port: self.id,
                vni: outer.vni.into(),
                outer_dst: outer.dst.octets(),
                key: (&packet.key).into(),
            });
        }
        Transform::compile(edit, &packet.key, packet.headers, |path| self.paths.share(path))
    }

    /// A packet of a connection. If the connection ended, the packet may open another.
    #[inline(never)]
    fn follow<F: Frame>(
        &self,
        policy: &Policy,
        packet: &Packet<'_>,
        frame: &mut F,
        flow: &Arc<Flow<H>>,
        batch: &mut Batch,
    ) -> Result<Round, DropReason> {
        let Packet { direction, headers, now, .. } = *packet;
        let opening = &flow.opening;
        let like_opening = direction == opening.direction
            && headers.macs == opening.macs
            && headers.mark == opening.mark;
        let own = like_opening.then(|| inner_bytes(frame, headers));
        let edit = match self.judge(policy, flow, own) {
            Ok(edit) => edit,
            Err(reason) => {
                let answers = &policy.rules.answers;
                let segment = headers.segment(frame.head());
                let told = segment.filter(|segment| self.tells_of(answers, segment));
                let tell =
                    |segment| self.tell_receiver(answers, (direction, now), headers, segment, flow);
                batch.told = told.as_ref().and_then(tell);
                batch.ended = answers.cut && segment.is_none();
                self.cut(flow, reason);
                return told.map_or(Ok(Round::Again), |_| Err(DropReason::ConnectionCut));
            }
        };
        let rewrite = &mut batch.rewrite;
        let transform = match (edit, self.stored_transform(policy, packet, flow)) {
            (Some(edit), _) => self.compile(&edit, packet),
            (None, Some(transform)) => transform,
            (None, None) => {
                let bytes = inner_bytes(frame, headers);
                let connection = Some(flow.connection());
                let facts = Facts::of(headers);
                let choice = self.choice(flow);
                let mut walk =
                    Walk::new(&policy.rules, direction, facts, choice, connection, Some(bytes));
                walk.origin(headers.mark);
                if let walk::Passed::Reply(bytes) = self.run(&mut walk)? {
                    return Ok(Round::Done(Passed::Reply(bytes)));
                }
                flow.set_way(walk.way);
                self.compile(&walk.edit, packet)
            }
        };
        let segment = headers.segment(frame.head()).filter(|_| !flow.is_plain(headers.flags));
        let before = flow.tcp_state();
        // What is closed is held for its time, and no longer for being reset again (RFC 7857,
        // section 7.1).
        let refreshes = !headers.flags.is_rst() || before != Some(TcpState::Closed);
        if let Some(segment) = segment {
            let outcome = flow.step(direction, &segment);
            self.tell_tcp(packet, flow, before);
            match outcome {
                Some(Outcome::NewConnection) => {
                    self.may_replace(policy, packet, flow)?;
                    self.end(flow, FlowEnd::Replaced);
                    return Ok(Round::Again);
                }
                Some(Outcome::Challenge) => self.may_replace(policy, packet, flow)?,
                Some(Outcome::Changed | Outcome::Closed) if refreshes => {
                    self.flows.refresh(flow, &policy.rules.idle, now);
                }
                Some(_) | None => {}
            }
        }
        let len = frame.len() - usize::from(headers.ether);
        transform.apply(frame, headers, rewrite)?;
        transform.clamp(frame, headers);
        let stored = Stored { generation: policy.generation, transform };
        let old = self.flows.with_side(flow, direction, |slot| {
            if refreshes {
                slot.touch(now, len);
            } else {
                slot.count(len);
            }
            slot.stored.replace(stored)
        });
        drop(old); // Outside of the lock.
        Ok(Round::Done(Passed::Decided))
    }

    fn tell_tcp(&self, packet: &Packet<'_>, flow: &Flow<H>, before: Option<TcpState>) {
        if let (Some(from), Some(to)) = (before, flow.tcp_state())
            && from != to
        {
            self.observer.tell(|| TcpChanged {
                port: self.id,
                direction: packet.direction as u8,
                from: from as u8,
                to: to as u8,
                flags: packet.headers.flags.0,
                key: (&packet.key).into(),
            });
        }
    }

    /// A SYN with the addresses and ports of a connection is let through to it, or takes its place,
    /// only if it may open one itself: who may not cannot end other people's connections either.
    fn may_replace(
        &self,
        policy: &Policy,
        packet: &Packet<'_>,
        flow: &Flow<H>,
    ) -> Result<(), DropReason> {
        let Packet { direction, headers, .. } = *packet;
        let connection = Some(flow.connection_from(direction));
        let (facts, choice) = (Facts::of(headers), self.choice(flow));
        let mut walk = Walk::new(&policy.rules, direction, facts, choice, connection, None);
        walk.origin(headers.mark);
        self.run(&mut walk).map(drop)
    }

    /// The transform that the packet's slot has, if it holds: only TCP flags or a change of filters
    /// brought the packet here.
    fn stored_transform(
        &self,
        policy: &Policy,
        packet: &Packet<'_>,
        flow: &Arc<Flow<H>>,
    ) -> Option<Transform> {
        if self.caching == Caching::Never {
            return None;
        }
        let stored = self.flows.with_side(flow, packet.direction, |slot| slot.stored.clone())??;
        stored.still_holds(policy, packet.headers).then_some(stored.transform)
    }

    /// A packet that opens a connection.
    #[inline(never)]
    fn open<F: Frame>(
        &self,
        policy: &Policy,
        packet: &Packet<'_>,
        frame: &mut F,
        rewrite: &mut Rewrite,
    ) -> Result<Round, DropReason> {
        let Packet { direction, headers, key, now, .. } = *packet;
        let choice = self.chooser.hash(&key);
        let bytes = inner_bytes(frame, headers);
        let mut walk =
            Walk::new(&policy.rules, direction, Facts::of(headers), choice, None, Some(bytes));
        walk.origin(headers.mark);
        if let walk::Passed::Reply(bytes) = self.run(&mut walk)? {
            return Ok(Round::Done(Passed::Reply(bytes)));
        }
        let tracker = first_tracker(policy, direction, headers.segment(frame.head()))?;
        let far_key = walk.key().ok_or(DropReason::GatewayDeny)?;
        let transform = self.compile(&walk.edit, packet);
        let flow = Arc::new(Flow::new(NewFlow {
            opening: Opening { direction, macs: headers.macs, mark: headers.mark },
            key,
            far_key,
            binding: walk.binding,
            way: walk.way,
            lease: walk.lease.take(),
            allowed_by: walk.allowed_by,
            tracker,
            generation: policy.generation,
        }));
        drop(walk);
        match self.enter(policy, packet, &flow, &transform)? {
            Entered::Taken => return Ok(Round::Again),
            // Others may use its external port from now on.
            Entered::Over if flow.binding().is_some() => return Ok(Round::Renew),
            Entered::Over | Entered::Yes => {}
        }
        let len = frame.len() - usize::from(headers.ether);
        transform.apply(frame, headers, rewrite)?;
        transform.clamp(frame, headers);
        self.flows.with_side(&flow, direction, |slot| slot.touch(now, len));
        Ok(Round::Done(Passed::Decided))
    }

    /// Enters a flow.
    fn enter(
        &self,
        policy: &Policy,
        packet: &Packet<'_>,
        flow: &Arc<Flow<H>>,
        transform: &Transform,
    ) -> Result<Entered, DropReason> {
        let insert = || {
            let transform = transform.clone();
            let stored = Stored { generation: policy.generation, transform };
            self.flows.insert(flow, Some(stored), &policy.rules.idle, packet.now)
        };
        let mut inserted = insert();
        // Another CPU may take the place that is made here.
        for _ in 0..ROUNDS {
            if !matches!(inserted, Err(InsertError::Full)) {
                break;
            }
            let start = self.chooser.hash(&packet.key) as u32;
            let evicted = self.flows.evict(start, &policy.rules.idle, packet.now);
            self.ended(&*evicted.ok_or(DropReason::FlowTableFull)?, FlowEnd::Evicted, None);
            inserted = insert();
        }
        match inserted {
            Ok(()) => {
                flow.lease().into_iter().for_each(Lease::confirm);
                self.counters.opened();
                self.observer.tell(|| FlowOpened {
                    rule: rule_number(flow.allowed_by()),
                    port: self.id,
                    direction: packet.direction as u8,
                    key: (&packet.key).into(),
                    back: flow.key(packet.direction.reverse()).into(),
                });
                Ok(if self.stands(policy, flow) { Entered::Yes } else { Entered::Over })
            }
            Err(InsertError::Full) => Err(DropReason::FlowTableFull),
            Err(InsertError::Exists(other)) if *other.key(packet.direction) == packet.key => {
                Ok(Entered::Taken)
            }
            // Its other end is the end of another connection, which may be over.
            Err(InsertError::Exists(other)) => match self.judge(policy, &other, None) {
                Err(reason) => {
                    self.cut(&other, reason);
                    Ok(Entered::Taken)
                }
                Ok(_) => Err(DropReason::FlowConflict),
            },
        }
    }
}

/// The tracker of the connection that a TCP segment opens.
pub(crate) fn first_tracker(
    policy: &Policy,
    direction: Direction,
    segment: Option<Segment>,
) -> Result<Option<Tracker>, DropReason> {
    let Some(segment) = segment else { return Ok(None) };
    let tracker = Tracker::open(direction, &segment).map_err(|_| DropReason::TcpFlags)?;
    if !policy.rules.pick_up && !segment.is_opening() {
        return Err(DropReason::TcpMidStream);
    }
    Ok(Some(tracker))
}

pub(crate) fn inner_bytes<'a>(frame: &'a impl Frame, headers: &Headers) -> Bytes<'a> {
    Bytes {
        frame: frame.head().get(usize::from(headers.ether)..).unwrap_or_default(),
        partial: matches!(frame.offload().checksum, ChecksumState::Partial { .. }),
    }
}
