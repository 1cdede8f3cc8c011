// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One walk of one packet through the layers of a policy: the decision, without any effect.
//!
//! The same walk opens connections, finds the transform of packets that belong to one, and
//! judges whether an older decision still stands. What differs is only whether there is a
//! connection already, and which way the walk goes relative to the way it was opened:
//!
//! * no connection, or the way it was opened: every layer runs its rules;
//! * against that way: a layer says by [`Return`] whether it runs its rules all the same, lets
//!   the packet pass because the connection was let, or undoes its translation.

use crate::cut::CutReason;
use crate::drop_reason::DropReason;
use crate::edit::HeaderEdit;
use crate::flow_key::FlowKey;
use crate::geneve::Mark;
use crate::headers::Headers;
use crate::host::Moment;
use crate::layer::{DefaultAction, Layer, LayerSide, Return};
use crate::meta::Meta;
use crate::nat::{Addressed, Lease, NatBinding};
use crate::policy::PolicyRules;
use crate::quote::Quote;
use crate::rule::{Action, Answer, Facts, Respond, Rule, RuleId};
use alloc::vec::Vec;
use opte_api::Direction;

/// Which of several equal ways a connection has taken, by a number that whoever offers them gives
/// to each. A connection stays on its way for as long as that is offered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Way(pub u32);

impl Way {
    /// No way has this number.
    pub(crate) const NONE: u32 = u32::MAX;
}

/// What a walk needs to know of the connection that the packet belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Which way it was opened.
    pub opened: Direction,
    /// How it is translated.
    pub binding: Option<NatBinding>,
    /// Which of several equal ways its outbound packets take, once one of them has taken one.
    pub way: Option<Way>,
    /// Its external port is on loan: it has a share in a mapping.
    pub leased: bool,
}

/// The inner frame, for rules that answer packets.
#[derive(Clone, Copy)]
pub struct Bytes<'a> {
    /// The inner frame.
    pub frame: &'a [u8],
    /// Its transport checksum is not complete yet.
    pub partial: bool,
}

/// A walk under way.
pub struct Walk<'a> {
    /// Which way the packet goes.
    pub direction: Direction,
    /// The packet as the layers so far have left it.
    pub facts: Facts,
    /// What layers tell later layers.
    pub meta: Meta,
    /// All edits so far.
    pub edit: HeaderEdit,
    /// The connection, unless this packet would open one.
    pub connection: Option<Connection>,
    /// Uniform, keyed, constant for a connection: for choices among equals.
    pub hash: u64,
    /// How the connection is to be translated.
    pub binding: Option<NatBinding>,
    /// Which of several equal ways the packet took, or is to take.
    pub way: Option<Way>,
    /// The share in a mapping that the walk took for it.
    pub lease: Option<Lease>,
    /// The rule that let the connection be.
    pub allowed_by: Option<RuleId>,
    /// What the outer headers said of the packet's origin.
    pub mark: Mark,
    /// Who lets the connection be for a while only says so here: until then, if a time is set.
    pub drain: Option<Option<Moment>>,
    /// Who drops the packet of a connection may say here why the connection ends.
    pub cut: Option<CutReason>,
    bytes: Option<Bytes<'a>>,
    rules: &'a PolicyRules,
    used: [Option<(u8, Used<'a>)>; MAX_LAYERS],
    /// Number of the layer that it is in.
    layer: u8,
}

/// What decided in a layer.
#[derive(Clone, Copy)]
pub(crate) enum Used<'a> {
    Rule(&'a Rule),
    Default(&'a LayerSide),
}

impl Used<'_> {
    fn count(&self) {
        match self {
            Self::Rule(rule) => rule.hit(),
            Self::Default(side) => side.default_hit(),
        }
    }
}

/// Layers of which a walk remembers what decided; in further ones it is counted at once.
const MAX_LAYERS: usize = 8;

/// How a walk ended without a drop.
pub enum Passed {
    /// The packet goes on, edited.
    Forward,
    /// It is answered with this frame.
    Reply(Vec<u8>),
}

impl<'a> Walk<'a> {
    /// A walk that has not begun.
    pub fn new(
        rules: &'a PolicyRules,
        direction: Direction,
        facts: Facts,
        hash: u64,
        connection: Option<Connection>,
        bytes: Option<Bytes<'a>>,
    ) -> Self {
        Self {
            direction,
            facts,
            meta: Meta::default(),
            edit: HeaderEdit::NONE,
            connection,
            hash,
            binding: connection.and_then(|connection| connection.binding),
            way: connection.and_then(|connection| connection.way),
            lease: None,
            allowed_by: None,
            mark: Mark::GUEST,
            drain: None,
            cut: None,
            bytes,
            rules,
            used: [None; MAX_LAYERS],
            layer: 0,
        }
    }

    /// Says where the packet came from.
    pub const fn origin(&mut self, mark: Mark) {
        self.mark = mark;
    }

    /// There is a packet at hand. Without one a connection is judged.
    pub const fn has_packet(&self) -> bool {
        self.bytes.is_some()
    }

    /// Adds an edit; later layers see the packet as it leaves it.
    pub fn edit(&mut self, edit: HeaderEdit) {
        self.edit = self.edit.then(edit);
        self.facts.key = self.facts.key.map(|key| edit.key(key));
        self.facts.macs = edit.macs(self.facts.macs);
    }

    /// The packet opens a connection, or goes the way that its connection was opened.
    pub fn is_opening(&self) -> bool {
        self.connection.is_none_or(|connection| connection.opened == self.direction)
    }

    /// Runs all layers in the order of the packet's direction, and counts what decided.
    pub fn run(&mut self) -> Result<Passed, DropReason> {
        let passed = self.try_run();
        self.account();
        passed
    }

    /// Counts what decided in each layer: once for each packet, not for judgements.
    pub fn account(&self) {
        if self.bytes.is_none() {
            return;
        }
        self.used.iter().flatten().for_each(|(_, used)| used.count());
    }

    /// Layers, by number, and the rule that decided in each; no rule where it was the default.
    pub fn decided(&self) -> impl Iterator<Item = (u8, Option<RuleId>)> {
        self.used.iter().flatten().map(|(layer, used)| match used {
            Used::Rule(rule) => (*layer, Some(rule.id)),
            Used::Default(_) => (*layer, None),
        })
    }

    /// Runs all layers and counts nothing.
    pub fn try_run(&mut self) -> Result<Passed, DropReason> {
        self.steps(self.rules.layers.len())
    }

    /// The same as far as filters go: the layers behind the last of them are left out.
    pub(crate) fn try_filters(&mut self) -> Result<Passed, DropReason> {
        let filters = self.layers().enumerate().filter(|(_, layer)| layer.only_filters());
        self.steps(filters.last().map_or(0, |(last, _)| last + 1))
    }

    fn steps(&mut self, steps: usize) -> Result<Passed, DropReason> {
        let rules = self.rules;
        let count = rules.layers.len();
        for at in 0..steps {
            let at = match self.direction {
                Direction::Out => at,
                Direction::In => count - 1 - at,
            };
            let Some(layer) = rules.layers.get(at) else { break };
            self.layer = at as u8;
            if let Passed::Reply(frame) = self.step(layer)? {
                return Ok(Passed::Reply(frame));
            }
        }
        Ok(Passed::Forward)
    }

    /// All layers, in the order of the walk.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &'a Layer> + use<'a> {
        let (layers, direction) = (&self.rules.layers, self.direction);
        let count = layers.len();
        (0..count).filter_map(move |at| {
            let at = match direction {
                Direction::Out => at,
                Direction::In => count - 1 - at,
            };
            layers.get(at).map(|layer| &**layer)
        })
    }

    /// Passes one layer, counts nothing, and says what decided there. Nothing is said where the
    /// layer did not run its rules, or a rule dropped the packet while it acted.
    pub(crate) fn told_step(
        &mut self,
        layer: &'a Layer,
    ) -> (Result<Passed, DropReason>, Option<Used<'a>>) {
        self.used = [None; MAX_LAYERS];
        let passed = self.step(layer);
        (passed, self.used.first().copied().flatten().map(|(_, used)| used))
    }

    fn step(&mut self, layer: &'a Layer) -> Result<Passed, DropReason> {
        if !self.is_opening() {
            match layer.on_return {
                Return::Rules => {}
                Return::Pass => return Ok(Passed::Forward),
                Return::Translate => {
                    self.translate();
                    return Ok(Passed::Forward);
                }
            }
        }
        self.rules(layer)
    }

    /// Applies the connection's translation.
    pub fn translate(&mut self) {
        if let (Some(binding), Some(key)) = (self.binding, self.facts.key) {
            self.edit(binding.edit(self.direction, &key));
        }
    }

    fn rules(&mut self, layer: &'a Layer) -> Result<Passed, DropReason> {
        let side = layer.side(self.direction);
        let mut from = 0;
        while let Some((at, rule)) = side.table.matching(&self.facts, &self.meta, from) {
            match &rule.action {
                Action::Allow => {}
                Action::AllowStateful => self.allowed_by = Some(rule.id),
                Action::Deny(reason) => {
                    self.used(Used::Rule(rule));
                    return Err(*reason);
                }
                Action::Act(act) => {
                    if let Err(reason) = act.act(self) {
                        self.used(Used::Rule(rule));
                        return Err(reason);
                    }
                }
                Action::Respond(respond) => match self.respond(&**respond) {
                    Answer::Reply(frame) => {
                        self.used(Used::Rule(rule));
                        return Ok(Passed::Reply(frame));
                    }
                    Answer::Drop(reason) => {
                        self.used(Used::Rule(rule));
                        return Err(reason);
                    }
                    Answer::Pass => {
                        from = at + 1;
                        continue;
                    }
                },
            }
            self.used(Used::Rule(rule));
            return Ok(Passed::Forward);
        }
        self.used(Used::Default(side));
        match side.default {
            DefaultAction::Allow | DefaultAction::AllowStateful => Ok(Passed::Forward),
            DefaultAction::Deny(reason) => Err(reason),
        }
    }

    fn used(&mut self, used: Used<'a>) {
        match self.used.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some((self.layer, used)),
            None if self.bytes.is_some() => used.count(),
            None => {}
        }
    }

    fn respond(&self, respond: &dyn Respond) -> Answer {
        // Judging a connection has no bytes, and no connection is made of answered packets.
        self.bytes.map_or(Answer::Pass, |bytes| respond.respond(bytes.frame, bytes.partial))
    }

    /// The tables that all ports of the host share, if they are of this type.
    pub fn host_tables<T: 'static>(&self) -> Option<&'a T> {
        self.rules.host_tables.downcast_ref()
    }

    /// The external tuple that a packet which leaves is for, beside the address: of an ICMP error, that
    /// of the connection which it is about.
    pub fn addressed(&self) -> Addressed {
        match self.facts.key {
            None => Addressed::Nothing,
            Some(key) if !key.is_icmp_error() => Addressed::by_key(&key),
            Some(_) => self.about().map_or(Addressed::Nothing, |key| Addressed::by_key(&key)),
        }
    }

    /// The key of packets of the connection that an ICMP error of the guest is about.
    fn about(&self) -> Option<FlowKey> {
        let frame = self.bytes?.frame;
        // How long the frame is behind its front does not matter here.
        let headers = Headers::parse(frame, usize::from(u16::MAX) * 2, 0, self.mark).ok()?;
        Quote::read(frame, &headers).ok()??.answered(Direction::Out, headers.key()?)
    }

    /// The key that the packet has at the far end of the walk.
    pub const fn key(&self) -> Option<FlowKey> {
        self.facts.key
    }
}
