// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One judgement (architecture, "one judgement"): whether a connection is still right under a policy.
//!
//! [`judge`] is a pure function of a policy and of what is known of a connection. It is asked by
//! the next packet of a connection that was judged under an older policy, by the sweep behind a
//! change, by the plan before one, and by tests. A connection is never moved: its translation
//! stands as it is, or the connection ends.

use crate::cut::CutReason;
use crate::drop_reason::DropReason;
use crate::edit::HeaderEdit;
use crate::flow::Flow;
use crate::flow_key::FlowKey;
use crate::geneve::Mark;
use crate::host::{Host, Moment};
use crate::policy::{Policy, PolicyRules};
use crate::port::{Caching, NOTHING_TO_SWEEP, Port};
use crate::rule::{Facts, RuleId};
use crate::walk::{self, Bytes, Connection, Walk, Way};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use opte_api::Direction;

/// What becomes of a connection under a policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Judgement {
    /// It goes on as it is.
    Keep,
    /// It goes on with the same translation; something else about it is new.
    KeepWith(Changes),
    /// It goes on until that time, if one is set; no other opens like it.
    Drain(Option<Moment>),
    /// It ends.
    Cut(CutReason),
}

/// What is new about a connection that goes on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Another rule lets it be.
    pub rule: bool,
    /// Its packets take another way: other MAC addresses or outer headers.
    pub way: bool,
    /// It may be idle for another time.
    pub idle: bool,
}

/// What a judgement needs to know of a connection.
#[derive(Clone, Copy, Debug)]
pub struct FlowFacts {
    /// The packet that opened it, as it came.
    pub opening: Facts,
    /// Where that packet came from.
    pub mark: Mark,
    /// Which way it was opened, and how it is translated.
    pub connection: Connection,
    /// The key of the opening packet at the far end of the walk.
    pub far_key: FlowKey,
    /// For choices among equals; constant for the connection.
    pub choice: u64,
}

/// How the opening packet of a connection goes, if it goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Passage {
    /// What is done with it.
    pub edit: HeaderEdit,
    /// The rule that lets it be, unless a default does.
    pub allowed_by: Option<RuleId>,
    /// Which of several equal ways it takes.
    pub way: Option<Way>,
    /// This was the walk of a packet at hand.
    own: bool,
}

/// What a policy says of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sentence {
    /// What becomes of it.
    pub judgement: Judgement,
    /// How its opening packet goes; `None` if the connection is cut.
    pub passage: Option<Passage>,
}

impl Sentence {
    const fn cut(reason: CutReason) -> Self {
        Self { judgement: Judgement::Cut(reason), passage: None }
    }

    /// The connection ends, and why.
    pub const fn reason(&self) -> Option<CutReason> {
        match self.judgement {
            Judgement::Cut(reason) => Some(reason),
            _ => None,
        }
    }

    /// The same, compared with what a policy before has said.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        if let (Some(now), Some(old)) = (self.passage, before.passage) {
            let rule = now.allowed_by != old.allowed_by;
            self.change(Changes { rule, way: now.edit != old.edit, idle: false });
        }
        self
    }

    /// Something else is new, too.
    pub fn change(&mut self, more: Changes) {
        let known = match self.judgement {
            Judgement::Keep => Changes::default(),
            Judgement::KeepWith(changes) => changes,
            Judgement::Drain(_) | Judgement::Cut(_) => return,
        };
        let all = Changes {
            rule: known.rule | more.rule,
            way: known.way | more.way,
            idle: known.idle | more.idle,
        };
        if all != Changes::default() {
            self.judgement = Judgement::KeepWith(all);
        }
    }
}

/// Judges a connection: walks its opening packet again, with its translation as it is. It stands if
/// the walk passes and ends where it did.
pub fn judge(rules: &PolicyRules, facts: &FlowFacts) -> Sentence {
    walk_again(rules, facts, None)
}

/// The same. If a packet at hand is like the opening one, `own` is its frame, and this is its walk
/// as well, so that rules count it.
fn walk_again(rules: &PolicyRules, facts: &FlowFacts, own: Option<Bytes<'_>>) -> Sentence {
    let FlowFacts { connection, choice, .. } = *facts;
    let direction = connection.opened;
    let mut walk = Walk::new(rules, direction, facts.opening, choice, Some(connection), own);
    walk.origin(facts.mark);
    match walk.try_run() {
        // What answers packets does not judge connections. The packet has its own walk after this.
        Ok(walk::Passed::Reply(_)) if own.is_some() => return walk_again(rules, facts, None),
        // Nor does the host that a packet comes from.
        Err(DropReason::OuterSource) if own.is_some() => return walk_again(rules, facts, None),
        Ok(_) => {}
        Err(reason) => return Sentence::cut(walk.cut.unwrap_or(CutReason::of(reason))),
    }
    if walk.binding != connection.binding || walk.key() != Some(facts.far_key) {
        return Sentence::cut(CutReason::TranslatedOtherwise);
    }
    walk.account();
    let judgement = walk.drain.map_or(Judgement::Keep, Judgement::Drain);
    Sentence {
        judgement,
        passage: Some(Passage {
            edit: walk.edit,
            allowed_by: walk.allowed_by,
            way: walk.way,
            own: own.is_some(),
        }),
    }
}

/// Judges a connection that a policy has let be which differs by its filters alone: its way and its
/// translation are right, and the layers that say so need not be asked. Answers the rule that lets it be.
fn filter_again(rules: &PolicyRules, facts: &FlowFacts) -> Result<Option<RuleId>, CutReason> {
    let FlowFacts { connection, choice, .. } = *facts;
    let direction = connection.opened;
    let mut walk = Walk::new(rules, direction, facts.opening, choice, Some(connection), None);
    walk.origin(facts.mark);
    match walk.try_filters() {
        Ok(_) => Ok(walk.allowed_by),
        Err(reason) => Err(walk.cut.unwrap_or(CutReason::of(reason))),
    }
}

impl<H: Host> Port<H> {
    /// Uniform, keyed, constant for a connection: for choices among equals.
    pub(crate) fn choice(&self, flow: &Flow<H>) -> u64 {
        self.chooser.hash(flow.opening_key())
    }

    /// What is known of a connection.
    pub fn facts(&self, flow: &Flow<H>) -> FlowFacts {
        let direction = flow.opening.direction;
        FlowFacts {
            opening: flow.opening_facts(),
            mark: flow.opening.mark,
            connection: flow.connection(),
            far_key: flow.key(direction.reverse()).mirror(),
            choice: self.choice(flow),
        }
    }

    /// What becomes of a connection if `next` takes the place of `current`.
    pub fn foresee(&self, current: &PolicyRules, next: &PolicyRules, flow: &Flow<H>) -> Judgement {
        let facts = self.facts(flow);
        let mut sentence = judge(next, &facts).since(&judge(current, &facts));
        let idle = flow.idle_limit(&next.idle) != flow.idle_limit(&current.idle);
        sentence.change(Changes { idle, ..Changes::default() });
        sentence.judgement
    }

    /// Judges some of the connections behind a change, at most so many, so that those which the
    /// policy has ended give back what they hold. True if there are more. A port that does not run
    /// keeps its flows as they are.
    pub fn sweep(&self, most: u32, now: Moment) -> bool {
        if !self.is_running() {
            return false;
        }
        let (end, at) = (self.flows.numbers(), self.sweep.load(Ordering::Acquire));
        if at >= end {
            // Unless somebody has just said that there is something to do.
            let (done, relaxed) = (NOTHING_TO_SWEEP, Ordering::Relaxed);
            return at < done && self.sweep.compare_exchange(at, done, relaxed, relaxed).is_err();
        }
        let first = self.sweep.fetch_add(most, Ordering::AcqRel);
        // After the number was taken: who begins anew has published before.
        let policy = self.policy();
        for number in first..first.saturating_add(most).min(end) {
            let Some(flow) = self.flows.numbered(number) else { continue };
            if let Err(reason) = self.judge(&policy, &flow, None) {
                if policy.rules.answers.cut {
                    self.swept.add(Direction::BOTH.map(|way| *flow.key(way)), now);
                }
                self.cut(&flow, reason);
            }
        }
        true
    }

    /// Asks whether a connection is still right under `policy`, unless it was asked before. If the
    /// packet at hand is like the opening one, `own` is its frame; then this decides about it, too.
    pub(crate) fn judge(
        &self,
        policy: &Policy,
        flow: &Arc<Flow<H>>,
        own: Option<Bytes<'_>>,
    ) -> Result<Option<HeaderEdit>, CutReason> {
        if flow.is_judged(policy.generation) {
            return Ok(None);
        }
        let facts = self.facts(flow);
        if flow.is_judged(policy.ways_since) && self.caching == Caching::Stored {
            let allowed_by = filter_again(&policy.rules, &facts)?;
            self.stands_by(policy, flow, allowed_by);
            return Ok(None);
        }
        let sentence = walk_again(&policy.rules, &facts, own);
        if let Some(reason) = sentence.reason() {
            return Err(reason);
        }
        flow.set_way(sentence.passage.and_then(|passage| passage.way));
        self.stands_by(policy, flow, sentence.passage.and_then(|passage| passage.allowed_by));
        Ok(sentence.passage.filter(|passage| passage.own).map(|passage| passage.edit))
    }

    /// Notes that a connection stands under `policy`, by the rule that lets it be.
    fn stands_by(&self, policy: &Policy, flow: &Arc<Flow<H>>, allowed_by: Option<RuleId>) {
        if !flow.is_judged(policy.idle_since) {
            self.flows.refile(flow, &policy.rules.idle);
        }
        flow.set_allowed_by(allowed_by);
        flow.set_judged(policy.generation);
    }

    /// A flow that was just entered is still right. If there is another policy by now, who swept
    /// the flows under it may not have seen this one.
    pub(crate) fn stands(&self, decided: &Policy, flow: &Arc<Flow<H>>) -> bool {
        if self.generation() <= decided.generation {
            return true;
        }
        if let Err(reason) = self.judge(&self.policy(), flow, None) {
            self.cut(flow, reason);
            return false;
        }
        true
    }
}
