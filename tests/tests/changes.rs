// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Changes of many things at once: what a plan foresees is what comes, and all of it comes at once.

use opte::frame::FlatFrame;
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet};
use opte_tests::setting::{Guest, add_boundary, add_guest, everywhere, outside, route};
use oxide_vpc_api::change::{ChangeReport, DrainAddresses, Fate, Step};
use oxide_vpc_api::request::{
    AddRoute, Apply, Drain, DumpUft, ListPorts, Plan, SetExternalIps, SetFwRules, SetPortSettings,
};
use oxide_vpc_api::{ExternalIps, GatewayMap, PortSettings, RouterTarget, SnatRange};
use std::collections::BTreeMap;
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUESTS: [Guest; 2] = [Guest(5), Guest(6)];

fn host() -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions { flow_limit: 1000, ..DriverOptions::new(5) });
    add_boundary(&mut host);
    GUESTS.iter().for_each(|guest| add_guest(&mut host, *guest, 0));
    let rules = vec!["dir=in action=allow priority=1".parse().unwrap()];
    host.request(&SetFwRules { port: GUESTS[1].port(), rules }).unwrap();
    host
}

fn send(host: &mut Hypervisor, guest: usize, to: std::net::IpAddr, port: u16) -> Vec<Left> {
    let body = Body::Udp { ports: [port, 80], checksum: true };
    let packet = Packet::new(GUESTS[guest].macs(), [GUESTS[guest].ip(true), to], body);
    host.from_guest(PortId(guest as u32), FlatFrame::new(packet.bytes()))
}

fn external(guest: usize, ipv4: ExternalIps) -> Step {
    let (port, ipv6) = (GUESTS[guest].port(), Some(GUESTS[guest].external(false)));
    SetExternalIps { port, ipv4: Some(ipv4), ipv6, gateways: GatewayMap::new() }.into()
}

/// Connections by what becomes of them.
fn counts(report: &ChangeReport) -> BTreeMap<(String, Fate, String), u64> {
    let ports = report.ports.iter().flat_map(|port| port.flows.iter().map(move |f| (port, f)));
    ports.map(|(port, f)| ((port.port.to_string(), f.fate, f.reason.clone()), f.count)).collect()
}

/// A change that keeps, changes, drains and cuts.
fn mixed() -> Vec<Step> {
    let deny = "dir=out action=deny priority=1 protocol=udp port=81".parse().unwrap();
    let mut settings = PortSettings::default();
    settings.idle.udp = 180;
    let pool = GUESTS[0].snat(true);
    let moved = SnatRange { first_port: 60_000, last_port: 60_100, ..pool };
    vec![
        SetFwRules { port: GUESTS[1].port(), rules: vec![deny] }.into(),
        SetPortSettings { port: GUESTS[1].port(), settings }.into(),
        external(0, ExternalIps { snat: vec![moved], ..ExternalIps::default() }),
    ]
}

#[test]
fn a_plan_foresees_what_comes() {
    let mut host = host();
    for port in 1..=30 {
        send(&mut host, 0, outside(true), port);
        send(&mut host, 1, outside(true), port);
    }
    let flows: Vec<_> =
        GUESTS.map(|guest| host.request(&DumpUft::of(guest.port())).unwrap().flows.len()).into();
    assert_eq!(flows, [30, 30]);
    let plan = host.request(&Plan { change: mixed(), listed: 20 }).unwrap();
    let apply = Apply { change: mixed(), expected: Some(plan.generation), listed: 20 };
    assert_eq!(host.request(&apply).unwrap(), plan);
    let key = |guest: usize, fate, reason: &str| {
        (GUESTS[guest].port().to_string(), fate, reason.to_owned())
    };
    let expected = BTreeMap::from([
        (key(0, Fate::Cut, "pool_shrunk"), 30),
        (key(1, Fate::Changed, "new idle limit"), 30),
    ]);
    assert_eq!(counts(&plan), expected);
    let lists: Vec<_> = plan.ports.iter().flat_map(|port| &port.flows).collect();
    assert!(lists.iter().all(|fate| fate.first.len() == 20), "the first of each class are listed");
    // And so it comes.
    host.expire();
    let left = host.request(&DumpUft::of(GUESTS[0].port())).unwrap().flows.len();
    let kept = host.request(&DumpUft::of(GUESTS[1].port())).unwrap().flows;
    assert_eq!((left, kept.len()), (0, 30));
    assert!(kept.iter().all(|flow| flow.judged == plan.next));
}

#[test]
fn all_of_it_has_one_generation_and_the_same_again_has_none() {
    let mut host = host();
    let apply = Apply { change: mixed(), expected: None, listed: 20 };
    let first = host.request(&apply).unwrap();
    assert_eq!(first.next, first.generation + 1);
    let generations = |host: &mut Hypervisor| -> Vec<u64> {
        host.request(&ListPorts {}).unwrap().iter().map(|port| port.generation).collect()
    };
    assert_eq!(generations(&mut host), [first.next; 2]);
    let again = host.request(&apply).unwrap();
    assert_eq!((again.generation, again.next, again.ports.len()), (first.next, first.next, 0));
    assert_eq!(generations(&mut host), [first.next; 2]);
}

#[test]
fn a_drain_is_planned_counted_and_ends() {
    let mut host = host();
    let own = ExternalIps { floating: vec![GUESTS[0].floating(true)], ..ExternalIps::default() };
    let change = vec![external(0, own)];
    host.request(&Apply { change, expected: None, listed: 20 }).unwrap();
    send(&mut host, 0, outside(true), 1);
    let addresses = vec![GUESTS[0].floating(true)];
    let step = DrainAddresses { port: GUESTS[0].port(), addresses, seconds: 60 };
    let planned = Plan { change: vec![step.clone().into()], listed: 20 };
    let planned = host.request(&planned).unwrap();
    let drained = host.request(&Drain { step, listed: 20 }).unwrap();
    assert_eq!(drained, planned);
    let fates: Vec<_> =
        drained.ports[0].flows.iter().map(|f| (f.fate, f.reason.as_str())).collect();
    assert_eq!(fates, [(Fate::Drained, "for 60 s")]);
    assert_eq!(send(&mut host, 0, outside(true), 1).len(), 1, "it goes on");
    assert_eq!(send(&mut host, 0, outside(true), 2), [], "no other opens");
    host.advance(60_000);
    host.expire();
    let left = send(&mut host, 0, outside(true), 1);
    assert!(matches!(left.as_slice(), [Left::Reply(..)]), "its time is over, and it is told so");
}

#[test]
fn a_flow_that_takes_another_way_is_kept_with_it() {
    let mut host = host();
    send(&mut host, 0, GUESTS[1].ip(true), 1);
    let to_guest = RouterTarget::Ip(GUESTS[1].ip(true));
    let change: Vec<Step> =
        vec![AddRoute { port: GUESTS[0].port(), route: route(everywhere(true), to_guest) }.into()];
    let plan = host.request(&Plan { change: change.clone(), listed: 20 }).unwrap();
    let kept = BTreeMap::from([((GUESTS[0].port().to_string(), Fate::Kept, "as it is".into()), 1)]);
    assert_eq!(counts(&plan), kept, "the longer prefix decides");
    let rules = vec!["dir=in action=allow priority=2".parse().unwrap()];
    let change = vec![SetFwRules { port: GUESTS[1].port(), rules }.into()];
    let plan = host.request(&Plan { change, listed: 20 }).unwrap();
    let name = GUESTS[1].port().to_string();
    assert_eq!(counts(&plan), BTreeMap::from([((name, Fate::Changed, "new rule".into()), 1)]));
}
