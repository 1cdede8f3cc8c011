// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! External addresses, ports and echo identifiers on loan.
//!
//! Who owns an external (address, protocol, port) is recorded in a [`ReservationSpace`] that no
//! change of configuration rebuilds. A [`Lease`] is taken by one atomic test-and-set, belongs to
//! exactly one flow, and goes back exactly once: when that flow's object ends.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::net::IpAddr;
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU64, Ordering};
use opte_api::{Direction, Protocol};

use crate::edit::HeaderEdit;
use crate::flow_key::FlowKey;

const WORDS: usize = 65536 / 64;

/// All ports (or echo identifiers) of one external address and protocol: one bit for each that
/// is on loan.
pub struct PortMap {
    words: Box<[AtomicU64]>,
}

impl PortMap {
    fn new() -> Self {
        Self { words: (0..WORDS).map(|_| AtomicU64::new(0)).collect() }
    }

    fn word(&self, port: u16) -> Option<(&AtomicU64, u64)> {
        Some((self.words.get(usize::from(port) / 64)?, 1 << (port % 64)))
    }

    /// Takes the first free port at or behind `start` within `range`, wrapping round.
    fn take(&self, range: &RangeInclusive<u16>, start: u16) -> Option<u16> {
        let upper = start..=*range.end();
        self.take_first(&upper).or_else(|| {
            let last = start.checked_sub(1)?;
            (*range.start() <= last).then(|| self.take_first(&(*range.start()..=last)))?
        })
    }

    fn take_first(&self, range: &RangeInclusive<u16>) -> Option<u16> {
        let (first, last) = (usize::from(*range.start()), usize::from(*range.end()));
        for index in first / 64..=last / 64 {
            let low = first.saturating_sub(index * 64);
            let high = (last - index * 64).min(63);
            let mask = (u64::MAX >> (63 - high)) & (u64::MAX << low);
            let word = self.words.get(index)?;
            let mut free = !word.load(Ordering::Relaxed) & mask;
            while free != 0 {
                let bit = free & free.wrapping_neg();
                // Acquire and release order one owner's use of the port before the next's.
                if word.fetch_or(bit, Ordering::Acquire) & bit == 0 {
                    return u16::try_from(index * 64 + bit.trailing_zeros() as usize).ok();
                }
                free &= !bit;
            }
        }
        None
    }

    fn give_back(&self, port: u16) {
        if let Some((word, bit)) = self.word(port) {
            word.fetch_and(!bit, Ordering::Release);
        }
    }

    /// Number of ports of `range` that are on loan.
    pub fn used(&self, range: RangeInclusive<u16>) -> usize {
        let on_loan = |port: &u16| {
            self.word(*port).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
        };
        range.filter(on_loan).count()
    }
}

/// An external port or echo identifier on loan. Ending it gives it back.
pub struct Lease {
    map: Arc<PortMap>,
    port: u16,
}

impl Lease {
    /// The port or identifier.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.map.give_back(self.port);
    }
}

impl core::fmt::Debug for Lease {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Lease({})", self.port)
    }
}

/// One record of who owns what, for the life of a host.
#[derive(Default)]
pub struct ReservationSpace {
    maps: BTreeMap<(IpAddr, Protocol), Arc<PortMap>>,
}

impl ReservationSpace {
    /// The map of an address and protocol; always the same one while anybody holds it.
    pub fn map(&mut self, ip: IpAddr, protocol: Protocol) -> Arc<PortMap> {
        self.maps.entry((ip, protocol)).or_insert_with(|| Arc::new(PortMap::new())).clone()
    }

    /// Forgets maps that no policy and no lease refers to.
    pub fn tidy(&mut self) {
        self.maps.retain(|_, map| Arc::strong_count(map) > 1);
    }
}

/// A range of ports of one external address, as a policy refers to it.
#[derive(Clone)]
pub struct NatPool {
    ip: IpAddr,
    ports: RangeInclusive<u16>,
    tcp: Arc<PortMap>,
    udp: Arc<PortMap>,
    echo: Arc<PortMap>,
}

impl NatPool {
    /// The pool of `ports` of `ip`. The range is not empty.
    pub fn new(space: &mut ReservationSpace, ip: IpAddr, ports: RangeInclusive<u16>) -> Self {
        let icmp = if ip.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
        Self {
            ip,
            ports,
            tcp: space.map(ip, Protocol::TCP),
            udp: space.map(ip, Protocol::UDP),
            echo: space.map(ip, icmp),
        }
    }

    /// The external address.
    pub const fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The ports.
    pub const fn ports(&self) -> &RangeInclusive<u16> {
        &self.ports
    }

    /// Translates flows of this kind: TCP, UDP and echo requests.
    pub fn serves(&self, key: &FlowKey) -> bool {
        matches!(key.protocol(), Protocol::TCP | Protocol::UDP) || key.is_echo_request()
    }

    /// Takes a port for a flow that this pool serves. `random` is uniform and not to be guessed
    /// by guest or remote, so that neither can foresee the port (RFC 6056, section 3.3).
    pub fn take(&self, key: &FlowKey, random: u64) -> Option<Lease> {
        let map = match key.protocol() {
            Protocol::TCP => &self.tcp,
            Protocol::UDP => &self.udp,
            _ => &self.echo,
        };
        let (first, last) = (u64::from(*self.ports.start()), u64::from(*self.ports.end()));
        let start = u16::try_from(first + random % (last - first + 1)).ok()?;
        let port = map.take(&self.ports, start)?;
        Some(Lease { map: map.clone(), port })
    }

    /// The lease of a flow is one of this pool's.
    pub fn holds(&self, binding: &NatBinding) -> bool {
        binding.external_ip == self.ip
            && binding.external_port.is_some_and(|port| self.ports.contains(&port))
    }
}

/// How a flow is translated: inside it is `private`, outside it is `external`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NatBinding {
    /// Address inside.
    pub private_ip: IpAddr,
    /// Address outside.
    pub external_ip: IpAddr,
    /// Port or echo identifier inside.
    pub private_port: u16,
    /// Port or echo identifier outside; `None` where it is kept (one address for one).
    pub external_port: Option<u16>,
}

impl NatBinding {
    /// The edit of packets that go `direction`.
    pub fn edit(&self, direction: Direction, key: &FlowKey) -> HeaderEdit {
        let echo = key.is_echo();
        let ports = |port: u16| self.external_port.map(|_| port);
        match direction {
            Direction::Out => HeaderEdit {
                src_ip: Some(self.external_ip),
                src_port: self.external_port.filter(|_| !echo),
                echo_id: self.external_port.filter(|_| echo),
                ..HeaderEdit::NONE
            },
            Direction::In => HeaderEdit {
                dst_ip: Some(self.private_ip),
                dst_port: ports(self.private_port).filter(|_| !echo),
                echo_id: ports(self.private_port).filter(|_| echo),
                ..HeaderEdit::NONE
            },
        }
    }
}

impl core::fmt::Display for NatBinding {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match (self.external_port, self.external_ip) {
            (None, ip) => write!(f, "{ip}"),
            (Some(port), IpAddr::V4(ip)) => write!(f, "{ip}:{port}"),
            (Some(port), IpAddr::V6(ip)) => write!(f, "[{ip}]:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn key() -> FlowKey {
        let ip = "10.0.0.1".parse().unwrap();
        FlowKey::new(ip, ip, Protocol::UDP, [1, 2])
    }

    #[test]
    fn every_port_once_and_back() {
        let ip = "192.0.2.1".parse().unwrap();
        let mut space = ReservationSpace::default();
        let pool = NatPool::new(&mut space, ip, 1000..=1129);
        let leases: Vec<Lease> = (0..130).map_while(|n| pool.take(&key(), n * 77)).collect();
        let ports: BTreeSet<u16> = leases.iter().map(Lease::port).collect();
        assert_eq!(ports, (1000..=1129).collect());
        assert!(pool.take(&key(), 5).is_none());
        drop(leases);
        assert!(pool.take(&key(), 5).is_some());
    }

    #[test]
    fn leases_outlive_the_pool_that_gave_them() {
        let ip = "192.0.2.1".parse().unwrap();
        let mut space = ReservationSpace::default();
        let lease = NatPool::new(&mut space, ip, 7..=8).take(&key(), 0).unwrap();
        space.tidy();
        let again = NatPool::new(&mut space, ip, 7..=8);
        let other = again.take(&key(), 0).unwrap();
        assert_ne!(lease.port(), other.port());
        assert!(again.take(&key(), 0).is_none());
    }

    proptest! {
        #[test]
        fn pool_is_a_set(steps in proptest::collection::vec((any::<bool>(), any::<u64>()), 0..200)) {
            let mut space = ReservationSpace::default();
            let pool = NatPool::new(&mut space, "192.0.2.1".parse().unwrap(), 60..=70);
            let mut held: Vec<Lease> = Vec::new();
            for (take, random) in steps {
                if take {
                    let lease = pool.take(&key(), random);
                    prop_assert_eq!(lease.is_none(), held.len() == 11);
                    if let Some(lease) = lease {
                        prop_assert!((60..=70).contains(&lease.port()));
                        prop_assert!(held.iter().all(|other| other.port() != lease.port()));
                        held.push(lease);
                    }
                } else if !held.is_empty() {
                    held.swap_remove(random as usize % held.len());
                }
            }
        }
    }
}
