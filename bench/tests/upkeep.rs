// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! As many connections are alive as the benchmarks say.

use bench::flows::{Flows, Traffic};
use bench::measure::BATCH;
use bench::opener::Opener;
use bench::packet::{Family, Transport};
use bench::world::{BenchHost, World, external_ips, port_name, unrelated_rules};
use oxide_vpc_api::GatewayMap;
use oxide_vpc_api::request::SetExternalIps;
use std::sync::Arc;
use xde::Device;

/// Connections that are alive, by the ports' own account: opened, and not ended in any way.
fn alive(world: &World) -> u64 {
    let count = |device: &Arc<Device<BenchHost>>| {
        let list = device.port.counters().list();
        let flows = list.iter().filter_map(|(name, n)| Some((name.strip_prefix("flows_")?, n)));
        let (opened, ended): (Vec<_>, Vec<_>) = flows.partition(|(name, _)| *name == "opened");
        let sum = |of: Vec<(&str, &u64)>| of.into_iter().map(|(_, n)| n).sum::<u64>();
        sum(opened) - sum(ended)
    };
    world.devices.iter().map(count).sum()
}

#[test]
fn the_opener_keeps_its_number() {
    for (transport, family) in [(Transport::Udp, Family::V4), (Transport::Tcp, Family::V6)] {
        for count in [0, 4_000] {
            let world = World::new(1 << 16);
            let mut opener = Opener::new(&world, Traffic::outside(family, transport), count);
            for _ in 0..60 {
                opener.fill();
                opener.open();
                opener.end();
                let (least, most) = (count - count / 8, count + count / 8);
                let alive = alive(&world) as usize;
                assert!((least..=most).contains(&alive), "{alive} instead of {count}");
            }
        }
    }
}

#[test]
fn a_full_table_stays_full() {
    let limit = 4 * BATCH as u32;
    let world = World::new(limit);
    let traffic = Traffic::outside(Family::V4, Transport::Udp);
    Flows::open(&world, traffic, 6 * BATCH);
    assert_eq!(alive(&world), u64::from(limit));
}

#[test]
fn a_million_connections_have_ports_to_lease() {
    let ranges = external_ips(Family::V4).snat;
    let ports: u64 = ranges.iter().map(|r| u64::from(r.last_port - r.first_port) + 1).sum();
    assert!(ports >= 2_000_000, "half of them stay free");
}

#[test]
fn changes_keep_all_connections() {
    let world = World::new(1 << 10);
    let flows = Flows::open(&world, Traffic::outside(Family::V4, Transport::Tcp), BATCH);
    world.request(&unrelated_rules(1_000, 1));
    let [ipv4, ipv6] = [Family::V4, Family::V6].map(|family| Some(external_ips(family)));
    let gateways = GatewayMap::new();
    world.request(&SetExternalIps { port: port_name(0), ipv4, ipv6, gateways });
    assert_eq!(alive(&world), flows.count() as u64);
}

#[test]
fn guests_of_one_host_do_not_meet() {
    let world = World::with_guests(1 << 10, 5);
    let traffic = Traffic::outside(Family::V4, Transport::Udp);
    for guest in 0..5 {
        Flows::open(&world, Traffic { guest, ..traffic }, 10);
    }
    assert_eq!(alive(&world), 50);
}
