// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What senders are told of packets that do not pass. The language is explained at
//! [`opte_tests::scenario`].

use opte_tests::scenario::check;

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
         wait 61s
         g7 -> g5 error => drop firewall_reject
         g7 -> g5 ping 9 => refuse firewall_reject g7 is 3.13
         count g5 answers_sent = 1",
    );
}
