// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What is translated, and by what: all that a port has been told, put together.

use super::destinations::Destinations;
use crate::gateways::Gateways;
use crate::standing::{Served, Serves, Service};
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte::answer::Rate;
use opte::nat::{
    ByProtocol, Claim, Conflict, Dependence, Hold, Holder, Limits, NatOptions, NatPool, Pooling,
    Range, Rates, Realm, Tuples,
};
use opte_api::{Gather, IpCidr, OpteError, Vni};
use oxide_vpc_api::{
    ExternalIps, GatewayMap, IpConfig, NatDependence, NatDependences, NatPooling, NatRange,
    NatRate, NatSettings, OneToOne, PortConfig, PortForward,
};

/// What is eligible for one gateway, or in all.
#[derive(Clone, Default)]
pub(super) struct Eligible {
    pub floating: Vec<IpAddr>,
    pub ephemeral: Option<IpAddr>,
    pub one_to_one: Vec<OneToOne>,
    pub forwards: Vec<PortForward>,
    pub ranges: Vec<NatRange>,
}

impl Eligible {
    fn services(&self, served: Served) -> Vec<Service> {
        let service = |prefix, serves| Service { prefix, serves, served, until: None };
        let own = self.floating.iter().copied().chain(self.ephemeral);
        let own = own.map(|ip| service(IpCidr::host(ip), Serves::Guest));
        let prefixes = self.one_to_one.iter();
        let prefixes = prefixes.map(|one| service(one.external, Serves::Prefix(one.inside)));
        let forwards = self.forwards.iter();
        let forwards = forwards.map(|f| service(IpCidr::host(f.external_ip), Serves::Forward(*f)));
        let ranges = self.ranges.iter();
        let ranges = ranges.map(|r| service(r.prefix, Serves::Range(r.first_port, r.last_port)));
        own.chain(prefixes).chain(forwards).chain(ranges).collect()
    }

    /// There is nothing that a connection could have.
    pub fn is_empty(&self) -> bool {
        self.addresses().next().is_none()
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let own = self.floating.iter().copied().chain(self.ephemeral);
        let forwards = self.forwards.iter().map(|forward| forward.external_ip);
        let prefixes = self.one_to_one.iter().map(|one| one.external.addr());
        let ranges = self.ranges.iter().map(|range| range.prefix.addr());
        own.chain(forwards).chain(prefixes).chain(ranges)
    }

    /// Those of some addresses, in their order.
    fn only(&self, addresses: &[IpAddr]) -> Self {
        let has = |ip: &IpAddr| addresses.contains(ip);
        let forwards = self.forwards.iter().copied();
        let prefixes = self.one_to_one.iter().copied();
        Self {
            floating: self.floating.iter().copied().filter(has).collect(),
            ephemeral: self.ephemeral.filter(has),
            one_to_one: prefixes.filter(|one| has(&one.external.addr())).collect(),
            forwards: forwards.filter(|forward| has(&forward.external_ip)).collect(),
            ranges: self.ranges.iter().copied().filter(|r| has(&r.prefix.addr())).collect(),
        }
    }

    /// No address is shared and somebody's alone at a time; ports that are forwarded may be of
    /// either.
    fn validate(&self) -> Result<(), OpteError> {
        for (at, range) in self.ranges.iter().enumerate() {
            self.ranges.iter().skip(at + 1).try_for_each(|other| range.goes_with(other))?;
        }
        let addresses = self.floating.iter().copied().chain(self.ephemeral).map(IpCidr::host);
        let whole = || addresses.clone().chain(self.one_to_one.iter().map(|one| one.external));
        for (at, own) in whole().enumerate() {
            let shared = self.ranges.iter().map(|range| range.prefix);
            if let Some(other) = shared.chain(whole().skip(at + 1)).find(|o| own.overlaps(*o)) {
                let why = alloc::format!("{own} is used in another way, too, by {other}");
                return Err(OpteError::invalid("external address", why));
            }
        }
        Ok(())
    }
}

/// One address family of a port.
pub(super) struct Family {
    pub private_ip: IpAddr,
    pub all: Eligible,
    pub gateways: Vec<(Served, Eligible)>,
    /// How addresses are shared out among gateways.
    pub share: Gateways,
}

/// All that decides how a port translates.
pub struct NatPlan {
    pub(super) vni: Vni,
    config: Arc<PortConfig>,
    holder: Arc<Holder>,
    families: Vec<(IpAddr, Eligible)>,
    gateways: GatewayMap,
}

impl NatPlan {
    /// Puts together what a port has been told, if it fits together.
    pub fn new(
        config: &Arc<PortConfig>,
        gateways: &GatewayMap,
        holder: &Arc<Holder>,
    ) -> Result<Self, OpteError> {
        let settings = &config.settings.nat;
        settings.validate()?;
        for (wanted, ipv4) in settings.families().into_iter().zip([true, false]) {
            if wanted && !config.families().any(|family| family.private_ip.is_ipv4() == ipv4) {
                let name = if ipv4 { "IPv4" } else { "IPv6" };
                let why = alloc::format!("the port has no {name} address");
                return Err(OpteError::invalid("NAT settings", why));
            }
        }
        let families: Vec<(IpAddr, Eligible)> = config
            .families()
            .map(|family| (family.private_ip, eligible(family, settings)))
            .collect();
        families.iter().try_for_each(|(_, all)| all.validate())?;
        Ok(Self {
            vni: config.vni,
            config: config.clone(),
            holder: holder.clone(),
            families,
            gateways: gateways.clone(),
        })
    }

    /// Claims what is the port's alone. What others have refuses it by name.
    pub fn claim(&self) -> Result<Vec<Claim>, OpteError> {
        let own = self.families.iter().flat_map(|(_, all)| {
            let addresses = all.floating.iter().copied().chain(all.ephemeral).map(IpCidr::host);
            let prefixes = all.one_to_one.iter().map(|one| one.external);
            let whole = addresses.chain(prefixes).map(|p| Tuples::of(Realm::OUTSIDE, p));
            let forwards = all.forwards.iter().map(|forward| Tuples {
                realm: Realm::OUTSIDE,
                prefix: IpCidr::host(forward.external_ip),
                protocol: Some(forward.protocol),
                ports: forward.external_ports.first..=forward.external_ports.last,
            });
            whole.chain(forwards)
        });
        own.map(|tuples| self.holder.space().claim(&self.holder, tuples).map_err(refused)).collect()
    }

    pub(super) fn settings(&self) -> &NatSettings {
        &self.config.settings.nat
    }

    pub(super) fn destinations(&self) -> Destinations {
        Destinations(self.settings().destinations.clone())
    }

    pub(super) fn families(&self) -> impl Iterator<Item = Family> {
        self.families.iter().map(|(private_ip, all)| Family {
            private_ip: *private_ip,
            all: all.clone(),
            gateways: self.by_gateway(all),
            share: self.share(all),
        })
    }

    /// How the addresses are shared out among gateways; a prefix goes by its first one.
    fn share(&self, all: &Eligible) -> Gateways {
        let addresses: BTreeSet<IpAddr> = all.addresses().gather();
        let floating = addresses.into_iter().collect();
        let external = ExternalIps { floating, ..ExternalIps::default() };
        Gateways::new(&external, &self.gateways, &self.config.settings.gateways)
    }

    /// What is eligible for each gateway.
    fn by_gateway(&self, all: &Eligible) -> Vec<(Served, Eligible)> {
        let share = self.share(all);
        let named = share.named().map(|(id, ips)| (Served::One(id), all.only(&ips.floating)));
        named.chain([(Served::AnyNamed, all.only(&share.rest().floating))]).collect()
    }

    /// What the external addresses stand for.
    pub fn services(&self) -> Vec<Service> {
        let by_gateway = self.families.iter().flat_map(|(_, all)| self.by_gateway(all));
        by_gateway.flat_map(|(served, eligible)| eligible.services(served)).collect()
    }

    /// A pool of ranges.
    pub(super) fn pool<'a>(&self, ranges: impl IntoIterator<Item = &'a NatRange>) -> NatPool {
        let range = |range: &NatRange| Range {
            prefix: range.prefix,
            ports: range.first_port..=range.last_port,
        };
        let ranges = ranges.into_iter().map(range).collect();
        NatPool::new(self.holder.clone(), Realm::OUTSIDE, ranges, options(self.settings()))
    }

    /// One pool of all that the port shares, for who looks.
    pub fn all_shared(&self) -> NatPool {
        self.pool(self.families.iter().flat_map(|(_, all)| &all.ranges))
    }
}

fn eligible(family: &IpConfig, settings: &NatSettings) -> Eligible {
    let ours = |prefix: IpCidr| prefix.is_ipv4() == family.private_ip.is_ipv4();
    let external = &family.external;
    let snat = external.snat.iter().map(|range| NatRange {
        prefix: IpCidr::host(range.ip),
        first_port: range.first_port,
        last_port: range.last_port,
    });
    let more = settings.ranges.iter().copied().filter(|range| ours(range.prefix));
    let forwards = settings.forwards.iter().copied();
    let prefixes = settings.one_to_one.iter().copied();
    Eligible {
        floating: external.floating.clone(),
        ephemeral: external.ephemeral,
        one_to_one: prefixes.filter(|one| ours(one.external)).collect(),
        forwards: forwards.filter(|f| ours(IpCidr::host(f.external_ip))).collect(),
        ranges: snat.chain(more).collect(),
    }
}

fn refused(conflict: Conflict) -> OpteError {
    match &conflict {
        Conflict::Claimed { tuples, owner } => {
            let name = alloc::format!("{tuples} of port {owner}");
            OpteError::exists("external address", name)
        }
        Conflict::OnLoan { .. } => OpteError::BadState(conflict.to_string()),
    }
}

const fn dependence(dependence: NatDependence) -> Dependence {
    match dependence {
        NatDependence::EndpointIndependent => Dependence::Nothing,
        NatDependence::AddressDependent => Dependence::Address,
        NatDependence::AddressAndPortDependent => Dependence::AddressAndPort,
    }
}

const fn by_protocol(dependences: &NatDependences) -> ByProtocol<Dependence> {
    ByProtocol {
        tcp: dependence(dependences.tcp),
        udp: dependence(dependences.udp),
        query: dependence(dependences.query),
    }
}

const fn rate(rate: NatRate) -> Rate {
    Rate { per_second: rate.per_second, burst: rate.burst }
}

/// How long external ports wait that come back.
pub(crate) fn hold(settings: &NatSettings) -> Hold {
    Hold { millis: u64::from(settings.quarantine.seconds) * 1000, ports: settings.quarantine.ports }
}

fn options(settings: &NatSettings) -> NatOptions {
    NatOptions {
        mapping: by_protocol(&settings.mapping),
        filtering: by_protocol(&settings.filtering),
        pooling: match settings.pooling {
            NatPooling::Paired => Pooling::Paired,
            NatPooling::PairedOnly => Pooling::PairedOnly,
            NatPooling::Arbitrary => Pooling::Arbitrary,
        },
        parity: settings.parity,
        port_class: !settings.mix_port_classes,
        random: !settings.sequential,
        sharing: settings.share_ports,
        hold: hold(settings),
        limits: Limits {
            owner: settings.limits.port,
            guest: settings.limits.guest,
            protocol: settings.limits.protocol,
        },
        rates: Rates { owner: rate(settings.rates.port), guest: rate(settings.rates.guest) },
    }
}
