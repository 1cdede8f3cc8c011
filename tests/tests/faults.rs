// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Whatever fails, and wherever it fails, all is as it was before: what a host shows, what its machine
//! has, what it tells observers, and what becomes of packets. Each call that a request makes of
//! the machine is refused once; each step of a change is wrong once. Memory is no such fault: it
//! is taken without an answer that could be "no" (see `memory.rs`).

use opte::frame::FlatFrame;
use opte_api::frame::Request;
use opte_api::{MacAddr, OpteError};
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::moving;
use opte_tests::packets::{Body, Packet, Tunnel, dhcp_discover};
use opte_tests::setting::{
    Guest, VPC, add_boundary, add_guest, add_peer, boundary, everywhere, outside, route, subnet,
    vni,
};
use opte_tests::view::{assert_same, everything};
use oxide_vpc_api::change::Step;
use oxide_vpc_api::multicast::{M2pEntry, SourceFilter};
use oxide_vpc_api::request::*;
use oxide_vpc_api::{
    Attachment, DhcpConfig, DrainAddresses, ExternalIps, GatewayMap, PortConfig, PortForward,
    PortName, PortRange, PortSettings, RouteEntry, RouterTarget, V2bEntry, V2pEntry, WeightedRoute,
};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use xde::driver::DriverOptions;
use xde::host::{Platform, PortId};

const GUEST: Guest = Guest(5);
const NEXT: Guest = Guest(6);
/// It has no port yet.
const NEW: Guest = Guest(8);
const PEER: Guest = Guest(7);

/// Devices and links, of which one call is refused.
#[derive(Clone, Debug, Default, PartialEq)]
struct Machine {
    devices: BTreeMap<PortName, u16>,
    links: Vec<String>,
    calls: u32,
    refused: Option<u32>,
}

impl Machine {
    fn call(&mut self) -> Result<(), OpteError> {
        self.calls += 1;
        match self.refused {
            Some(number) if number == self.calls => Err(OpteError::System("no".into())),
            _ => Ok(()),
        }
    }

    /// What there is, whoever asked how often.
    fn state(&self) -> (&BTreeMap<PortName, u16>, &[String]) {
        (&self.devices, &self.links)
    }
}

impl Platform for Machine {
    fn create_device(
        &mut self,
        _port: PortId,
        name: &PortName,
        _mac: MacAddr,
        mtu: u16,
    ) -> Result<(), OpteError> {
        self.call()?;
        assert_eq!(self.devices.insert(name.clone(), mtu), None, "it is there");
        Ok(())
    }

    fn delete_device(&mut self, _port: PortId, name: &PortName) -> Result<(), OpteError> {
        self.call()?;
        self.devices.remove(name).map(drop).ok_or(OpteError::System("it is not there".into()))
    }

    fn set_mtu(&mut self, name: &PortName, mtu: u16) -> Result<(), OpteError> {
        self.call()?;
        *self.devices.get_mut(name).ok_or(OpteError::System("it is not there".into()))? = mtu;
        Ok(())
    }

    fn set_underlay(&mut self, links: &[String]) -> Result<(), OpteError> {
        self.call()?;
        self.links = links.to_vec();
        Ok(())
    }

    fn clear_underlay(&mut self) -> Result<(), OpteError> {
        self.call()?;
        self.links.clear();
        Ok(())
    }
}

struct World {
    host: Hypervisor,
    machine: Machine,
}

impl World {
    /// Two ports with rules, connections of every kind of translation, and a group that is heard.
    fn busy() -> Self {
        let mut host = Hypervisor::new(DriverOptions::new(11));
        add_boundary(&mut host);
        add_peer(&mut host, PEER, 1);
        let group = "239.1.1.1".parse().unwrap();
        let entry = M2pEntry { group, underlay: "ff04::1".parse().unwrap() };
        host.request(&SetM2p { entry }).unwrap();
        for guest in [GUEST, NEXT] {
            add_guest(&mut host, guest, 0);
            let rules = vec!["dir=in action=allow priority=1".parse().unwrap()];
            host.request(&SetFwRules { port: guest.port(), rules }).unwrap();
            let (port, filter) = (guest.port(), SourceFilter::default());
            host.request(&MulticastSubscribe { port, group, filter }).unwrap();
        }
        let floating = ExternalIps { floating: vec![NEXT.floating(true)], ..Default::default() };
        host.request(&external(NEXT, floating)).unwrap();
        let devices = [GUEST, NEXT].map(|guest| (guest.port(), 1500)).into();
        let machine = Machine { devices, links: vec!["test0".into()], ..Machine::default() };
        let mut world = Self { host, machine };
        let opened = world.traffic();
        assert!(opened.iter().all(|left| left.len() == 1), "{opened:#?}");
        world.host.events();
        world
    }

    fn empty() -> Self {
        let host = Hypervisor::new(DriverOptions::new(11));
        Self { host, machine: Machine { links: vec!["test0".into()], ..Machine::default() } }
    }

    /// What becomes of packets of connections, of their answers, and of a question for the gateway.
    fn traffic(&mut self) -> Vec<Vec<Left>> {
        let mut all = Vec::new();
        for (id, guest) in [(PortId(0), GUEST), (PortId(1), NEXT)] {
            for dst in [outside(true), outside(false), PEER.ip(true), Guest(11 - guest.0).ip(true)]
            {
                let ips = [guest.ip(dst.is_ipv4()), dst];
                let body = Body::Udp { ports: [1000, 80], checksum: true };
                let packet = Packet::new(guest.macs(), ips, body);
                let left = self.host.from_guest(id, FlatFrame::new(packet.bytes()));
                if let [Left::Underlay(bytes)] = left.as_slice() {
                    all.push(self.answer(bytes));
                }
                all.push(left);
            }
            let ask = dhcp_discover(guest.mac(), [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST]);
            all.push(self.host.from_guest(id, FlatFrame::new(ask)));
        }
        all
    }

    fn answer(&mut self, bytes: &[u8]) -> Vec<Left> {
        let (outer, inner) = Tunnel::open(bytes).unwrap();
        let reply = Packet::read(&inner).unwrap().reply().bytes();
        let back = Tunnel { src: outer.dst, dst: outer.src, vni: vni(VPC), ..outer.clone() };
        let back = if outer.vni == vni(VPC) { back } else { back.external() };
        self.host.from_underlay(FlatFrame::new(back.around(&reply)))
    }
}

type Ask = Box<dyn Fn(&mut World) -> Result<(), OpteError>>;
type Make = fn() -> World;

/// A request that may fail.
struct Case {
    name: &'static str,
    world: Make,
    ask: Ask,
    /// Calls that it makes of the machine.
    calls: u32,
}

fn case<R: Request + 'static>(world: Make, calls: u32, request: R) -> Case {
    let ask =
        move |world: &mut World| world.host.request_on(&mut world.machine, &request).map(drop);
    Case { name: R::NAME, world, ask: Box::new(ask), calls }
}

fn external(guest: Guest, ipv4: ExternalIps) -> SetExternalIps {
    let (port, gateways) = (guest.port(), GatewayMap::new());
    SetExternalIps { port, ipv4: Some(ipv4), ipv6: Some(guest.external(false)), gateways }
}

fn custom(target: RouterTarget) -> RouteEntry {
    RouteEntry { class: oxide_vpc_api::RouterClass::Custom, ..route(everywhere(true), target) }
}

fn forward() -> PortForward {
    PortForward {
        protocol: opte_api::Protocol::UDP,
        external_ip: GUEST.snat(true).ip,
        external_ports: PortRange { first: 6200, last: 6209 },
        first_port: 53,
    }
}

/// Other settings in every topic.
fn settings() -> PortSettings {
    let mut settings = PortSettings::default();
    settings.idle.udp = 180;
    settings.flows.limit = Some(100);
    settings.tcp.pick_up = false;
    settings.answers.unreachable = true;
    settings.way.outside_mtu = Some(1400);
    settings.nat.parity = true;
    settings.nat.quarantine.seconds = 0;
    settings.nat.forwards = vec![forward()];
    settings.continuity.tell = false;
    settings
}

/// Each kind of step, in an order in which all of them may be taken.
fn steps() -> Vec<Step> {
    let port = || GUEST.port();
    let rule = || "dir=out action=deny priority=3 protocol=udp port=80".parse().unwrap();
    let entry = |guest: Guest, host| V2pEntry {
        vni: vni(VPC),
        ip: guest.ip(true),
        location: guest.location(host),
    };
    let v2b = V2bEntry { prefix: everywhere(true), endpoints: vec![boundary()] };
    let more = V2bEntry { prefix: subnet(true), endpoints: vec![boundary()] };
    let floating = vec![GUEST.floating(true)];
    let own = ExternalIps { floating: floating.clone(), ..GUEST.external(true) };
    let (attached, transit) = ("10.88.0.0/24".parse().unwrap(), "10.77.0.0/24".parse().unwrap());
    let weighted = |weight| WeightedRoute { route: custom(RouterTarget::Blackhole), weight };
    vec![
        AddFwRule { port: port(), rule: rule() }.into(),
        RemFwRule { port: port(), direction: opte_api::Direction::In, id: 0 }.into(),
        SetFwRules { port: port(), rules: vec![rule()] }.into(),
        AddRoute { port: port(), route: custom(RouterTarget::Drop) }.into(),
        DelRoute { port: port(), route: custom(RouterTarget::Drop) }.into(),
        AddWeightedRoute { port: port(), route: weighted(3) }.into(),
        SetV2p { entry: entry(PEER, 0) }.into(),
        ClearV2p { entry: entry(NEXT, 0) }.into(),
        SetV2b { entry: more }.into(),
        ClearV2b { entry: v2b }.into(),
        external(GUEST, own.clone()).into(),
        DrainAddresses { port: port(), addresses: floating, seconds: 9 }.into(),
        SetPortSettings { port: port(), settings: settings() }.into(),
        AttachSubnet { port: port(), subnet: attached, attachment: Attachment::Internal }.into(),
        DetachSubnet { port: port(), subnet: attached }.into(),
        AllowCidr { port: port(), cidr: transit, direction: None }.into(),
        RemoveCidr { port: port(), cidr: transit, direction: None }.into(),
        SetRouting {
            port: port(),
            revision: Some(7),
            routes: vec![weighted(2)],
            ipv4: Some(own),
            ipv6: None,
            gateways: GatewayMap::new(),
        }
        .into(),
        SetDhcp { port: port(), dhcp: dhcp() }.into(),
    ]
}

fn dhcp() -> DhcpConfig {
    DhcpConfig { dns4: vec!["192.0.2.53".parse().unwrap()], ..DhcpConfig::default() }
}

/// Each request that changes something.
fn cases() -> Vec<Case> {
    let (busy, empty): (Make, Make) = (World::busy, World::empty);
    let port = || GUEST.port();
    let create = CreatePort { name: NEW.port(), config: NEW.config(0) };
    let restore = |world: &mut World| {
        let mut other = Hypervisor::new(DriverOptions::new(12));
        add_boundary(&mut other);
        add_guest(&mut other, NEW, 0);
        let saved = {
            let body = Body::Udp { ports: [1000, 80], checksum: true };
            let packet = Packet::new(NEW.macs(), [NEW.ip(true), outside(true)], body);
            assert_eq!(other.from_guest(PortId(0), FlatFrame::new(packet.bytes())).len(), 1);
            moving::save(&mut other, &NEW.port())?
        };
        let bytes = moving::stage(&mut world.host, &saved)?;
        let request = RestorePort { name: None, underlay_ip: None, bytes };
        world.host.request_on(&mut world.machine, &request).map(drop)
    };
    let ipv4 = ExternalIps { ephemeral: Some(GUEST.floating(true)), ..ExternalIps::default() };
    vec![
        case(empty, 1, ClearUnderlay {}),
        Case {
            name: "SetUnderlay",
            world: || {
                let mut world = World::empty();
                world.host.request_on(&mut world.machine, &ClearUnderlay {}).unwrap();
                world.machine.calls = 0;
                world
            },
            ask: Box::new(|world| {
                let links = vec!["net0".into(), "net1".into()];
                world.host.request_on(&mut world.machine, &SetUnderlay { links })
            }),
            calls: 1,
        },
        case(busy, 1, create.clone()),
        case(empty, 1, create),
        case(busy, 1, DeletePort { name: port() }),
        case(busy, 1, SetMtu { port: port(), mtu: 1400 }),
        Case { name: "RestorePort", world: busy, ask: Box::new(restore), calls: 1 },
        case(busy, 0, SetPortSettings { port: port(), settings: settings() }),
        case(busy, 0, SetDhcp { port: port(), dhcp: dhcp() }),
        case(
            busy,
            0,
            SetUnderlayAddress { port: port(), underlay_ip: "fd00:a::2".parse().unwrap() },
        ),
        case(busy, 0, external(GUEST, ipv4)),
        case(busy, 0, Apply { change: steps(), expected: None, listed: 20 }),
    ]
}

/// The n-th call of the machine fails, for each n that there is.
#[test]
fn what_the_machine_refuses_has_not_happened() {
    for case in cases() {
        for refused in 1..=case.calls {
            let mut world = (case.world)();
            world.machine.refused = Some(refused);
            let is_busy = !world.machine.devices.is_empty();
            let traffic = if is_busy { world.traffic() } else { Vec::new() };
            let before = (everything(&mut world.host), world.machine.clone());
            world.host.events();
            let error = (case.ask)(&mut world).expect_err(case.name);
            assert!(matches!(error, OpteError::System(_)), "{}: {error}", case.name);
            let events = world.host.events();
            assert!(events.is_empty(), "{}: {events:?}", case.name);
            assert_same(case.name, &everything(&mut world.host), &before.0);
            assert_eq!(world.machine.state(), before.1.state(), "{}", case.name);
            if is_busy {
                assert_eq!(world.traffic(), traffic, "{}", case.name);
            }
            // Nothing that was left behind stands in the way.
            (case.ask)(&mut world).expect(case.name);
        }
        let mut world = (case.world)();
        (case.ask)(&mut world).expect(case.name);
        assert_eq!(world.machine.calls, case.calls, "{}", case.name);
    }
}

/// Steps that are wrong, each in another way.
fn wrong() -> Vec<Step> {
    let mut invalid = settings();
    invalid.nat.limits.port = 0;
    let mut taken = settings();
    taken.nat.forwards = vec![PortForward { external_ip: NEXT.floating(true), ..forward() }];
    let many = vec!["dir=in action=allow priority=1".parse().unwrap(); 10_001];
    let theirs = ExternalIps { floating: vec![NEXT.floating(true)], ..ExternalIps::default() };
    let other_family = route(everywhere(true), RouterTarget::Ip(PEER.ip(false)));
    let nobody = V2bEntry { prefix: everywhere(true), endpoints: vec![] };
    vec![
        SetPortSettings { port: GUEST.port(), settings: invalid }.into(),
        // What another port has claimed.
        SetPortSettings { port: GUEST.port(), settings: taken }.into(),
        external(GUEST, theirs).into(),
        SetFwRules { port: GUEST.port(), rules: many }.into(),
        AddRoute { port: GUEST.port(), route: other_family }.into(),
        SetV2b { entry: nobody }.into(),
        DelRoute { port: NEW.port(), route: other_family }.into(),
    ]
}

/// A change fails at any of its steps, after any number of others that were right.
#[test]
fn a_change_that_fails_anywhere_has_not_happened() {
    let (mut world, good) = (World::busy(), steps());
    for (number, wrong) in wrong().into_iter().enumerate() {
        let traffic = world.traffic();
        let before = everything(&mut world.host);
        world.host.events();
        for at in 0..=good.len() {
            let mut change = good.clone();
            change.insert(at, wrong.clone());
            let apply = Apply { change, expected: None, listed: 20 };
            let name = format!("wrong step {number} at {at}");
            let error = world.host.request_on(&mut world.machine, &apply).expect_err(&name);
            let is_step =
                matches!(error, OpteError::Step { number, .. } if number as usize == at + 1);
            assert!(is_step, "{name}: {error}");
            assert_same(&name, &everything(&mut world.host), &before);
            assert!(world.host.events().is_empty(), "{name}");
        }
        assert_eq!(world.traffic(), traffic, "wrong step {number}");
    }
    let before = everything(&mut world.host);
    world.host.events();
    // A plan is a change that never happens, all of it.
    let plan = Plan { change: good.clone(), listed: 20 };
    let planned = world.host.request(&plan).unwrap();
    assert_same("a plan", &everything(&mut world.host), &before);
    assert!(world.host.events().is_empty());
    let apply = Apply { change: good, expected: Some(planned.generation), listed: 20 };
    assert_eq!(world.host.request(&apply).unwrap(), planned, "and it was a right one");
}

/// How long external ports wait is not shown by any dump.
#[test]
fn what_was_only_planned_or_refused_lets_no_port_go_before_its_time() {
    let mut world = World::busy();
    let mut settings = PortSettings::default();
    settings.nat.sequential = true;
    (settings.idle.udp, settings.idle.short) = (60, true);
    let set = |settings: &PortSettings| SetPortSettings {
        port: GUEST.port(),
        settings: settings.clone(),
    };
    world.host.request(&ClearUft { port: GUEST.port() }).unwrap();
    world.host.request(&set(&settings)).unwrap();
    world.host.advance(1_000_000);
    let first = external_port(&mut world, 1);
    let mut other = settings.clone();
    other.nat.quarantine.seconds = 0;
    let planned = vec![set(&other).into()];
    world.host.request(&Plan { change: planned.clone(), listed: 20 }).unwrap();
    let change = planned.into_iter().chain(wrong()).collect();
    world.host.request(&Apply { change, expected: None, listed: 20 }).unwrap_err();
    world.host.advance(60_001);
    world.host.expire();
    assert_eq!(external_port(&mut world, 2), first + 1, "the first waits");
    // When it is in force, it is so.
    world.host.request(&set(&other)).unwrap();
    world.host.advance(60_001);
    world.host.expire();
    assert_eq!(external_port(&mut world, 3), first, "nothing waits any more");
}

fn external_port(world: &mut World, from: u16) -> u16 {
    let body = Body::Udp { ports: [from, 80], checksum: true };
    let packet = Packet::new(GUEST.macs(), [GUEST.ip(true), outside(true)], body);
    let left = world.host.from_guest(PortId(0), FlatFrame::new(packet.bytes()));
    let [Left::Underlay(bytes)] = left.as_slice() else { panic!("{left:?}") };
    let (_, inner) = Tunnel::open(bytes).unwrap();
    Packet::read(&inner).unwrap().ports()[0]
}

/// A port that was not to be has held nothing: its external ports are free at once, and do not wait.
#[test]
fn a_restoration_that_fails_leaves_external_ports_as_free_as_they_were() {
    let restore = cases().into_iter().find(|case| case.name == "RestorePort").unwrap();
    let mut world = (restore.world)();
    world.machine.refused = Some(1);
    (restore.ask)(&mut world).unwrap_err();
    let create = CreatePort { name: NEW.port(), config: PortConfig { ..NEW.config(0) } };
    world.host.request_on(&mut world.machine, &create).unwrap();
    let pools = world.host.request(&DumpNatPools { port: Some(NEW.port()) }).unwrap();
    let ranges = pools.iter().flat_map(|pool| &pool.ranges);
    let usage = ranges.flat_map(|range| [range.tcp, range.udp, range.query]);
    let waiting: u32 = usage.map(|usage| usage.quarantined).sum();
    assert_eq!(waiting, 0);
}
