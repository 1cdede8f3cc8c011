// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! TCP connections through source NAT and to addresses of one's own, as RFC 5382, 5961 and 7857 ask.

use opte_tests::scenario::check;

#[test]
fn a_reset_connection_is_held_for_four_minutes_and_a_later_packet_keeps_it() {
    // RFC 7857, section 2.2.
    check(
        "g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:SA 80:$t => g5
         g5 -> out tcp:A 1000:80 => out
         out -> g5.snat tcp:R 80:$t => g5
         tcp g5 = CLOSED
         wait 239s
         flows g5 = 1
         g5 -> out tcp:A 1000:80 => out from g5.snat:$t
         wait 239s
         flows g5 = 1
         wait 2s
         flows g5 = 0",
    );
}

/// RFC 7857, section 7.1: a guest that answers everything by resets keeps nothing alive.
#[test]
fn resets_do_not_keep_what_was_reset() {
    check(
        "g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:SA 80:$t => g5
         g5 -> out tcp:A 1000:80 => out
         g5 -> out tcp:R 1000:80 => out from g5.snat:$t
         tcp g5 = CLOSED
         wait 200s
         out -> g5.snat tcp:R 80:$t => g5
         g5 -> out tcp:R 1000:80 => out from g5.snat:$t
         wait 39s
         leases g5 = 1
         wait 2s
         flows g5 = 0
         leases g5 = 0",
    );
}

#[test]
fn a_forged_reset_does_not_end_a_connection_that_goes_on() {
    check(
        "g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:SA 80:$t => g5
         g5 -> out tcp:A 1000:80 => out
         out -> g5.snat tcp:R 80:$t => g5
         tcp g5 = CLOSED
         out -> g5.snat tcp:A 80:$t => g5
         tcp g5 = ESTABLISHED
         wait 7900s
         g5 -> out tcp:A 1000:80 => out from g5.snat:$t",
    );
}

#[test]
fn a_short_hold_is_an_option() {
    check(
        "set g5 = idle.short=true idle.tcp_closed=5
         g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:RA 80:$t => g5
         tcp g5 = CLOSED
         wait 6s
         flows g5 = 0",
    );
}

#[test]
fn a_half_closed_connection_lives_as_long_as_an_open_one() {
    // RFC 9293, section 3.6, case 1; RFC 5382, REQ-5.
    check(
        "g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:SA 80:$t => g5
         g5 -> out tcp:FA 1000:80 => out
         out -> g5.snat tcp:A 80:$t ack=1002 => g5
         tcp g5 = FIN_WAIT_2
         wait 7430s
         out -> g5.snat tcp:PA 80:$t ack=1002 => g5
         wait 7430s
         tcp g5 = FIN_WAIT_2
         out -> g5.snat tcp:FA 80:$t ack=1002 => g5
         # Its last acknowledgment was lost, and the FIN comes again.
         out -> g5.snat tcp:FA 80:$t ack=1002 => g5
         tcp g5 = TIME_WAIT",
    );
}

#[test]
fn both_open_at_once_through_source_nat() {
    // RFC 5382, REQ-2a.
    check(
        "g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:S 80:$t => g5
         tcp g5 = SYN_RECEIVED
         g5 -> out tcp:SA 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:SA 80:$t => g5
         tcp g5 = ESTABLISHED",
    );
}

#[test]
fn an_unsolicited_syn_is_dropped_without_an_answer() {
    // RFC 5382, REQ-4 and 4a: not within six seconds, and never, since who is not let in is not told
    // what is there. A SYN of the guest that crosses opens as if the first had not been.
    check(
        "out -> g5.snat tcp:S 80:6144 => drop firewall_default
         count g5 out_replies = 0
         count g5 in_replies = 0
         wait 7s
         count g5 out_replies = 0
         count g5 in_replies = 0
         external g5 = snat/1
         out -> g5.snat tcp:S 80:6144 => drop firewall_default
         g5 -> out tcp:S 1000:80 => out from g5.snat:6144
         out -> g5.snat tcp:S 80:6144 => g5
         tcp g5 = SYN_RECEIVED",
    );
}

#[test]
fn a_syn_on_a_live_connection_is_for_its_receiver_to_judge() {
    // RFC 5961, section 4.
    check(
        "external g5 = floating
         rules g5 = dir=in action=allow priority=9 protocol=tcp port=22
         out -> g5.floating tcp:S 4000:22 => g5
         g5 -> out tcp:SA 22:4000 => out
         out -> g5.floating tcp:A 4000:22 => g5
         set g5 = tcp.pick_up=true
         g5 -> out tcp:S 1000:80 => out
         out -> g5.floating tcp:SA 80:1000 => g5
         tcp g5 = ESTABLISHED ESTABLISHED
         # Who may not open a connection cannot have one restarted either.
         out -> g5.floating tcp:S 80:1000 seq=5000 => drop firewall_default
         out -> g5.floating tcp:S 4000:22 seq=5000 => g5
         tcp g5 = ESTABLISHED ESTABLISHED
         # The guest has it no longer, and takes the new one.
         g5 -> out tcp:SA 22:4000 seq=9000 ack=5001 => out
         tcp g5 = ESTABLISHED SYN_RECEIVED
         out -> g5.floating tcp:A 4000:22 seq=5001 ack=9001 => g5
         tcp g5 = ESTABLISHED ESTABLISHED
         count g5 flows_replaced = 0",
    );
}

#[test]
fn connections_in_mid_stream_are_picked_up_or_not() {
    check(
        "g5 -> out tcp:A 1000:80 => out
         tcp g5 = ESTABLISHED
         set g5 = tcp.pick_up=false
         g5 -> out tcp:A 1000:80 => out
         g5 -> out tcp:A 1001:80 => drop tcp_mid_stream
         g5 -> out tcp:SA 1001:80 => drop tcp_mid_stream
         g5 -> out tcp:R 1001:80 => drop tcp_mid_stream
         count g5 out_drop_tcp_mid_stream = 3
         g5 -> out tcp:S 1001:80 => out
         flows g5 = 2",
    );
}

#[test]
fn time_wait_is_used_again_by_a_later_number() {
    // RFC 9293, section 3.6.1.
    check(
        "g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:SA 80:$t => g5
         g5 -> out tcp:FA 1000:80 => out
         out -> g5.snat tcp:FA 80:$t ack=1002 => g5
         tcp g5 = TIME_WAIT
         g5 -> out tcp:S 1000:80 seq=900 => out
         tcp g5 = TIME_WAIT
         g5 -> out tcp:S 1000:80 seq=90000 => out
         tcp g5 = SYN_SENT
         count g5 flows_replaced = 1",
    );
}
