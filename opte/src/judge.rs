// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One judgement (architecture, "one judgement"): whether a connection is still right under a policy.

use crate::edit::HeaderEdit;
use crate::event::FlowEnd;
use crate::flow::Flow;
use crate::host::Host;
use crate::policy::Policy;
use crate::port::Port;
use crate::walk::{self, Bytes, Walk};
use alloc::sync::Arc;

/// A connection as the policy sees it now.
pub(crate) enum Judgement {
    /// It stands. If the judging walk was that of the packet at hand, this is what it decided.
    Keep(Option<HeaderEdit>),
    /// It must end.
    Cut,
}

impl<H: Host> Port<H> {
    /// Uniform, keyed, constant for a connection: for choices among equals.
    pub(crate) fn choice(&self, flow: &Flow<H>) -> u64 {
        self.chooser.hash(flow.opening_key())
    }

    /// Judges every connection now, so that those which the policy has ended give back what they
    /// hold.
    pub fn sweep(&self) {
        let policy = self.policy();
        for flow in self.flows.flows() {
            if let Judgement::Cut = self.judge(&policy, &flow, None) {
                self.end(&flow, FlowEnd::Cut);
            }
        }
    }

    /// Asks whether a connection is still right under `policy`: walks its opening packet again. If
    /// the packet at hand is like that one, `own` is its frame, and this is its walk as well.
    pub(crate) fn judge(
        &self,
        policy: &Policy,
        flow: &Flow<H>,
        own: Option<Bytes<'_>>,
    ) -> Judgement {
        if flow.is_judged(policy.generation) {
            return Judgement::Keep(None);
        }
        let direction = flow.opening.direction;
        let (facts, choice) = (flow.opening_facts(), self.choice(flow));
        let connection = flow.connection();
        let mut walk = Walk::new(&policy.rules, direction, facts, choice, Some(connection), own);
        walk.origin(flow.opening.mark);
        let passed = walk.try_run();
        if own.is_some() && matches!(passed, Ok(walk::Passed::Reply(_))) {
            // What answers packets does not judge connections.
            return self.judge(policy, flow, None);
        }
        let stands = passed.is_ok()
            && walk.binding == connection.binding
            && walk.key().map(|key| key.mirror()) == Some(*flow.key(direction.reverse()));
        if !stands {
            return Judgement::Cut;
        }
        walk.account();
        flow.set_allowed_by(walk.allowed_by);
        flow.set_judged(policy.generation);
        Judgement::Keep(own.map(|_| walk.edit))
    }

    /// A flow that was just entered is still right. If there is another policy by now, who swept
    /// the flows under it may not have seen this one.
    pub(crate) fn stands(&self, decided: &Policy, flow: &Arc<Flow<H>>) -> bool {
        if self.generation() == decided.generation {
            return true;
        }
        if let Judgement::Cut = self.judge(&self.policy(), flow, None) {
            self.end(flow, FlowEnd::Cut);
            return false;
        }
        true
    }
}
