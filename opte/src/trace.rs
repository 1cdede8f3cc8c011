// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a port would do with a packet, told layer by layer, and nothing done.
//!
//! The walk is that of the slow path, taken one layer at a time by somebody who looks on. So it
//! costs other packets nothing, and says what holds for the policy in force. No flow is entered,
//! judged for good or touched, no rule counts, no TCP state moves, and a lease that the walk takes
//! for its answer goes back with it.

use crate::decide::{first_tracker, inner_bytes};
use crate::drop_reason::DropReason;
use crate::edit::HeaderEdit;
use crate::flow::Flow;
use crate::flow_key::FlowKey;
use crate::frame::{FlatFrame, Frame, Rewrite};
use crate::headers::Headers;
use crate::host::Host;
use crate::icmp_error::LetError;
use crate::judge::{Sentence, judge};
use crate::layer::{DefaultAction, Layer, Return};
use crate::meta::Meta;
use crate::nat::NatBinding;
use crate::policy::{Generation, Policy};
use crate::port::Port;
use crate::quote::Quote;
use crate::rule::{Action, Facts, Rule, RuleId};
use crate::transform::Transform;
use crate::walk::{Passed, Used, Walk};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte_api::Direction;

/// What a port would do with a packet.
pub struct Trace<H: Host> {
    /// The policy that decides.
    pub generation: Generation,
    /// The connection that the packet belongs to.
    pub flow: Option<TracedFlow<H>>,
    /// The layers that the packet passes, in order.
    pub steps: Vec<Step>,
    /// How it would end.
    pub end: End,
}

/// A connection that a packet belongs to.
pub struct TracedFlow<H: Host> {
    /// The connection.
    pub flow: Arc<Flow<H>>,
    /// What the policy says of it. If it would be cut, the packet is decided without it.
    pub sentence: Sentence,
    /// The packet would run this stored transform, without a walk.
    pub stored: Option<String>,
}

/// What one layer does.
pub struct Step {
    /// The layer.
    pub layer: &'static str,
    /// What decides there.
    pub decided: Decided,
    /// What it changes of the packet.
    pub edit: HeaderEdit,
    /// What layers so far tell later ones.
    pub meta: Meta,
    /// What layers before had told.
    pub meta_before: Meta,
}

/// What decides in a layer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decided {
    /// A rule.
    Rule {
        /// Its number.
        id: RuleId,
        /// Its priority.
        priority: u16,
        /// What had to hold.
        predicates: Vec<String>,
        /// What it does.
        action: String,
    },
    /// No rule matched.
    Default(DefaultAction),
    /// The layer lets packets of a connection that was let pass.
    Passed,
    /// The layer undoes the connection's translation.
    Translated,
}

/// How a packet would end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// It goes on.
    Forward {
        /// All that is changed.
        edit: Box<HeaderEdit>,
        /// Its key afterwards.
        key: FlowKey,
        /// How its connection is, or would be, translated.
        binding: Option<NatBinding>,
    },
    /// It is answered with this frame.
    Reply(Vec<u8>),
    /// It is dropped.
    Drop(DropReason),
}

impl<H: Host> Port<H> {
    /// Tells what would become of a packet.
    pub fn trace<F: Frame>(
        &self,
        direction: Direction,
        frame: &F,
        headers: Result<&Headers, DropReason>,
    ) -> Trace<H> {
        let policy = self.policy();
        let (generation, steps) = (policy.generation, Vec::new());
        let end = End::Drop(DropReason::PortState);
        let mut trace = Trace { generation, flow: None, steps, end };
        let end = match headers {
            Ok(headers) if self.is_running() => {
                self.trace_packet(&policy, direction, frame, headers, &mut trace)
            }
            Ok(_) => Err(DropReason::PortState),
            Err(reason) => Err(reason),
        };
        trace.end = end.unwrap_or_else(End::Drop);
        trace
    }

    fn trace_packet<F: Frame>(
        &self,
        policy: &Policy,
        direction: Direction,
        frame: &F,
        headers: &Headers,
        trace: &mut Trace<H>,
    ) -> Result<End, DropReason> {
        let walk = |choice, connection| {
            let (facts, bytes) = (Facts::of(headers), inner_bytes(frame, headers));
            let rules = &policy.rules;
            let mut walk = Walk::new(rules, direction, facts, choice, connection, Some(bytes));
            walk.origin(headers.mark);
            walk
        };
        let Some(key) = headers.key() else {
            // What belongs to no flow is answered, or it ends.
            return match trace.follow(walk(0, None))? {
                End::Forward { .. } => Err(DropReason::GatewayDeny),
                end => Ok(end),
            };
        };
        if headers.is_icmp_error() {
            let quote = Quote::read(frame.head(), headers)?;
            let quote = quote.as_ref();
            let about = quote.and_then(|quote| quote.connection(direction, key));
            trace.flow = about.and_then(|about| self.traced_flow(policy, direction, &about, None));
            let standing = trace.standing().cloned();
            let opened = direction.reverse();
            let connection = standing.as_ref().map(|flow| flow.connection_from(opened));
            let follows = connection.is_some();
            let choice = standing.map_or_else(|| self.chooser.hash(key), |flow| self.choice(&flow));
            let end = trace.follow(walk(choice, connection))?;
            if let End::Forward { binding, .. } = &end {
                let translated = binding.is_some();
                let error = LetError { direction, headers, key, quote, follows, translated };
                self.check_error(policy, frame, &error)?;
            }
            return written(end, frame, headers, key);
        }
        trace.flow = self.traced_flow(policy, direction, key, Some(headers));
        if let Some(flow) = trace.standing().cloned() {
            let end = trace.follow(walk(self.choice(&flow), Some(flow.connection())))?;
            return written(end, frame, headers, key);
        }
        let end = trace.follow(walk(self.chooser.hash(key), None))?;
        let opens = matches!(end, End::Forward { .. });
        if opens {
            first_tracker(policy, direction, headers.segment(frame.head()))?;
        }
        written(end, frame, headers, key)
    }

    fn traced_flow(
        &self,
        policy: &Policy,
        direction: Direction,
        key: &FlowKey,
        headers: Option<&Headers>,
    ) -> Option<TracedFlow<H>> {
        let flow = self.flows.find(key, direction)?;
        let sentence = judge(&policy.rules, &self.facts(&flow));
        let side = self.flows.snapshot(&flow, direction);
        let stored = side.and_then(|side| side.stored).zip(headers);
        // Who describes a packet does not say which host of the underlay brings it.
        let holds = stored.filter(|(stored, headers)| {
            stored.generation == policy.generation && stored.transform.is_for_any_sender(headers)
        });
        let stored = holds.map(|(stored, _)| stored.transform.to_string());
        Some(TracedFlow { flow, sentence, stored })
    }
}

impl<H: Host> Trace<H> {
    /// The packet's connection, if it goes on under the policy.
    fn standing(&self) -> Option<&Arc<Flow<H>>> {
        let flow = self.flow.as_ref().filter(|traced| traced.sentence.reason().is_none());
        flow.map(|traced| &traced.flow)
    }

    /// Takes a walk through all its layers, and notes what each does.
    fn follow(&mut self, mut walk: Walk<'_>) -> Result<End, DropReason> {
        for layer in walk.layers() {
            let (facts, meta_before, before) = (walk.facts, walk.meta, walk.edit);
            let (passed, used) = walk.told_step(layer);
            let decided = match used {
                Some(Used::Rule(rule)) => Decided::by(rule),
                Some(Used::Default(side)) => Decided::Default(side.default),
                None => undecided(&walk, layer, &facts, &meta_before),
            };
            let (edit, meta) = (walk.edit.since(&before), walk.meta);
            self.steps.push(Step { layer: layer.name, decided, edit, meta, meta_before });
            if let Passed::Reply(frame) = passed? {
                return Ok(End::Reply(frame));
            }
        }
        let key = walk.key().ok_or(DropReason::GatewayDeny)?;
        Ok(End::Forward { edit: Box::new(walk.edit), key, binding: walk.binding })
    }
}

/// A packet that goes on is written into a copy: it may have come too far for that, or be too long.
fn written(
    end: End,
    frame: &impl Frame,
    headers: &Headers,
    key: &FlowKey,
) -> Result<End, DropReason> {
    if let End::Forward { edit, .. } = &end {
        let mut copy = FlatFrame::new(frame.head());
        let transform = Transform::compile(edit, key, headers, Arc::new);
        transform.apply(&mut copy, headers, &mut Rewrite::default())?;
    }
    Ok(end)
}

impl Decided {
    fn by(rule: &Rule) -> Self {
        Self::Rule {
            id: rule.id,
            priority: rule.priority,
            predicates: rule.predicates.iter().map(ToString::to_string).collect(),
            action: rule.action.describe(),
        }
    }
}

/// What decided where nothing is counted: the layer does not run its rules, or a rule dropped the
/// packet while it was about to do something else.
fn undecided(walk: &Walk<'_>, layer: &Layer, facts: &Facts, meta: &Meta) -> Decided {
    let side = layer.side(walk.direction);
    match layer.on_return {
        Return::Pass if !walk.is_opening() => return Decided::Passed,
        Return::Translate if !walk.is_opening() => return Decided::Translated,
        _ => {}
    }
    let mut from = 0;
    while let Some((at, rule)) = side.table.matching(facts, meta, from) {
        if !matches!(rule.action, Action::Respond(_)) {
            return Decided::by(rule);
        }
        from = at + 1;
    }
    Decided::Default(side.default)
}
