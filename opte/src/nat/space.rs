// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The record of who owns what outside.

use super::addressed::Addressed;
use super::holder::Holder;
use super::identifications::Identifications;
use super::known::Known;
use super::lock::AnyLock;
use super::ports::{Dice, PortMap};
use crate::host::{Host, Moment};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU64, Ordering};
use opte_api::{IpCidr, Protocol};

/// Most port maps of a host: addresses times protocols of which something is on loan or waits.
pub const MAX_PORT_MAPS: usize = 16_384;

/// A world of addresses. The same address in two realms is two addresses.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Realm(pub u32);

impl Realm {
    /// The world outside of all virtual networks.
    pub const OUTSIDE: Self = Self(0);
}

/// External tuples of which one owner has all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tuples {
    /// Where the addresses are.
    pub realm: Realm,
    /// The addresses.
    pub prefix: IpCidr,
    /// One protocol, or whatever there is.
    pub protocol: Option<Protocol>,
    /// The ports, of protocols that have any.
    pub ports: RangeInclusive<u16>,
}

impl Tuples {
    /// All of these addresses.
    pub const fn of(realm: Realm, prefix: IpCidr) -> Self {
        Self { realm, prefix, protocol: None, ports: 0..=u16::MAX }
    }

    /// All of the addresses.
    fn is_whole(&self) -> bool {
        self.protocol.is_none() && self.ports == (0..=u16::MAX)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let protocols = self.protocol.zip(other.protocol);
        self.realm == other.realm
            && self.prefix.overlaps(other.prefix)
            && protocols.is_none_or(|(a, b)| a == b)
            && self.ports.start() <= other.ports.end()
            && other.ports.start() <= self.ports.end()
    }

    /// Whether this tuple is one of them.
    pub fn holds(&self, realm: Realm, ip: IpAddr, protocol: Protocol, port: u16) -> bool {
        self.realm == realm
            && self.prefix.contains(ip)
            && self.protocol.is_none_or(|own| own == protocol)
            && self.ports.contains(&port)
    }
}

impl fmt::Display for Tuples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.prefix)?;
        if let Some(protocol) = self.protocol {
            write!(f, " {protocol}")?;
        }
        match (self.ports.start(), self.ports.end()) {
            (0, &u16::MAX) => Ok(()),
            (first, last) if first == last => write!(f, " port {first}"),
            (first, last) => write!(f, " ports {first}-{last}"),
        }
    }
}

/// What somebody else has of the tuples that were to be claimed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Conflict {
    /// They are claimed.
    Claimed {
        /// What is.
        tuples: String,
        /// Whose it is.
        owner: String,
    },
    /// One of them is on loan.
    OnLoan {
        /// Which one.
        tuple: String,
        /// Who has it.
        owner: String,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claimed { tuples, owner } => write!(f, "{tuples} belongs to {owner}"),
            Self::OnLoan { tuple, owner } => write!(f, "a connection of {owner} uses {tuple}"),
        }
    }
}

/// Tuples that belong to one owner for as long as this is there: a port forward, or addresses that
/// are one guest's alone. No pool lends them.
pub struct Claim {
    space: Arc<ReservationSpace>,
    number: u64,
    tuples: Tuples,
}

impl Claim {
    /// What is claimed.
    pub const fn tuples(&self) -> &Tuples {
        &self.tuples
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.space.unclaim(self.number, &self.tuples);
    }
}

/// For as long as this is there it is noted who has which tuple of some addresses: several owners
/// take from them.
pub struct Noted {
    space: Arc<ReservationSpace>,
    number: u64,
    realm: Realm,
}

impl Noted {
    /// Who has a tuple of one of these addresses on loan, by number.
    pub fn owner(&self, ip: IpAddr, protocol: Protocol, port: u16) -> Option<u32> {
        self.space.owner(self.realm, ip, protocol, port)
    }

    /// Somebody has a tuple of these addresses on loan.
    pub fn is_used(&self, prefix: IpCidr) -> bool {
        let tuples = Tuples::of(self.realm, prefix);
        self.space.records.with(|records| records.maps_of(&tuples).any(|map| map.on_loan() > 0))
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.space.records.with(|records| records.noted.retain(|noted| noted.0 != self.number));
    }
}

struct Claimed {
    number: u64,
    owner: u32,
    name: String,
    tuples: Tuples,
}

#[derive(Default)]
struct Records {
    maps: BTreeMap<(Realm, IpAddr, Protocol), Arc<PortMap>>,
    claims: Vec<Claimed>,
    holders: BTreeMap<String, Weak<Holder>>,
    /// Addresses of which owners are noted, each with the number of who asked for it.
    noted: Vec<(u64, Realm, IpCidr)>,
    identifications: BTreeMap<(Realm, IpCidr, u16, u16), Weak<Identifications>>,
    /// Owners, claims, and notes so far.
    numbers: u64,
}

impl Records {
    fn maps_of<'a>(&'a self, tuples: &'a Tuples) -> impl Iterator<Item = &'a Arc<PortMap>> {
        let ours = |(realm, ip, protocol): &(Realm, IpAddr, Protocol)| {
            *realm == tuples.realm
                && tuples.prefix.contains(*ip)
                && tuples.protocol.is_none_or(|own| own == *protocol)
        };
        let first = (tuples.realm, tuples.prefix.addr(), Protocol(0));
        let near = self
            .maps
            .range(first..)
            .take_while(move |(key, _)| key.0 == tuples.realm && tuples.prefix.contains(key.1));
        near.filter(move |(key, _)| ours(key)).map(|(_, map)| map)
    }

    /// What is claimed of the ports of one map.
    fn claimed(&self, key: &(Realm, IpAddr, Protocol)) -> Vec<RangeInclusive<u16>> {
        let (realm, ip, protocol) = *key;
        let ours = |claim: &&Claimed| {
            let tuples = &claim.tuples;
            tuples.holds(realm, ip, protocol, *tuples.ports.start())
        };
        self.claims.iter().filter(ours).map(|claim| claim.tuples.ports.clone()).collect()
    }
}

/// One record of who owns what, for the life of a host. No change of configuration rebuilds it: a
/// configuration says what may be lent from now on.
pub struct ReservationSpace {
    /// The latest moment that anybody has told, in milliseconds.
    clock: AtomicU64,
    secret: u64,
    draws: AtomicU64,
    make_map: fn(Realm, IpAddr) -> PortMap,
    make_holder: fn(u32, String, Arc<Self>, u64) -> Holder,
    records: AnyLock<Records>,
    known: Known,
}

impl ReservationSpace {
    /// An empty space, with locks of this host. `secret` is from the host's random source.
    pub fn new<H: Host>(secret: u64) -> Arc<Self> {
        Arc::new(Self {
            clock: AtomicU64::new(0),
            secret,
            draws: AtomicU64::new(0),
            make_map: PortMap::new::<H>,
            make_holder: Holder::new::<H>,
            records: AnyLock::new::<H>(Records::default()),
            known: Known::new(),
        })
    }

    /// Tells the time. Hosts do with each batch, and between packets.
    pub fn tick(&self, now: Moment) {
        // Mostly it is the same millisecond, and nobody else's cache has to know.
        if self.clock.load(Ordering::Relaxed) < now.as_millis() {
            self.clock.fetch_max(now.as_millis(), Ordering::Relaxed);
        }
    }

    /// The latest moment that anybody has told.
    pub fn now(&self) -> Moment {
        Moment::from_millis(self.clock.load(Ordering::Relaxed))
    }

    /// Dice that fall otherwise each time.
    pub(super) fn dice(&self, hash: u64) -> Dice {
        let draw = self.draws.fetch_add(1, Ordering::Relaxed);
        Dice(self.secret ^ hash ^ draw.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// The owner of this name; the same one while anybody knows it.
    pub fn holder(self: &Arc<Self>, name: &str) -> Arc<Holder> {
        let holder = self.records.with(|records| {
            if let Some(known) = records.holders.get(name).and_then(Weak::upgrade) {
                return Some(known);
            }
            records.numbers += 1;
            let number = records.numbers as u32;
            let seed = Dice(self.secret ^ u64::from(number) << 32).roll();
            let holder = Arc::new((self.make_holder)(number, name.into(), self.clone(), seed));
            records.holders.insert(name.into(), Arc::downgrade(&holder));
            Some(holder)
        });
        // The lock ran its closure, so there is one.
        holder
            .unwrap_or_else(|| Arc::new((self.make_holder)(u32::MAX, name.into(), self.clone(), 0)))
    }

    /// The map of an address and protocol; the same one while anybody has something of it. `None`:
    /// there are too many.
    pub fn map(&self, realm: Realm, ip: IpAddr, protocol: Protocol) -> Option<Arc<PortMap>> {
        self.records.with(|records| {
            let key = (realm, ip, protocol);
            if let Some(map) = records.maps.get(&key) {
                return Some(map.clone());
            }
            if records.maps.len() >= MAX_PORT_MAPS {
                return None;
            }
            let map = Arc::new((self.make_map)(realm, ip));
            records.claimed(&key).iter().for_each(|range| map.set_claimed(range, &[], true));
            if records.noted.iter().any(|(_, of, prefix)| *of == realm && prefix.contains(ip)) {
                map.note_owners();
            }
            records.maps.insert(key, map.clone());
            self.known.add(realm, IpCidr::host(ip));
            Some(map)
        })
    }

    /// The map of an address and protocol, if there is one.
    pub fn known_map(&self, realm: Realm, ip: IpAddr, protocol: Protocol) -> Option<Arc<PortMap>> {
        self.records.with(|records| records.maps.get(&(realm, ip, protocol)).cloned())
    }

    /// The maps of a protocol of which there are any, for the addresses of a prefix.
    pub fn maps_of(&self, realm: Realm, prefix: IpCidr, protocol: Protocol) -> Vec<Arc<PortMap>> {
        let tuples = Tuples { protocol: Some(protocol), ..Tuples::of(realm, prefix) };
        self.records.with(|records| records.maps_of(&tuples).cloned().collect())
    }

    /// How many of these tuples are claimed.
    pub(super) fn claimed(&self, tuples: &Tuples) -> u32 {
        let within = |claim: &Claimed| {
            let (a, b) = (&claim.tuples.ports, &tuples.ports);
            let (first, last) = (*a.start().max(b.start()), *a.end().min(b.end()));
            u32::from(last.saturating_sub(first)) + 1
        };
        self.records.with(|records| {
            let claims = records.claims.iter().filter(|claim| claim.tuples.overlaps(tuples));
            claims.map(within).sum()
        })
    }

    /// Forgets maps and owners of whom nobody has anything.
    pub fn tidy(&self) {
        let now = self.now();
        self.records.with(|records| {
            records.maps.retain(|_, map| Arc::strong_count(map) > 1 || !map.is_idle(now));
            records.holders.retain(|_, holder| holder.strong_count() > 0);
            records.identifications.retain(|_, known| known.strong_count() > 0);
        });
    }

    /// Owners, by name.
    pub fn holders(&self) -> Vec<Arc<Holder>> {
        self.records.with(|records| records.holders.values().filter_map(Weak::upgrade).collect())
    }

    /// Gives tuples to one owner. What it has on loan of them itself stays on loan until its
    /// connections are judged; what others have refuses the claim, which then has changed nothing.
    pub fn claim(self: &Arc<Self>, holder: &Holder, tuples: Tuples) -> Result<Claim, Conflict> {
        let owner = holder.number();
        let entered = self.records.with(|records| {
            let others = |claim: &&Claimed| claim.owner != owner && claim.tuples.overlaps(&tuples);
            if let Some(other) = records.claims.iter().find(others) {
                let (tuples, owner) = (other.tuples.to_string(), other.name.clone());
                return Some(Err(Conflict::Claimed { tuples, owner }));
            }
            records.numbers += 1;
            let number = records.numbers;
            let (name, claimed) = (holder.name().into(), tuples.clone());
            self.known.add(tuples.realm, tuples.prefix);
            records.claims.push(Claimed { number, owner, name, tuples: claimed });
            records.maps_of(&tuples).for_each(|map| map.set_claimed(&tuples.ports, &[], true));
            Some(Ok(number))
        });
        // From here on nobody takes one of them, so what is on loan is all there will be.
        let number = entered.unwrap_or(Ok(0))?;
        let claim = Claim { space: self.clone(), number, tuples };
        match self.on_loan(owner, claim.tuples()) {
            Some(conflict) => Err(conflict),
            None => Ok(claim),
        }
    }

    /// A loan of another owner's among these tuples.
    fn on_loan(&self, owner: u32, tuples: &Tuples) -> Option<Conflict> {
        self.holders().iter().filter(|holder| holder.number() != owner).find_map(|holder| {
            let tuple = holder.loan_of(tuples)?;
            Some(Conflict::OnLoan { tuple, owner: holder.name().into() })
        })
    }

    fn unclaim(&self, number: u64, tuples: &Tuples) {
        self.records.with(|records| {
            records.claims.retain(|claim| claim.number != number);
            for (key, map) in &records.maps {
                if tuples.holds(key.0, key.1, key.2, *tuples.ports.start()) {
                    map.set_claimed(&tuples.ports, &records.claimed(key), false);
                }
            }
        });
    }

    /// From now on it is noted who has which tuple of these addresses.
    pub fn note_owners(self: &Arc<Self>, realm: Realm, prefix: IpCidr) -> Noted {
        let number = self.records.with(|records| {
            records.numbers += 1;
            records.noted.push((records.numbers, realm, prefix));
            records.maps_of(&Tuples::of(realm, prefix)).for_each(|map| map.note_owners());
            records.numbers
        });
        // Who takes a tuple from here on notes it; what was taken before is noted now.
        self.holders().iter().for_each(|holder| holder.note_owner());
        Noted { space: self.clone(), number, realm }
    }

    /// The identifications of fragments that leave from a range of ports of these addresses; the
    /// same for all who have that range.
    pub fn identifications(
        &self,
        realm: Realm,
        prefix: IpCidr,
        ports: RangeInclusive<u16>,
    ) -> Arc<Identifications> {
        let (first, last) = (*ports.start(), *ports.end());
        // No draw of those that choose ports: who only looks at a change takes none.
        let start = Dice(self.secret ^ self.now().as_millis() ^ u64::from(first) << 48).roll();
        let new = || Arc::new(Identifications::new(prefix, first, last, start));
        let known = self.records.with(|records| {
            let place = records.identifications.entry((realm, prefix, first, last)).or_default();
            let known = place.upgrade().unwrap_or_else(&new);
            *place = Arc::downgrade(&known);
            Some(known)
        });
        // The lock ran its closure, so there are some.
        known.unwrap_or_else(new)
    }

    /// Somebody of this host, but not `sender`, has the external tuple of a packet to this address,
    /// or had it a moment ago: it is claimed, or on loan, or waits.
    pub fn leads_here(
        &self,
        sender: &Holder,
        realm: Realm,
        ip: IpAddr,
        addressed: Addressed,
    ) -> bool {
        // Most packets to the outside are for somebody elsewhere.
        if !self.known.may_have(realm, ip) {
            return false;
        }
        let tuple = match addressed {
            Addressed::Tuple(protocol, port) => Some((protocol, port)),
            Addressed::LaterFragment | Addressed::Nothing => None,
        };
        if tuple.is_some_and(|(protocol, port)| sender.has_on_loan(ip, protocol, port)) {
            return false;
        }
        let others = |claim: &&Claimed| claim.owner != sender.number();
        self.records.with(|records| {
            let claimed = |claim: &Claimed| match tuple {
                Some((protocol, port)) => claim.tuples.holds(realm, ip, protocol, port),
                None => claim.tuples.is_whole() && claim.tuples.holds(realm, ip, Protocol(0), 0),
            };
            let lent = |(protocol, port): (Protocol, u16)| {
                let map = records.maps.get(&(realm, ip, protocol));
                map.is_some_and(|map| map.is_taken(port))
            };
            tuple.is_some_and(lent) || records.claims.iter().filter(others).any(claimed)
        })
    }

    /// Who has an external tuple, where that is noted.
    pub fn owner(&self, realm: Realm, ip: IpAddr, protocol: Protocol, port: u16) -> Option<u32> {
        self.known_map(realm, ip, protocol)?.owner(port)
    }
}
