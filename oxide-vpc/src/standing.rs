// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What stands behind the translation of a connection: whether its external address is still the
//! port's, for the gateway that the route names. An address that was taken away may stand on for
//! the connections that it has, for a time or without one.

use crate::meta::GatewayId;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte::cut::CutReason;
use opte::host::Moment;
use opte::meta::MetaValue;
use opte::nat::NatBinding;

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

/// An external address and what it serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Service {
    /// The address.
    pub ip: IpAddr,
    /// First and last port of a range for source NAT; `None` for an address of the guest's own.
    pub ports: Option<(u16, u16)>,
    /// What it serves.
    pub served: Served,
    /// Set if it was taken away.
    pub until: Option<Until>,
}

impl Service {
    fn holds(&self, binding: &NatBinding) -> bool {
        match (self.ports, binding.external_port) {
            (None, None) => true,
            (Some((first, last)), Some(port)) => (first..=last).contains(&port),
            _ => false,
        }
    }

    /// Says the same of the same, whether it was taken away or not.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.ip, self.ports, self.served) == (other.ip, other.ports, other.served)
    }
}

/// All services of a port's external addresses.
#[derive(Debug, Default)]
pub struct Standing {
    /// By address.
    services: Vec<Service>,
}

impl Standing {
    /// What these stand for.
    pub fn new(services: impl IntoIterator<Item = Service>) -> Self {
        let mut services: Vec<Service> = services.into_iter().collect();
        services.sort_by_key(|service| service.ip.to_bits());
        Self { services }
    }

    /// All services.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Those that were taken away and stand for connections that they have.
    pub fn retired(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|service| service.until.is_some())
    }

    /// Whether a translation still stands for connections through `gateway`, or for one that was
    /// opened from outside: for good (`None`), or as an address that was taken away.
    pub fn of(
        &self,
        gateway: Option<GatewayId>,
        binding: &NatBinding,
    ) -> Result<Option<Until>, CutReason> {
        let ip = binding.external_ip.to_bits();
        let from = self.services.partition_point(|service| service.ip.to_bits() < ip);
        let same_address = || {
            let behind = self.services.get(from..).unwrap_or_default();
            behind.iter().take_while(|service| service.ip.to_bits() == ip)
        };
        let serves = |service: &&Service| gateway.is_none_or(|gateway| service.served.has(gateway));
        let right = || same_address().filter(serves).filter(|service| service.holds(binding));
        if right().any(|service| service.until.is_none()) {
            return Ok(None);
        }
        match right().find_map(|service| service.until) {
            Some(Until::Over) => Err(CutReason::DrainOver),
            Some(until) => Ok(Some(until)),
            None => {
                let live = same_address().filter(|service| service.until.is_none());
                Err(self.reason(gateway, binding, live))
            }
        }
    }

    fn reason<'a>(
        &self,
        gateway: Option<GatewayId>,
        binding: &NatBinding,
        mut live: impl Iterator<Item = &'a Service> + Clone,
    ) -> CutReason {
        let is_pool = binding.external_port.is_some();
        let mut others = self.services.iter().filter(|service| service.until.is_none());
        if live.clone().any(|service| service.holds(binding)) {
            CutReason::GatewayChanged
        } else if live.clone().any(|service| service.ports.is_some() != is_pool) {
            CutReason::TranslatedOtherwise
        } else if live.next().is_some() {
            CutReason::PoolShrunk
        } else if is_pool
            && others.any(|o| o.ports.is_some() && gateway.is_some_and(|id| o.served.has(id)))
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
        Service { ip: ip.parse().unwrap(), ports, served: Served::One(gateway), until: None }
    }

    fn binding(ip: &str, external_port: Option<u16>) -> NatBinding {
        NatBinding {
            private_ip: "10.0.0.5".parse().unwrap(),
            external_ip: ip.parse().unwrap(),
            private_port: 0,
            external_port,
        }
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
