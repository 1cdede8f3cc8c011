// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The router layer: where packets of the guest lead. It changes nothing; it tells the layers
//! behind it which gateway or which guest the route names.

use crate::meta::{GATEWAY, GatewayId, TARGET, TARGET_IP, Target};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use opte::drop_reason::DropReason;
use opte::layer::{DefaultAction, Layer, LayerSide, Return};
use opte::rule::{Act, Action, Predicate, Rule, RuleId};
use opte::table::{PrefixTable, Table};
use opte::walk::Walk;
use opte_api::Direction;
use oxide_vpc_api::{RouteEntry, RouterClass, RouterTarget};

/// Name of the layer.
pub const NAME: &str = "router";

/// The layer without routes.
pub fn empty() -> Layer {
    Layer {
        name: NAME,
        sides: [
            LayerSide::new(Table::EMPTY, DefaultAction::Deny(DropReason::NoRoute)),
            LayerSide::new(Table::EMPTY, DefaultAction::Allow),
        ],
        on_return: Return::Rules,
    }
}

/// The layer with other routes.
pub fn with_routes(layer: &Layer, routes: &[(RouteEntry, Arc<Rule>)]) -> Layer {
    let entries = routes.iter().map(|(route, rule)| (route.dest, rule.clone())).collect();
    layer.with_table(Direction::Out, Table::Prefix(PrefixTable::new(entries)))
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

/// A route in the engine's words. Its priority only matters among routes of one prefix: custom
/// goes before system, drop before everything.
pub fn compile(id: RuleId, route: &RouteEntry) -> Rule {
    let priority = match route.class {
        RouterClass::Custom => 0,
        RouterClass::System => 1,
    };
    let action = match route.target {
        RouterTarget::Drop => Action::Deny(DropReason::RouteDrop),
        target => Action::Act(Arc::new(Route(target))),
    };
    Rule::new(id, priority, [Predicate::Dst(route.dest)].into(), action)
}

struct Route(RouterTarget);

impl Act for Route {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        match self.0 {
            RouterTarget::Drop => return Err(DropReason::RouteDrop),
            RouterTarget::InternetGateway(gateway) => {
                walk.meta.set(TARGET, Target::Gateway);
                walk.meta.set(GATEWAY, GatewayId(gateway));
            }
            RouterTarget::Ip(ip) => {
                walk.meta.set(TARGET, Target::Ip);
                walk.meta.set(TARGET_IP, ip);
            }
            RouterTarget::Subnet(_) => walk.meta.set(TARGET, Target::Subnet),
        }
        Ok(())
    }

    fn describe(&self) -> String {
        self.0.to_string()
    }
}
