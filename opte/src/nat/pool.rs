// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Pools: what may be lent to one owner, and how.

use super::holder::{Holder, Lease, NewMapping, State, local_port};
use super::options::{Dependence, NatOptions, Pooling};
use super::ports::{Dice, PortMap, Usage, Want};
use super::space::{Realm, Tuples};
use super::{Failure, query_protocol};
use crate::flow_key::FlowKey;
use crate::meta::MetaValue;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;
use once_cell::race::OnceBox;
use opte_api::{IpCidr, Protocol};

/// Addresses of a prefix that are tried for a guest, one after the other.
const ADDRESS_TRIES: u128 = 8;
/// First port that is not well known.
const FIRST_OTHER: u16 = 1024;

/// A range of ports of one or more external addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Range {
    /// The addresses.
    pub prefix: IpCidr,
    /// The ports of each of them. Not empty.
    pub ports: RangeInclusive<u16>,
}

impl Range {
    /// A range of one address.
    pub const fn of(ip: IpAddr, ports: RangeInclusive<u16>) -> Self {
        Self { prefix: IpCidr::host(ip), ports }
    }
}

/// A range, and the maps of its address if it has only one.
struct Member {
    range: Range,
    maps: [OnceBox<Arc<PortMap>>; 3],
}

/// An address and the ports of it that may be lent.
struct Place<'a> {
    ip: IpAddr,
    member: &'a Member,
}

/// What a pool says of a packet that comes to one of its tuples and belongs to no connection.
#[derive(Debug)]
pub enum Arrival {
    /// It may open a connection of this mapping, as far as the pool is asked.
    Mapped(Lease),
    /// A mapping has the tuple, but its filter does not let this remote side in.
    Filtered,
    /// Nobody has the tuple.
    Unmapped,
}

/// Ranges from which one owner's guests get mappings, and how they get them.
pub struct NatPool {
    holder: Arc<Holder>,
    realm: Realm,
    members: Vec<Member>,
    /// First address as bits, first port and index of each member, sorted.
    order: Vec<(u128, u16, usize)>,
    options: NatOptions,
}

impl NatPool {
    /// A pool of these ranges. Their prefixes are equal or have nothing in common, and no two ranges
    /// of one prefix overlap.
    pub fn new(holder: Arc<Holder>, realm: Realm, ranges: Vec<Range>, options: NatOptions) -> Self {
        let member = |range| Member { range, maps: [const { OnceBox::new() }; 3] };
        let members: Vec<Member> = ranges.into_iter().map(member).collect();
        let place = |(index, member): (usize, &Member)| {
            (member.range.prefix.addr().to_bits(), *member.range.ports.start(), index)
        };
        let mut order: Vec<_> = members.iter().enumerate().map(place).collect();
        order.sort_unstable();
        Self { holder, realm, members, order, options }
    }

    /// The ranges.
    pub fn ranges(&self) -> impl Iterator<Item = &Range> {
        self.members.iter().map(|member| &member.range)
    }

    /// There is nothing in it.
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How it lends.
    pub const fn options(&self) -> &NatOptions {
        &self.options
    }

    /// Translates flows of this kind: TCP, UDP and ICMP queries.
    pub fn serves(&self, key: &FlowKey) -> bool {
        matches!(key.protocol(), Protocol::TCP | Protocol::UDP) || key.is_query_request()
    }

    /// What the ports of a range are, for TCP, UDP and ICMP queries: of its only address, or of all
    /// of which anything is on loan or waits.
    pub fn usage(&self, range: &Range) -> [Usage; 3] {
        let ip = range.prefix.addr();
        [Protocol::TCP, Protocol::UDP, query_protocol(ip)].map(|protocol| {
            let mut sum = Usage::default();
            let maps = self.holder.space().maps_of(self.realm, range.prefix, protocol);
            if maps.is_empty() && range.prefix.host_len() == 0 {
                let (realm, prefix, ports) = (self.realm, range.prefix, range.ports.clone());
                let all = ports.clone().count() as u32;
                let tuples = Tuples { realm, prefix, protocol: Some(protocol), ports };
                sum.claimed = self.holder.space().claimed(&tuples).min(all);
                sum.free = all - sum.claimed;
            }
            for map in maps {
                map.release_due(self.holder.space().now());
                let one = map.usage(range.ports.clone());
                sum.used += one.used;
                sum.quarantined += one.quarantined;
                sum.claimed += one.claimed;
                sum.free += one.free;
                sum.peak = sum.peak.max(one.peak);
            }
            sum
        })
    }

    /// A share in the mapping of the packet's endpoint inside; a new one if it has none. `hash` is
    /// not to be guessed by guest or remote (RFC 6056, section 3.3).
    pub fn lease(&self, key: &FlowKey, hash: u64) -> Result<Lease, Failure> {
        if !self.serves(key) {
            return Err(Failure::Protocol);
        }
        let inside = inside_key(key, self.options.mapping.of(key.protocol()));
        let leased = self.holder.state().with(|state| {
            let known = state.find(&inside, |mapping| {
                let (ip, port) = mapping.external();
                mapping.realm() == self.realm && self.lends(mapping.protocol(), ip, port)
            });
            let leased = match known {
                Some(lease) => Ok(lease),
                None => self.make(state, &inside, key, &mut self.holder.space().dice(hash)),
            };
            if let Ok(lease) = &leased {
                self.note_remote(state, lease, key);
            }
            Some(leased)
        });
        let leased = leased.unwrap_or(Err(Failure::Exhausted));
        leased.inspect_err(|failure| self.holder.failed(*failure))
    }

    /// Filters may ask for it.
    fn note_remote(&self, state: &mut State, lease: &Lease, key: &FlowKey) {
        if self.options.filtering.of(key.protocol()) == Dependence::Address {
            state.note_remote(lease.mapping(), key.dst());
        }
    }

    fn make(
        &self,
        state: &mut State,
        inside: &FlowKey,
        key: &FlowKey,
        dice: &mut Dice,
    ) -> Result<Lease, Failure> {
        if let Some(failure) = state.refuses(inside, &self.options.limits) {
            return Err(failure);
        }
        let now = self.holder.space().now();
        if !state.is_slow_enough(inside.src(), &self.options.rates, now) {
            return Err(Failure::Rate);
        }
        let protocol = key.protocol();
        let guest = inside.src();
        let choice = match self.options.pooling {
            Pooling::Arbitrary => dice.roll(),
            // The same for all of a guest's mappings, whatever order they come in.
            Pooling::Paired | Pooling::PairedOnly => self.holder.guest_hash(guest),
        };
        let paired = state.paired(guest).filter(|_| self.options.pooling != Pooling::Arbitrary);
        let places = || self.places(paired, choice);
        let free = places().find_map(|place| self.take(&place, key, dice));
        let taken = free.or_else(|| {
            // Under pressure the port that has waited longest does not wait on.
            places().find_map(|place| {
                let map = self.map(&place, protocol)?;
                let port = map.take_waiting(&place.member.range.ports)?;
                Some((map, port))
            })
        });
        let (map, external_port, shared) = match taken {
            Some((map, port)) => (map, port, false),
            None if self.options.sharing => {
                let (map, port) = self.another_use(state, protocol, dice)?;
                (map, port, true)
            }
            None => return Err(Failure::Exhausted),
        };
        // A mapping that shares its tuple is for one destination.
        let inside = if shared { *key } else { *inside };
        Ok(state.enter(&self.holder, NewMapping { map, inside, external_port, shared }))
    }

    /// Where a guest may get a port that is paired with an address or not, the best place first.
    /// From those that are all the same, `choice` picks.
    fn places(&self, paired: Option<IpAddr>, choice: u64) -> impl Iterator<Item = Place<'_>> {
        let at_home = move |ip: IpAddr| self.members_of(ip).map(move |member| Place { ip, member });
        let only = self.options.pooling == Pooling::PairedOnly;
        let stays = only && paired.is_some_and(|ip| at_home(ip).next().is_some());
        let start = choice as usize % self.members.len().max(1);
        let (before, from) = self.members.split_at_checked(start).unwrap_or_default();
        let others = from.iter().chain(before).filter(move |_| !stays).flat_map(move |member| {
            addresses(member.range.prefix, choice).map(move |ip| Place { ip, member })
        });
        paired.into_iter().flat_map(at_home).chain(others)
    }

    /// Takes a free port at a place, the most wanted first.
    fn take(
        &self,
        place: &Place<'_>,
        key: &FlowKey,
        dice: &mut Dice,
    ) -> Option<(Arc<PortMap>, u16)> {
        let map = self.map(place, key.protocol())?;
        let now = self.holder.space().now();
        let port = self
            .wants(&place.member.range.ports, key)
            .into_iter()
            .flatten()
            .find_map(|want| map.take(&want, self.options.random.then_some(&mut *dice), now))?;
        Some((map, port))
    }

    /// Which ports to try to get for a packet, one after the other.
    fn wants(&self, ports: &RangeInclusive<u16>, key: &FlowKey) -> [Option<Want>; 3] {
        let has_ports = !key.is_icmp();
        let port = local_port(key);
        let class = match port < FIRST_OTHER {
            true => *ports.start()..=(*ports.end()).min(FIRST_OTHER - 1),
            false => (*ports.start()).max(FIRST_OTHER)..=*ports.end(),
        };
        let class = Some(class).filter(|class| {
            has_ports && self.options.port_class && class != ports && !class.is_empty()
        });
        let odd = Some(port & 1 == 1).filter(|_| has_ports && self.options.parity);
        let near = class.clone().unwrap_or_else(|| ports.clone());
        [
            odd.map(|odd| Want { range: near, odd: Some(odd) }),
            class.map(Want::any),
            Some(Want::any(ports.clone())),
        ]
    }

    /// One of the owner's own tuples, to be used towards another destination, too. That it is
    /// another is seen when the connection is entered.
    fn another_use(
        &self,
        state: &State,
        protocol: Protocol,
        dice: &mut Dice,
    ) -> Result<(Arc<PortMap>, u16), Failure> {
        let ours = |mapping: &&Arc<super::Mapping>| {
            let (ip, port) = mapping.external();
            mapping.protocol() == protocol && self.lends(protocol, ip, port)
        };
        let count = state.tuples().filter(ours).count() as u32;
        let pick = dice.below(count) as usize;
        let mapping = state.tuples().filter(ours).nth(pick).ok_or(Failure::Exhausted)?;
        let ((_, port), map) = (mapping.external(), mapping.map().clone());
        map.share(port);
        Ok((map, port))
    }

    /// Who may open a connection from outside by way of a mapping.
    pub fn arrive(&self, key: &FlowKey) -> Arrival {
        if !matches!(key.protocol(), Protocol::TCP | Protocol::UDP) {
            return Arrival::Unmapped;
        }
        let found = self.holder.state().with(|state| {
            let lease = state.find_external(key.dst(), key.protocol(), key.dst_port())?;
            let filtering = self.options.filtering.of(key.protocol());
            let welcome = match filtering {
                Dependence::Nothing => true,
                Dependence::Address => state.knows_remote(lease.mapping(), key.src()),
                Dependence::AddressAndPort => false,
            };
            Some((lease, welcome))
        });
        match found {
            Some((lease, true)) => Arrival::Mapped(lease),
            Some((_, false)) => Arrival::Filtered,
            None => Arrival::Unmapped,
        }
    }

    /// Takes exactly this external tuple for the endpoint of `key`, as when a port is restored.
    /// `None`: somebody has it, or the pool does not lend it. The owner's own tuples are shared
    /// where they may be.
    pub fn lease_exactly(&self, key: &FlowKey, ip: IpAddr, port: u16) -> Option<Lease> {
        let protocol = key.protocol();
        let inside = inside_key(key, self.options.mapping.of(protocol));
        let member = self.member(ip, port).filter(|_| self.serves(key))?;
        self.holder.state().with(|state| {
            if let Some(lease) = state.find(&inside, |m| m.external() == (ip, port)) {
                self.note_remote(state, &lease, key);
                return Some(lease);
            }
            let map = self.map(&Place { ip, member }, protocol)?;
            let shared = !map.take_exactly(port);
            if shared {
                state.at_external(ip, protocol, port).filter(|_| self.options.sharing)?;
                map.share(port);
            }
            let inside = if shared { *key } else { inside };
            let new = NewMapping { map, inside, external_port: port, shared };
            let lease = state.enter(&self.holder, new);
            self.note_remote(state, &lease, key);
            Some(lease)
        })
    }

    fn map(&self, place: &Place<'_>, protocol: Protocol) -> Option<Arc<PortMap>> {
        let find = || self.holder.space().map(self.realm, place.ip, protocol);
        let index = match protocol {
            Protocol::TCP => 0,
            Protocol::UDP => 1,
            _ => 2,
        };
        match place.member.maps.get(index) {
            Some(known) if place.member.range.prefix.host_len() == 0 => {
                known.get_or_try_init(|| find().map(Box::new).ok_or(())).ok().cloned()
            }
            _ => find(),
        }
    }

    fn placed(&self, place: usize) -> Option<&Member> {
        let (_, _, index) = self.order.get(place)?;
        self.members.get(*index)
    }

    /// The member of the greatest address and first port up to these.
    fn last_by(&self, end: (u128, u16)) -> Option<&Member> {
        let behind = self.order.partition_point(|(at, first, _)| (*at, *first) <= end);
        self.placed(behind.checked_sub(1)?)
    }

    /// The ranges of this address, by port.
    fn members_of(&self, ip: IpAddr) -> impl Iterator<Item = &Member> {
        let prefix = self.last_by((ip.to_bits(), u16::MAX)).map(|member| member.range.prefix);
        let bits = prefix.map_or(u128::MAX, |prefix| prefix.addr().to_bits());
        let first = self.order.partition_point(|(at, ..)| *at < bits);
        let members = (first..self.order.len()).map_while(|place| self.placed(place));
        members.take_while(move |member| member.range.prefix.contains(ip))
    }

    /// The range that has this tuple.
    fn member(&self, ip: IpAddr, port: u16) -> Option<&Member> {
        let prefix = self.last_by((ip.to_bits(), u16::MAX))?.range.prefix;
        let member = self.last_by((prefix.addr().to_bits(), port))?;
        let holds = member.range.prefix.contains(ip) && member.range.ports.contains(&port);
        holds.then_some(member)
    }

    /// This tuple may be on loan from here: it is in a range, and not claimed.
    pub fn lends(&self, protocol: Protocol, ip: IpAddr, port: u16) -> bool {
        let Some(member) = self.member(ip, port) else { return false };
        let map = match protocol {
            Protocol::TCP => member.maps.first(),
            Protocol::UDP => member.maps.get(1),
            _ => member.maps.get(2),
        };
        match map.and_then(OnceBox::get) {
            Some(map) => !map.is_claimed(port),
            None => {
                let map = self.holder.space().known_map(self.realm, ip, protocol);
                map.is_none_or(|map| !map.is_claimed(port))
            }
        }
    }
}

/// What a mapping is found by: the endpoint inside, and the remote side as far as it depends on it.
fn inside_key(key: &FlowKey, dependence: Dependence) -> FlowKey {
    let anybody = match key.is_ipv4() {
        true => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        false => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let any_port = |key: FlowKey| if key.is_icmp() { key } else { key.with_dst_port(0) };
    match dependence {
        Dependence::Nothing => any_port(key.with_dst(anybody)),
        Dependence::Address => any_port(*key),
        Dependence::AddressAndPort => *key,
    }
}

/// Addresses of a prefix to try, from one that `choice` picks. The first of an IPv6 prefix is no
/// host's (RFC 4291, section 2.6.1).
fn addresses(prefix: IpCidr, choice: u64) -> impl Iterator<Item = IpAddr> {
    let (len, mut dice) = (u32::from(prefix.host_len()), Dice(choice));
    let last = u128::MAX.checked_shr(128 - len).unwrap_or(0);
    let start = match len {
        0 => 0,
        _ => u128::from(dice.roll()) << 64 | u128::from(dice.roll()),
    };
    (0..=last.min(ADDRESS_TRIES - 1)).map(move |step| {
        let bits = match start.wrapping_add(step) & last {
            0 if last > 1 && !prefix.is_ipv4() => last.min(1 + ADDRESS_TRIES),
            bits => bits,
        };
        prefix.with_host_bits(bits)
    })
}
