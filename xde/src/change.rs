// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Changes of many things at once: drafted beside what is in force, foreseen, and then put in force
//! as a whole. A plan is a draft that is thrown away.

use crate::dispatch::serve;
use crate::driver::Driver;
use crate::host::Moment;
use crate::management::{Managed, Management, flow_limit, unknown};
use crate::port_life::CHANGE;
use crate::publication::rules;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte::flow::Flow;
use opte::host::Host;
use opte::judge::{Changes, Judgement};
use opte::policy::PolicyRules;
use opte::rule::RuleId;
use opte_api::OpteError;
use opte_api::frame::Request;
use oxide_vpc::standing::Until;
use oxide_vpc::{Mappings, Routing, VpcPort};
use oxide_vpc_api::change::{AffectedFlow, ChangeReport, Fate, FateReport, PortReport, validate};
use oxide_vpc_api::request::*;
use oxide_vpc_api::settings::check_drain;
use oxide_vpc_api::{PortName, Step};

/// What a host would have been told behind a change.
struct Draft {
    /// The ports that the change names.
    ports: BTreeMap<PortName, Box<VpcPort>>,
    /// Most flows of ports whose settings it changes.
    limits: BTreeMap<PortName, u32>,
    maps: Arc<Mappings>,
}

impl<H: Host> Management<H> {
    /// Requests about changes.
    pub(crate) fn serve_change(
        &mut self,
        driver: &Driver<H>,
        now: Moment,
        code: u16,
        body: &[u8],
    ) -> Vec<u8> {
        match code {
            Plan::CODE => serve(body, |r: Plan| {
                validate(&r.change, r.listed)?;
                let draft = self.draft(driver, now, r.change);
                let report = draft.map(|draft| self.foresee(&draft, now, r.listed));
                self.space.tidy();
                report
            }),
            Apply::CODE => serve(body, |r| self.apply(driver, now, r)),
            Drain::CODE => serve(body, |r: Drain| {
                let change = [Step::from(r.step)].into();
                self.apply(driver, now, Apply { change, expected: None, listed: r.listed })
            }),
            code => unknown(code),
        }
    }

    fn apply(
        &mut self,
        driver: &Driver<H>,
        now: Moment,
        Apply { change, expected, listed }: Apply,
    ) -> Result<ChangeReport, OpteError> {
        let current = self.published.load().generation.0;
        if let Some(expected) = expected.filter(|expected| *expected != current) {
            return Err(OpteError::Stale { current, expected });
        }
        validate(&change, listed)?;
        let done = self.draft(driver, now, change).map(|draft| {
            let report = self.foresee(&draft, now, listed);
            self.put_in_force(draft, now);
            report
        });
        self.space.tidy();
        done
    }

    fn put_in_force(&mut self, draft: Draft, now: Moment) {
        for (name, vpc) in draft.ports {
            if let Some(managed) = self.ports.get_mut(&name) {
                managed.vpc = vpc;
            }
        }
        self.maps = draft.maps;
        self.publish_all();
        self.set_deadline();
        for (name, limit) in draft.limits {
            if let Some(managed) = self.ports.get(&name) {
                managed.device.port.set_flow_limit(limit, now);
            }
        }
    }

    /// Takes all steps, beside what is in force.
    fn draft(
        &mut self,
        driver: &Driver<H>,
        now: Moment,
        change: Vec<Step>,
    ) -> Result<Draft, OpteError> {
        let maps = self.maps.clone();
        let mut draft = Draft { ports: BTreeMap::new(), limits: BTreeMap::new(), maps };
        for (number, step) in (1..).zip(change) {
            let name = step.name();
            self.step(&mut draft, driver, now, step).map_err(|error| OpteError::Step {
                number,
                name: name.into(),
                why: error.to_string(),
            })?;
        }
        Ok(draft)
    }

    #[inline(never)]
    fn step(
        &mut self,
        draft: &mut Draft,
        driver: &Driver<H>,
        now: Moment,
        step: Step,
    ) -> Result<(), OpteError> {
        let Some(name) = port_of(&step) else { return draft.map(step) };
        self.permit(name, "change it", CHANGE)?;
        if let Step::SetPortSettings(step) = &step {
            draft.limits.insert(name.clone(), flow_limit(driver, &step.settings)?);
        }
        let external = match &step {
            Step::SetExternalIps(r) => Some([&r.ipv4, &r.ipv6]),
            Step::SetRouting(r) => Some([&r.ipv4, &r.ipv6]),
            _ => None,
        };
        if let Some(external) = external {
            let vni = self.port(name)?.device.vni;
            let external = external.into_iter().flatten();
            self.check_external((Some(name), vni), external, Some(&draft.ports))?;
        }
        let known = &self.port(name)?.vpc;
        let vpc = draft.ports.entry(name.clone()).or_insert_with(|| known.clone());
        match step {
            Step::AddFwRule(r) => vpc.add_firewall_rule(r.rule).map(drop),
            Step::RemFwRule(r) => {
                vpc.remove_firewall_rule(r.direction, RuleId(r.id));
                Ok(())
            }
            Step::SetFwRules(r) => vpc.set_firewall_rules(r.rules),
            Step::AddRoute(r) => vpc.add_route(&r.route.into()),
            Step::AddWeightedRoute(r) => vpc.add_route(&r.route),
            Step::SetRouting(r) => {
                let (routes, external, gateways) = (r.routes, [r.ipv4, r.ipv6], r.gateways);
                let until = vpc.until(now);
                let routing = Routing { routes, external, gateways };
                vpc.set_routing(r.revision, routing, until).map(drop)
            }
            Step::SetDhcp(r) => vpc.reconfigure(None, |config| config.dhcp = r.dhcp),
            Step::DelRoute(r) => {
                vpc.remove_route(&r.route);
                Ok(())
            }
            Step::SetExternalIps(r) => {
                let until = vpc.until(now);
                vpc.set_external_ips(r.ipv4, r.ipv6, r.gateways, until)
            }
            Step::DrainAddresses(r) => {
                check_drain(r.seconds)?;
                let until = Until::Time(now.plus_millis(r.seconds * 1000));
                vpc.retire_addresses(&r.addresses, until)
            }
            Step::SetPortSettings(r) => {
                let until = vpc.until(now);
                vpc.reconfigure(until, |c| c.settings = r.settings)
            }
            Step::AttachSubnet(r) => vpc.attach_subnet(r.subnet, r.attachment),
            Step::DetachSubnet(r) => vpc.detach_subnet(r.subnet).map(drop),
            Step::AllowCidr(r) => vpc.allow_cidr(r.cidr, r.direction),
            Step::RemoveCidr(r) => vpc.remove_cidr(r.cidr, r.direction).map(drop),
            Step::SetV2p(_) | Step::ClearV2p(_) | Step::SetV2b(_) | Step::ClearV2b(_) => Ok(()),
        }
    }

    /// What the draft would do to connections.
    fn foresee(&self, draft: &Draft, now: Moment, listed: u32) -> ChangeReport {
        let generation = self.published.load().generation;
        let report = |(name, managed): (&PortName, &Managed<H>)| {
            let vpc = draft.ports.get(name).unwrap_or(&managed.vpc);
            let next = rules(vpc, &draft.maps);
            let same = managed.device.port.policy().rules.is_same(&next);
            let flows = || foresee_port(managed, &next, now, listed);
            (!same).then(|| PortReport { port: name.clone(), flows: flows() })
        };
        let ports: Vec<_> = self.ports.iter().filter_map(report).collect();
        let next = if ports.is_empty() { generation } else { generation.next() };
        ChangeReport { generation: generation.0, next: next.0, ports }
    }
}

impl Draft {
    /// A step about the mappings of the host.
    fn map(&mut self, step: Step) -> Result<(), OpteError> {
        let maps = &self.maps;
        let removed =
            |(maps, removal): (Mappings, Removal)| (removal == Removal::Removed).then_some(maps);
        let next = match step {
            Step::SetV2p(SetV2p { entry }) => {
                let known = maps.knows_guest(&entry);
                maps.with_guest(&entry).map(|maps| (!known).then_some(maps))?
            }
            Step::ClearV2p(ClearV2p { entry }) => removed(maps.without_guest(&entry)),
            Step::SetV2b(SetV2b { entry }) => {
                let known = maps.knows_boundary(&entry);
                maps.with_boundary(&entry).map(|maps| (!known).then_some(maps))?
            }
            Step::ClearV2b(ClearV2b { entry }) => removed(maps.without_boundary(&entry)),
            _ => None,
        };
        if let Some(next) = next {
            self.maps = Arc::new(next);
        }
        Ok(())
    }
}

/// The port that a step is about; `None` if it is about the host.
const fn port_of(step: &Step) -> Option<&PortName> {
    Some(match step {
        Step::AddFwRule(r) => &r.port,
        Step::RemFwRule(r) => &r.port,
        Step::SetFwRules(r) => &r.port,
        Step::AddRoute(r) => &r.port,
        Step::DelRoute(r) => &r.port,
        Step::SetExternalIps(r) => &r.port,
        Step::SetPortSettings(r) => &r.port,
        Step::AttachSubnet(r) => &r.port,
        Step::DetachSubnet(r) => &r.port,
        Step::AllowCidr(r) => &r.port,
        Step::RemoveCidr(r) => &r.port,
        Step::DrainAddresses(r) => &r.port,
        Step::AddWeightedRoute(r) => &r.port,
        Step::SetRouting(r) => &r.port,
        Step::SetDhcp(r) => &r.port,
        Step::SetV2p(_) | Step::ClearV2p(_) | Step::SetV2b(_) | Step::ClearV2b(_) => return None,
    })
}

/// What the next policy says of each connection of a port.
fn foresee_port<H: Host>(
    managed: &Managed<H>,
    next: &PolicyRules,
    now: Moment,
    listed: u32,
) -> Vec<FateReport> {
    let port = &managed.device.port;
    let current = port.policy();
    let mut fates: BTreeMap<(Fate, String), FateReport> = BTreeMap::new();
    for number in 0..port.flows().numbers() {
        let Some(flow) = port.flows().numbered(number) else { continue };
        let (fate, reason) = fate(port.foresee(&current.rules, next, &flow), now);
        let report = fates.entry((fate, reason.clone()));
        let report =
            report.or_insert_with(|| FateReport { fate, reason, count: 0, first: Vec::new() });
        report.count += 1;
        if report.first.len() < listed as usize {
            report.first.push(affected(&flow));
        }
    }
    fates.into_values().collect()
}

fn affected<H: Host>(flow: &Flow<H>) -> AffectedFlow {
    AffectedFlow {
        flow: flow.opening_key().id(),
        opened: flow.opening.direction,
        nat: flow.binding().map(|binding| binding.to_string()),
    }
}

/// A judgement in the words of a report.
fn fate(judgement: Judgement, now: Moment) -> (Fate, String) {
    match judgement {
        Judgement::Keep => (Fate::Kept, "as it is".into()),
        Judgement::KeepWith(Changes { rule, way, idle }) => {
            let parts = [(rule, "rule"), (way, "way"), (idle, "idle limit")];
            let new: Vec<&str> = parts.iter().filter(|part| part.0).map(|part| part.1).collect();
            (Fate::Changed, format!("new {}", new.join(", ")))
        }
        Judgement::Drain(Some(at)) => {
            (Fate::Drained, format!("for {} s", at.since(now).div_ceil(1000)))
        }
        Judgement::Drain(None) => (Fate::Drained, "until it ends".into()),
        Judgement::Cut(reason) => (Fate::Cut, reason.name().into()),
    }
}
