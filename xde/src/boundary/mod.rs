// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A boundary: the host between the hypervisor hosts and the world outside.
//!
//! ```text
//!   outside link                     boundary                          underlay
//!   ------------   to an address of the table: one hop off, Geneve   ------------>
//!   <-----------   from an address of the sender's: one hop off      ------------  Geneve
//!   <-----------   ARP and neighbour discovery for these addresses
//! ```
//!
//! It keeps no flows: its NAT table ([`table`]) says which hypervisor host, VPC and MAC address
//! stand behind an external address and port range, and which addresses and ports a host may
//! send from. Translation itself is the hypervisor's.
//!
//! [`Boundary::from_outside`] and [`Boundary::from_underlay`] decide about one packet, edit its
//! headers in place, and answer a [`Verdict`] that the host carries out. Guarantees:
//!
//! * no bytes of a packet or a request cause a panic;
//! * a packet that is not sent on, not answered and not ignored has a [`BoundaryDrop`], counted
//!   once, at the one exit of each of the two functions;
//! * later fragments of shared addresses follow the first ([`fragments`]);
//! * what is sent on has lost one hop, and nothing else of its IP packet has changed;
//! * nothing goes out for a host that does not own the source, and nothing is sent about an
//!   address that is not in the table.

mod control;
mod counters;
pub mod fragments;
mod icmp_error;
mod neighbour;
mod outside;
mod packet;
#[cfg(test)]
mod scenario;
pub mod table;
mod underlay;
mod wire;

pub use counters::{BoundaryDrop, BoundaryEvent, Counters};

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};
use fragments::{Fragments, Waited};
use icmp_error::Complaint;
use opte::answer::{Bucket, Rate, TRAFFIC_CLASS};
use opte::flow_key::KeyHasher;
use opte::host::{Host, Lock, Moment};
use opte::outer::{GeneveOptions, Outer};
use opte::wire::{ETHER_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ether};
use opte_api::{MacAddr, Vni};
use oxide_vpc::overlay::EXTERNAL_MARK;
use oxide_vpc_api::BoundaryNat;
use packet::{End, Packet, Part, Selector, Tuple};
use table::NatTable;
use zerocopy::IntoBytes;

/// What does not change while a boundary runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Config {
    /// Outer source address, to which hypervisor hosts send.
    pub underlay_ip: Ipv6Addr,
    /// Virtual network of packets to the boundary.
    pub vni: Vni,
    /// MAC address of the boundary in inner frames.
    pub inner_mac: MacAddr,
}

impl Config {
    /// VNI of a boundary unless told otherwise.
    pub const DEFAULT_VNI: Vni = Vni::from_bytes([0, 0, 99]);
    /// Inner MAC address of a boundary unless told otherwise.
    pub const DEFAULT_INNER_MAC: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0x77, 0x77, 0x77]);
}

/// The boundary's own addresses on the outside link.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Outside {
    /// Address of the interface, under which the table's addresses are answered.
    pub mac: MacAddr,
    /// Source of ICMP errors about IPv4 packets; without one none is sent.
    pub ipv4: Option<Ipv4Addr>,
    /// Source of ICMPv6 errors; without one none is sent.
    pub ipv6: Option<Ipv6Addr>,
}

/// What becomes of a packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// These bytes are now an inner frame: it goes to a hypervisor host behind `outer`.
    Encapsulate {
        /// Its outer headers.
        outer: Outer,
        /// Where it lies in the bytes that were given.
        inner: Range<usize>,
    },
    /// These bytes are an IP packet that goes out by the routes of the host.
    Route {
        /// Its destination.
        destination: IpAddr,
        /// Where it lies in the bytes that were given.
        packet: Range<usize>,
    },
    /// The packet ends here, and the boundary itself sends something.
    Answer(Answer),
    /// A fragment that waits for the first one of its datagram: [`Boundary::waited`] gives it back.
    Held,
    /// Not for the boundary: the kernel of the host has seen it too.
    Ignore,
    /// The packet ends here; the reason has been counted.
    Drop(BoundaryDrop),
}

/// What a boundary itself sends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// An Ethernet frame for the outside link.
    Frame(Vec<u8>),
    /// An IP packet that goes out by the routes of the host.
    Packet {
        /// Its destination.
        destination: IpAddr,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// An inner frame that goes to a hypervisor host behind `outer`.
    Encapsulated {
        /// Its outer headers.
        outer: Outer,
        /// Its bytes.
        inner: Vec<u8>,
    },
}

/// A boundary. Shared by the thread that moves packets and the one that serves requests.
pub struct Boundary<H: Host> {
    config: Config,
    hasher: KeyHasher,
    counters: Counters,
    state: H::Lock<State>,
    /// Fragments have waited long enough.
    ready: AtomicBool,
}

/// What changes. One lock holds all of it, so that a packet sees one state of everything.
struct State {
    table: NatTable,
    outside: Outside,
    errors: Bucket,
    fragments: Fragments,
}

impl<H: Host> Boundary<H> {
    /// A boundary with an empty table and no addresses of its own. `seed` keys the hash that
    /// spreads flows over outer source ports.
    pub fn new(config: Config, seed: u64) -> Self {
        let (table, outside, errors, fragments) = Default::default();
        let state = H::Lock::new(State { table, outside, errors, fragments });
        let (counters, ready) = Default::default();
        Self { config, hasher: KeyHasher::new(seed), counters, state, ready }
    }

    /// Tells the addresses of the outside interface, at start and whenever they change.
    pub fn set_outside(&self, outside: Outside) {
        self.state.with(|state| state.outside = outside);
    }

    /// What became of packets; the host adds those that it could not send.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// An IP packet, `packet`, that a verdict told to send was larger than the `mtu` of the next
    /// link. Tells its source, if that may be told, and drops it.
    pub fn too_big(&self, packet: &[u8], mtu: u32, now: Moment) -> Verdict {
        let decided = self.state.with(|state| {
            let facts = Packet::parse(packet, packet::Extent::Whole)?;
            // One of the table's addresses as its source: it came from the underlay.
            let tuple = facts.tuple(packet, End::Source);
            let guest = tuple.and_then(|tuple| state.table.find(&tuple)).ok();
            self.complain(state, Complaint::TooBig { mtu }, &facts, packet, guest.as_ref(), now)
        });
        self.account(decided)
    }

    /// A fragment that has waited for the first one of its datagram, which has passed now: it is to
    /// be given as it came once more. To be asked after each packet, until there is none.
    pub fn waited(&self) -> Option<Waited> {
        if !self.ready.load(Ordering::Relaxed) {
            return None;
        }
        self.state.with(|state| {
            let waited = state.fragments.ready();
            self.ready.store(waited.is_some(), Ordering::Relaxed);
            waited
        })
    }

    /// The one exit: no packet is dropped without being counted here.
    fn account(&self, decided: Result<Verdict, BoundaryDrop>) -> Verdict {
        decided.unwrap_or_else(|reason| {
            self.counters.dropped(reason);
            Verdict::Drop(reason)
        })
    }

    /// The entry of the guest at one end of `packet`. A later fragment has that of the first, if no
    /// entry takes all of the address.
    fn entry(
        state: &State,
        (packet, bytes): (&Packet, &[u8]),
        end: End,
        host: Option<Ipv6Addr>,
        now: Moment,
    ) -> Result<BoundaryNat, BoundaryDrop> {
        let tuple = packet.tuple(bytes, end)?;
        match state.table.find(&tuple) {
            Err(BoundaryDrop::Fragment) => {
                let shown = state.fragments.shown(&packet.datagram(host), now);
                let [src, dst] = shown.ok_or(BoundaryDrop::Fragment)?;
                let selector = end.of(src, dst);
                state.table.find(&Tuple { selector, ..tuple })
            }
            found => found,
        }
    }

    /// A later fragment to or from an address of the table waits for the first.
    fn hold(
        &self,
        state: &mut State,
        packet: &Packet,
        waited: Waited,
        now: Moment,
    ) -> Result<Verdict, BoundaryDrop> {
        let datagram = packet.datagram(waited.from.map(|(host, _)| host));
        let waits = state.fragments.wait(datagram, waited, now, &self.counters);
        waits.then_some(Verdict::Held).ok_or(BoundaryDrop::Fragment)
    }

    /// A packet has passed. If it is a first fragment, later ones follow it.
    fn passed(
        &self,
        state: &mut State,
        (packet, bytes): (&Packet, &[u8]),
        host: Option<Ipv6Addr>,
        now: Moment,
    ) {
        if packet.part != Part::FirstFragment {
            return;
        }
        let shown = [End::Source, End::Destination]
            .map(|end| packet.tuple(bytes, end).map_or(Selector::NoPort, |tuple| tuple.selector));
        state.fragments.passed(packet.datagram(host), shown, now, &self.counters);
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Answers `packet`, if it may be answered, with an ICMP error: through the underlay if it
    /// came from `guest`, else outside.
    fn complain(
        &self,
        state: &mut State,
        complaint: Complaint,
        packet: &Packet,
        bytes: &[u8],
        guest: Option<&BoundaryNat>,
        now: Moment,
    ) -> Result<Verdict, BoundaryDrop> {
        let reason = complaint.reason();
        let from = state.outside.ip(packet.is_ipv4()).ok_or(reason)?;
        if !complaint.may_answer(packet, bytes) {
            return Err(reason);
        }
        if !state.errors.take(Rate::default(), now) {
            self.counters.add(BoundaryEvent::ErrorsLimited, 1);
            return Err(reason);
        }
        let error = complaint.error(from, packet, bytes).ok_or(reason)?;
        self.counters.add(complaint.event(), 1);
        Ok(Verdict::Answer(match guest {
            None => Answer::Packet { destination: packet.addr(End::Source), bytes: error },
            Some(entry) => {
                let ether = self.inner_ether(entry);
                let inner = [ether.as_bytes(), &error].concat();
                let outer = self.outer(entry, packet, bytes, TRAFFIC_CLASS);
                Answer::Encapsulated { outer, inner }
            }
        }))
    }

    /// Makes the inner frame of a packet to the guest of `entry`. `frame` is its Ethernet header
    /// and the packet, which begins at `start` of the bytes that were given.
    fn encapsulate(
        &self,
        entry: &BoundaryNat,
        packet: &Packet,
        frame: &mut [u8],
        start: usize,
    ) -> Result<Verdict, BoundaryDrop> {
        let bytes = frame.get_mut(ETHER_LEN..).ok_or(BoundaryDrop::Truncated)?;
        packet::decrement_hop_limit(bytes)?;
        let outer = self.outer(entry, packet, bytes, packet.traffic_class);
        *wire::edit::<Ether>(frame)? = self.inner_ether(entry);
        let inner_len = ETHER_LEN + packet.len;
        self.counters.add(BoundaryEvent::Encapsulated, 1);
        self.counters.add(BoundaryEvent::EncapsulatedBytes, inner_len);
        Ok(Verdict::Encapsulate { outer, inner: start..start + inner_len })
    }

    fn inner_ether(&self, entry: &BoundaryNat) -> Ether {
        let kind = if entry.ip.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
        Ether { dst: entry.mac.0, src: self.config.inner_mac.0, ether_type: kind.into() }
    }

    fn outer(&self, entry: &BoundaryNat, packet: &Packet, bytes: &[u8], class: u8) -> Outer {
        let hash = self.hasher.hash(&packet.flow_key(bytes));
        Outer {
            src: self.config.underlay_ip,
            dst: entry.underlay_ip,
            // From the dynamic range (RFC 8926, section 3.3).
            source_port: 0xc000 | hash as u16,
            vni: entry.vni,
            options: GeneveOptions::new(&EXTERNAL_MARK).unwrap_or_default(),
            // ECN as inside (RFC 6040, section 4.1, normal mode): hosts bring it back.
            traffic_class: class,
        }
    }
}

impl Outside {
    fn ip(&self, ipv4: bool) -> Option<IpAddr> {
        if ipv4 { self.ipv4.map(IpAddr::V4) } else { self.ipv6.map(IpAddr::V6) }
    }

    fn has(&self, ip: IpAddr) -> bool {
        self.ip(ip.is_ipv4()) == Some(ip)
    }
}
