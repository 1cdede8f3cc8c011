// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Who has what on loan: owners, their mappings, and the leases by which connections share them.

use super::lock::AnyLock;
use super::options::{Limits, Rates};
use super::ports::PortMap;
use super::quarantine::Hold;
use super::rate::Spent;
use super::space::{Realm, ReservationSpace, Tuples};
use super::{Failure, NatBinding};
use crate::flow_key::{FlowKey, KeyHasher};
use crate::host::{Host, Moment};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use hashbrown::HashTable;
use opte_api::Protocol;

/// Remote addresses that a mapping remembers, for filters that depend on the address. Of more, the
/// first are forgotten.
pub const MAX_REMOTES: usize = 64;

/// One external tuple that stands for one endpoint inside, whatever connections that has
/// (RFC 4787, REQ-1). It ends with the last of them.
pub struct Mapping {
    holder: Arc<Holder>,
    map: Arc<PortMap>,
    /// The endpoint, as source; the destination as far as the mapping depends on it, else zero.
    inside: FlowKey,
    external_port: u16,
    /// The tuple is another mapping's, too, towards other destinations.
    shared: bool,
    /// No connection was opened by it yet.
    fresh: AtomicBool,
    /// Leases. Changed under the lock of the holder.
    uses: AtomicU32,
}

/// What is mapped of a key: its source port, or the identifier of a query.
pub(super) fn local_port(key: &FlowKey) -> u16 {
    if key.is_query() { key.dst_port() } else { key.src_port() }
}

impl Mapping {
    /// Address and port inside.
    pub fn inside(&self) -> (IpAddr, u16) {
        (self.inside.src(), local_port(&self.inside))
    }

    /// Address and port outside.
    pub fn external(&self) -> (IpAddr, u16) {
        (self.external_ip(), self.external_port)
    }

    /// TCP, UDP, ICMP or ICMPv6.
    pub const fn protocol(&self) -> Protocol {
        self.inside.protocol()
    }

    /// Connections that it serves.
    pub fn uses(&self) -> u32 {
        self.uses.load(Ordering::Relaxed)
    }

    /// The tuple serves another mapping, too, towards other destinations.
    pub const fn is_shared(&self) -> bool {
        self.shared
    }

    /// Whose it is.
    pub const fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    pub(super) const fn map(&self) -> &Arc<PortMap> {
        &self.map
    }

    /// Where the external address is.
    pub fn realm(&self) -> Realm {
        self.map.address().0
    }

    fn external_ip(&self) -> IpAddr {
        self.map.address().1
    }

    fn external_key(&self) -> FlowKey {
        external_key(self.external_ip(), self.protocol(), self.external_port)
    }
}

fn external_key(ip: IpAddr, protocol: Protocol, port: u16) -> FlowKey {
    FlowKey::new(ip, ip, protocol, [port, 0])
}

/// A share in a mapping: what one connection has. Ending it gives it back; the external port goes
/// back with the last one.
pub struct Lease {
    mapping: Arc<Mapping>,
}

impl Lease {
    /// The external port or identifier.
    pub fn port(&self) -> u16 {
        self.mapping.external_port
    }

    /// The mapping.
    pub const fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// How the connection is translated.
    pub fn binding(&self) -> NatBinding {
        let (private_ip, private_port) = self.mapping.inside();
        NatBinding {
            private_ip,
            external_ip: self.mapping.external_ip(),
            private_port,
            external_port: Some(self.mapping.external_port),
            remote: None,
        }
    }

    /// A connection was opened with it: packets may be under way to the external port from now on.
    pub fn confirm(&self) {
        self.mapping.fresh.store(false, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.mapping.holder.release(&self.mapping);
    }
}

impl core::fmt::Debug for Lease {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Lease({})", self.binding())
    }
}

/// What one guest has.
#[derive(Clone, Copy, Default)]
struct Guest {
    /// Mappings of TCP, UDP and queries.
    mappings: [u32; 3],
    /// The external address that it is paired with, while it has mappings.
    paired: Option<IpAddr>,
}

const fn kind(protocol: Protocol) -> usize {
    match protocol {
        Protocol::TCP => 0,
        Protocol::UDP => 1,
        _ => 2,
    }
}

/// What an owner has on loan.
pub(super) struct State {
    hasher: KeyHasher,
    inside: HashTable<Arc<Mapping>>,
    external: HashTable<Arc<Mapping>>,
    guests: BTreeMap<IpAddr, Guest>,
    /// New mappings lately.
    spent: Spent,
    /// Remote addresses by external address, protocol and port, where a filter asks for them.
    remotes: BTreeMap<(IpAddr, Protocol, u16), Vec<IpAddr>>,
    peak: u32,
}

/// What a new mapping is made of.
pub(super) struct NewMapping {
    pub map: Arc<PortMap>,
    pub inside: FlowKey,
    pub external_port: u16,
    pub shared: bool,
}

impl State {
    /// A mapping of this endpoint that will do.
    pub fn find(&self, inside: &FlowKey, suits: impl Fn(&Mapping) -> bool) -> Option<Lease> {
        let hash = self.hasher.hash(inside);
        let found = self.inside.find(hash, |m| m.inside == *inside && suits(m))?;
        Some(join(found))
    }

    /// The mapping that has this external tuple; not one that shares it with an older one.
    pub fn find_external(&self, ip: IpAddr, protocol: Protocol, port: u16) -> Option<Lease> {
        self.at_external(ip, protocol, port).map(join)
    }

    /// That mapping, without a share in it.
    pub fn at_external(&self, ip: IpAddr, protocol: Protocol, port: u16) -> Option<&Arc<Mapping>> {
        let key = external_key(ip, protocol, port);
        let suits = |m: &Arc<Mapping>| m.external_key() == key && !m.shared;
        self.external.find(self.hasher.hash(&key), suits)
    }

    /// Which limit keeps the guest from one more mapping.
    pub fn refuses(&self, inside: &FlowKey, limits: &Limits) -> Option<Failure> {
        let guest = self.guests.get(&inside.src()).copied().unwrap_or_default();
        let of_protocol = guest.mappings.get(kind(inside.protocol())).copied().unwrap_or_default();
        if self.inside.len() >= limits.owner as usize {
            return Some(Failure::OwnerLimit);
        }
        let full = guest.mappings.iter().sum::<u32>() >= limits.guest;
        (full || of_protocol >= limits.protocol).then_some(Failure::GuestLimit)
    }

    /// Whether the guest may get one more mapping now; if so, it counts.
    pub fn is_slow_enough(&mut self, guest: IpAddr, rates: &Rates, now: Moment) -> bool {
        self.spent.take(guest, rates, now)
    }

    /// The external address that a guest is paired with.
    pub fn paired(&self, guest: IpAddr) -> Option<IpAddr> {
        self.guests.get(&guest)?.paired
    }

    /// Enters a mapping.
    pub fn enter(&mut self, holder: &Arc<Holder>, new: NewMapping) -> Lease {
        let NewMapping { map, inside, external_port, shared } = new;
        let (_, external_ip) = map.address();
        map.set_owner(external_port, holder.number);
        let mapping = Arc::new(Mapping {
            holder: holder.clone(),
            map,
            inside,
            external_port,
            shared,
            fresh: AtomicBool::new(true),
            uses: AtomicU32::new(0),
        });
        let guest = self.guests.entry(inside.src()).or_default();
        guest.mappings.iter_mut().skip(kind(inside.protocol())).take(1).for_each(|n| *n += 1);
        guest.paired.get_or_insert(external_ip);
        let hasher = self.hasher;
        let by_inside = |m: &Arc<Mapping>| hasher.hash(&m.inside);
        let by_external = |m: &Arc<Mapping>| hasher.hash(&m.external_key());
        self.inside.insert_unique(by_inside(&mapping), mapping.clone(), by_inside);
        self.external.insert_unique(by_external(&mapping), mapping.clone(), by_external);
        self.peak = self.peak.max(self.inside.len() as u32);
        join(&mapping)
    }

    /// Remembers that a mapping was used towards this address.
    pub fn note_remote(&mut self, mapping: &Mapping, remote: IpAddr) {
        let key = (mapping.external_ip(), mapping.protocol(), mapping.external_port);
        let remotes = self.remotes.entry(key).or_default();
        if remotes.contains(&remote) {
            return;
        }
        if remotes.len() >= MAX_REMOTES {
            remotes.remove(0);
        }
        remotes.push(remote);
    }

    /// A mapping was used towards this address.
    pub fn knows_remote(&self, mapping: &Mapping, remote: IpAddr) -> bool {
        let key = (mapping.external_ip(), mapping.protocol(), mapping.external_port);
        self.remotes.get(&key).is_some_and(|remotes| remotes.contains(&remote))
    }

    /// One of its mappings for each external tuple, in no order.
    pub fn tuples(&self) -> impl Iterator<Item = &Arc<Mapping>> {
        self.external.iter().filter(|mapping| !mapping.shared)
    }

    fn leave(&mut self, mapping: &Arc<Mapping>) {
        let (inside, external) = (mapping.inside, mapping.external_key());
        let same = |m: &Arc<Mapping>| Arc::ptr_eq(m, mapping);
        if let Ok(entry) = self.inside.find_entry(self.hasher.hash(&inside), same) {
            entry.remove();
        }
        if let Ok(entry) = self.external.find_entry(self.hasher.hash(&external), same) {
            entry.remove();
        }
        self.remotes.remove(&(mapping.external_ip(), mapping.protocol(), mapping.external_port));
        let Some(guest) = self.guests.get_mut(&inside.src()) else { return };
        guest.mappings.iter_mut().skip(kind(inside.protocol())).take(1).for_each(|n| *n -= 1);
        if guest.mappings == [0; 3] {
            self.guests.remove(&inside.src());
        }
    }
}

fn join(mapping: &Arc<Mapping>) -> Lease {
    mapping.uses.fetch_add(1, Ordering::Relaxed);
    Lease { mapping: mapping.clone() }
}

/// What a guest has on loan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GuestUsage {
    /// Its address inside.
    pub ip: IpAddr,
    /// Mappings of TCP, UDP and ICMP queries.
    pub mappings: [u32; 3],
    /// The external address that it is paired with.
    pub paired: Option<IpAddr>,
}

/// An owner: a port of the host, with all that its guests have on loan.
///
/// Whatever is told of pools, an owner and its mappings stay: configuration says what may be lent,
/// not what is on loan.
pub struct Holder {
    number: u32,
    name: String,
    space: Arc<ReservationSpace>,
    hasher: KeyHasher,
    state: AnyLock<State>,
    hold_millis: AtomicU64,
    hold_ports: AtomicU32,
    failures: [AtomicU64; Failure::ALL.len()],
}

impl Holder {
    pub(super) fn new<H: Host>(
        number: u32,
        name: String,
        space: Arc<ReservationSpace>,
        seed: u64,
    ) -> Self {
        let state = State {
            hasher: KeyHasher::new(seed),
            inside: HashTable::new(),
            external: HashTable::new(),
            guests: BTreeMap::new(),
            spent: Spent::default(),
            remotes: BTreeMap::new(),
            peak: 0,
        };
        let hold = Hold::default();
        Self {
            number,
            name,
            space,
            hasher: KeyHasher::new(seed.rotate_left(32)),
            state: AnyLock::new::<H>(state),
            hold_millis: AtomicU64::new(hold.millis),
            hold_ports: AtomicU32::new(hold.ports),
            failures: [const { AtomicU64::new(0) }; Failure::ALL.len()],
        }
    }

    /// Its number, which is not zero and which no other owner of the space has or had.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The space that it takes from.
    pub const fn space(&self) -> &Arc<ReservationSpace> {
        &self.space
    }

    /// The same number for a guest each time, which nobody else knows.
    pub(super) fn guest_hash(&self, guest: IpAddr) -> u64 {
        self.hasher.hash(&FlowKey::new(guest, guest, Protocol(0), [0, 0]))
    }

    pub(super) const fn state(&self) -> &AnyLock<State> {
        &self.state
    }

    /// How long ports wait that come back from now on.
    pub fn set_hold(&self, hold: Hold) {
        self.hold_millis.store(hold.millis, Ordering::Relaxed);
        self.hold_ports.store(hold.ports, Ordering::Relaxed);
    }

    fn hold(&self) -> Hold {
        let millis = self.hold_millis.load(Ordering::Relaxed);
        Hold { millis, ports: self.hold_ports.load(Ordering::Relaxed) }
    }

    fn release(&self, mapping: &Arc<Mapping>) {
        let ended = self.state.with(|state| {
            let last = mapping.uses.fetch_sub(1, Ordering::Relaxed) == 1;
            if last {
                state.leave(mapping);
            }
            last
        });
        if ended {
            let fresh = mapping.fresh.load(Ordering::Relaxed);
            mapping.map.give_back(mapping.external_port, fresh, self.hold(), self.space.now());
        }
    }

    /// It has this external tuple on loan.
    pub(super) fn has_on_loan(&self, ip: IpAddr, protocol: Protocol, port: u16) -> bool {
        self.state.with(|state| state.at_external(ip, protocol, port).is_some())
    }

    /// One of these tuples that it has on loan, as text.
    pub(super) fn loan_of(&self, tuples: &Tuples) -> Option<String> {
        self.state.with(|state| {
            let ours = |m: &&Arc<Mapping>| {
                tuples.holds(m.realm(), m.external_ip(), m.protocol(), m.external_port)
            };
            let mapping = state.external.iter().find(ours)?;
            let (ip, port) = mapping.external();
            Some(alloc::format!("{ip} {} port {port}", mapping.protocol()))
        })
    }

    /// Notes for each of its external ports whose it is, where that is noted.
    pub(super) fn note_owner(&self) {
        self.state.with(|state| {
            state.tuples().for_each(|m| m.map.set_owner(m.external_port, self.number));
        });
    }

    pub(super) fn failed(&self, failure: Failure) {
        if let Some(counter) = self.failures.get(failure as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often there was no mapping for a connection, by cause.
    pub fn failures(&self) -> impl Iterator<Item = (Failure, u64)> {
        Failure::ALL.into_iter().zip(self.failures.iter().map(|n| n.load(Ordering::Relaxed)))
    }

    /// Mappings, and the most of them at a time so far.
    pub fn mapped(&self) -> (u32, u32) {
        self.state.with(|state| (state.inside.len() as u32, state.peak))
    }

    /// All mappings at one moment, in no order.
    pub fn mappings(&self) -> Vec<Arc<Mapping>> {
        self.state.with(|state| state.inside.iter().cloned().collect())
    }

    /// What each of its guests has.
    pub fn guests(&self) -> Vec<GuestUsage> {
        let usage = |(ip, guest): (&IpAddr, &Guest)| GuestUsage {
            ip: *ip,
            mappings: guest.mappings,
            paired: guest.paired,
        };
        self.state.with(|state| state.guests.iter().map(usage).collect())
    }
}
