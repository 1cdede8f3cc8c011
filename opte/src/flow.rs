// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A connection: one object that both of its directions share.

use crate::flow_key::FlowKey;
use crate::geneve::Mark;
use crate::headers::MacPair;
use crate::host::{Host, Lock};
use crate::nat::{Lease, NatBinding, Remote};
use crate::policy::{Generation, IdleLimits};
use crate::rule::{Facts, RuleId};
use crate::tcp::{Outcome, Segment, TcpFlags, TcpState, Tracker, idle_limit, is_plain};
use crate::walk::{Connection, Way};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use opte_api::Direction;

/// No rule has this number: they count from zero.
const NO_RULE: u64 = u64::MAX;
/// No TCP state has this number.
const NO_TCP: u8 = u8::MAX;
/// No flow has this number.
const NO_NUMBER: u32 = u32::MAX;

/// What is known of the packet that opened a connection: enough to judge the connection anew.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Which way it went.
    pub direction: Direction,
    /// Its MAC addresses as they came.
    pub macs: MacPair,
    /// Its origin.
    pub mark: Mark,
}

const fn is_newer(generation: Generation, judged: u32) -> bool {
    (generation.0 as u32).wrapping_sub(judged) as i32 > 0
}

/// How the two keys of a flow differ by translation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Translated {
    No,
    /// One address for one.
    Address,
    /// Address and port, or echo identifier.
    Port,
}

/// A connection.
///
/// Its two keys are those that packets have as they come: from the guest ([`Direction::Out`])
/// and from the network ([`Direction::In`]). Whatever must hold for the whole connection hangs
/// here; what belongs to one direction stands in that direction's slot of the flow table.
pub struct Flow<H: Host> {
    /// The packet that opened it.
    pub opening: Opening,
    keys: [FlowKey; 2],
    translated: Translated,
    /// Where it is in the table, as long as it is there.
    number: AtomicU32,
    /// The lower half of a generation's number.
    judged: AtomicU32,
    /// [`Way::NONE`] before an outbound packet has taken one.
    way: AtomicU32,
    /// [`NO_RULE`] if a default let it be.
    allowed_by: AtomicU64,
    /// Of no meaning unless this is a TCP flow.
    tracker: H::Lock<Tracker>,
    /// The tracker's state, for those who only look; [`NO_TCP`] if this is no TCP flow.
    tcp_state: AtomicU8,
    lease: Option<Lease>,
}

/// What a decided walk makes a flow of.
pub struct NewFlow {
    /// The packet that opens it.
    pub opening: Opening,
    /// The key of that packet as it came.
    pub key: FlowKey,
    /// The key of that packet as it leaves.
    pub far_key: FlowKey,
    /// How it is translated.
    pub binding: Option<NatBinding>,
    /// Which of several equal ways it takes.
    pub way: Option<Way>,
    /// Its share in the mapping, if the external port is on loan.
    pub lease: Option<Lease>,
    /// The rule that let it be.
    pub allowed_by: Option<RuleId>,
    /// Tracker of a TCP connection.
    pub tracker: Option<Tracker>,
    /// The policy that decided.
    pub generation: Generation,
}

impl<H: Host> Flow<H> {
    /// Makes the object.
    pub fn new(new: NewFlow) -> Self {
        let back = new.far_key.mirror();
        Self {
            opening: new.opening,
            translated: match new.binding.map(|binding| binding.external_port) {
                None => Translated::No,
                Some(None) => Translated::Address,
                Some(Some(_)) => Translated::Port,
            },
            number: AtomicU32::new(NO_NUMBER),
            allowed_by: AtomicU64::new(new.allowed_by.map_or(NO_RULE, |rule| rule.0)),
            keys: match new.opening.direction {
                Direction::Out => [new.key, back],
                Direction::In => [back, new.key],
            },
            judged: AtomicU32::new(new.generation.0 as u32),
            way: AtomicU32::new(new.way.map_or(Way::NONE, |way| way.0)),
            tcp_state: AtomicU8::new(new.tracker.map_or(NO_TCP, |tracker| tracker.state() as u8)),
            tracker: H::Lock::new(new.tracker.unwrap_or_default()),
            lease: new.lease,
        }
    }

    /// The key of packets that go `direction`, as they come.
    pub const fn key(&self, direction: Direction) -> &FlowKey {
        let [out, inbound] = &self.keys;
        match direction {
            Direction::Out => out,
            Direction::In => inbound,
        }
    }

    /// The key of the packet that opened it.
    pub const fn opening_key(&self) -> &FlowKey {
        self.key(self.opening.direction)
    }

    /// Its share in the mapping that it is translated by, if the external port is on loan.
    pub const fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// How it is translated: what its two keys say.
    pub fn binding(&self) -> Option<NatBinding> {
        let [out, inbound] = &self.keys;
        let leased = match self.translated {
            Translated::No => return None,
            Translated::Address => false,
            Translated::Port => true,
        };
        let private_port = if out.is_query() { out.dst_port() } else { out.src_port() };
        Some(NatBinding {
            private_ip: out.src(),
            external_ip: inbound.dst(),
            private_port: if leased { private_port } else { 0 },
            external_port: leased.then(|| inbound.dst_port()),
            remote: Remote::between(out, &inbound.mirror()),
        })
    }

    /// What a walk needs to know.
    pub fn connection(&self) -> Connection {
        self.connection_from(self.opening.direction)
    }

    /// The same, as if it were opened that way.
    pub(crate) fn connection_from(&self, opened: Direction) -> Connection {
        Connection {
            opened,
            binding: self.binding(),
            leased: self.lease.is_some(),
            way: self.way(),
        }
    }

    /// Which of several equal ways its outbound packets take.
    pub fn way(&self) -> Option<Way> {
        let number = self.way.load(Ordering::Relaxed);
        (number != Way::NONE).then_some(Way(number))
    }

    /// Notes which way a packet of it took.
    pub fn set_way(&self, way: Option<Way>) {
        self.way.store(way.map_or(Way::NONE, |way| way.0), Ordering::Relaxed);
    }

    /// Its number in the flow table.
    pub(crate) fn number(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    /// Says what its number in the flow table is to be.
    pub(crate) fn set_number(&self, number: u32) {
        self.number.store(number, Ordering::Relaxed);
    }

    /// The opening packet, to walk again.
    pub const fn opening_facts(&self) -> Facts {
        Facts { key: Some(*self.opening_key()), macs: self.opening.macs }
    }

    /// The connection was judged under this policy, or a newer one. Generations are compared by
    /// the lower halves of their numbers: no flow lives through half as many changes.
    pub fn is_judged(&self, generation: Generation) -> bool {
        !is_newer(generation, self.judged.load(Ordering::Relaxed))
    }

    /// The number of the policy under which it was judged last, seen from a port whose newest
    /// policy is `newest`.
    pub fn judged(&self, newest: Generation) -> Generation {
        let behind = (newest.0 as u32).wrapping_sub(self.judged.load(Ordering::Relaxed));
        Generation(newest.0.saturating_sub(behind.into()))
    }

    /// Notes that the connection stands under policy `generation`.
    pub fn set_judged(&self, generation: Generation) {
        let newer = |judged| is_newer(generation, judged).then_some(generation.0 as u32);
        // An error means that it was judged under a newer one already.
        let _ = self.judged.fetch_update(Ordering::Relaxed, Ordering::Relaxed, newer);
    }

    /// The rule that lets it be, unless a default does.
    pub fn allowed_by(&self) -> Option<RuleId> {
        let id = self.allowed_by.load(Ordering::Relaxed);
        (id != NO_RULE).then_some(RuleId(id))
    }

    /// Notes which rule lets it be now.
    pub fn set_allowed_by(&self, rule: Option<RuleId>) {
        self.allowed_by.store(rule.map_or(NO_RULE, |rule| rule.0), Ordering::Relaxed);
    }

    /// State of the TCP connection.
    pub fn tcp_state(&self) -> Option<TcpState> {
        TcpState::ALL.get(usize::from(self.tcp_state.load(Ordering::Relaxed))).copied()
    }

    /// The TCP connection as it is at this moment.
    pub fn tracker(&self) -> Option<Tracker> {
        self.tcp_state()?;
        Some(self.tracker.with(|tracker| *tracker))
    }

    /// It has its external port on loan.
    pub const fn is_leased(&self) -> bool {
        self.lease.is_some()
    }

    /// A packet with these control bits changes nothing about the connection's state.
    pub fn is_plain(&self, flags: TcpFlags) -> bool {
        self.tcp_state().is_none_or(|state| is_plain(flags, state))
    }

    /// Steps the TCP connection; `None` if it is no TCP flow.
    pub fn step(&self, direction: Direction, segment: &Segment) -> Option<Outcome> {
        self.tcp_state()?;
        Some(self.tracker.with(|tracker| {
            let step = tracker.step(direction, segment);
            *tracker = step.next;
            self.tcp_state.store(tracker.state() as u8, Ordering::Relaxed);
            step.outcome
        }))
    }

    /// How long the flow lives without packets, in milliseconds.
    pub fn idle_limit(&self, limits: &IdleLimits) -> u64 {
        match self.tcp_state() {
            Some(state) => idle_limit(state, &limits.tcp),
            None => limits.of(self.opening_key().protocol()),
        }
    }
}
