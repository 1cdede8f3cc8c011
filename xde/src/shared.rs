// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! External tuples of this host: which port is a packet to one of them for?
//!
//! Mostly a MAC address says so. It does not where several ports borrow of one address, and where a
//! packet is turned round on its way to the outside ([`crate::hairpin`]).
//!
//! The boundary knows one host for a range of ports, and puts the MAC address of any of its sharers
//! in front. So what counts is who has the tuple: its owner, if it is one guest's own (a port forward,
//! or a whole address), else who has it on loan. The latter changes with each connection and stands
//! in the [`ReservationSpace`]; the rest is configuration, and a part of the snapshot.
//!
//! An address stays here while its last connections live, even if only one port still borrows from
//! it, as long as nothing else changes: packets under way to the others find their end there.

use crate::host::PortId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte::nat::{Addressed, Holder, Noted, PortMap, Realm, ReservationSpace, query_protocol};
use opte::prefix_map::PrefixMap;
use opte_api::{Gather, IpCidr, Protocol};
use oxide_vpc::nat::{Own, Reach};

/// Addresses of which several ports borrow.
struct Entry {
    prefix: IpCidr,
    noted: Noted,
    /// Of TCP, UDP and queries, if it is one address.
    maps: [Option<Arc<PortMap>>; 3],
}

impl Entry {
    fn new(space: &Arc<ReservationSpace>, prefix: IpCidr) -> Self {
        let noted = space.note_owners(Realm::OUTSIDE, prefix);
        let ip = prefix.addr();
        let is_one = prefix.host_len() == 0;
        let map = |protocol| space.map(Realm::OUTSIDE, ip, protocol);
        let maps = [Protocol::TCP, Protocol::UDP, query_protocol(ip)];
        Self { prefix, noted, maps: maps.map(|protocol| map(protocol).filter(|_| is_one)) }
    }

    /// Who has this tuple on loan.
    fn owner(&self, ip: IpAddr, protocol: Protocol, port: u16) -> Option<u32> {
        let [tcp, udp, query] = &self.maps;
        let map = match protocol {
            Protocol::TCP => tcp,
            Protocol::UDP => udp,
            _ => query,
        };
        match map {
            Some(map) => map.owner(port),
            None => self.noted.owner(ip, protocol, port),
        }
    }
}

/// Tuples that are one port's own, and their owners.
#[derive(Default)]
struct Owned {
    whole: PrefixMap<PortId>,
    /// By address, protocol and first port; with the last port.
    forwards: BTreeMap<(IpAddr, Protocol, u16), (u16, PortId)>,
}

impl Owned {
    fn add(&mut self, own: &Own, port: PortId) {
        match own.ports {
            None => {
                self.whole.insert(own.prefix, port);
            }
            Some((protocol, first, last)) => {
                self.forwards.insert((own.prefix.addr(), protocol, first), (last, port));
            }
        }
    }

    fn find(&self, ip: IpAddr, tuple: Option<(Protocol, u16)>) -> Option<PortId> {
        let forward = tuple.and_then(|(protocol, port)| {
            let below = self.forwards.range(..=(ip, protocol, port)).next_back();
            let ((of, kind, _), (last, owner)) = below?;
            ((*of, *kind) == (ip, protocol) && port <= *last).then_some(*owner)
        });
        forward.or_else(|| self.whole.longest(ip).copied())
    }
}

/// Whose a tuple is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// This port's.
    Port(PortId),
    /// It could be on loan here, and nobody has it.
    Nobody,
    /// It is none of this host's.
    Foreign,
}

/// What a port is reached by, and the number under which it has tuples on loan.
type Reached = (PortId, u32, Arc<Reach>);

/// External tuples of this host.
#[derive(Default)]
pub(crate) struct Shared {
    /// What all else follows from, by port.
    reached: Vec<Reached>,
    /// Addresses of which several ports borrow.
    entries: PrefixMap<Arc<Entry>>,
    /// All ranges by their addresses, by first port.
    lent: Lent,
    /// Lengths of their prefixes, by whether they are IPv4.
    lengths: BTreeSet<(bool, u8)>,
    /// What is one port's own, and what was and stands for its connections.
    owned: [Owned; 2],
    /// Ports by the number under which they have tuples on loan.
    owners: BTreeMap<u32, PortId>,
}

impl Shared {
    /// No port borrows of an address that another one borrows of.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Several ports borrow of this address.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.entries.longest(ip).is_some()
    }

    /// The port that a packet to such an address is for. Of later fragments it cannot be told, unless
    /// all of the address is one port's.
    pub fn port(&self, ip: IpAddr, addressed: Addressed) -> Option<PortId> {
        let tuple = match addressed {
            Addressed::Tuple(protocol, port) => Some((protocol, port)),
            Addressed::LaterFragment | Addressed::Nothing => None,
        };
        let [live, retired] = &self.owned;
        let borrower = || {
            let (protocol, port) = tuple?;
            let owner = self.entries.longest(ip)?.owner(ip, protocol, port)?;
            self.owners.get(&owner).copied()
        };
        live.find(ip, tuple).or_else(borrower).or_else(|| retired.find(ip, tuple))
    }

    /// Whose the tuple is that a packet is for, among all of this host.
    pub fn find(&self, ip: IpAddr, addressed: Addressed) -> Found {
        let Addressed::Tuple(_, port) = addressed else {
            return self.port(ip, addressed).map_or(Found::Foreign, Found::Port);
        };
        let lent = self.lengths.iter().filter(|(ipv4, _)| *ipv4 == ip.is_ipv4());
        let lent = lent.filter_map(|(_, len)| self.lent.get(&IpCidr::new(ip, *len).ok()?));
        let mut lent = lent.filter_map(|ranges| {
            let behind = ranges.partition_point(|range| range.0 <= port);
            ranges.get(..behind)?.iter().rev().find(|range| port <= range.1)
        });
        match (self.port(ip, addressed), lent.next()) {
            (Some(known), _) => Found::Port(known),
            (None, None) => Found::Foreign,
            (None, Some(_)) if self.has(ip) => Found::Nobody,
            (None, Some((.., only))) => Found::Port(*only),
        }
    }

    /// What follows if ports are reached like this; the same object if nothing is new. Who has what
    /// of addresses that are shared from now on is noted when this returns.
    pub fn next<'a>(
        self: &Arc<Self>,
        space: &Arc<ReservationSpace>,
        ports: impl Iterator<Item = (PortId, &'a Arc<Holder>, &'a Arc<Reach>)>,
    ) -> Arc<Self> {
        let reached = ports.map(|(id, holder, reach)| (id, holder.number(), reach.clone()));
        let mut reached: Vec<Reached> = reached.collect();
        reached.sort_unstable_by_key(|(id, ..)| *id);
        let same =
            |(a, b): (&Reached, &Reached)| (a.0, a.1) == (b.0, b.1) && Arc::ptr_eq(&a.2, &b.2);
        if reached.len() == self.reached.len() && reached.iter().zip(&self.reached).all(same) {
            return self.clone();
        }
        let lent = all_lent(&reached);
        let lengths = lengths(&lent);
        let contested = contested(&lent, &lengths);
        let mut next = Self::default();
        for prefix in contested {
            let known = self.entries.get(prefix).cloned();
            let entry = known.unwrap_or_else(|| Arc::new(Entry::new(space, prefix)));
            next.entries.insert(prefix, entry);
        }
        for (prefix, entry) in self.entries.iter() {
            let lives = lent.contains_key(&prefix) && entry.noted.is_used(entry.prefix);
            if lives && next.entries.get(prefix).is_none() {
                next.entries.insert(prefix, entry.clone());
            }
        }
        for (id, owner, reach) in &reached {
            next.owners.insert(*owner, *id);
            let [live, retired] = &mut next.owned;
            for own in &reach.own {
                if own.retired { retired.add(own, *id) } else { live.add(own, *id) }
            }
        }
        (next.lent, next.lengths, next.reached) = (lent, lengths, reached);
        Arc::new(next)
    }
}

/// First and last port of a range, and who borrows from it.
type Borrowed = (u16, u16, PortId);
type Lent = BTreeMap<IpCidr, Vec<Borrowed>>;

/// All ranges by their addresses, by first port.
fn all_lent(reached: &[Reached]) -> Lent {
    let mut all = Lent::new();
    for (id, _, reach) in reached {
        for lent in &reach.lent {
            all.entry(lent.prefix).or_default().push((lent.first, lent.last, *id));
        }
    }
    all.values_mut().for_each(|ranges| ranges.sort_unstable());
    all
}

/// Lengths of the prefixes of ranges, by whether they are IPv4.
fn lengths(lent: &Lent) -> BTreeSet<(bool, u8)> {
    lent.keys().map(|prefix| (prefix.is_ipv4(), prefix.prefix_len())).gather()
}

/// Addresses of which two ports may borrow one tuple.
fn contested(lent: &Lent, lengths: &BTreeSet<(bool, u8)>) -> BTreeSet<IpCidr> {
    let mut contested = BTreeSet::new();
    for (prefix, ranges) in lent {
        if overlap_within(ranges) {
            contested.insert(*prefix);
        }
        let ipv4 = prefix.is_ipv4();
        for (_, len) in lengths.range((ipv4, 0)..(ipv4, prefix.prefix_len())) {
            let Ok(wider) = IpCidr::new(prefix.addr(), *len) else { continue };
            let mut others = lent.get(&wider).into_iter().flatten();
            if others.any(|other| ranges.iter().any(|range| overlap(range, other))) {
                contested.extend([*prefix, wider]);
            }
        }
    }
    contested
}

fn overlap(a: &Borrowed, b: &Borrowed) -> bool {
    a.2 != b.2 && a.0 <= b.1 && b.0 <= a.1
}

/// Two ports have a port of ranges that are sorted by their first ports.
fn overlap_within(ranges: &[Borrowed]) -> bool {
    // The two ports that reach furthest so far.
    let mut far: [Option<Borrowed>; 2] = [None, None];
    ranges.iter().any(|range| {
        if far.iter().flatten().any(|before| overlap(before, range)) {
            return true;
        }
        let [first, second] = far;
        let reaches = |other: Option<Borrowed>| other.is_none_or(|other| range.1 > other.1);
        far = if first.is_some_and(|first| first.2 == range.2) {
            [if reaches(first) { Some(*range) } else { first }, second]
        } else if reaches(first) {
            [Some(*range), first]
        } else if reaches(second) {
            [first, Some(*range)]
        } else {
            far
        };
        false
    })
}
