// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Connections that outlive configuration: what becomes of them, case by case, with the reason of
//! each cut. The language is explained at [`opte_tests::scenario`].

use opte_tests::scenario::check;

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
