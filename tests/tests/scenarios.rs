// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What two hosts, three guests and somebody outside experience. The language is explained at
//! [`opte_tests::scenario`].

use opte_tests::scenario::check;

#[test]
fn guests_reach_one_another_on_one_host_and_across() {
    check(
        "rules g6 = dir=in action=allow priority=1 hosts=vni=100
         rules g7 = dir=in action=allow priority=1 hosts=vni=100
         g5 -> g6 udp 1000:53 => g6 from g5:1000
         g6 -> g5 udp 53:1000 => g5 from g6:53
         g5 -> g7 udp6 1000:53 => g7 from g5:1000
         g7 -> g5 udp6 53:1000 => g5 from g7:53
         g5 -> g7 ping 9 => g7 to g7:9
         g7 -> g5 pong 9 => g5 from g7:9
         g7 -> g6 gre => g6
         # Nobody else was let in.
         g7 -> g5 udp 53:1001 => drop firewall_default
         count g5 in_drop_firewall_default = 1
         # From outside is not from the VPC, whoever it claims to be.
         out -> g6 udp 1000:53 => drop firewall_default",
    );
}

#[test]
fn the_gateway_answers_and_nobody_else() {
    check(
        "g5 -> gw ping 9 => reply
         count g5 out_replies = 1
         flows g5 = 0
         # An address of the subnet that no guest has.
         g5 -> g77 ping 9 => drop no_mapping",
    );
}

#[test]
fn source_nat_goes_out_and_comes_back() {
    check(
        "g5 -> out udp 1000:80 => out from g5.snat:$p
         out -> g5.snat udp 80:$p => g5 to g5:1000
         g6 -> out udp 1000:80 => out from g6.snat:$q
         out -> g6.snat udp 80:$q => g6 to g6:1000
         g5 -> out tcp6:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp6:SA 80:$t => g5 to g5:1000
         g5 -> out tcp6:A 1000:80 => out from g5.snat:$t
         tcp g5 = ESTABLISHED
         g5 -> out ping 7 => out from g5.snat:$e
         out -> g5.snat pong $e => g5 to g5:7
         # Nobody asked for these.
         out -> g5.snat udp 81:$p => drop firewall_default
         out -> g5.snat udp 80:1 => drop firewall_default
         # Source NAT has no place for protocols without ports.
         g5 -> out gre => drop nat_protocol",
    );
}

#[test]
fn own_addresses_outside_are_reached_if_the_firewall_agrees() {
    check(
        "external g5 = snat floating
         g5 -> out udp 1000:80 => out from g5.floating:1000
         out -> g5.floating udp 80:1000 => g5 to g5:1000
         out -> g5.floating tcp:S 4000:22 => drop firewall_default
         rules g5 = dir=in action=allow priority=9 protocol=tcp port=22
         out -> g5.floating tcp:S 4000:22 => g5 to g5:22
         g5 -> out tcp:SA 22:4000 => out from g5.floating:22
         out -> g5.floating tcp:A 4000:22 => g5
         tcp g5 = ESTABLISHED
         # Everything has its place behind an address of one's own.
         g5 -> out gre => out from g5.floating
         external g6 = snat ephemeral
         g6 -> out udp6 1000:80 => out from g6.ephemeral:1000",
    );
}

#[test]
fn errors_follow_the_connection_they_are_about() {
    check(
        "g5 -> out udp 1000:80 => out from g5.snat:$p
         out -> g5.snat error => g5 to g5 about g5:1000
         g5 -> out udp6 1000:80 => out from g5.snat:$q
         out -> g5.snat error6 => g5 to g5 about g5:1000
         external g6 = floating
         rules g6 = dir=in action=allow priority=9
         out -> g6.floating udp 80:9 => g6 to g6:9
         g6 -> out error => out from g6.floating about out:80",
    );
}

#[test]
fn gateways_have_their_own_addresses() {
    check(
        "external g5 = floating@1 ephemeral@2 snat
         g5 -> out udp 1000:80 => out from g5.snat:$p
         route g5 + out ig@1
         g5 -> out udp 1001:80 => out from g5.floating:1001
         # The connection has no way through the new gateway, and begins again with its address.
         g5 -> out udp 1000:80 => out from g5.floating:1000
         count g5 flows_cut = 1
         route g5 - out ig@1
         route g5 + out ig@2
         g5 -> out udp 1002:80 => out from g5.ephemeral:1002
         route g5 - out ig@2
         route g5 + out ig@3
         g5 -> out udp 1003:80 => drop no_external_address
         count g5 out_drop_no_external_address = 1",
    );
}

#[test]
fn routes_decide() {
    check(
        "route g5 + out drop
         g5 -> out udp 1000:80 => drop route_drop
         route g5 - out drop
         route g5 + out g7
         rules g7 = dir=in action=allow priority=1
         # To the guest that the route names, which is not what the packet asks for.
         g5 -> out udp 1000:80 => drop not_for_guest
         count g7 in_drop_not_for_guest = 1",
    );
}

#[test]
fn a_rule_added_lets_in_and_a_rule_removed_cuts() {
    check(
        "g7 -> g5 tcp:S 1000:22 => drop firewall_default
         rules g5 = dir=in action=allow priority=10 protocol=tcp port=22
         g7 -> g5 tcp:S 1000:22 => g5
         g5 -> g7 tcp:SA 22:1000 => g7
         g7 -> g5 tcp:A 1000:22 => g5
         # Deny goes before allow at equal priority.
         rules g5 = dir=in action=allow priority=10; dir=in action=deny priority=10 port=22
         g7 -> g5 tcp:A 1000:22 => refuse connection_cut reply
         count g5 flows_cut = 1
         flows g5 = 0",
    );
}

#[test]
fn flows_expire_by_their_state() {
    check(
        "g5 -> out udp 1000:80 => out from g5.snat:$u
         g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:SA 80:$t => g5
         g5 -> out tcp:A 1000:80 => out
         g5 -> out tcp:S 1001:80 => out
         wait 200s
         g5 -> out udp 1000:80 => out from g5.snat:$u
         wait 41s
         # The half-open connection is gone, the datagrams were renewed.
         flows g5 = 2
         wait 260s
         flows g5 = 1
         tcp g5 = ESTABLISHED
         out -> g5.snat udp 80:$u => drop firewall_default
         wait 7400s
         g5 -> out tcp:FA 1000:80 => out
         out -> g5.snat tcp:FA 80:$t ack=1002 => g5
         tcp g5 = TIME_WAIT
         wait 241s
         flows g5 = 0
         count g5 flows_expired = 3",
    );
}

#[test]
fn a_closed_connection_does_not_wait_as_long_as_an_open_one() {
    check(
        "g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:SA 80:$t => g5
         g5 -> out tcp:A 1000:80 => out
         wait 100s
         g5 -> out tcp:FA 1000:80 => out
         tcp g5 = FIN_WAIT_1
         out -> g5.snat tcp:FA 80:$t ack=1002 => g5
         tcp g5 = TIME_WAIT
         wait 239s
         flows g5 = 1
         wait 2s
         flows g5 = 0",
    );
}

#[test]
fn a_full_table_gives_up_what_would_end_first() {
    check(
        "limit 3
         g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:SA 80:$t => g5
         g5 -> out tcp:A 1000:80 => out
         g5 -> out udp 1:80 => out
         wait 1s
         g5 -> out udp 2:80 => out
         wait 1s
         g5 -> out udp 3:80 => out
         count g5 flows_evicted = 1
         flows g5 = 3
         tcp g5 = ESTABLISHED
         # Its lease is still its own.
         out -> g5.snat tcp:A 80:$t => g5 to g5:1000",
    );
    check(
        "limit 1
         g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:SA 80:$t => g5
         g5 -> out tcp:A 1000:80 => out
         g5 -> out udp 1:80 => drop flow_table_full
         wait 61s
         # Idle for a minute, it may be given up.
         g5 -> out udp 1:80 => out
         count g5 flows_evicted = 1",
    );
}

#[test]
fn ports_run_out_and_come_back() {
    check(
        "external g5 = snat/2
         g5 -> out udp 1:80 => out from g5.snat:$a
         g5 -> out udp 2:80 => out from g5.snat:$b
         g5 -> out udp 3:80 => refuse nat_exhausted reply
         # Each protocol has its own.
         g5 -> out tcp:S 3:80 => out
         g5 -> out ping 3 => out
         wait 250s
         g5 -> out udp 1:80 => out from g5.snat:$a
         wait 51s
         g5 -> out udp 3:80 => out from g5.snat:$b
         g5 -> out udp 1:80 => out from g5.snat:$a
         count g5 out_drop_nat_exhausted = 1",
    );
}

#[test]
fn what_a_new_policy_allows_keeps_its_port_and_the_rest_is_cut() {
    check(
        "g5 -> out udp 1000:80 => out from g5.snat:$a
         g5 -> out tcp:S 1000:443 => out from g5.snat:$b
         out -> g5.snat tcp:SA 443:$b => g5
         rules g5 = dir=out action=deny priority=1 protocol=udp
         g5 -> out tcp:A 1000:443 => out from g5.snat:$b
         tcp g5 = ESTABLISHED
         out -> g5.snat udp 80:$a => refuse firewall_default out is 3.13
         g5 -> out udp 1000:80 => drop firewall_rule
         count g5 flows_cut = 1
         # More addresses do not move a connection.
         external g5 = snat floating
         g5 -> out tcp:A 1000:443 => out from g5.snat:$b
         g5 -> out tcp:S 1001:443 => out from g5.floating:1001
         # Fewer end it.
         external g5 = floating
         out -> g5.snat tcp:A 443:$b => refuse connection_cut reply
         count g5 flows_cut = 2",
    );
}

#[test]
fn the_same_configuration_again_changes_nothing() {
    check(
        "rules g5 = dir=in action=allow priority=1 protocol=tcp port=22
         external g5 = snat floating@1
         g5 -> out udp 1000:80 => out from g5.snat:$a
         g5 -> out tcp:S 1000:80 => out from g5.snat:$b
         out -> g5.snat tcp:SA 80:$b => g5
         out -> g5.floating tcp:S 5000:22 => g5 to g5:22
         rules g5 = dir=in action=allow priority=1 protocol=tcp port=22
         external g5 = snat floating@1
         route g5 + out ig
         g5 -> out udp 1000:80 => out from g5.snat:$a
         out -> g5.snat udp 80:$a => g5 to g5:1000
         g5 -> out tcp:A 1000:80 => out from g5.snat:$b
         g5 -> out tcp:SA 22:5000 => out from g5.floating:22
         tcp g5 = ESTABLISHED SYN_RECEIVED
         count g5 flows_opened = 3
         count g5 flows_cut = 0",
    );
}

#[test]
fn an_address_that_changes_its_kind_serves_at_once() {
    check(
        "external g5 = snat/1
         g5 -> out udp 1000:80 => out from g5.snat:6144
         # The same address is now the guest's own, and no longer shared. Seen from outside, this connection has the
         # ends of the one before, which no longer stands.
         external g6 =
         external g5 = shared
         g5 -> out udp 6144:80 => out from g5.snat:6144
         out -> g5.snat udp 80:6144 => g5 to g5:6144
         count g5 flows_cut = 1
         flows g5 = 1",
    );
}

#[test]
fn a_port_that_is_deleted_gives_everything_back() {
    check(
        "external g5 = snat/1
         g5 -> out udp 1000:80 => out from g5.snat:$a
         delete g5
         out -> g5.snat udp 80:$a => drop no_port
         g6 -> g5 udp 1:1 => drop no_mapping
         create g5
         flows g5 = 0
         out -> g5.snat udp 80:$a => drop firewall_default
         external g5 = snat/1
         g5 -> out udp 1001:80 => out from g5.snat:$a",
    );
}

#[test]
fn a_connection_is_closed_and_its_ports_are_used_again() {
    check(
        "g5 -> out tcp:S 1000:80 => out from g5.snat:$p
         out -> g5.snat tcp:SA 80:$p => g5
         g5 -> out tcp:A 1000:80 => out
         out -> g5.snat tcp:RA 80:$p => g5
         tcp g5 = CLOSED
         # Another one between the same ends.
         g5 -> out tcp:S 1000:80 => out
         tcp g5 = SYN_SENT
         count g5 flows_replaced = 1",
    );
}

#[test]
fn two_remotes_with_one_address_do_not_share_a_connection() {
    check(
        "external g5 = floating ephemeral
         rules g5 = dir=in action=allow priority=1
         out -> g5.floating udp 80:9 => g5 to g5:9
         # The guest could not tell whom it answers.
         out -> g5.ephemeral udp 80:9 => drop flow_conflict
         g5 -> out udp 9:80 => out from g5.floating:9",
    );
}
