// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The NAT layer: which external address stands for the guest.
//!
//! The router has stamped the gateway; only addresses that serve it are eligible, and among these
//! floating goes before ephemeral, then prefixes that are the guest's one to one, then port
//! forwards of the very endpoint, then what is shared. A connection keeps its address for life: an
//! address that is no longer eligible ends the connection, at once or when its time is over; it
//! never moves it.
//!
//! Where the guest knows a destination by another address than it has outside, both ends of its
//! connections are translated at once; a connection whose remote end would be another one now ends.
//!
//! What comes in is translated by what its destination is: a port forward, an address of the
//! guest's own, or a mapping that a pool has made. The last means that whoever knows the external
//! port of a mapping may send to it (RFC 4787, REQ-8), as far as the pool's filter and then the
//! firewall's inbound rules let it.

mod destinations;
mod inbound;
mod outbound;
mod plan;
mod reach;

pub use plan::NatPlan;
pub(crate) use plan::hold;
pub use reach::{Lent, Own, Reach};

use crate::gateways::Denials;
use crate::meta::{EXTERNAL_SOURCE, GATEWAY, GatewayId, TARGET, Target};
use crate::standing::{Served, Service, Standing, Translation, Until};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use core::net::IpAddr;
use destinations::Destinations;
use inbound::{Forwarded, Mapped, OneAddress, OnePrefix};
use opte::cut::CutReason;
use opte::drop_reason::DropReason;
use opte::flow_key::FlowKey;
use opte::layer::{DefaultAction, Layer, LayerSide, Return};
use opte::meta::MetaValue;
use opte::nat::{Failure, NatBinding};
use opte::rule::{Act, Action, Predicate, Rule, RuleId};
use opte::table::Table;
use opte::walk::Walk;
use opte_api::{Direction, IpCidr, Protocol};
use outbound::{Outbound, Unchanged};
use oxide_vpc_api::{PortForward, Untranslated};

/// Name of the layer.
pub const NAME: &str = "nat";

const UNTRANSLATED: u16 = 2;
const FORWARD: u16 = 3;
/// What is known outside as it is needs no translation.
const EXTERNAL_SOURCES: u16 = 4;
const ONE_TO_ONE: u16 = 5;
const MAPPED: u16 = 6;
const ANY_GATEWAY: u16 = 200;
const NO_ADDRESS: u16 = 255;

/// The layer without external addresses.
pub fn empty() -> Layer {
    Layer {
        name: NAME,
        sides: [
            LayerSide::new(Table::EMPTY, DefaultAction::Allow),
            LayerSide::new(Table::EMPTY, DefaultAction::Allow),
        ],
        on_return: Return::Translate,
    }
}

/// The layer that translates as `plan` says. What was taken away stands for connections that have
/// it.
pub fn with_plan(
    layer: &Layer,
    plan: &NatPlan,
    denials: &Denials,
    retired: &[Service],
    next_id: impl FnMut() -> RuleId,
) -> Layer {
    let services = plan.services().into_iter().chain(retired.iter().copied());
    let standing = Arc::new(Standing::new(services));
    let rest = || {
        let (standing, denials) = (standing.clone(), denials.clone());
        Action::Act(Arc::new(Rest { standing, denials, destinations: plan.destinations() }))
    };
    let mut rules =
        Rules { out: Vec::new(), inbound: Vec::new(), next_id, standing: standing.clone() };
    for untranslated in &plan.settings().untranslated {
        rules.untranslated(untranslated);
    }
    for family in plan.families() {
        rules.family(plan, &family);
    }
    let known = [Predicate::Meta(EXTERNAL_SOURCE.slot(), 1)].into();
    rules.add(Direction::Out, EXTERNAL_SOURCES, known, Action::Allow);
    let outside = Predicate::Meta(TARGET.slot(), Target::Gateway.to_bits());
    rules.add(Direction::Out, NO_ADDRESS, [outside].into(), rest());
    rules.add(Direction::In, NO_ADDRESS, [].into(), rest());
    Layer {
        name: NAME,
        sides: [
            layer.side(Direction::Out).with_table(Table::by_priority(rules.out)),
            layer.side(Direction::In).with_table(Table::by_priority(rules.inbound)),
        ],
        on_return: layer.on_return,
    }
}

/// The rules of both directions as they come to be.
struct Rules<F> {
    out: Vec<Arc<Rule>>,
    inbound: Vec<Arc<Rule>>,
    next_id: F,
    standing: Arc<Standing>,
}

impl<F: FnMut() -> RuleId> Rules<F> {
    fn add(
        &mut self,
        direction: Direction,
        priority: u16,
        predicates: Vec<Predicate>,
        action: Action,
    ) {
        let rule = Arc::new(Rule::new((self.next_id)(), priority, predicates, action));
        match direction {
            Direction::Out => self.out.push(rule),
            Direction::In => self.inbound.push(rule),
        }
    }

    fn act(
        &mut self,
        way: Direction,
        priority: u16,
        predicates: Vec<Predicate>,
        act: impl Act + 'static,
    ) {
        self.add(way, priority, predicates, Action::Act(Arc::new(act)));
    }

    fn untranslated(&mut self, untranslated: &Untranslated) {
        let outside = Predicate::Meta(TARGET.slot(), Target::Gateway.to_bits());
        let mut predicates = Vec::from([outside, Predicate::Dst(untranslated.prefix)]);
        predicates.extend(untranslated.protocol.map(Predicate::Protocol));
        let ports = untranslated.ports.map(|range| [(range.first, range.last)].into());
        predicates.extend(ports.map(Predicate::DstPort));
        self.act(Direction::Out, UNTRANSLATED, predicates, Unchanged);
    }

    fn family(&mut self, plan: &NatPlan, family: &plan::Family) {
        let is = |gateway: GatewayId| Predicate::Meta(GATEWAY.slot(), gateway.to_bits());
        for (served, eligible) in &family.gateways {
            // Without an address the gateway is one that denies.
            if eligible.is_empty() {
                continue;
            }
            let (priority, gateway) = match served {
                Served::One(gateway) => (ONE_TO_ONE, is(*gateway)),
                Served::AnyNamed => (ANY_GATEWAY, Predicate::Not(Arc::new(is(GatewayId(None))))),
            };
            let predicates = [
                Predicate::Ipv4(family.private_ip.is_ipv4()),
                Predicate::Meta(TARGET.slot(), Target::Gateway.to_bits()),
                gateway,
            ];
            let act = Outbound::new(plan, eligible, &self.standing);
            self.act(Direction::Out, priority, predicates.into(), act);
        }
        let (vni, private_ip) = (plan.vni, family.private_ip);
        for forward in &family.all.forwards {
            let predicates = forward_predicates(forward);
            let act = Forwarded { vni, private_ip, forward: *forward };
            self.act(Direction::In, FORWARD, predicates.into(), act);
        }
        for external_ip in family.all.floating.iter().copied().chain(family.all.ephemeral) {
            let predicates = [Predicate::Dst(IpCidr::host(external_ip))];
            if !family.share.is_reached_by(external_ip) {
                let deny = Action::Deny(DropReason::NoExternalAddress);
                self.add(Direction::In, ONE_TO_ONE, predicates.into(), deny);
                continue;
            }
            let act = OneAddress { vni, private_ip, external_ip };
            self.act(Direction::In, ONE_TO_ONE, predicates.into(), act);
        }
        for one in &family.all.one_to_one {
            let predicates = [Predicate::Dst(one.external)];
            let act = OnePrefix { vni, one: *one };
            self.act(Direction::In, ONE_TO_ONE, predicates.into(), act);
        }
        let pool = Arc::new(plan.pool(&family.all.ranges));
        let mut prefixes: Vec<IpCidr> = pool.ranges().map(|range| range.prefix).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        for prefix in prefixes {
            let act = Mapped { vni, pool: pool.clone(), standing: self.standing.clone() };
            self.act(Direction::In, MAPPED, [Predicate::Dst(prefix)].into(), act);
        }
    }
}

fn forward_predicates(forward: &PortForward) -> [Predicate; 3] {
    let ports = forward.external_ports;
    [
        Predicate::Dst(IpCidr::host(forward.external_ip)),
        Predicate::Protocol(forward.protocol),
        Predicate::DstPort([(ports.first, ports.last)].into()),
    ]
}

/// The binding of one address for one.
const fn whole(private_ip: IpAddr, external_ip: IpAddr) -> NatBinding {
    NatBinding { private_ip, external_ip, private_port: 0, external_port: None, remote: None }
}

/// The binding that a port forward has for a port of the guest.
pub(crate) fn by_inside(
    forward: &PortForward,
    private_ip: IpAddr,
    port: u16,
) -> Option<NatBinding> {
    let offset = port.checked_sub(forward.first_port)?;
    let external_port = forward.external_ports.first.checked_add(offset)?;
    (external_port <= forward.external_ports.last).then_some(NatBinding {
        private_ip,
        external_ip: forward.external_ip,
        private_port: port,
        external_port: Some(external_port),
        remote: None,
    })
}

/// The binding that a port forward has for one of its ports outside.
fn by_outside(forward: &PortForward, private_ip: IpAddr, port: u16) -> Option<NatBinding> {
    let offset = port.checked_sub(forward.external_ports.first)?;
    by_inside(forward, private_ip, forward.first_port.checked_add(offset)?)
}

/// DCCP and UDP-Lite have checksums over the addresses, which the engine does not rewrite.
fn must_translate(key: &FlowKey) -> Result<(), DropReason> {
    match key.protocol() {
        Protocol(33 | 136) => Err(DropReason::NatProtocol),
        _ => Ok(()),
    }
}

/// Where no address serves. Connections that have a translation of old may stand all the same.
struct Rest {
    standing: Arc<Standing>,
    /// Counts of what a gateway has no address for.
    denials: Denials,
    destinations: Destinations,
}

impl Act for Rest {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        let outbound = walk.direction == Direction::Out;
        match (walk.connection, walk.binding) {
            (Some(_), Some(_)) => {}
            (Some(_), None) if outbound => return Err(DropReason::UntranslatedOutside),
            (None, _) if outbound => {
                walk.meta.get(GATEWAY).into_iter().for_each(|gateway| self.denials.count(gateway));
                return Err(DropReason::NoExternalAddress);
            }
            // From the VPC, or of no meaning here: layers behind see that it is not for the guest.
            _ => return Ok(()),
        }
        let gateway = if outbound { walk.meta.get(GATEWAY) } else { None };
        if outbound {
            same_remote(walk, &self.destinations)?;
        }
        stand(walk, &self.standing, gateway)?;
        walk.translate();
        Ok(())
    }

    fn describe(&self) -> String {
        let mut text = String::from("deny what is not translated yet");
        for service in self.standing.retired() {
            // Writing to a String cannot fail.
            let _ = write!(text, " retired={}", service.prefix);
        }
        text
    }
}

/// Goes on with the translation of a connection, if it stands.
fn stand(
    walk: &mut Walk<'_>,
    standing: &Standing,
    gateway: Option<GatewayId>,
) -> Result<(), DropReason> {
    let Some(translation) = Translation::of(walk) else { return Ok(()) };
    match standing.of(gateway, &translation) {
        Ok(None) => Ok(()),
        Ok(Some(Until::Time(at))) => {
            walk.drain = Some(Some(at));
            Ok(())
        }
        Ok(Some(Until::Ended | Until::Over)) => {
            walk.drain = Some(None);
            Ok(())
        }
        Err(reason) => cut(walk, reason),
    }
}

/// The remote end of a connection that the guest has opened is translated as it would be now.
fn same_remote(walk: &mut Walk<'_>, destinations: &Destinations) -> Result<(), DropReason> {
    let wanted = walk.key().and_then(|key| destinations.remote(&key));
    if walk.binding.is_some_and(|binding| binding.remote != wanted) {
        return cut(walk, CutReason::TranslatedOtherwise);
    }
    Ok(())
}

/// The connection has lost its external tuple, and why.
fn cut(walk: &mut Walk<'_>, reason: CutReason) -> Result<(), DropReason> {
    walk.cut = Some(reason);
    Err(DropReason::NoExternalAddress)
}

fn reason(failure: Failure) -> DropReason {
    match failure {
        Failure::Protocol => DropReason::NatProtocol,
        Failure::Exhausted => DropReason::NatExhausted,
        Failure::GuestLimit | Failure::OwnerLimit => DropReason::NatLimit,
        Failure::Rate => DropReason::NatRate,
    }
}
