// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Many changes as one, in a random history: what was planned is what is reported and what comes,
//! and what was cut would not open again as it was (RC-3, RC-4, RC-5, RC-9).

use super::changes::{Change, GUESTS, REMOTE};
use crate::hypervisor::{Hypervisor, Left};
use crate::packets::{Body, Packet, Tunnel};
use crate::setting::{add_boundary, add_guest, add_peer};
use crate::view::everything;
use opte::frame::FlatFrame;
use opte::tcp::TcpFlags;
use opte_api::{Direction, OpteError, Protocol};
use oxide_vpc_api::change::{AffectedFlow, ChangeReport, Fate};
use oxide_vpc_api::request::{Apply, DumpCounters, DumpNatPools, Plan};
use oxide_vpc_api::{PortName, Step};
use std::collections::BTreeMap;
use std::net::IpAddr;
use xde::driver::DriverOptions;
use xde::host::PortId;

/// As many as there may be in such a history.
const LISTED: u32 = 10_000;

/// Plans and applies a change, and lets the sweep go behind it. The error says what was promised
/// and did not come.
pub(super) fn apply(
    host: &mut Hypervisor,
    change: &[Step],
) -> Result<Result<ChangeReport, OpteError>, String> {
    host.expire();
    host.events();
    let before = everything(host);
    let plan = host.request(&Plan { change: change.to_vec(), listed: LISTED });
    same("a plan", &before, &everything(host))?;
    let counted = counters(host);
    let apply = Apply { change: change.to_vec(), expected: None, listed: LISTED };
    let report = host.request(&apply);
    if plan != report {
        return Err(format!("planned {plan:#?}\nreported {report:#?}"));
    }
    let Ok(report) = report else {
        same("a failed change", &before, &everything(host))?;
        let silent = host.events().is_empty();
        return if silent { Ok(report) } else { Err("a failed change is told of".into()) };
    };
    host.expire();
    for guest in GUESTS {
        let name = guest.port();
        let port = report.ports.iter().find(|port| port.port == name);
        let fates = port.map_or(&[][..], |port| &port.flows);
        let planned: BTreeMap<String, u64> = fates
            .iter()
            .filter(|fate| fate.fate == Fate::Cut)
            .map(|fate| (format!("cut_{}", fate.reason), fate.count))
            .collect();
        let came: BTreeMap<String, u64> = counters(host)
            .iter()
            .filter(|((port, counter), _)| *port == name && counter.starts_with("cut_"))
            .map(|((port, counter), now)| {
                (counter.clone(), now - counted.get(&(port.clone(), counter.clone())).unwrap_or(&0))
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        // Flows may have been evicted for a lower limit before the sweep came to them.
        let evicted = (name.clone(), "flows_evicted".to_owned());
        let exact = counters(host).get(&evicted) == counted.get(&evicted);
        let covered = |(reason, count): (&String, &u64)| planned.get(reason) >= Some(count);
        if (exact && planned != came) || !came.iter().all(covered) {
            return Err(format!("{name}: planned {planned:?}, came {came:?}"));
        }
    }
    Ok(Ok(report))
}

/// Nothing that can be seen of a host has changed.
fn same(
    what: &str,
    before: &[(String, String)],
    behind: &[(String, String)],
) -> Result<(), String> {
    let differ = before.iter().zip(behind).find(|(before, behind)| before != behind);
    let none = before.len() == behind.len();
    let why = || format!("{what} has changed {differ:?}");
    if differ.is_none() && none { Ok(()) } else { Err(why()) }
}

fn counters(host: &mut Hypervisor) -> BTreeMap<(PortName, String), u64> {
    let names = GUESTS.map(|guest| guest.port());
    let sets = names.into_iter().flat_map(|port| {
        let sets = host.request(&DumpCounters { port: Some(port.clone()) }).unwrap_or_default();
        sets.into_iter().map(move |set| (port.clone(), set))
    });
    let all = sets.flat_map(|(port, set)| {
        set.counters.into_iter().map(move |counter| ((port.clone(), counter.name), counter.value))
    });
    all.collect()
}

/// No connection was cut that a host which has never seen a packet would let open the same way:
/// `changes` are all that the host has been told.
pub(super) fn nothing_was_cut_in_vain(
    report: &ChangeReport,
    options: DriverOptions,
    changes: &[Change],
) -> Result<(), String> {
    let mut cold = Hypervisor::new(options);
    add_boundary(&mut cold);
    add_peer(&mut cold, REMOTE, 1);
    let mut ports = [PortId(0), PortId(1)];
    let mut next = 2;
    for guest in GUESTS {
        add_guest(&mut cold, guest, 0);
    }
    for change in changes {
        change
            .make(&mut cold)
            .map_err(|error| format!("the cold host refuses {change:?}: {error}"))?;
        if let Change::Again(at) = change {
            ports[*at] = PortId(next);
            next += 1;
        }
    }
    for port in &report.ports {
        let Some(at) = GUESTS.iter().position(|guest| guest.port() == port.port) else { continue };
        for fate in port.flows.iter().filter(|fate| fate.fate == Fate::Cut) {
            for flow in fate.first.iter().filter(|flow| flow.opened == Direction::Out) {
                if opens_alike(&mut cold, at, ports[at], flow) {
                    return Err(format!("{} {flow:?} was cut in vain", fate.reason));
                }
            }
        }
    }
    Ok(())
}

/// The first packet of this connection leaves the cold host with the same translation, or with
/// one that this might have been instead.
fn opens_alike(cold: &mut Hypervisor, at: usize, port: PortId, cut: &AffectedFlow) -> bool {
    let flow = cut.flow;
    let ports = [flow.src_port, flow.dst_port];
    let body = match flow.protocol {
        Protocol::TCP => Body::Tcp { ports, flags: TcpFlags::SYN, numbers: [1, 0] },
        Protocol::UDP => Body::Udp { ports, checksum: true },
        // Messages have keys of their own kind, and other protocols nothing to tell them apart.
        _ => return false,
    };
    let packet = Packet::new(GUESTS[at].macs(), [flow.src, flow.dst], body);
    let left = cold.from_guest(port, FlatFrame::new(packet.bytes()));
    let inner = match left.as_slice() {
        [Left::Guest(_, bytes)] => bytes.clone(),
        [Left::Underlay(bytes)] => Tunnel::open(bytes).expect("a tunnel").1,
        _ => return false,
    };
    let sent = Packet::read(&inner).expect("an IP packet");
    let Some(nat) = &cut.nat else { return (sent.src, sent.ports()) == (flow.src, ports) };
    let (ip, port) = address(nat);
    match port {
        None => sent.src == ip,
        Some(port) => {
            sent.src == ip && in_one_range(cold, at, flow.protocol, ip, [port, sent.ports()[0]])
        }
    }
}

/// Both ports are in one range of the pool. A port that is forwarded is lent to nobody.
fn in_one_range(
    cold: &mut Hypervisor,
    at: usize,
    protocol: Protocol,
    ip: IpAddr,
    ports: [u16; 2],
) -> bool {
    let name = GUESTS[at].port();
    let pools = cold.request(&DumpNatPools { port: Some(name.clone()) }).expect("a pool");
    let settings = oxide_vpc_api::request::ShowPortSettings { port: name };
    let nat = cold.request(&settings).expect("settings").nat;
    let is_forwarded = |port: u16| {
        nat.forwards.iter().any(|forward| {
            let range = forward.external_ports;
            (forward.protocol, forward.external_ip) == (protocol, ip)
                && (range.first..=range.last).contains(&port)
        })
    };
    let mut ranges = pools.iter().flat_map(|pool| &pool.ranges);
    let is_one = ranges.any(|range| {
        let has = |port: &u16| (range.first_port..=range.last_port).contains(port);
        range.prefix.contains(ip) && ports.iter().all(has)
    });
    is_one && !ports.into_iter().any(is_forwarded)
}

/// An external address and port, as plans show them.
fn address(nat: &str) -> (IpAddr, Option<u16>) {
    if let Ok(ip) = nat.parse() {
        return (ip, None);
    }
    let address: std::net::SocketAddr = nat.parse().expect("an address");
    (address.ip(), Some(address.port()))
}
