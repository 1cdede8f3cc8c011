// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Source NAT under changes, beside a model that is too simple to be wrong: plain maps, one thread,
//! no generations. Two guests of one host share a few external ports, and the boundary takes packets to
//! these for any guest's; packets, clock steps and changes of configuration come in any order, of pools
//! that grow and shrink, what a mapping depends on, how ports are chosen, and whether connections may
//! stay on what was taken away. After each step host and model must agree:
//!
//! * RC-1: an external tuple stands for one endpoint at a time, and rests before it stands for another;
//! * RC-2: a reply reaches the guest that opened the connection, or nobody;
//! * RC-3: a connection that the configuration allows goes on by the same tuple;
//! * RC-4: one that it forbids has ended when the change is made;
//! * RC-5: a change that is refused changes nothing;
//! * RC-6, RC-7: the packet behind a change sees all of it, and no connection is refused for it.

use opte::frame::FlatFrame;
use opte_api::IpCidr;
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet, Tunnel};
use opte_tests::setting::{BOUNDARY, Guest, HOSTS, VPC, add_boundary, add_guest, cases, vni};
use oxide_vpc_api::request::{SetExternalIps, SetFwRules, SetPortSettings};
use oxide_vpc_api::settings::{AddressGone, NatRange};
use oxide_vpc_api::{ExternalIps, GatewayMap, NatDependence, PortSettings, SnatRange};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUESTS: [Guest; 2] = [Guest(5), Guest(6)];
const REMOTES: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(198, 51, 100, 8)];
const REMOTE_PORT: u16 = 53;
const PORTS: [u16; 3] = [4000, 4001, 4002];
const POOLS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
const FIRST: u16 = 2048;
/// Ports of the range that guests may have as one of their addresses.
const SHARED: u16 = 4;
/// Idle time of UDP (RFC 4787, REQ-5c) and quarantine (RFC 6888, REQ-8), in milliseconds.
const IDLE: u64 = 300_000;
const HOLD: u64 = 120_000;
/// Clock steps of which no sum comes so near to either that rounding matters.
const STEPS: [u64; 4] = [1_007, 50_021, 130_003, 290_009];

/// How a guest is known outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum External {
    Nothing,
    /// By the first ports of a shared address.
    Pool(usize, u16),
    Own,
}

/// What is set of a guest's translation.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    /// A mapping is for one remote.
    by_remote: bool,
    /// Even ports stay even, and odd ones odd.
    parity: bool,
    /// The lowest port goes first.
    sequential: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A packet of a guest, from one of its ports, to a remote.
    Out {
        guest: usize,
        port: usize,
        remote: usize,
    },
    /// A packet of a remote to an external port, or to a guest's own address and port. The boundary
    /// takes a shared one for that of any guest.
    In {
        remote: usize,
        address: usize,
        port: u16,
        by: usize,
    },
    Clock(usize),
    External {
        guest: usize,
        external: External,
    },
    /// The same again.
    Again {
        guest: usize,
    },
    /// How the guest is translated from now on.
    Options {
        guest: usize,
        options: Options,
    },
    /// Which remotes the guest may talk to.
    Allow {
        guest: usize,
        allowed: [bool; 2],
    },
    /// A change that cannot be made.
    Refused {
        guest: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let guest = || 0..GUESTS.len();
    let external = prop_oneof![
        1 => Just(External::Nothing),
        4 => (0..2_usize, 2..5_u16).prop_map(|(pool, ports)| External::Pool(pool, ports)),
        1 => Just(External::Own),
    ];
    let port = prop_oneof![
        4 => FIRST..FIRST + 4,
        1 => prop::sample::select(PORTS.to_vec()),
    ];
    let step = prop_oneof![
        10 => (guest(), 0..PORTS.len(), 0..2_usize)
            .prop_map(|(guest, port, remote)| Step::Out { guest, port, remote }),
        8 => (0..2_usize, 0..4_usize, port, guest())
            .prop_map(|(remote, address, port, by)| Step::In { remote, address, port, by }),
        3 => (0..STEPS.len()).prop_map(Step::Clock),
        3 => (guest(), external).prop_map(|(guest, external)| Step::External { guest, external }),
        1 => guest().prop_map(|guest| Step::Again { guest }),
        2 => (guest(), any::<[bool; 2]>()).prop_map(|(guest, allowed)| Step::Allow { guest, allowed }),
        1 => guest().prop_map(|guest| Step::Refused { guest }),
        2 => (guest(), options()).prop_map(|(guest, options)| Step::Options { guest, options }),
    ];
    prop::collection::vec(step, 1..120)
}

fn options() -> impl Strategy<Value = Options> {
    any::<[bool; 3]>().prop_map(|[by_remote, parity, sequential]| Options {
        by_remote,
        parity,
        sequential,
    })
}

type Tuple = (Ipv4Addr, u16);
/// A guest and one of its ports.
type Endpoint = (usize, u16);

/// What a tuple stands for: an endpoint, towards one remote or towards all.
type Mapping = (Endpoint, Option<usize>);

/// A connection.
#[derive(Clone, Copy)]
struct Flow {
    tuple: Tuple,
    /// Nobody shares the tuple of an address of a guest's own.
    mapping: Mapping,
    /// When there was a packet.
    last: u64,
}

/// What there ought to be.
#[derive(Default)]
struct Model {
    /// Connections stay on what was taken away.
    keeps: bool,
    options: [Options; 2],
    now: u64,
    external: [Option<External>; 2],
    allowed: [[bool; 2]; 2],
    /// By endpoint and remote.
    flows: BTreeMap<(Endpoint, usize), Flow>,
    /// When a tuple came back.
    resting: BTreeMap<Tuple, u64>,
}

impl Model {
    fn own(guest: usize) -> Ipv4Addr {
        let IpAddr::V4(ip) = GUESTS[guest].floating(true) else { unreachable!() };
        ip
    }

    fn external(&self, guest: usize) -> External {
        self.external[guest].unwrap_or(External::Nothing)
    }

    fn eligible(&self, guest: usize, (ip, port): Tuple) -> bool {
        match self.external(guest) {
            External::Nothing => false,
            External::Own => ip == Self::own(guest),
            External::Pool(pool, ports) => {
                ip == POOLS[pool] && (FIRST..FIRST + ports).contains(&port)
            }
        }
    }

    /// Both guests borrow of this address.
    fn is_shared(&self, ip: Ipv4Addr) -> bool {
        let borrows =
            |guest| matches!(self.external(guest), External::Pool(at, _) if POOLS[at] == ip);
        (0..GUESTS.len()).all(borrows)
    }

    fn owner(&self, tuple: Tuple) -> Option<Mapping> {
        self.flows.values().find(|flow| flow.tuple == tuple).map(|flow| flow.mapping)
    }

    /// The tuple of a mapping that new connections may have, too.
    fn tuple(&self, mapping: Mapping) -> Option<Tuple> {
        let ((guest, _), _) = mapping;
        let mut flows = self.flows.values().filter(|flow| flow.mapping == mapping);
        flows.find(|flow| self.eligible(guest, flow.tuple)).map(|flow| flow.tuple)
    }

    /// Ends connections; tuples that nobody uses any more come back.
    fn end(&mut self, ends: impl Fn(&Self, &(Endpoint, usize), &Flow) -> bool) {
        let ended: Vec<_> = self
            .flows
            .iter()
            .filter(|(k, flow)| ends(self, k, flow))
            .map(|(k, flow)| (*k, flow.tuple))
            .collect();
        for (key, tuple) in ended {
            self.flows.remove(&key);
            if self.owner(tuple).is_none() {
                self.resting.insert(tuple, self.now);
            }
        }
    }

    fn judge(&mut self) {
        self.end(|model, ((guest, _), remote), flow| {
            let stands = model.keeps || model.eligible(*guest, flow.tuple);
            !stands || !model.allowed[*guest][*remote]
        });
    }

    fn pass(&mut self, millis: u64) {
        self.now += millis;
        self.end(|model, _, flow| model.now - flow.last >= IDLE);
    }

    /// A packet of a guest, and the source with which it left, if it did.
    fn out(
        &mut self,
        endpoint: Endpoint,
        remote: usize,
        seen: Option<Tuple>,
    ) -> Result<(), String> {
        let (guest, port) = endpoint;
        let known = self.flows.get(&(endpoint, remote)).copied();
        let by_remote = self.options[guest].by_remote;
        let new = (endpoint, by_remote.then_some(remote));
        let mapping = known.map_or(new, |flow| flow.mapping);
        let expected = match (known, self.external(guest)) {
            (Some(flow), _) => Some(flow.tuple),
            _ if !self.allowed[guest][remote] => None,
            (None, External::Nothing) => None,
            (None, External::Own) => Some((Self::own(guest), port)),
            (None, External::Pool(pool, ports)) => match self.tuple(mapping) {
                Some(tuple) => Some(tuple),
                None => self.choose(pool, ports, endpoint, seen)?,
            },
        };
        if seen != expected {
            return Err(format!("left as {seen:?}, not {expected:?}"));
        }
        if let Some(tuple) = seen {
            let is_own = tuple == (Self::own(guest), port);
            if let Some(owner) = self.owner(tuple).filter(|owner| !is_own && *owner != mapping) {
                return Err(format!("{tuple:?} stands for {owner:?} already"));
            }
            self.flows.insert((endpoint, remote), Flow { tuple, mapping, last: self.now });
        }
        Ok(())
    }

    /// Any port that is free, as the guest's options have it; one that rests only if all others are
    /// taken.
    fn choose(
        &self,
        pool: usize,
        ports: u16,
        (guest, from): Endpoint,
        seen: Option<Tuple>,
    ) -> Result<Option<Tuple>, String> {
        let options = self.options[guest];
        let all = (FIRST..FIRST + ports).map(|port| (POOLS[pool], port));
        let free: BTreeSet<Tuple> = all.filter(|tuple| self.owner(*tuple).is_none()).collect();
        let rested =
            |tuple: &&Tuple| self.resting.get(tuple).is_none_or(|since| self.now - since >= HOLD);
        let rested: BTreeSet<Tuple> = free.iter().filter(rested).copied().collect();
        let alike = |tuple: &&Tuple| options.parity && tuple.1 & 1 == from & 1;
        let alike: BTreeSet<Tuple> = rested.iter().filter(alike).copied().collect();
        let best = [alike, rested.clone(), free].into_iter().find(|choice| !choice.is_empty());
        let mut choice = best.unwrap_or_default();
        if options.sequential && !rested.is_empty() {
            choice = choice.first().copied().into_iter().collect();
        }
        match seen {
            None if choice.is_empty() => Ok(None),
            None => Err(format!("refused though {choice:?} are free")),
            Some(tuple) if choice.contains(&tuple) => Ok(Some(tuple)),
            Some(tuple) => Err(format!("{tuple:?} is none of {choice:?}")),
        }
    }

    /// A packet of a remote, and whom it reached.
    fn inbound(
        &mut self,
        remote: usize,
        tuple: Tuple,
        seen: Option<Endpoint>,
    ) -> Result<(), String> {
        let of = |((endpoint, with), flow): (&(Endpoint, usize), &Flow)| {
            (flow.tuple == tuple && *with == remote).then_some(*endpoint)
        };
        let expected = self.flows.iter().find_map(of);
        if seen != expected {
            return Err(format!("reached {seen:?}, not {expected:?}"));
        }
        if let Some(flow) = expected.and_then(|endpoint| self.flows.get_mut(&(endpoint, remote))) {
            flow.last = self.now;
        }
        Ok(())
    }
}

/// Host and model.
struct Pair {
    host: Hypervisor,
    model: Model,
}

impl Pair {
    fn new(seed: u64, keeps: bool) -> Self {
        let mut host = Hypervisor::new(DriverOptions::new(seed));
        add_boundary(&mut host);
        for guest in GUESTS {
            add_guest(&mut host, guest, 0);
        }
        let mut pair = Self { host, model: Model { keeps, ..Model::default() } };
        for guest in 0..GUESTS.len() {
            pair.set_external(guest, External::Pool(0, 4));
            pair.allow(guest, [true; 2]);
        }
        pair
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Out { guest, port, remote } => {
                let seen = self.send(guest, PORTS[port], remote);
                return self.model.out((guest, PORTS[port]), remote, seen);
            }
            Step::In { remote, address, port, by } => {
                let ip = match address {
                    0 | 1 => POOLS[address],
                    own => Model::own(own - 2),
                };
                let seen = self.receive(remote, (ip, port), by)?;
                return self.model.inbound(remote, (ip, port), seen);
            }
            Step::Clock(which) => {
                self.host.advance(STEPS[which]);
                self.model.pass(STEPS[which]);
            }
            Step::External { guest, external } => self.set_external(guest, external),
            Step::Again { guest } => self.set_external(guest, self.model.external(guest)),
            Step::Options { guest, options } => {
                self.model.options[guest] = options;
                self.set_external(guest, self.model.external(guest));
            }
            Step::Allow { guest, allowed } => self.allow(guest, allowed),
            Step::Refused { guest } => {
                let snat = SnatRange { ip: POOLS[1].into(), first_port: 9, last_port: 8 };
                let external = ExternalIps { snat: vec![snat], ..ExternalIps::default() };
                assert!(self.host.request(&request(guest, external)).is_err());
            }
        }
        self.host.expire();
        Ok(())
    }

    fn set_external(&mut self, guest: usize, external: External) {
        let (mut settings, mut ips) = (self.settings(guest), ExternalIps::default());
        match external {
            External::Nothing => {}
            // Both may have the very same range as one of their addresses, too.
            External::Pool(pool, SHARED) => ips.snat.push(SnatRange {
                ip: POOLS[pool].into(),
                first_port: FIRST,
                last_port: FIRST + SHARED - 1,
            }),
            External::Pool(pool, ports) => settings.nat.ranges.push(NatRange {
                prefix: IpCidr::host(POOLS[pool].into()),
                first_port: FIRST,
                last_port: FIRST + ports - 1,
            }),
            External::Own => ips.floating.push(Model::own(guest).into()),
        }
        let settings = SetPortSettings { port: GUESTS[guest].port(), settings };
        // What a range takes the place of goes first.
        if ips.snat.is_empty() {
            self.host.request(&request(guest, ips)).expect("a good change");
            self.host.request(&settings).expect("a good change");
        } else {
            self.host.request(&settings).expect("a good change");
            self.host.request(&request(guest, ips)).expect("a good change");
        }
        self.model.external[guest] = Some(external);
        self.model.judge();
    }

    fn settings(&self, guest: usize) -> PortSettings {
        let Options { by_remote, parity, sequential } = self.model.options[guest];
        let mut settings = PortSettings::default();
        settings.nat.mapping.udp = match by_remote {
            true => NatDependence::AddressDependent,
            false => NatDependence::EndpointIndependent,
        };
        (settings.nat.parity, settings.nat.sequential) = (parity, sequential);
        if self.model.keeps {
            settings.continuity.address_gone = AddressGone::Keep;
        }
        settings
    }

    fn allow(&mut self, guest: usize, allowed: [bool; 2]) {
        let denied = REMOTES.iter().zip(allowed).filter(|(_, allowed)| !allowed);
        let rules = denied.map(|(remote, _)| {
            let text = format!("dir=out action=deny priority=1 hosts=ip={remote}");
            text.parse().expect("a good rule")
        });
        let request = SetFwRules { port: GUESTS[guest].port(), rules: rules.collect() };
        self.host.request(&request).expect("good rules");
        self.model.allowed[guest] = allowed;
        self.model.judge();
    }

    /// Sends a packet; answers the source with which it leaves the host.
    fn send(&mut self, guest: usize, port: u16, remote: usize) -> Option<Tuple> {
        let body = Body::Udp { ports: [port, REMOTE_PORT], checksum: true };
        let ips = [GUESTS[guest].ip(true), REMOTES[remote].into()];
        let packet = Packet::new(GUESTS[guest].macs(), ips, body);
        let left = self.host.from_guest(PortId(guest as u32), FlatFrame::new(packet.bytes()));
        let [Left::Underlay(outer)] = left.as_slice() else { return None };
        let (_, inner) = Tunnel::open(outer).expect("a tunnel");
        let packet = Packet::read(&inner).expect("a packet");
        assert_eq!(packet.dst, IpAddr::from(REMOTES[remote]));
        let (IpAddr::V4(src), Body::Udp { ports: [port, _], .. }) = (packet.src, packet.body)
        else {
            panic!("{packet:?}")
        };
        Some((src, port))
    }

    /// A packet of a remote comes to a tuple; answers whom it reaches.
    fn receive(
        &mut self,
        remote: usize,
        (ip, port): Tuple,
        by: usize,
    ) -> Result<Option<Endpoint>, String> {
        let body = Body::Udp { ports: [REMOTE_PORT, port], checksum: true };
        let owner = self.model.owner((ip, port)).map(|((guest, _), _)| guest);
        let known = owner.unwrap_or_else(|| usize::from(ip == Model::own(1)));
        let to = if self.model.is_shared(ip) { by } else { known };
        let macs = [oxide_vpc_api::config::BOUNDARY_MAC, GUESTS[to].mac()];
        let packet = Packet::new(macs, [REMOTES[remote].into(), ip.into()], body);
        let tunnel = Tunnel { src: BOUNDARY, dst: HOSTS[0], ..Tunnel::new("::", "::", VPC) };
        let frame = Tunnel { vni: vni(VPC), ..tunnel }.external().around(&packet.bytes());
        let left = self.host.from_underlay(FlatFrame::new(frame));
        match left.as_slice() {
            // Or its sender is told that the connection has ended.
            [] | [Left::Answer(_)] => Ok(None),
            [Left::Guest(PortId(guest), bytes)] => {
                let packet = Packet::read(bytes).expect("a packet");
                let guest = *guest as usize;
                let Body::Udp { ports: [_, port], .. } = packet.body else { panic!("{packet:?}") };
                if packet.dst != GUESTS[guest].ip(true) {
                    return Err(format!("guest {guest} got {packet:?}"));
                }
                Ok(Some((guest, port)))
            }
            other => Err(format!("{other:?}")),
        }
    }
}

fn request(guest: usize, ipv4: ExternalIps) -> SetExternalIps {
    let (port, gateways) = (GUESTS[guest].port(), GatewayMap::new());
    SetExternalIps { port, ipv4: Some(ipv4), ipv6: None, gateways }
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn translation_agrees_with_plain_maps(
        steps in steps(),
        seed in any::<u64>(),
        keeps in any::<bool>(),
    ) {
        let mut pair = Pair::new(seed, keeps);
        for (at, step) in steps.iter().enumerate() {
            let result = pair.step(*step);
            prop_assert!(result.is_ok(), "step {at}, {step:?}: {}", result.unwrap_err());
        }
        // All that is left belongs to connections of the model.
        let count = |port| pair.host.driver.device(PortId(port)).map_or(0, |d| d.port.flows().count());
        prop_assert_eq!((count(0) + count(1)) as usize, pair.model.flows.len());
    }
}
