// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Connections that outlive configuration: what becomes of them, case by case, with the reason of
//! each cut. The language is explained at [`opte_tests::scenario`].
//!
//! The cases, and where each is played; those of port forwards are in `forwards_change.rs`:
//!
//! | case | scenario |
//! |---|---|
//! | the same again; another generation of something else | `what_is_said_again_publishes_nothing`, `a_change_of_one_port_makes_no_other_judge` |
//! | any other field of what a port is told | `unrelated_changes_keep_every_flow` |
//! | idle limits | `shorter_idle_limits_reach_flows_that_the_sweep_finds`, `longer_idle_limits_reach_live_connections` |
//! | a pool grows, or shrinks | `a_pool_that_grows_moves_nobody`, `a_pool_that_shrinks_cuts_what_it_no_longer_holds` |
//! | another port gets a part of the same pool | `a_pool_that_others_get_a_part_of_moves_nobody` |
//! | the way out goes, the last address goes | `an_address_that_goes_away_ends_its_connections`, `the_sweep_ends_what_sends_nothing` |
//! | a source is none any more | `a_source_that_may_not_be_one_any_more_ends` |
//! | another pool instead | `a_pool_that_moves_ends_what_has_the_old_addresses` |
//! | another pool that has the same tuples | `a_pool_that_is_told_in_another_way_keeps_what_it_holds` |
//! | two networks with the same addresses inside | `networks_with_the_same_addresses_change_apart` |
//! | a port forward on a tuple on loan, or not | `a_port_forward_takes_tuples_and_cuts_who_has_them`, `a_port_forward_on_a_tuple_of_another_port_is_refused_and_changes_nothing` |
//! | a port forward goes, or changes | `a_port_forward_that_is_removed_ends_its_connections`, `a_port_forward_that_changes_keeps_what_it_still_maps_alike`, `a_port_forward_that_leads_elsewhere_cuts` |
//! | shared address to own address and back | `masquerade_turned_static_and_back`, `an_address_of_its_own_beside_the_pool_is_for_new_connections` |
//! | one to one, with another prefix | `a_prefix_that_stands_for_another_one_cuts` |
//! | translated or not, by destination | `destinations_that_see_the_guest_itself_from_now_on_see_new_connections` |
//! | how ports are chosen, limits | `another_way_to_choose_ports_is_for_new_connections`, `lower_limits_are_for_new_connections` |
//! | the destination is elsewhere, or gone | `a_route_that_leads_elsewhere_cuts`, `a_guest_that_is_gone_ends_connections_to_it`, `another_gateway_ends_connections_of_the_first` |
//! | drained, kept | `drained_addresses_serve_the_connections_they_have_until_the_deadline`, `kept_addresses_serve_as_long_as_their_connections_live`, `what_rules_or_routes_forbid_is_cut_though_its_address_drains` |
//! | a change that fails | `a_change_that_is_refused_changes_nothing`; `faults.rs` |
//! | TCP behind a cut | `a_tcp_connection_that_is_cut_does_not_hang`; `telling.rs` |
//! | while the change is made | `interleavings`, `memory.rs` |

use opte::frame::FlatFrame;
use opte_api::{IpCidr, MacAddr};
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet, Tunnel};
use opte_tests::scenario::check;
use opte_tests::setting::{Guest, add_boundary, everywhere, outside, route, vni};
use oxide_vpc_api::request::{AddRoute, CreatePort, SetPortSettings};
use oxide_vpc_api::{ExternalIps, NatRange, PortConfig, PortName, PortSettings, RouterTarget};
use xde::driver::DriverOptions;
use xde::host::PortId;

#[test]
fn what_is_said_again_publishes_nothing() {
    check(
        "external g5 = snat floating@1
         rules g5 = dir=in action=allow priority=1 protocol=tcp port=22; dir=out action=deny priority=9 port=25
         set g5 = idle.udp=180
         g5 -> out udp 1000:80 => out from g5.snat:$p
         generation g5 = $g
         external g5 = floating@1 snat
         rules g5 = dir=out action=deny priority=9 port=25; dir=in action=allow priority=1 protocol=tcp port=22
         set g5 = idle.udp=180
         generation g5 = $g
         route g5 + all ig
         route g5 - all ig
         route g5 + all ig
         generation g5 = $h
         # Routes came and went in between; all else said nothing new.
         route g5 + all ig
         generation g5 = $h
         external g5 = snat floating@1
         generation g5 = $h
         out -> g5.snat udp 80:$p => g5 to g5:1000
         count g5 flows_opened = 1
         count g5 flows_cut = 0",
    );
}

#[test]
fn a_change_of_one_port_makes_no_other_judge() {
    check(
        "g6 -> out udp 1:80 => out
         generation g6 = $g
         rules g5 = dir=in action=allow priority=1
         external g5 = floating
         generation g6 = $g
         g6 -> out udp 1:80 => out
         count g6 out_hits = 1",
    );
}

#[test]
fn unrelated_changes_keep_every_flow() {
    check(
        "g5 -> out udp 1000:80 => out from g5.snat:$p
         g5 -> out tcp:S 1000:443 => out from g5.snat:$t
         rules g5 = dir=in action=allow priority=7 protocol=udp port=53
         set g5 = flows.limit=1000
         route g5 + out ig
         external g5 = snat floating@3
         out -> g5.snat udp 80:$p => g5 to g5:1000
         out -> g5.snat tcp:SA 443:$t => g5 to g5:1000
         g5 -> out udp 1000:80 => out from g5.snat:$p
         wait 1s
         count g5 flows_opened = 2
         count g5 flows_cut = 0",
    );
}

#[test]
fn a_pool_that_grows_moves_nobody() {
    check(
        "external g5 = snat/1
         g5 -> out udp 1:80 => out from g5.snat:6144
         g5 -> out udp 2:80 => refuse nat_exhausted reply
         external g5 = snat/2
         g5 -> out udp 1:80 => out from g5.snat:6144
         g5 -> out udp 2:80 => out from g5.snat:6145
         count g5 flows_cut = 0",
    );
}

#[test]
fn a_pool_that_shrinks_cuts_what_it_no_longer_holds() {
    check(
        "external g5 = snat/1
         g5 -> out udp 1:80 => out from g5.snat:6144
         external g5 = snat/2
         g5 -> out udp 2:80 => out from g5.snat:6145
         external g5 = snat/1
         # The sweep has not been there yet, but no packet passes.
         out -> g5.snat udp 80:6145 => refuse firewall_default out is 3.13
         out -> g5.snat udp 80:6144 => g5 to g5:1
         count g5 cut_pool_shrunk = 1
         count g5 flows_cut = 1",
    );
}

/// Two ports may draw from one range; nobody has to move for the other.
#[test]
fn a_pool_that_others_get_a_part_of_moves_nobody() {
    check(
        r#"external g5 =
         external g6 =
         set g5 = nat.sequential=true nat.ranges=[{"prefix":"192.0.2.1/32","first_port":6144,"last_port":6145}]
         set g6 = nat.sequential=true
         g5 -> out udp 1:80 => out from g5.snat:6144
         # All of it, and more.
         set g6 = nat.ranges=[{"prefix":"192.0.2.1/32","first_port":6144,"last_port":6146}]
         out -> g5.snat udp 80:6144 => g5 to g5:1
         g6 -> out udp 1:80 => out from g5.snat:6145
         # What is left is for who comes first.
         g5 -> out udp 2:80 => refuse nat_exhausted reply
         g5 -> out udp 1:81 => out from g5.snat:6144
         g6 -> out udp 2:80 => out from g5.snat:6146
         # The first gives its part away: what it has goes, and is the other's when it has waited.
         set g5 = nat.ranges=[]
         wait 1s
         count g5 cut_address_gone = 2
         count g6 flows_cut = 0
         wait 121s
         g6 -> out udp 3:80 => out from g5.snat:6144"#,
    );
}

#[test]
fn a_pool_that_is_told_in_another_way_keeps_what_it_holds() {
    check(
        r#"external g5 =
         set g5 = nat.ranges=[{"prefix":"192.0.2.1/32","first_port":6100,"last_port":6200}]
         g5 -> out udp 1:80 => out from g5.snat:$p
         g5 -> out tcp:S 1:80 => out from g5.snat:$t
         g5 -> out ping 7 => out from g5.snat:$e
         # In two parts.
         set g5 = nat.ranges=[{"prefix":"192.0.2.1/32","first_port":6000,"last_port":6149},{"prefix":"192.0.2.1/32","first_port":6150,"last_port":6300}]
         g5 -> out udp 1:80 => out from g5.snat:$p
         out -> g5.snat tcp:SA 80:$t => g5 to g5:1
         wait 1s
         # Among those of other addresses.
         set g5 = nat.ranges=[{"prefix":"192.0.2.0/30","first_port":1024,"last_port":9999}]
         out -> g5.snat udp 80:$p => g5 to g5:1
         out -> g5.snat pong $e => g5 to g5:7
         wait 1s
         leases g5 = 3
         count g5 flows_cut = 0"#,
    );
}

#[test]
fn the_sweep_ends_what_sends_nothing() {
    check(
        "g5 -> out udp 1:80 => out
         g5 -> out udp 2:80 => out
         rules g5 = dir=out action=deny priority=1
         flows g5 = 2
         wait 1s
         flows g5 = 0
         count g5 cut_rule_denies = 2",
    );
}

#[test]
fn an_address_that_goes_away_ends_its_connections() {
    check(
        "external g5 = floating
         rules g5 = dir=in action=allow priority=1
         g5 -> out udp 1:80 => out from g5.floating:1
         out -> g5.floating udp 9:9 => g5 to g5:9
         external g5 = snat
         wait 1s
         count g5 cut_address_gone = 2
         g5 -> out udp 1:80 => out from g5.snat:$p
         external g5 =
         g5 -> out udp 1:80 => refuse no_external_address reply is 3.13
         count g5 cut_address_gone = 3",
    );
}

#[test]
fn another_gateway_ends_connections_of_the_first() {
    check(
        "external g5 = floating@1 snat
         route g5 + out ig@1
         g5 -> out udp 1:80 => out from g5.floating:1
         # The address serves another gateway now.
         external g5 = floating@2 snat
         g5 -> out udp 1:80 => refuse no_external_address reply is 3.13
         count g5 cut_gateway_changed = 1
         external g5 = floating@1 snat
         g5 -> out udp 1:80 => out from g5.floating:1
         # The route names another one.
         route g5 - out ig@1
         g5 -> out udp 1:80 => out from g5.snat:$p
         count g5 cut_gateway_changed = 2",
    );
}

#[test]
fn a_route_that_leads_elsewhere_cuts() {
    check(
        "g5 -> out udp 1:80 => out
         route g5 + out drop
         g5 -> out udp 1:80 => refuse route_drop reply is 3.13
         count g5 cut_route_changed = 1
         g5 -> g7 udp 1:80 => drop firewall_default
         rules g7 = dir=in action=allow priority=1
         g5 -> g7 udp 1:80 => g7
         delete g6
         g5 -> g7 udp 1:80 => g7
         count g5 flows_cut = 1",
    );
}

#[test]
fn a_guest_that_is_gone_ends_connections_to_it() {
    check(
        "rules g6 = dir=in action=allow priority=1
         g5 -> g6 udp 1:80 => g6
         delete g6
         g5 -> g6 udp 1:80 => refuse no_mapping reply is 3.13
         count g5 cut_peer_gone = 1",
    );
}

#[test]
fn masquerade_turned_static_and_back() {
    check(
        "delete g6
         external g5 = snat
         g5 -> out udp 1:80 => out from g5.snat:$p
         external g5 = shared
         g5 -> out udp 1:80 => out from g5.snat:1
         count g5 cut_translated_otherwise = 1
         external g5 = snat
         g5 -> out udp 1:80 => out from g5.snat:$q
         count g5 cut_translated_otherwise = 2",
    );
}

#[test]
fn drained_addresses_serve_the_connections_they_have_until_the_deadline() {
    check(
        "set g5 = continuity.address_gone={\"drain\":100} idle.udp=300
         external g5 = floating
         rules g5 = dir=in action=allow priority=1
         g5 -> out udp 1:80 => out from g5.floating:1
         out -> g5.floating udp 9:9 => g5 to g5:9
         external g5 = snat
         # No new ones,
         g5 -> out udp 2:80 => out from g5.snat:$p
         out -> g5.floating udp 10:10 => drop not_for_guest
         # but those that it had, in both directions.
         g5 -> out udp 1:80 => out from g5.floating:1
         out -> g5.floating udp 80:1 => g5 to g5:1
         out -> g5.floating udp 9:9 => g5 to g5:9
         g5 -> out udp 9:9 => out from g5.floating:9
         wait 99s
         g5 -> out udp 1:80 => out from g5.floating:1
         count g5 flows_cut = 0
         wait 2s
         count g5 cut_drain_over = 2
         g5 -> out udp 1:80 => out from g5.snat:$q",
    );
}

#[test]
fn what_rules_or_routes_forbid_is_cut_though_its_address_drains() {
    check(
        "set g5 = continuity.address_gone=keep
         external g5 = floating
         g5 -> out udp 1:80 => out from g5.floating:1
         g5 -> out udp 2:80 => out from g5.floating:2
         external g5 = snat
         rules g5 = dir=out action=deny priority=1 protocol=udp port=80
         wait 1s
         count g5 cut_rule_denies = 2
         flows g5 = 0",
    );
}

#[test]
fn kept_addresses_serve_as_long_as_their_connections_live() {
    check(
        "set g5 = continuity.address_gone=keep
         external g5 = snat/2
         g5 -> out udp 1:80 => out from g5.snat:$p
         external g5 = floating
         wait 200s
         out -> g5.snat udp 80:$p => g5 to g5:1
         wait 200s
         g5 -> out udp 1:80 => out from g5.snat:$p
         g5 -> out udp 2:80 => out from g5.floating:2
         # The address comes back: nothing is retired any more.
         external g5 = snat/2
         g5 -> out udp 1:80 => out from g5.snat:$p
         count g5 cut_address_gone = 0
         wait 301s
         flows g5 = 0",
    );
}

#[test]
fn shorter_idle_limits_reach_flows_that_the_sweep_finds() {
    check(
        "g5 -> out udp 1:80 => out
         wait 150s
         set g5 = idle.udp=120
         wait 1s
         flows g5 = 0
         count g5 flows_expired = 1",
    );
}

#[test]
fn another_way_to_choose_ports_is_for_new_connections() {
    check(
        "set g5 = nat.sequential=true
         g5 -> out udp 1:80 => out from g5.snat:6144
         set g5 = nat.sequential=false
         out -> g5.snat udp 80:6144 => g5 to g5:1
         g5 -> out udp 2:80 => out from g5.snat:$p
         set g5 = nat.sequential=true
         g5 -> out udp 2:80 => out from g5.snat:$p
         g5 -> out udp 3:80 => out from g5.snat:6145
         wait 1s
         flows g5 = 3
         count g5 flows_cut = 0",
    );
}

#[test]
fn lower_limits_are_for_new_connections() {
    check(
        "g5 -> out udp 1:80 => out from g5.snat:$p
         g5 -> out udp 2:80 => out from g5.snat:$q
         set g5 = nat.limits.port=1 nat.quarantine.seconds=9 nat.parity=true
         wait 1s
         out -> g5.snat udp 80:$p => g5 to g5:1
         g5 -> out udp 2:80 => out from g5.snat:$q
         count g5 flows_cut = 0",
    );
}

#[test]
fn a_pool_that_moves_ends_what_has_the_old_addresses() {
    check(
        r#"g5 -> out udp 1:80 => out from g5.snat:$p
         g5 -> out udp 2:80 => out from g5.snat:$q
         set g5 = nat.ranges=[{"prefix":"192.0.2.99/32","first_port":1024,"last_port":2047}]
         g5 -> out udp 1:80 => out from g5.snat:$p
         count g5 flows_cut = 0
         external g5 =
         g5 -> out udp 1:80 => out from g5.192.0.2.99:$r
         wait 1s
         count g5 cut_pool_moved = 2
         count g5 flows_cut = 2"#,
    );
}

#[test]
fn an_address_of_its_own_beside_the_pool_is_for_new_connections() {
    check(
        "g5 -> out udp 1:80 => out from g5.snat:$p
         external g5 = snat floating
         g5 -> out udp 1:80 => out from g5.snat:$p
         g5 -> out udp 2:80 => out from g5.floating:2
         count g5 flows_cut = 0
         # Without the pool.
         external g5 = floating
         g5 -> out udp 1:80 => out from g5.floating:1
         g5 -> out udp 2:80 => out from g5.floating:2
         count g5 cut_address_gone = 1
         count g5 flows_cut = 1
         external g5 = snat
         g5 -> out udp 2:80 => out from g5.snat:$q
         wait 1s
         count g5 cut_address_gone = 3",
    );
}

#[test]
fn a_prefix_that_stands_for_another_one_cuts() {
    check(
        r#"external g5 =
         set g5 = nat.one_to_one=[{"inside":"10.0.0.0/28","external":"203.0.113.64/28"}]
         g5 -> out udp 1:80 => out from g5.203.0.113.69:1
         g5 -> out udp 2:80 => out from g5.203.0.113.69:2
         set g5 = nat.one_to_one=[{"inside":"10.0.0.0/28","external":"203.0.113.80/28"}]
         g5 -> out udp 1:80 => out from g5.203.0.113.85:1
         wait 1s
         count g5 cut_address_gone = 2
         flows g5 = 1"#,
    );
}

#[test]
fn destinations_that_see_the_guest_itself_from_now_on_see_new_connections() {
    check(
        r#"g5 -> out udp 1:80 => out from g5.snat:$p
         g5 -> out2 udp 2:53 => out from g5.snat:$q
         set g5 = nat.untranslated=[{"prefix":"198.51.100.8/32"}]
         g5 -> out udp 1:80 => out from g5.snat:$p
         g5 -> out2 udp 2:53 => out from g5:2
         count g5 cut_translated_otherwise = 1
         count g5 flows_cut = 1"#,
    );
}

#[test]
fn a_source_that_may_not_be_one_any_more_ends() {
    check(
        "rules g6 = dir=in action=allow priority=1
         allow g5 out = transit
         g5.transit -> g6 udp 1:80 => g6
         g5 -> g6 udp 1:80 => g6
         remove g5 out = transit
         wait 1s
         g5 -> g6 udp 1:80 => g6
         count g5 cut_port_changed = 1
         count g5 flows_cut = 1",
    );
}

#[test]
fn longer_idle_limits_reach_live_connections() {
    check(
        "g5 -> out udp 1:80 => out from g5.snat:$p
         wait 250s
         set g5 = idle.udp=600
         wait 300s
         out -> g5.snat udp 80:$p => g5 to g5:1
         wait 599s
         flows g5 = 1
         wait 2s
         flows g5 = 0",
    );
}

/// Its ends are told, so nobody waits for an answer that cannot come.
#[test]
fn a_tcp_connection_that_is_cut_does_not_hang() {
    check(
        "g5 -> out tcp:S 1:80 => out from g5.snat:$p
         out -> g5.snat tcp:SA 80:$p => g5 to g5:1
         g5 -> out tcp:A 1:80 => out from g5.snat:$p
         external g5 = floating
         g5 -> out tcp:A 1:80 => refuse connection_cut reply is rst
         # The segment behind it belongs to nothing, and says so at the other end.
         g5 -> out tcp:A 1:80 => out from g5.floating:1
         count g5 cut_address_gone = 1",
    );
}

#[test]
fn a_change_that_is_refused_changes_nothing() {
    check(
        r#"g5 -> out udp 1:80 => out from g5.snat:$p
         generation g5 = $g
         refused overlap set g5 = idle.udp=200 nat.forwards=[{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6200,"last":6209},"first_port":8080},{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6200,"last":6209},"first_port":9080}]
         refused range set g5 = nat.ranges=[{"prefix":"192.0.2.99/32","first_port":0,"last_port":9}]
         generation g5 = $g
         wait 299s
         out -> g5.snat udp 80:$p => g5 to g5:1
         count g5 flows_cut = 0"#,
    );
}

/// A guest of another network that has the same addresses inside, and the same pool outside.
#[test]
fn networks_with_the_same_addresses_change_apart() {
    let guest = Guest(5);
    let names: [PortName; 2] = ["one", "two"].map(|name| name.parse().unwrap());
    let mut host = Hypervisor::new(DriverOptions::new(3));
    add_boundary(&mut host);
    let ranges = |ports: [u16; 2]| {
        let [first_port, last_port] = ports;
        let mut settings = PortSettings::default();
        let prefix = IpCidr::host(guest.snat(true).ip);
        settings.nat.ranges = vec![NatRange { prefix, first_port, last_port }];
        settings
    };
    for (number, name) in (1..).zip(&names) {
        let mut config = PortConfig { vni: vni(number), ..guest.config(0) };
        config.mac = MacAddr([0xa8, 0x40, 0x25, 0xf0, number as u8, 5]);
        for family in [&mut config.ipv4, &mut config.ipv6].into_iter().flatten() {
            family.external = ExternalIps::default();
        }
        config.settings = ranges([6144, 6145]);
        host.request(&CreatePort { name: name.clone(), config }).unwrap();
        let route = route(everywhere(true), RouterTarget::InternetGateway(None));
        host.request(&AddRoute { port: name.clone(), route }).unwrap();
    }
    // The same endpoint of both networks, towards the same destination.
    let external = |host: &mut Hypervisor, number: usize| {
        let mac = MacAddr([0xa8, 0x40, 0x25, 0xf0, 1 + number as u8, 5]);
        let body = Body::Udp { ports: [1000, 80], checksum: true };
        let ips = [guest.ip(true), outside(true)];
        let packet = Packet::new([mac, guest.macs()[1]], ips, body);
        let left = host.from_guest(PortId(number as u32), FlatFrame::new(packet.bytes()));
        let [Left::Underlay(bytes)] = left.as_slice() else { panic!("{left:?}") };
        let (_, inner) = Tunnel::open(bytes).unwrap();
        Packet::read(&inner).unwrap().ports()[0]
    };
    let first = [external(&mut host, 0), external(&mut host, 1)];
    assert_ne!(first[0], first[1]);
    // What one of them has moves; the other goes on.
    let settings = ranges([7000, 7000]);
    host.request(&SetPortSettings { port: names[0].clone(), settings }).unwrap();
    host.expire();
    assert_eq!([external(&mut host, 0), external(&mut host, 1)], [7000, first[1]]);
}
