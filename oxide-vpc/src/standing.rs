// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What stands behind the translation of a connection: whether its external address is still the
//! port's, for the gateway that the route names. An address that was taken away may stand on for
//! the connections that it has, for a time or without one.

use crate::meta::GatewayId;
use crate::nat::by_inside;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte::cut::CutReason;
use opte::host::Moment;
use opte::meta::MetaValue;
use opte::nat::NatBinding;
use opte::walk::Walk;
use opte_api::{IpCidr, Protocol};
use oxide_vpc_api::PortForward;

/// How long an address that was taken away stands for the connections that it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Until {
    /// As long as they live.
    Ended,
    /// Until that time.
    Time(Moment),
    /// That time is over.
    Over,
}

/// What an external address serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Served {
    /// One gateway.
    One(GatewayId),
    /// Any gateway that has a name.
    AnyNamed,
}

impl Served {
    /// This gateway is among it.
    pub fn has(self, gateway: GatewayId) -> bool {
        match self {
            Self::One(served) => served == gateway,
            Self::AnyNamed => gateway.0.is_some(),
        }
    }
}

/// What external addresses stand for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Serves {
    /// One is the guest's own.
    Guest,
    /// Each stands for the address of this prefix with the same host bits.
    Prefix(IpCidr),
    /// These ports of each, first to last, are lent to the guest's endpoints.
    Range(u16, u16),
    /// Some ports of one lead to ports of the guest.
    Forward(PortForward),
}

impl Serves {
    /// Ports of the address are shared out, not the address.
    const fn shares(&self) -> bool {
        matches!(self, Self::Range(..))
    }
}

/// The translation of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Translation {
    /// The protocol of its packets.
    pub protocol: Protocol,
    /// How they are translated.
    pub binding: NatBinding,
    /// The external port is on loan.
    pub leased: bool,
}

impl Translation {
    /// That of the connection that a walk is about.
    pub fn of(walk: &Walk<'_>) -> Option<Self> {
        let leased = walk.connection.is_some_and(|connection| connection.leased);
        Some(Self { protocol: walk.key()?.protocol(), binding: walk.binding?, leased })
    }
}

/// External addresses and what they serve.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Service {
    /// The addresses.
    pub prefix: IpCidr,
    /// What they stand for.
    pub serves: Serves,
    /// Which gateways they serve.
    pub served: Served,
    /// Set if they were taken away.
    pub until: Option<Until>,
}

impl Service {
    fn holds(&self, of: &Translation) -> bool {
        let NatBinding { private_ip, external_ip, external_port, .. } = of.binding;
        match (self.serves, external_port) {
            (Serves::Guest, None) => true,
            (Serves::Prefix(inside), None) => {
                inside.contains(private_ip)
                    && inside.host_bits(private_ip) == self.prefix.host_bits(external_ip)
            }
            (Serves::Range(first, last), Some(port)) => of.leased && (first..=last).contains(&port),
            (Serves::Forward(forward), Some(_)) => {
                !of.leased
                    && forward.protocol == of.protocol
                    && by_inside(&forward, private_ip, of.binding.private_port)
                        == Some(of.binding.alone())
            }
            _ => false,
        }
    }

    /// It is a port forward that has the external tuple.
    fn forwards(&self, of: &Translation) -> bool {
        let Serves::Forward(forward) = self.serves else { return false };
        let ports = forward.external_ports;
        let within = |port: u16| ports.first <= port && port <= ports.last;
        forward.protocol == of.protocol && of.binding.external_port.is_some_and(within)
    }

    /// Says the same of the same, whether it was taken away or not.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.prefix, self.serves, self.served) == (other.prefix, other.serves, other.served)
    }
}

/// All services of a port's external addresses.
#[derive(Debug, Default)]
pub struct Standing {
    /// Those of one address, by address; then those of more.
    services: Vec<Service>,
    /// How many are of one address.
    single: usize,
}

impl Standing {
    /// What these stand for.
    pub fn new(services: impl IntoIterator<Item = Service>) -> Self {
        let mut services: Vec<Service> = services.into_iter().collect();
        let is_wide = |service: &Service| service.prefix.host_len() > 0;
        services.sort_by_cached_key(|service| (is_wide(service), service.prefix.addr().to_bits()));
        let single = services.partition_point(|service| !is_wide(service));
        Self { services, single }
    }

    /// Those that were taken away and stand for connections that they have.
    pub fn retired(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|service| service.until.is_some())
    }

    /// The services of an address.
    fn at(&self, ip: IpAddr) -> impl Iterator<Item = &Service> + Clone {
        let (single, wide) = self.services.split_at_checked(self.single).unwrap_or_default();
        let bits = ip.to_bits();
        let from = single.partition_point(|service| service.prefix.addr().to_bits() < bits);
        let behind = single.get(from..).unwrap_or_default().iter();
        let own = behind.take_while(move |service| service.prefix.addr().to_bits() == bits);
        own.chain(wide.iter().filter(move |service| service.prefix.contains(ip)))
    }

    /// Whether a translation still stands for connections through `gateway`, or for one that was
    /// opened from outside: for good (`None`), or as an address that was taken away.
    pub fn of(
        &self,
        gateway: Option<GatewayId>,
        of: &Translation,
    ) -> Result<Option<Until>, CutReason> {
        let same_address = || self.at(of.binding.external_ip);
        let live = || same_address().filter(|service| service.until.is_none());
        if live().any(|service| service.forwards(of) && !service.holds(of)) {
            return Err(CutReason::TranslatedOtherwise);
        }
        let serves = |service: &&Service| gateway.is_none_or(|gateway| service.served.has(gateway));
        let right = || same_address().filter(serves).filter(|service| service.holds(of));
        if right().any(|service| service.until.is_none()) {
            return Ok(None);
        }
        match right().find_map(|service| service.until) {
            Some(Until::Over) => Err(CutReason::DrainOver),
            Some(until) => Ok(Some(until)),
            None => Err(self.reason(gateway, of, live())),
        }
    }

    fn reason<'a>(
        &self,
        gateway: Option<GatewayId>,
        of: &Translation,
        mut live: impl Iterator<Item = &'a Service> + Clone,
    ) -> CutReason {
        let is_pool = of.binding.external_port.is_some();
        let mut others = self.services.iter().filter(|service| service.until.is_none());
        if live.clone().any(|service| service.holds(of)) {
            CutReason::GatewayChanged
        } else if is_pool && !of.leased {
            CutReason::ForwardRemoved
        } else if live.clone().any(|service| service.serves.shares() != is_pool) {
            CutReason::TranslatedOtherwise
        } else if live.next().is_some() {
            CutReason::PoolShrunk
        } else if is_pool
            && others.any(|o| o.serves.shares() && gateway.is_some_and(|id| o.served.has(id)))
        {
            CutReason::PoolMoved
        } else {
            CutReason::AddressGone
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const ONE: GatewayId = GatewayId(None);
    const TWO: GatewayId = GatewayId(Some(Uuid::from_u128(2)));

    fn service(ip: &str, ports: Option<(u16, u16)>, gateway: GatewayId) -> Service {
        let serves = ports.map_or(Serves::Guest, |(first, last)| Serves::Range(first, last));
        Service {
            prefix: IpCidr::host(ip.parse().unwrap()),
            serves,
            served: Served::One(gateway),
            until: None,
        }
    }

    fn binding(ip: &str, external_port: Option<u16>) -> Translation {
        let binding = NatBinding {
            private_ip: "10.0.0.5".parse().unwrap(),
            external_ip: ip.parse().unwrap(),
            private_port: 8080,
            external_port,
            remote: None,
        };
        Translation { protocol: Protocol::UDP, binding, leased: external_port.is_some() }
    }

    #[test]
    fn forwards_and_prefixes_stand_for_exactly_what_they_map() {
        let forward = |first_port| PortForward {
            protocol: Protocol::UDP,
            external_ip: "192.0.2.1".parse().unwrap(),
            external_ports: oxide_vpc_api::PortRange { first: 80, last: 89 },
            first_port,
        };
        let at = |first_port| Service {
            serves: Serves::Forward(forward(first_port)),
            ..service("192.0.2.1", None, ONE)
        };
        let pool = service("192.0.2.1", Some((1, 99)), ONE);
        let of = |services: &[Service], port, leased| {
            let asked = Translation { leased, ..binding("192.0.2.1", Some(port)) };
            Standing::new(services.iter().copied()).of(Some(ONE), &asked)
        };
        assert_eq!(of(&[at(8080)], 80, false), Ok(None));
        assert_eq!(of(&[at(8078), pool], 82, false), Ok(None));
        assert_eq!(of(&[at(8078), pool], 80, false), Err(CutReason::TranslatedOtherwise));
        assert_eq!(of(&[at(8080), pool], 80, true), Err(CutReason::TranslatedOtherwise));
        assert_eq!(of(&[pool], 80, true), Ok(None));
        assert_eq!(of(&[pool], 80, false), Err(CutReason::ForwardRemoved));
        let whole = Service {
            prefix: "192.0.2.0/28".parse().unwrap(),
            serves: Serves::Prefix("10.0.0.0/28".parse().unwrap()),
            ..pool
        };
        let standing = Standing::new([whole]);
        assert_eq!(standing.of(Some(ONE), &binding("192.0.2.5", None)), Ok(None));
        let other = binding("192.0.2.6", None);
        assert_eq!(standing.of(Some(ONE), &other), Err(CutReason::PoolShrunk));
    }

    #[test]
    fn every_cause_has_its_reason() {
        let standing = Standing::new([
            service("192.0.2.1", Some((10, 19)), ONE),
            service("192.0.2.1", Some((30, 39)), TWO),
            service("192.0.2.2", None, TWO),
            service("192.0.2.3", Some((10, 19)), TWO),
        ]);
        let of = |gateway, ip, port| standing.of(Some(gateway), &binding(ip, port));
        assert_eq!(of(ONE, "192.0.2.1", Some(10)), Ok(None));
        assert_eq!(of(ONE, "192.0.2.1", Some(19)), Ok(None));
        assert_eq!(of(ONE, "192.0.2.1", Some(20)), Err(CutReason::PoolShrunk));
        assert_eq!(of(ONE, "192.0.2.1", Some(30)), Err(CutReason::GatewayChanged));
        assert_eq!(of(ONE, "192.0.2.1", None), Err(CutReason::TranslatedOtherwise));
        assert_eq!(of(ONE, "192.0.2.2", None), Err(CutReason::GatewayChanged));
        assert_eq!(of(TWO, "192.0.2.2", Some(10)), Err(CutReason::TranslatedOtherwise));
        assert_eq!(of(TWO, "192.0.2.9", Some(10)), Err(CutReason::PoolMoved));
        assert_eq!(of(TWO, "192.0.2.9", None), Err(CutReason::AddressGone));
        assert_eq!(standing.of(None, &binding("192.0.2.2", None)), Ok(None));
        assert_eq!(standing.of(None, &binding("192.0.2.4", None)), Err(CutReason::AddressGone));
        assert_eq!(
            Standing::default().of(None, &binding("::1", None)),
            Err(CutReason::AddressGone)
        );
    }

    #[test]
    fn an_address_may_stand_for_all_gateways_with_a_name() {
        let service = Service { served: Served::AnyNamed, ..service("192.0.2.1", None, ONE) };
        let standing = Standing::new([service]);
        let binding = binding("192.0.2.1", None);
        assert_eq!(standing.of(Some(TWO), &binding), Ok(None));
        assert_eq!(standing.of(Some(ONE), &binding), Err(CutReason::GatewayChanged));
    }

    #[test]
    fn what_was_taken_away_stands_as_long_as_was_said() {
        let until = |until| {
            let gone = Service { until: Some(until), ..service("192.0.2.1", Some((10, 19)), ONE) };
            let live = service("192.0.2.1", Some((10, 14)), ONE);
            Standing::new([gone, live])
        };
        let of =
            |standing: &Standing, port| standing.of(Some(ONE), &binding("192.0.2.1", Some(port)));
        let soon = Until::Time(Moment::from_millis(7));
        assert_eq!(of(&until(soon), 15), Ok(Some(soon)));
        assert_eq!(of(&until(soon), 14), Ok(None));
        assert_eq!(of(&until(soon), 20), Err(CutReason::PoolShrunk));
        assert_eq!(of(&until(Until::Ended), 15), Ok(Some(Until::Ended)));
        assert_eq!(of(&until(Until::Over), 15), Err(CutReason::DrainOver));
    }
}
