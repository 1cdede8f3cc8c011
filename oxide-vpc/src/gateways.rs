// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Which external addresses serve which internet gateway of a port.
//!
//! An address may serve several gateways, one gateway, or none. Among the addresses of one gateway
//! floating goes before ephemeral before source NAT; an address of another gateway is never taken
//! instead.

use crate::meta::GatewayId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::sync::Arc;
use core::net::IpAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use opte_api::{Gather, OpteError};
use oxide_vpc_api::config::MAX_GATEWAYS;
use oxide_vpc_api::settings::{GatewaySettings, Reached, Unmapped, Untagged};
use oxide_vpc_api::{ExternalIps, GatewayMap};

/// How the external addresses of one family are shared out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Gateways {
    named: BTreeMap<GatewayId, ExternalIps>,
    /// For gateways that no address of the map serves; connections may keep them for any that
    /// has a name.
    rest: ExternalIps,
    /// Addresses by which the port is reached.
    reached: BTreeSet<IpAddr>,
}

impl Gateways {
    /// Shares out addresses.
    pub fn new(external: &ExternalIps, map: &GatewayMap, settings: &GatewaySettings) -> Self {
        let is_unmapped = |ip: IpAddr| !map.contains_key(&ip);
        let unmapped = only(external, is_unmapped);
        let rest = match settings.unmapped {
            Unmapped::AnyLast => unmapped.clone(),
            Unmapped::Untagged | Unmapped::Nowhere => ExternalIps::default(),
        };
        let ours: BTreeSet<IpAddr> = external.addresses().gather();
        let uuids = map.iter().filter(|(ip, _)| ours.contains(ip)).flat_map(|(_, uuids)| uuids);
        let mut named = BTreeMap::new();
        for uuid in uuids.copied().gather::<BTreeSet<_>>() {
            let serves = |ip: IpAddr| map.get(&ip).is_some_and(|uuids| uuids.contains(&uuid));
            named.insert(GatewayId(Some(uuid)), only(external, serves));
        }
        let untagged = match (settings.untagged, settings.unmapped) {
            (Untagged::Any, _) => external.clone(),
            (Untagged::Unmapped, Unmapped::Nowhere) => ExternalIps::default(),
            (Untagged::Unmapped, Unmapped::Untagged | Unmapped::AnyLast) => unmapped,
        };
        let reached = match settings.reached {
            Reached::ByAny => ours,
            Reached::ByServing => {
                let serving = named.values().chain([&untagged, &rest]);
                serving.flat_map(ExternalIps::addresses).gather()
            }
        };
        named.insert(GatewayId(None), untagged);
        Self { named, rest, reached }
    }

    /// The gateways for which addresses were named, and the one without a name.
    pub fn named(&self) -> impl Iterator<Item = (GatewayId, &ExternalIps)> {
        self.named.iter().map(|(id, external)| (*id, external))
    }

    /// What all other gateways have.
    pub const fn rest(&self) -> &ExternalIps {
        &self.rest
    }

    /// The addresses of which new connections through a gateway get one.
    pub fn of(&self, gateway: GatewayId) -> &ExternalIps {
        self.named.get(&gateway).unwrap_or(&self.rest)
    }

    /// The guest may be reached by this address of its own.
    pub fn is_reached_by(&self, ip: IpAddr) -> bool {
        self.reached.contains(&ip)
    }
}

/// Those of some addresses for which this holds, in their order.
fn only(external: &ExternalIps, holds: impl Fn(IpAddr) -> bool) -> ExternalIps {
    ExternalIps {
        floating: external.floating.iter().copied().filter(|ip| holds(*ip)).collect(),
        ephemeral: external.ephemeral.filter(|ip| holds(*ip)),
        snat: external.snat.iter().copied().filter(|range| holds(range.ip)).collect(),
    }
}

/// Checks a map for these addresses of both families, and others of the port.
pub fn check<'a>(
    map: &GatewayMap,
    external: impl Iterator<Item = &'a ExternalIps>,
    others: impl Iterator<Item = IpAddr>,
) -> Result<(), OpteError> {
    if map.len() > MAX_GATEWAYS || map.values().any(|uuids| uuids.len() > MAX_GATEWAYS) {
        return Err(OpteError::Limit { what: "gateways".into(), limit: MAX_GATEWAYS as u64 });
    }
    let ours = external.flat_map(ExternalIps::addresses).chain(others);
    let ours: BTreeSet<IpAddr> = ours.gather();
    for (ip, uuids) in map {
        if !ours.contains(ip) {
            let why = format!("{ip} is no external address of the port");
            return Err(OpteError::invalid("gateway map", why));
        }
        if uuids.iter().any(uuid::Uuid::is_nil) {
            let why = format!("the nil UUID, given for {ip}, names no gateway");
            return Err(OpteError::invalid("gateway map", why));
        }
    }
    Ok(())
}

/// How many packets each gateway had no address for. Gateways that routes lead to have a place
/// here; their counts outlive changes of anything else.
#[derive(Clone, Default)]
pub struct Denials(BTreeMap<GatewayId, Arc<AtomicU64>>);

impl Denials {
    /// Counts for these gateways, going on where there were some.
    pub fn of(&self, gateways: impl Iterator<Item = GatewayId>) -> Self {
        Self(gateways.map(|id| (id, self.0.get(&id).cloned().unwrap_or_default())).gather())
    }

    /// Counts for exactly these gateways.
    pub fn are_of<'a>(&self, gateways: impl Iterator<Item = &'a GatewayId>) -> bool {
        self.0.keys().eq(gateways)
    }

    /// Counts a packet.
    pub fn count(&self, gateway: GatewayId) {
        if let Some(count) = self.0.get(&gateway) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Packets that a gateway had no address for.
    pub fn read(&self, gateway: GatewayId) -> u64 {
        self.0.get(&gateway).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use oxide_vpc_api::SnatRange;
    use uuid::Uuid;

    const fn gateway(number: u128) -> GatewayId {
        GatewayId(Some(Uuid::from_u128(number)))
    }

    /// Floating .1 to .4, ephemeral .5, source NAT by .6; the last bytes of addresses, and of the
    /// gateways that they serve.
    fn shared(map: &[(u8, &[u128])], settings: GatewaySettings) -> Gateways {
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        let external = ExternalIps {
            floating: (1..5).map(ip).collect(),
            ephemeral: Some(ip(5)),
            snat: [SnatRange { ip: ip(6), first_port: 1, last_port: 9 }].into(),
        };
        let uuids = |numbers: &&[u128]| numbers.iter().map(|n| Uuid::from_u128(*n)).collect();
        let map = map.iter().map(|(last, numbers)| (ip(*last), uuids(numbers))).collect();
        assert_eq!(check(&map, [&external].into_iter(), core::iter::empty()), Ok(()));
        Gateways::new(&external, &map, &settings)
    }

    fn show(ips: &ExternalIps) -> String {
        let all = ips.addresses().map(|ip| ip.to_string().split_off("192.0.2.".len()));
        all.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn addresses_serve_what_the_map_says() {
        let map: &[(u8, &[u128])] = &[(1, &[1, 2]), (2, &[2]), (3, &[]), (5, &[3]), (6, &[1])];
        let gateways = shared(map, GatewaySettings::default());
        for (id, first) in [
            (gateway(1), "1 6"),
            (gateway(2), "1 2"),
            (gateway(3), "5"),
            (gateway(4), ""),
            (GatewayId(None), "4"),
        ] {
            assert_eq!(show(gateways.of(id)), first, "{id:?}");
        }
        // An address that serves nobody is reached all the same.
        assert!(gateways.is_reached_by([192, 0, 2, 3].into()));
    }

    #[test]
    fn unmapped_addresses_may_come_last_or_nowhere() {
        let map: &[(u8, &[u128])] = &[(1, &[1]), (2, &[]), (5, &[1]), (6, &[])];
        let settings =
            GatewaySettings { unmapped: Unmapped::AnyLast, ..GatewaySettings::default() };
        let gateways = shared(map, settings);
        assert_eq!(show(gateways.of(gateway(1))), "1 5");
        assert_eq!(show(gateways.rest()), "3 4");
        assert_eq!(show(gateways.of(gateway(9))), "3 4");
        assert_eq!(show(gateways.of(GatewayId(None))), "3 4");

        let settings = GatewaySettings {
            unmapped: Unmapped::Nowhere,
            reached: Reached::ByServing,
            ..GatewaySettings::default()
        };
        let gateways = shared(map, settings);
        assert_eq!(show(gateways.of(gateway(9))), "");
        assert_eq!(show(gateways.of(GatewayId(None))), "");
        let reached = |last: u8| gateways.is_reached_by([192, 0, 2, last].into());
        assert_eq!([1, 2, 3, 5].map(reached), [true, false, false, true]);

        let settings = GatewaySettings { untagged: Untagged::Any, ..GatewaySettings::default() };
        let gateways = shared(map, settings);
        assert_eq!(show(gateways.of(GatewayId(None))), "1 2 3 4 5 6");
        assert_eq!(show(gateways.of(gateway(9))), "");
    }

    #[test]
    fn maps_name_addresses_of_the_port_and_real_gateways() {
        let ip = IpAddr::from([192, 0, 2, 1]);
        let external = ExternalIps { floating: [ip].into(), ..ExternalIps::default() };
        let refused = |ip: IpAddr, uuid: u128| {
            let map = [(ip, [Uuid::from_u128(uuid)].into())].into();
            check(&map, [&external].into_iter(), core::iter::empty())
                .map_err(|error| error.to_string())
        };
        assert_eq!(refused(ip, 7), Ok(()));
        assert!(refused([192, 0, 2, 2].into(), 7).unwrap_err().contains("192.0.2.2"));
        assert!(refused(ip, 0).unwrap_err().contains("nil UUID"));
    }

    #[test]
    fn denials_go_on_while_their_gateway_stays() {
        let denials = Denials::default().of([gateway(1), gateway(2)].into_iter());
        denials.count(gateway(1));
        denials.count(gateway(3));
        let next = denials.of([gateway(1), gateway(3)].into_iter());
        assert_eq!([1, 2, 3].map(|id| next.read(gateway(id))), [1, 0, 0]);
        assert!(next.are_of([gateway(1), gateway(3)].iter()));
        assert!(!next.are_of([gateway(1)].iter()));
    }
}
