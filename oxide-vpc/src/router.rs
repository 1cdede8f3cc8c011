// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The router layer: where packets of the guest lead. It changes nothing; it tells the layers
//! behind it which gateway or which guest the route names. Multicast passes it: groups are not
//! routed.

use crate::meta::{GATEWAY, TARGET, TARGET_IP, Target};
use crate::routes::{Member, gateway_of};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte::drop_reason::DropReason;
use opte::layer::{DefaultAction, Layer, LayerSide, Return};
use opte::rule::{Act, Action, Predicate, Rule, RuleId};
use opte::table::{PrefixTable, Table};
use opte::walk::Walk;
use opte_api::{Direction, IpCidr};
use oxide_vpc_api::{RouterClass, RouterTarget};

/// Name of the layer.
pub const NAME: &str = "router";

/// The layer without routes. No route may have a multicast destination, so nothing stands beside
/// the rules of the groups.
pub fn empty(mut next_id: impl FnMut() -> RuleId) -> Layer {
    let pass = |prefix| {
        let rule = Rule::new(next_id(), 0, [Predicate::Dst(prefix)].into(), Action::Allow);
        (prefix, Arc::new(rule))
    };
    let passes = PrefixTable::new([true, false].map(IpCidr::groups).map(pass).into());
    Layer {
        name: NAME,
        sides: [
            LayerSide::new(Table::Prefix(passes), DefaultAction::Deny(DropReason::NoRoute)),
            LayerSide::new(Table::EMPTY, DefaultAction::Allow),
        ],
        on_return: Return::Rules,
    }
}

/// The layer with a change of its routes.
pub fn with_change(layer: &Layer, change: impl FnOnce(&mut PrefixTable)) -> Layer {
    let mut routes = match &layer.side(Direction::Out).table {
        Table::Prefix(routes) => routes.clone(),
        Table::Priority(_) | Table::Classified(_) => PrefixTable::default(),
    };
    change(&mut routes);
    layer.with_table(Direction::Out, Table::Prefix(routes))
}

/// All routes of one prefix and class, as one rule. Its priority only matters among those of one
/// prefix: custom goes before system. Within a class drop goes before blackhole, and that before the
/// rest, which share the connections out.
pub fn compile(
    id: RuleId,
    (dest, class): (IpCidr, RouterClass),
    members: &Arc<[Arc<Member>]>,
) -> Rule {
    let priority = match class {
        RouterClass::Custom => 0,
        RouterClass::System => 1,
    };
    let action = Action::Act(Arc::new(Shared(members.clone())));
    Rule::new(id, priority, [Predicate::Dst(dest)].into(), action)
}

/// The routes of one prefix and class.
struct Shared(Arc<[Arc<Member>]>);

impl Shared {
    /// The route of this packet: the one that its connection has, as long as that is there.
    fn route(&self, walk: &Walk<'_>) -> Option<&Arc<Member>> {
        let is = |target| self.0.iter().find(move |member| member.target == target);
        let ends = is(RouterTarget::Drop).or_else(|| is(RouterTarget::Blackhole));
        let kept = || {
            let way = walk.connection?.way?;
            self.0.iter().find(|member| member.way() == way)
        };
        ends.or_else(kept).or_else(|| Member::choose(&self.0, walk.hash))
    }
}

impl Act for Shared {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        let member = self.route(walk).ok_or(DropReason::NoRoute)?;
        walk.way = Some(member.way());
        if walk.connection.is_none() {
            member.hit();
        }
        match member.target {
            RouterTarget::Drop => return Err(DropReason::RouteDrop),
            RouterTarget::Blackhole => return Err(DropReason::RouteBlackhole),
            RouterTarget::InternetGateway(_) => walk.meta.set(TARGET, Target::Gateway),
            RouterTarget::Ip(ip) => {
                walk.meta.set(TARGET, Target::Ip);
                walk.meta.set(TARGET_IP, ip);
            }
            RouterTarget::Subnet(_) => walk.meta.set(TARGET, Target::Subnet),
        }
        if let Some(gateway) = gateway_of(&member.target) {
            walk.meta.set(GATEWAY, gateway);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let one = |member: &Arc<Member>| match self.0.len() {
            1 => member.target.to_string(),
            _ => alloc::format!("{} weight={}", member.target, member.weight),
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(" | ")
    }
}
