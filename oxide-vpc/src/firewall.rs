// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The firewall layer: which connections may be opened.
//!
//! A rule decides about the packet that opens a connection; packets of the connection then pass
//! both ways. Default: nothing in, everything out.

use crate::meta::PEER_VNI;
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte::drop_reason::DropReason;
use opte::layer::{DefaultAction, Layer, LayerSide, Return};
use opte::meta::MetaValue;
use opte::rule::{Action, Predicate, Rule, RuleId};
use opte::table::Table;
use opte_api::{Direction, IpCidr, Protocol};
use oxide_vpc_api::{FirewallAction, FirewallRule, Hosts, IcmpFilter, ProtocolFilter};

/// Name of the layer.
pub const NAME: &str = "firewall";

/// The layer without rules.
pub fn empty() -> Layer {
    Layer {
        name: NAME,
        sides: [
            LayerSide::new(Table::EMPTY, DefaultAction::AllowStateful),
            LayerSide::new(Table::EMPTY, DefaultAction::Deny(DropReason::FirewallDefault)),
        ],
        on_return: Return::Pass,
    }
}

/// The layer with other rules, each for one direction.
pub fn with_rules(layer: &Layer, rules: &[(Direction, Arc<Rule>)]) -> Layer {
    let side = |direction: Direction| {
        let ours = rules.iter().filter(|(way, _)| *way == direction);
        let table = Table::by_priority(ours.map(|(_, rule)| rule.clone()).collect());
        layer.side(direction).with_table(table)
    };
    Layer { name: NAME, sides: Direction::BOTH.map(side), on_return: layer.on_return }
}

/// A rule in the engine's words.
pub fn compile(id: RuleId, rule: &FirewallRule) -> Rule {
    Rule::new(id, rule.priority, predicates(rule), action(rule.action))
}

/// The same rule, compiled from this text.
pub fn is_same(rule: &Rule, text: &FirewallRule, predicates: &[Predicate]) -> bool {
    let same_action = match (&rule.action, action(text.action)) {
        (Action::Deny(one), Action::Deny(other)) => *one == other,
        (Action::Deny(_), _) | (_, Action::Deny(_)) => false,
        _ => true,
    };
    rule.priority == text.priority && same_action && rule.predicates == predicates
}

/// What a rule does.
pub const fn action(action: FirewallAction) -> Action {
    match action {
        FirewallAction::Allow => Action::AllowStateful,
        FirewallAction::Deny => Action::Deny(DropReason::FirewallRule),
        FirewallAction::Reject => Action::Deny(DropReason::FirewallReject),
    }
}

/// What must hold for a rule.
pub fn predicates(rule: &FirewallRule) -> Vec<Predicate> {
    let [protocol, kind, codes] = protocol(&rule.protocol);
    let ranges = || rule.ports.iter().map(|range| (range.first, range.last)).collect();
    let ports = (!rule.ports.is_empty()).then(|| Predicate::DstPort(ranges()));
    let all = [protocol, remote(rule.direction, &rule.hosts), ports, kind, codes];
    // Rules are many: no room for more predicates than there are.
    let mut predicates = Vec::with_capacity(all.iter().flatten().count());
    predicates.extend(all.into_iter().flatten());
    predicates
}

/// The remote side is the source of what comes in, and the destination of what goes out.
fn remote(direction: Direction, hosts: &Hosts) -> Option<Predicate> {
    let prefix = match *hosts {
        Hosts::Any => return None,
        Hosts::Vni(vni) => return Some(Predicate::Meta(PEER_VNI.slot(), vni.to_bits())),
        Hosts::Ip(ip) => IpCidr::host(ip),
        Hosts::Subnet(prefix) => prefix,
    };
    Some(match direction {
        Direction::Out => Predicate::Dst(prefix),
        Direction::In => Predicate::Src(prefix),
    })
}

/// Protocol, ICMP type and ICMP codes.
fn protocol(filter: &ProtocolFilter) -> [Option<Predicate>; 3] {
    let icmp = |protocol, filter: &IcmpFilter| {
        let kind = filter.kinds.map(|(first, last)| Predicate::IcmpType(first, last));
        let codes = filter.codes.map(|(first, last)| Predicate::IcmpCode(first, last));
        [Some(Predicate::Protocol(protocol)), kind, codes]
    };
    match filter {
        ProtocolFilter::Any => [None, None, None],
        ProtocolFilter::Icmp(filter) => icmp(Protocol::ICMP, filter),
        ProtocolFilter::Icmpv6(filter) => icmp(Protocol::ICMPV6, filter),
        ProtocolFilter::Number(number) => [Some(Predicate::Protocol(*number)), None, None],
    }
}
