// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a port does with a fragment.

use super::table::{Found, Held, Table, Way};
use super::{Fragment, renumber};
use crate::drop_reason::DropReason;
use crate::flow_key::FlowKey;
use crate::frame::{FlatFrame, Frame};
use crate::headers::{Headers, Payload};
use crate::host::{Host, Lock};
use crate::port::{Batch, Passed, Port, Turn};
use opte_api::Direction;

impl<H: Host> Port<H> {
    /// Decides about a fragment.
    #[cold]
    pub(crate) fn pass_fragment<F: Frame>(
        &self,
        turn: Turn<'_>,
        frame: &mut F,
        headers: &Headers,
        (key, fragment): (FlowKey, Fragment),
        batch: &mut Batch,
    ) -> Result<Passed, DropReason> {
        let name = key.without_ports();
        let len = (headers.end as usize).saturating_sub(headers.transport.into());
        let found =
            self.with_fragments(turn, |table| table.enter(name, fragment, len, turn.now))?;
        let passed = match found {
            Found::Go(None) => self.pass_first(turn, frame, headers, (key, fragment), batch),
            Found::Go(Some(way)) => self.pass_later(turn, frame, headers, &way, batch),
            Found::Wait => {
                let head = frame.head();
                // Of a frame in several pieces of memory only the first can be kept.
                let whole = (head.len() == frame.len()).then(|| head.to_vec());
                let bytes = whole.ok_or(DropReason::FragmentLimit)?;
                let Headers { ether, mark, ecn, .. } = *headers;
                let held = Held { bytes, id: fragment.id, ether, mark, ecn };
                self.with_fragments(turn, |table| table.hold(name, held))?;
                return Ok(Passed::Held);
            }
        };
        self.with_fragments(turn, |table| table.done(name, fragment.id));
        passed
    }

    fn with_fragments<R>(&self, turn: Turn<'_>, f: impl FnOnce(&mut Table) -> R) -> R {
        let [out, inbound] = &self.fragments;
        match turn.direction {
            Direction::Out => out.with(f),
            Direction::In => inbound.with(f),
        }
    }

    /// The first fragment goes as a packet of its own; what waited for it follows.
    fn pass_first<F: Frame>(
        &self,
        turn: Turn<'_>,
        frame: &mut F,
        headers: &Headers,
        (key, fragment): (FlowKey, Fragment),
        batch: &mut Batch,
    ) -> Result<Passed, DropReason> {
        let name = key.without_ports();
        let whole = Headers { payload: Payload::Ip(key), ..*headers };
        let passed = self.pass_whole(turn, frame, &whole, &key, batch);
        let forwarded = matches!(passed, Ok(Passed::Hit | Passed::Decided));
        let Some(way) = self.way(turn, &key).filter(|_| forwarded) else {
            self.with_fragments(turn, |table| table.refused(name, fragment.id));
            return passed;
        };
        if let Some(id) = way.id {
            renumber(frame.head_mut(), headers.ip(), id)?;
        }
        let first = core::mem::take(&mut batch.rewrite);
        let waiting =
            self.with_fragments(turn, |table| table.passed(name, fragment.id, way.clone()));
        for held in waiting {
            self.release(turn, held, &way, batch);
        }
        batch.rewrite = first;
        passed
    }

    /// What was done with the packet of this key that has just passed.
    fn way(&self, turn: Turn<'_>, key: &FlowKey) -> Option<Way> {
        let flow = self.flows.find(key, turn.direction)?;
        let stored = self.flows.with_side(&flow, turn.direction, |slot| slot.stored.clone())??;
        let shared = flow.binding().filter(|binding| binding.external_port.is_some());
        let shared = shared.filter(|_| turn.direction == Direction::Out);
        let ids = shared.and_then(|binding| {
            let ids = &turn.policy.rules.shared;
            ids.iter().find(|ids| ids.is_of(binding.external_ip))
        });
        let id = ids.map(|ids| ids.next());
        Some(Way { stored: stored.for_later_fragments(), key: *key, id })
    }

    fn pass_later<F: Frame>(
        &self,
        turn: Turn<'_>,
        frame: &mut F,
        headers: &Headers,
        way: &Way,
        batch: &mut Batch,
    ) -> Result<Passed, DropReason> {
        if !way.stored.holds(turn.policy.generation, headers) {
            return Err(DropReason::Fragment);
        }
        let len = frame.len() - usize::from(headers.ether);
        way.stored.transform.apply(frame, headers, &mut batch.rewrite)?;
        if let Some(id) = way.id {
            renumber(frame.head_mut(), headers.ip(), id)?;
        }
        if let Some(flow) = self.flows.find(&way.key, turn.direction) {
            self.flows.with_side(&flow, turn.direction, |slot| slot.touch(turn.now, len));
        }
        Ok(Passed::Decided)
    }

    /// A fragment that has waited leaves behind the first.
    fn release(&self, turn: Turn<'_>, held: Held, way: &Way, batch: &mut Batch) {
        let mut frame = FlatFrame::new(held.bytes);
        let headers = Headers::parse(frame.head(), frame.len(), held.ether.into(), held.mark);
        let passed = headers.and_then(|headers| {
            let headers = Headers { ecn: held.ecn, ..headers };
            self.pass_later(turn, &mut frame, &headers, way, batch).map(|_| headers)
        });
        match passed {
            Ok(headers) => {
                let side = batch.tally.side(turn.direction);
                side.misses += 1;
                side.packets += 1;
                side.bytes += (frame.len() - usize::from(headers.ether)) as u64;
                batch.released.push((frame, batch.rewrite));
            }
            Err(reason) => self.counters.dropped(turn.direction, reason),
        }
    }
}
