// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The gateway layer: what the guest may say on its link, and who answers it there.

use crate::mappings::Mappings;
use crate::meta::{EXTERNAL_SOURCE, PEER_VNI};
use crate::services::{self, Checksum};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte::drop_reason::DropReason;
use opte::edit::HeaderEdit;
use opte::layer::{DefaultAction, Layer, LayerSide, Return};
use opte::rule::{Act, Action, Answer, Predicate, Respond, Rule, RuleId};
use opte::table::Table;
use opte::walk::Walk;
use opte_api::{Direction, IpCidr, MacAddr, Protocol, Vni};
use oxide_vpc_api::{PortConfig, Prefixes};

/// Name of the layer.
pub const NAME: &str = "gateway";

const SERVICE: u16 = 1;
const SERVICE_REST: u16 = 5;
/// Parts of a transit prefix that no guest may use.
const RESERVED: u16 = 998;
const EXTERNAL_SUBNETS: u16 = 999;
const SOURCE_CHECK: u16 = 1000;
const GROUPS: u16 = 1001;
/// Router solicitation to redirect (RFC 4861).
const NDP_TYPES: (u8, u8) = (133, 137);

/// A service of the gateway, in the shape that all of them have.
type Service = fn(&PortConfig, &[u8], Checksum) -> services::Answer;

/// The layer of a port.
pub fn layer(config: &Arc<PortConfig>, prefixes: &Prefixes) -> Layer {
    let mut rules = Rules { next_id: 0, out: Vec::new(), inbound: Vec::new() };
    rules.services(config);
    rules.source_checks(config, prefixes);
    Layer {
        name: NAME,
        sides: [
            LayerSide::new(Table::by_priority(rules.out), DefaultAction::Deny(DropReason::Spoofed)),
            LayerSide::new(
                Table::by_priority(rules.inbound),
                DefaultAction::Deny(DropReason::NotForGuest),
            ),
        ],
        on_return: Return::Rules,
    }
}

struct Rules {
    next_id: u64,
    out: Vec<Arc<Rule>>,
    inbound: Vec<Arc<Rule>>,
}

impl Rules {
    fn rule(&mut self, priority: u16, predicates: Vec<Predicate>, action: Action) -> Arc<Rule> {
        self.next_id += 1;
        Arc::new(Rule::new(RuleId(self.next_id - 1), priority, predicates, action))
    }

    fn service(
        &mut self,
        config: &Arc<PortConfig>,
        name: &'static str,
        run: Service,
        predicates: Vec<Predicate>,
    ) {
        let responder = Responder { config: config.clone(), name, run };
        let rule = self.rule(SERVICE, predicates, Action::Respond(Arc::new(responder)));
        self.out.push(rule);
    }

    fn services(&mut self, config: &Arc<PortConfig>) {
        let udp = |ipv4, src_port, dst_port| {
            let ports = [(dst_port, dst_port)].into();
            [
                Predicate::Ipv4(ipv4),
                Predicate::Protocol(Protocol::UDP),
                Predicate::SrcPort(src_port, src_port),
                Predicate::DstPort(ports),
            ]
            .into()
        };
        let icmp = |protocol, (first, last)| {
            [Predicate::Protocol(protocol), Predicate::IcmpType(first, last)].into()
        };
        self.service(
            config,
            "arp",
            |c, f, _| services::arp::respond(c, f),
            [Predicate::Arp].into(),
        );
        self.service(config, "dhcp", services::dhcp4::respond, udp(true, 68, 67));
        self.service(config, "dhcpv6", services::dhcp6::respond, udp(false, 546, 547));
        let echo = services::icmp::respond;
        let link_local = IpAddr::V6(config.gateway_mac.link_local());
        let gateways = config.ipv4.iter().map(|family| family.gateway_ip).chain([link_local]);
        for gateway in gateways {
            let (protocol, kind) =
                if gateway.is_ipv4() { (Protocol::ICMP, 8) } else { (Protocol::ICMPV6, 128) };
            let mut predicates: Vec<Predicate> = icmp(protocol, (kind, kind));
            predicates.push(Predicate::Dst(IpCidr::host(gateway)));
            self.service(config, "echo", echo, predicates.clone());
            // What is not a proper request must not go past the gateway either.
            let deny = Action::Deny(DropReason::GatewayDeny);
            let rest = self.rule(SERVICE_REST, predicates, deny);
            self.out.push(rest);
        }
        self.service(config, "ndp", services::ndp::respond, icmp(Protocol::ICMPV6, NDP_TYPES));
        // Neighbour discovery stays on the link, both ways.
        let deny = Action::Deny(DropReason::GatewayDeny);
        let rest = self.rule(SERVICE_REST, icmp(Protocol::ICMPV6, NDP_TYPES), deny.clone());
        self.out.push(rest);
        let rest = self.rule(SERVICE_REST, icmp(Protocol::ICMPV6, NDP_TYPES), deny);
        self.inbound.push(rest);
    }

    /// Both ways only with the guest's MAC address, and with its own addresses or those of
    /// prefixes that it may use.
    fn source_checks(&mut self, config: &PortConfig, prefixes: &Prefixes) {
        let own = config.families().map(|family| IpCidr::host(family.private_ip));
        let own: Vec<IpCidr> = own.collect();
        for direction in [Direction::Out, Direction::In] {
            for range in prefixes.reserved(direction) {
                let reason = match direction {
                    Direction::Out => DropReason::Spoofed,
                    Direction::In => DropReason::NotForGuest,
                };
                self.pass(config, direction, range, RESERVED, Action::Deny(reason));
            }
            for subnet in prefixes.external() {
                let act = pass(config, direction, true);
                self.pass(config, direction, subnet, EXTERNAL_SUBNETS, act);
            }
            for prefix in own.iter().copied().chain(prefixes.allowed(direction)) {
                let act = pass(config, direction, false);
                self.pass(config, direction, prefix, SOURCE_CHECK, act);
            }
        }
        for family in config.families() {
            let to_group = [Predicate::Dst(IpCidr::groups(family.private_ip.is_ipv4()))].into();
            let act = Action::Act(Arc::new(ToGroup { gateway_mac: config.gateway_mac }));
            let rule = self.rule(GROUPS, to_group, act);
            self.inbound.push(rule);
        }
    }

    /// A rule about packets of the guest with this address on the guest's side.
    fn pass(
        &mut self,
        config: &PortConfig,
        direction: Direction,
        prefix: IpCidr,
        priority: u16,
        action: Action,
    ) {
        let predicates = match direction {
            Direction::Out => [Predicate::Src(prefix), Predicate::SrcMac(config.mac)],
            Direction::In => [Predicate::Dst(prefix), Predicate::DstMac(config.mac)],
        };
        let rule = self.rule(priority, predicates.into(), action);
        match direction {
            Direction::Out => self.out.push(rule),
            Direction::In => self.inbound.push(rule),
        }
    }
}

/// What is done with packets that pass. `external`: their addresses are known outside.
fn pass(config: &PortConfig, direction: Direction, external: bool) -> Action {
    Action::Act(match direction {
        Direction::Out => Arc::new(FromGuest { vni: config.vni, external }),
        Direction::In => Arc::new(ToGuest { gateway_mac: config.gateway_mac }),
    })
}

/// A service as the engine calls it.
struct Responder {
    config: Arc<PortConfig>,
    name: &'static str,
    run: Service,
}

impl Respond for Responder {
    fn respond(&self, frame: &[u8], partial: bool) -> Answer {
        let checksum = if partial { Checksum::Partial } else { Checksum::Complete };
        match (self.run)(&self.config, frame, checksum) {
            services::Answer::Reply(bytes) => Answer::Reply(bytes),
            services::Answer::Deny(_) => Answer::Drop(DropReason::GatewayDeny),
            services::Answer::Pass => Answer::Pass,
        }
    }

    fn describe(&self) -> String {
        alloc::format!("answer {}", self.name)
    }
}

/// A packet that may leave goes on; whether it goes to a guest of the VPC is noted for the
/// firewall, and whether its source is known outside for NAT and overlay.
struct FromGuest {
    vni: Vni,
    external: bool,
}

impl Act for FromGuest {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        let dst = walk.key().ok_or(DropReason::Spoofed)?.dst();
        let maps = walk.host_tables::<Mappings>();
        if maps.is_some_and(|maps| maps.guest(self.vni, dst).is_some()) {
            walk.meta.set(PEER_VNI, self.vni);
        }
        if self.external {
            walk.meta.set(EXTERNAL_SOURCE, 1);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        if self.external { "allow, untranslated" } else { "allow" }.into()
    }
}

/// A packet to a group has the MAC address of that group; who hears which is not decided here.
struct ToGroup {
    gateway_mac: MacAddr,
}

impl Act for ToGroup {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        let group = walk.key().ok_or(DropReason::NotForGuest)?.dst();
        if walk.facts.macs.dst() != MacAddr::from_group(group) {
            return Err(DropReason::NotForGuest);
        }
        walk.edit(HeaderEdit { src_mac: Some(self.gateway_mac), ..HeaderEdit::NONE });
        Ok(())
    }

    fn describe(&self) -> String {
        alloc::format!("src_mac={}", self.gateway_mac)
    }
}

/// The guest sees all packets as coming from its gateway.
struct ToGuest {
    gateway_mac: MacAddr,
}

impl Act for ToGuest {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        walk.edit(HeaderEdit { src_mac: Some(self.gateway_mac), ..HeaderEdit::NONE });
        Ok(())
    }

    fn describe(&self) -> String {
        alloc::format!("src_mac={}", self.gateway_mac)
    }
}
