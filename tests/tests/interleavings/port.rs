// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A port with the layers of a VPC: packets, policies and looks at one time.

use crate::{IDLE, ModelHost, NOW, SLACK, in_many_orders, race};
use opte::drop_reason::DropReason;
use opte::event::FlowEnd;
use opte::flow_table::Budget;
use opte::frame::FlatFrame;
use opte::geneve::Mark;
use opte::headers::Headers;
use opte::host::{Blind, Moment};
use opte::nat::{PortMap, Realm, ReservationSpace};
use opte::policy::{AnswerPolicy, Generation, IdleLimits, Policy, PolicyRules};
use opte::port::{Batch, Caching, Port, PortOptions, Turn, Verdict};
use opte::tcp::{TcpFlags, TcpState};
use opte_api::{Direction, Protocol};
use opte_tests::hypervisor::TestHost;
use opte_tests::packets::{Body, Packet, checksums};
use opte_tests::setting::{BOUNDARY, Guest, VPC, boundary, everywhere, outside, route, vni};
use oxide_vpc::{Mappings, VpcPort};
use oxide_vpc_api::{ExternalIps, GatewayMap, PortConfig, RouterTarget, SnatRange, V2bEntry};
use std::sync::Arc;

use Direction::{In, Out};

const GUEST: Guest = Guest(5);

/// Policies, and who owns which external port.
struct Setting {
    translate: PolicyRules,
    deny: PolicyRules,
    on_loan: [Arc<PortMap>; 2],
}

/// A port with a way out by the boundary, and what makes policies of it.
fn with_way_out(
    config: PortConfig,
    space: &Arc<ReservationSpace>,
) -> (VpcPort, impl Fn(&VpcPort) -> PolicyRules) {
    let mut vpc = VpcPort::new(config, space.holder("guest")).unwrap();
    let out = route(everywhere(true), RouterTarget::InternetGateway(None));
    vpc.add_route(&out.into()).unwrap();
    let entry = V2bEntry { prefix: everywhere(true), endpoints: vec![boundary()] };
    let maps = Arc::new(Mappings::default().with_boundary(&entry).unwrap());
    let policy = move |vpc: &VpcPort| PolicyRules {
        layers: vpc.layers(),
        host_tables: maps.clone(),
        idle: IdleLimits::default(),
        pick_up: true,
        answers: AnswerPolicy::default(),
        shared: Vec::new(),
    };
    (vpc, policy)
}

impl Setting {
    fn new() -> Arc<Self> {
        let space = ReservationSpace::new::<TestHost>(1);
        let (mut vpc, policy) = with_way_out(GUEST.config(0), &space);
        let translate = policy(&vpc);
        vpc.set_firewall_rules(vec!["dir=out action=deny priority=1".parse().unwrap()]).unwrap();
        let ip = GUEST.snat(true).ip;
        let on_loan = [Protocol::UDP, Protocol::TCP]
            .map(|protocol| space.map(Realm::OUTSIDE, ip, protocol).unwrap());
        Arc::new(Self { translate, deny: policy(&vpc), on_loan })
    }
}

struct World {
    port: Port<ModelHost>,
    setting: Arc<Setting>,
}

impl World {
    fn new(setting: &Arc<Setting>, flow_limit: u32) -> Arc<Self> {
        let options = PortOptions { id: 0, flow_limit, seed: 1, caching: Caching::Stored };
        let first = Policy::first(Generation::NONE.next(), setting.translate.clone());
        let port = Port::new(options, Arc::new(first), Arc::new(Blind));
        Arc::new(Self { port, setting: setting.clone() })
    }

    /// What becomes of a packet.
    fn send(&self, way: Direction, packet: &Packet, now: Moment) -> Result<Packet, DropReason> {
        self.send_by(&self.port.policy(), way, packet, now)
    }

    /// The same for a packet whose batch has loaded this policy.
    fn send_by(
        &self,
        policy: &Policy,
        way: Direction,
        packet: &Packet,
        now: Moment,
    ) -> Result<Packet, DropReason> {
        let mut frame = FlatFrame::new(packet.bytes());
        let mark = match way {
            Direction::Out => Mark::GUEST,
            Direction::In => Mark::underlay(vni(VPC), true, BOUNDARY),
        };
        let headers = Headers::parse(&frame.bytes, frame.bytes.len(), 0, mark).unwrap();
        let turn = Turn { policy, direction: way, now, cell: None };
        match self.port.process(turn, &mut frame, Ok(&headers), &mut Batch::default()) {
            Verdict::Forward => {
                assert_eq!(checksums::verify(&frame.bytes), Ok(()));
                Ok(Packet::read(&frame.bytes).unwrap())
            }
            Verdict::Reply(_) | Verdict::Held => panic!("nothing is answered or held here"),
            Verdict::Drop(reason) => Err(reason),
        }
    }

    /// Puts a policy in force, as who changes it does.
    fn publish(&self, rules: PolicyRules) {
        let old = self.port.policy();
        self.port.publish(Arc::new(old.next(old.generation.next(), rules)));
    }

    fn counter(&self, name: &str) -> u64 {
        let list = self.port.counters().list();
        list.iter().find(|(known, _)| known == name).unwrap().1
    }

    /// External ports on loan.
    fn leases(&self) -> usize {
        self.setting.on_loan.iter().map(|map| map.usage(0..=u16::MAX).used as usize).sum()
    }

    /// What holds while nobody works on the port: each flow has one lease, and each that was opened
    /// lives or has ended once.
    fn settle(&self) {
        let flows = self.port.flows();
        let count = flows.count() as usize;
        assert_eq!((flows.flows().len(), self.leases()), (count, count));
        let ended: u64 = FlowEnd::ALL.iter().map(|end| self.counter(end.name())).sum();
        assert_eq!(self.counter("flows_opened"), ended + u64::from(flows.count()));
    }
}

fn packet(body: Body) -> Packet {
    Packet::new(GUEST.macs(), [GUEST.ip(true), outside(true)], body)
}

fn udp(port: u16) -> Packet {
    packet(Body::Udp { ports: [port, 80], checksum: true })
}

fn tcp(flags: TcpFlags, numbers: [u32; 2]) -> Packet {
    let mut packet = packet(Body::Tcp { ports: [1000, 80], flags, numbers });
    packet.payload.clear();
    packet
}

#[test]
fn a_connection_is_opened_once() {
    let setting = Setting::new();
    in_many_orders(move || {
        let world = World::new(&setting, 4);
        let send = |world: &World| world.send(Out, &udp(1), NOW).unwrap();
        let (a, b) = race(&world, send, send);
        assert_eq!(a, b);
        assert_eq!(world.counter("flows_opened"), 1);
        world.settle();
    });
}

#[test]
fn a_full_table_has_room_for_both() {
    let setting = Setting::new();
    in_many_orders(move || {
        let world = World::new(&setting, 2);
        for port in [1, 2] {
            world.send(Out, &udp(port), NOW).unwrap();
        }
        let send = |port| move |world: &World| world.send(Out, &udp(port), NOW);
        let (a, b) = race(&world, send(3), send(4));
        assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
        assert_eq!(world.counter("flows_evicted"), 2);
        world.settle();
    });
}

#[test]
fn a_packet_goes_out_whether_its_flow_ends_or_not() {
    let setting = Setting::new();
    let ends: [fn(&World); 2] = [
        |world| {
            let mut budget = Budget::ALL;
            world.port.expire(NOW.plus_millis(IDLE + SLACK), &mut budget);
        },
        |world| world.port.clear_flows(),
    ];
    for end in ends {
        let setting = setting.clone();
        in_many_orders(move || {
            let world = World::new(&setting, 4);
            let first = world.send(Out, &udp(1), NOW).unwrap();
            let late = NOW.plus_millis(IDLE + SLACK);
            let (sent, ()) = race(&world, move |world| world.send(Out, &udp(1), late), end);
            let sent = sent.unwrap();
            assert_eq!((sent.src, sent.dst), (first.src, first.dst));
            let port = sent.ports()[0];
            let range = GUEST.snat(true);
            assert!((range.first_port..=range.last_port).contains(&port));
            // Somebody answers. Either the flow is there, or its port is free again.
            let answer = world.send(In, &sent.reply(), late);
            assert_eq!(answer.is_ok(), world.port.flows().count() == 1, "{answer:?}");
            if let Ok(answer) = answer {
                assert_eq!((answer.dst, answer.ports()), (GUEST.ip(true), [80, 1]));
            }
            world.settle();
        });
    }
}

/// Whoever was let by the policy before holds nothing when all connections have been judged.
#[test]
fn what_a_policy_ends_gives_back_what_it_holds() {
    let setting = Setting::new();
    for known in [true, false] {
        let setting = setting.clone();
        in_many_orders(move || {
            let world = World::new(&setting, 4);
            if known {
                world.send(Out, &udp(1), NOW).unwrap();
            }
            let (sent, ()) = race(
                &world,
                |world| world.send(Out, &udp(1), NOW),
                |world| {
                    world.publish(world.setting.deny.clone());
                    while world.port.sweep(2, Moment::from_millis(0)) {}
                },
            );
            assert!(matches!(sent, Ok(_) | Err(DropReason::FirewallRule)), "{sent:?}");
            assert_eq!((world.port.flows().count(), world.leases()), (0, 0));
            assert_eq!(world.send(Out, &udp(1), NOW), Err(DropReason::FirewallRule));
            world.settle();
        });
    }
}

/// A port whose guest has one external port, and a policy that says the same in other words.
fn with_one_port() -> (Arc<World>, PolicyRules) {
    let space = ReservationSpace::new::<TestHost>(1);
    let mut config = GUEST.config(0);
    let whole = GUEST.snat(true);
    let one = SnatRange { last_port: whole.first_port, ..whole };
    let external = |snat| Some(ExternalIps { snat, ..ExternalIps::default() });
    config.ipv4.as_mut().unwrap().external = external(vec![one]).unwrap();
    let (mut vpc, policy) = with_way_out(config, &space);
    let translate = policy(&vpc);
    for snat in [vec![whole], vec![one]] {
        vpc.set_external_ips(external(snat), None, GatewayMap::new(), None).unwrap();
    }
    let again = policy(&vpc);
    let on_loan = [Protocol::UDP, Protocol::TCP]
        .map(|protocol| space.map(Realm::OUTSIDE, one.ip, protocol).unwrap());
    let setting = Setting { translate: translate.clone(), deny: translate, on_loan };
    (World::new(&Arc::new(setting), 4), again)
}

/// The ten steps by which an allocator that is made anew with each configuration gives one port to
/// two owners: scan, load the old one, take, insert, check, publish; load the new one, take, insert,
/// check.
#[test]
fn a_port_that_was_taken_under_the_policy_before_stays_taken() {
    in_many_orders(|| {
        let (world, again) = with_one_port();
        let old = world.port.policy();
        let first = world.send_by(&old, Out, &udp(1), NOW).unwrap();
        world.publish(again);
        assert_eq!(world.send(Out, &udp(2), NOW), Err(DropReason::NatExhausted));
        let answer = world.send(In, &first.reply(), NOW).unwrap();
        assert_eq!(answer.ports(), [80, 1]);
        world.settle();
    });
}

/// Open, publish, sweep and open in any order: the port has one owner, and nobody is cut.
#[test]
fn an_external_port_has_one_owner_across_a_change() {
    in_many_orders(|| {
        let (world, again) = with_one_port();
        let (a, b) = race(
            &world,
            |world| {
                let old = world.port.policy();
                world.send_by(&old, Out, &udp(1), NOW)
            },
            move |world| {
                world.publish(again);
                while world.port.sweep(1, Moment::from_millis(0)) {}
                world.send(Out, &udp(2), NOW)
            },
        );
        assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
        assert_eq!((world.port.flows().count(), world.leases()), (1, 1));
        assert_eq!(world.counter("flows_cut"), 0);
        world.settle();
    });
}

/// A connection ends by time while a change is published, and its port goes to another.
#[test]
fn a_port_is_released_once_while_policies_change() {
    in_many_orders(|| {
        let (world, again) = with_one_port();
        world.send(Out, &udp(1), NOW).unwrap();
        let late = NOW.plus_millis(IDLE + SLACK);
        let (sent, ()) = race(
            &world,
            move |world| world.send(Out, &udp(2), late),
            move |world| {
                world.publish(again);
                world.port.expire(late, &mut Budget::ALL.clone());
                while world.port.sweep(2, Moment::from_millis(0)) {}
            },
        );
        assert!(matches!(sent, Ok(_) | Err(DropReason::NatExhausted)), "{sent:?}");
        assert_eq!(world.port.flows().count(), u32::from(sent.is_ok()));
        assert_eq!(world.counter("flows_cut"), 0);
        world.settle();
    });
}

/// An established connection, and a packet as the peer sees it.
fn established(world: &World) -> Packet {
    let syn = world.send(Out, &tcp(TcpFlags::SYN, [10, 0]), NOW).unwrap();
    let answer = Packet { payload: Vec::new(), ..syn.reply() };
    let Body::Tcp { ports, flags, .. } = answer.body else { panic!("TCP") };
    let body = Body::Tcp { ports, flags, numbers: [20, 11] };
    world.send(In, &Packet { body, ..answer.clone() }, NOW).unwrap();
    world.send(Out, &tcp(TcpFlags::ACK, [11, 21]), NOW).unwrap();
    assert_eq!(state(world), Some(TcpState::Established));
    answer
}

fn state(world: &World) -> Option<TcpState> {
    world.port.flows().flows().first()?.tcp_state()
}

#[test]
fn both_ends_close_at_once() {
    let setting = Setting::new();
    in_many_orders(move || {
        let world = World::new(&setting, 4);
        let fin = TcpFlags::FIN | TcpFlags::ACK;
        let peer = established(&world);
        let Body::Tcp { ports, .. } = peer.body else { panic!("TCP") };
        let from_peer = move |flags, numbers| Packet {
            body: Body::Tcp { ports, flags, numbers },
            ..peer.clone()
        };
        let theirs = from_peer(fin, [21, 11]);
        let (a, b) = race(
            &world,
            move |world| world.send(Out, &tcp(fin, [11, 21]), NOW),
            |world| world.send(In, &theirs, NOW),
        );
        assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
        assert_eq!(state(&world), Some(TcpState::Closing));
        // The acknowledgments are no plain packets any more, in either direction.
        world.send(Out, &tcp(TcpFlags::ACK, [12, 22]), NOW).unwrap();
        world.send(In, &from_peer(TcpFlags::ACK, [22, 12]), NOW).unwrap();
        assert_eq!(state(&world), Some(TcpState::TimeWait));
        world.settle();
    });
}

#[test]
fn a_connection_is_replaced_once() {
    let setting = Setting::new();
    in_many_orders(move || {
        let world = World::new(&setting, 4);
        established(&world);
        world.send(Out, &tcp(TcpFlags::RST, [11, 0]), NOW).unwrap();
        assert_eq!(state(&world), Some(TcpState::Closed));
        let send = |world: &World| world.send(Out, &tcp(TcpFlags::SYN, [77, 0]), NOW);
        let (a, b) = race(&world, send, send);
        assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
        assert_eq!((world.counter("flows_opened"), world.counter("flows_replaced")), (2, 1));
        assert_eq!(state(&world), Some(TcpState::SynSent));
        world.settle();
    });
}
