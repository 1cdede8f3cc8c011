// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What senders are told of packets that do not pass. The language is explained at
//! [`opte_tests::scenario`].

use opte_tests::scenario::check;
use opte_tests::twins::gateway_id;

#[test]
fn a_guest_whose_packet_is_rejected_is_told() {
    check(
        "rules g5 = dir=out action=reject priority=1
         g5 -> out tcp:S 1000:80 => refuse firewall_reject reply is rst from out:80 seq 0 ack 1001
         g5 -> g7 tcp6:S 1000:80 => refuse firewall_reject reply is rst from g7:80 to g5:1000
         g5 -> out tcp:A 1000:80 => refuse firewall_reject reply is rst seq 1001
         g5 -> out tcp:R 1000:80 => refuse firewall_reject reply is 3.13 from gw
         g5 -> out udp 1000:80 => refuse firewall_reject reply is 3.13 from gw about g5:1000
         g5 -> g6 ping6 7 => refuse firewall_reject reply is 1.1 to g5
         count g5 answers_sent = 6
         flows g5 = 0",
    );
}

#[test]
fn who_is_rejected_by_a_guest_is_told_as_if_by_the_guest() {
    check(
        "rules g5 = dir=in action=reject priority=1
         # On another host, on the same one, and outside.
         g7 -> g5 tcp:S 1000:22 => refuse firewall_reject g7 is rst from g5:22 to g7:1000
         tcp g7 = CLOSED
         g7 -> g5 udp6 1000:53 => refuse firewall_reject g7 is 1.1 from g5 about g7:1000
         g6 -> g5 tcp6:S 1000:22 => refuse firewall_reject reply is rst from g5:22 to g6:1000
         tcp g6 = CLOSED
         g6 -> g5 udp 1000:53 => refuse firewall_reject reply is 3.13 from g5 about g6:1000
         external g5 = floating
         out -> g5.floating tcp:S 4000:22 => refuse firewall_reject out is rst from g5.floating:22
         out -> g5.floating udp6 4000:53 => refuse firewall_reject out is 1.1 from g5.floating
         count g5 answers_sent = 6
         count g5 in_drop_firewall_reject = 6
         flows g5 = 0",
    );
}

#[test]
fn deny_is_silent_and_goes_its_way_beside_reject() {
    check(
        "rules g5 = dir=in action=deny priority=1 protocol=tcp; dir=in action=reject priority=2
         g7 -> g5 tcp:S 1000:22 => drop firewall_rule
         g7 -> g5 udp 1000:22 => refuse firewall_reject g7 is 3.13
         # The same text but for the action is another rule.
         rules g5 = dir=in action=reject priority=1 protocol=tcp; dir=in action=reject priority=2
         g7 -> g5 tcp:S 1001:22 => refuse firewall_reject g7 is rst",
    );
}

#[test]
fn errors_are_never_answered_by_errors() {
    check(
        "rules g5 = dir=in action=reject priority=1 protocol=icmp; dir=in action=allow priority=2
         g7 -> g5 udp 1000:53 => g5
         g5 -> g7 error => g7
         # Of no connection any more, so that it goes by the rules.
         wait 301s
         g7 -> g5 error => drop firewall_reject
         g7 -> g5 ping 9 => refuse firewall_reject g7 is 3.13
         count g5 answers_sent = 1",
    );
}

#[test]
fn a_guest_is_told_where_it_cannot_get_if_it_is_to_know() {
    check(
        "set g5 = answers.unreachable=true
         g5 -> g77 udp 1000:80 => refuse no_mapping reply is 3.1 from gw about g5:1000
         g5 -> g77 udp6 1000:80 => refuse no_mapping reply is 1.3
         route g5 + out drop
         g5 -> out tcp:S 1000:80 => refuse route_drop reply is 3.13
         g5 -> out udp6 1000:80 => refuse route_drop reply is 1.1
         route g5 - out drop
         external g5 = snat@1
         g5 -> out udp 1000:80 => refuse no_external_address reply is 3.13
         external g5 = snat/1
         g5 -> out udp 1000:80 => out
         g5 -> out udp 1001:80 => refuse nat_exhausted reply is 3.1
         g5 -> out gre => refuse nat_protocol reply is 3.13
         rules g5 = dir=out action=deny priority=1
         g5 -> g6 udp 1000:80 => refuse firewall_rule reply is 3.13
         # Who sends to the guest learns nothing.
         g7 -> g5 udp 1000:80 => drop firewall_default
         set g5 = answers.unreachable=false
         g5 -> g6 udp 1000:80 => drop firewall_rule",
    );
}

#[test]
fn answers_are_limited_in_each_port_alone() {
    check(
        "rules g5 = dir=out action=reject priority=1
         rules g6 = dir=out action=reject priority=1
         set g5 = answers.per_second=2 answers.burst=2
         g5 -> out udp 1000:80 => refuse firewall_reject reply
         g5 -> out udp 1000:80 => refuse firewall_reject reply
         g5 -> out udp 1000:80 => drop firewall_reject
         g6 -> out udp 1000:80 => refuse firewall_reject reply
         count g5 answers_sent = 2
         count g5 answers_limited = 1
         count g6 answers_limited = 0
         wait 1s
         g5 -> out udp 1000:80 => refuse firewall_reject reply
         set g5 = answers.per_second=0 answers.burst=0
         g5 -> out udp 1000:80 => drop firewall_reject
         count g5 out_drop_firewall_reject = 5",
    );
}

#[test]
fn hops_inside_are_left_alone_unless_the_gateway_is_to_be_seen() {
    check(
        "rules g7 = dir=in action=allow priority=1
         g5 -> g7 udp 1000:80 ttl=1 => g7 ttl 1
         g5 -> out udp6 1000:80 ttl=1 => out ttl 1
         set g5 = way.visible_hop=true
         g5 -> g7 udp 1000:80 ttl=1 => refuse hop_limit reply is 11.0 from gw about g5:1000
         g5 -> g7 udp 1000:80 ttl=2 => g7 ttl 1
         # The stored transform does the same.
         g5 -> g7 udp 1000:80 ttl=64 => g7 ttl 63
         g5 -> g7 udp 1000:80 ttl=0 => refuse hop_limit reply is 11.0
         g5 -> out udp6 1000:80 ttl=2 => out ttl 1
         g5 -> out udp6 1000:80 ttl=1 => refuse hop_limit reply is 3.0 about g5:1000
         # What comes in was counted by others.
         g7 -> g5 udp 80:1000 ttl=1 => g5 ttl 1",
    );
}

#[test]
fn what_is_too_long_is_told_what_would_not_be() {
    check(
        "rules g7 = dir=in action=allow priority=1
         set g5 = way.inside_mtu=1450 way.outside_mtu=1400
         g5 -> g7 udp 1000:80 len=1450 => g7
         g5 -> g7 udp 1000:80 len=1451 => refuse too_big_inside reply is 3.4 mtu 1450 from gw
         g5 -> g7 tcp6:S 1000:80 len=1451 => refuse too_big_inside reply is 2.0 mtu 1450
         g5 -> out udp 1000:80 len=1400 => out
         g5 -> out udp 1000:80 len=1401 => refuse too_big_outside reply is 3.4 mtu 1400 from gw
         g5 -> out udp6 1000:80 len=1400 => out
         g5 -> out udp6 1000:80 len=1401 => refuse too_big_outside reply is 2.0 mtu 1400
         # A shorter one of the same connection goes on.
         g5 -> out udp6 1000:80 len=1400 => out
         set g5 = way.inside_mtu=null
         g5 -> g7 udp 1000:80 len=1451 => g7
         count g5 out_drop_too_big_outside = 2",
    );
}

#[test]
fn segments_that_are_asked_for_fit_outside() {
    check(
        "external g5 = floating
         rules g5 = dir=in action=allow priority=1
         rules g7 = dir=in action=allow priority=1
         g5 -> out tcp:S 1000:80 => out mss 1400
         set g5 = way.clamp_mss=true way.outside_mtu=1300
         g5 -> out tcp:S 1001:80 => out mss 1260
         out -> g5.floating tcp:SA 80:1001 => g5 mss 1260
         g5 -> out tcp6:S 1001:80 => out mss 1240
         out -> g5.floating tcp6:S 1002:80 => g5 mss 1240
         g5 -> g7 tcp:S 1001:80 => g7 mss 1400
         # The smaller one counts.
         set g5 = way.outside_mtu=1460
         g5 -> out tcp:S 1003:80 => out mss 1400",
    );
}

#[test]
fn a_gateway_alone_may_ask_for_segments_that_fit() {
    let one = format!("[\"{}\"]", gateway_id(1));
    check(&format!(
        "external g5 = floating@1 ephemeral@2 snat
         rules g5 = dir=in action=allow priority=1
         route g5 + out ig@1
         set g5 = way.outside_mtu=1300 gateways.clamp_mss={one}
         g5 -> out tcp:S 1001:80 => out mss 1260
         out -> g5.floating tcp:SA 80:1001 => g5 mss 1260
         g5 -> out tcp6:S 1001:80 => out mss 1240
         out -> g5.floating tcp6:S 1002:80 => g5 mss 1240
         # Another gateway does not, nor does the one without a name.
         out -> g5.ephemeral tcp:S 1003:80 => g5 mss 1400
         route g5 - out ig@1
         route g5 + out ig@2
         g5 -> out tcp:S 1004:80 => out mss 1400
         route g5 - out ig@2
         route g5 + out ig
         g5 -> out tcp:S 1005:80 => out mss 1400
         # An address that comes to serve the gateway.
         external g5 = floating@1 ephemeral@1 snat
         out -> g5.ephemeral tcp:S 1006:80 => g5 mss 1260
         # The one without a name.
         set g5 = gateways.clamp_mss=[null]
         g5 -> out tcp:S 1007:80 => out mss 1260
         out -> g5.ephemeral tcp:S 1008:80 => g5 mss 1400
         set g5 = gateways.clamp_mss=[]
         g5 -> out tcp:S 1009:80 => out mss 1400",
    ));
}
