// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How packets are translated, as guests and those outside experience it: kinds of NAT, and what
//! RFC 4787, 5382, 5508, 6888 and 7857 ask of them. The language is explained at
//! [`opte_tests::scenario`].

use opte_tests::scenario::check;

/// RFC 4787, REQ-1; RFC 5382, REQ-1; RFC 5508, REQ-1a.
#[test]
fn one_endpoint_has_one_external_tuple() {
    check(
        "g5 -> out udp 1000:80 => out from g5.snat:$p
         g5 -> out udp 1000:81 => out from g5.snat:$p
         g5 -> out2 udp 1000:80 => out from g5.snat:$p
         out2 -> g5.snat udp 80:$p => g5 to g5:1000
         g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         g5 -> out2 tcp:S 1000:80 => out from g5.snat:$t
         g5 -> out ping 7 => out from g5.snat:$e
         g5 -> out2 ping 7 => out from g5.snat:$e
         out2 -> g5.snat pong $e => g5 to g5:7
         leases g5 = 3
         flows g5 = 7",
    );
}

/// RFC 4787, REQ-1 to REQ-11: what a mapping depends on is a setting, and stays what it is.
#[test]
fn mapping_may_depend_on_the_remote_side() {
    check(
        "set g5 = nat.mapping.udp=address-dependent
         g5 -> out udp 1000:80 => out from g5.snat:$p
         g5 -> out udp 1000:81 => out from g5.snat:$p
         g5 -> out2 udp 1000:80 => out from g5.snat:$q
         leases g5 = 2
         set g5 = nat.mapping.udp=address-and-port-dependent
         g5 -> out udp 1001:80 => out from g5.snat:$r
         g5 -> out udp 1001:81 => out from g5.snat:$s
         leases g5 = 4
         # Those before keep what they have.
         out -> g5.snat udp 80:$p => g5 to g5:1000
         out2 -> g5.snat udp 80:$q => g5 to g5:1000
         count g5 flows_cut = 0",
    );
}

/// RFC 4787, REQ-8; RFC 5382, REQ-3; RFC 6888, REQ-7: whoever knows a mapping's tuple may send to
/// it, as far as the firewall's inbound rules let it.
#[test]
fn a_mapping_is_reached_from_anywhere_if_the_firewall_agrees() {
    check(
        "g5 -> out udp 1000:80 => out from g5.snat:$p
         out2 -> g5.snat udp 99:$p => drop firewall_default
         out -> g5.snat udp 81:$p => drop firewall_default
         rules g5 = dir=in action=allow priority=1 protocol=udp
         out2 -> g5.snat udp 99:$p => g5 from out2:99 to g5:1000
         g5 -> out2 udp 1000:99 => out from g5.snat:$p
         # Nobody has this one.
         out2 -> g5.snat udp 99:1 => drop not_for_guest
         g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         rules g5 = dir=in action=allow priority=1
         out2 -> g5.snat tcp:S 99:$t => g5 from out2:99 to g5:1000
         leases g5 = 2",
    );
}

/// RFC 4787, REQ-8a; RFC 5382, REQ-3a and REQ-3b.
#[test]
fn filtering_may_depend_on_the_remote_side() {
    check(
        "rules g5 = dir=in action=allow priority=1
         set g5 = nat.filtering.udp=address-dependent
         g5 -> out udp 1000:80 => out from g5.snat:$p
         out -> g5.snat udp 81:$p => g5 to g5:1000
         out2 -> g5.snat udp 80:$p => drop nat_filtered
         count g5 in_drop_nat_filtered = 1
         # TCP goes its own way.
         g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out2 -> g5.snat tcp:S 80:$t => g5 to g5:1000
         set g5 = nat.filtering.udp=address-and-port-dependent
         out -> g5.snat udp 82:$p => drop nat_filtered
         out -> g5.snat udp 80:$p => g5 to g5:1000",
    );
}

/// RFC 4787, REQ-9 and REQ-9a; RFC 5382, REQ-8; RFC 5508, REQ-7; RFC 7857, section 12.
#[test]
fn guests_reach_each_other_by_external_tuples() {
    // On one host, turned round there or at the boundary, which takes a hop.
    for (outside, ttl) in [(false, 64), (true, 63)] {
        check(&format!(
            "set g5 = nat.hairpin_outside={outside}
         set g6 = nat.hairpin_outside={outside}
         external g6 = floating
         rules g6 = dir=in action=allow priority=1
         g5 -> g6.floating udp 1000:53 => g6 from g5.snat:$p to g6:53 ttl {ttl}
         g6 -> g5.snat udp 53:$p => g5 from g6.floating:53 to g5:1000
         # An error about it, from one of the guests.
         g5 -> g6.floating udp 1000:53 => g6 from g5.snat:$p
         g6 -> g5.snat error => g5 from g6.floating about g5:1000
         g5 -> g6.floating ping 9 => g6 from g5.snat:$e
         g6 -> g5.snat pong $e => g5 to g5:9
         g5 -> g6.floating tcp6:S 1000:22 => g6 from g5.snat:$t
         g6 -> g5.snat tcp6:SA 22:$t => g5 from g6.floating:22
         # Both behind the shared address, and on two hosts.
         rules g5 = dir=in action=allow priority=1
         g5 -> out udp 2000:80 => out from g5.snat:$a
         g7 -> g5.snat udp 3000:$a => g5 from g7.snat:$b to g5:2000
         g5 -> g7.snat udp 2000:$b => g7 from g5.snat:$a to g7:3000"
        ));
    }
}

/// RFC 4787, REQ-3; RFC 5382, REQ-7: two endpoints never have one tuple.
#[test]
fn two_guests_never_share_a_tuple() {
    check(
        "external g5 = snat/2
         g5 -> out udp 1:80 => out from g5.snat:$a
         g5 -> out udp 2:80 => out from g5.snat:$b
         g5 -> out2 udp 3:80 => refuse nat_exhausted reply
         # What is mapped goes on, to others as well (RFC 6888, REQ-11).
         g5 -> out2 udp 1:80 => out from g5.snat:$a
         g5 -> out udp 2:81 => out from g5.snat:$b
         leases g5 = 2
         count g5 out_drop_nat_exhausted = 1",
    );
}

/// RFC 7857, section 3.
#[test]
fn a_port_may_be_shared_towards_different_destinations() {
    check(
        "external g5 = snat/1
         set g5 = nat.share_ports=true
         g5 -> out udp 1:80 => out from g5.snat:$p
         g5 -> out2 udp 2:80 => out from g5.snat:$p
         out -> g5.snat udp 80:$p => g5 to g5:1
         out2 -> g5.snat udp 80:$p => g5 to g5:2
         g5 -> out udp 3:80 => drop flow_conflict
         leases g5 = 2
         wait 301s
         leases g5 = 0
         g5 -> out udp 3:80 => out from g5.snat:$p",
    );
}

/// RFC 6888, REQ-4, REQ-4a and REQ-4b.
#[test]
fn guests_have_limits() {
    check(
        "set g5 = nat.limits.guest=3 nat.limits.protocol=2
         g5 -> out udp 1:80 => out
         g5 -> out udp 2:80 => out
         g5 -> out udp 3:80 => refuse nat_limit reply
         g5 -> out udp 1:81 => out
         g5 -> out tcp:S 1:80 => out
         g5 -> out tcp:S 2:80 => refuse nat_limit reply
         count g5 out_drop_nat_limit = 2
         set g5 = nat.limits.guest=4
         g5 -> out tcp:S 2:80 => out
         # The other one of the host has its own.
         g6 -> out udp 3:80 => out",
    );
}

/// RFC 6888, REQ-4c.
#[test]
fn new_mappings_come_no_faster_than_they_may() {
    check(
        "set g5 = nat.rates.guest.per_second=1 nat.rates.guest.burst=3
         g5 -> out udp 1:80 => out
         g5 -> out udp 2:80 => out
         g5 -> out udp 3:80 => out
         g5 -> out udp 4:80 => refuse nat_rate reply is 3.1 from gw
         # What is mapped goes on, to others as well.
         g5 -> out udp 1:80 => out
         g5 -> out2 udp 3:80 => out
         count g5 out_drop_nat_rate = 1
         wait 1s
         g5 -> out udp 4:80 => out
         g5 -> out ping 5 => refuse nat_rate reply is 3.13
         # The guest's other address has its own rate, but the port has one for both.
         g5 -> out udp6 1:80 => out
         set g5 = nat.rates.port.burst=1 nat.rates.port.per_second=1
         wait 10s
         g5 -> out udp6 2:80 => out
         g5 -> out udp 5:80 => refuse nat_rate reply
         g6 -> out udp 5:80 => out
         leases g5 = 6
         count g5 flows_cut = 0",
    );
}

/// RFC 6888, REQ-8 and REQ-8a.
#[test]
fn a_port_is_not_used_again_at_once() {
    check(
        "external g5 = snat/2
         set g5 = nat.quarantine.seconds=200
         g5 -> out udp 1:80 => out from g5.snat:$a
         wait 301s
         g5 -> out udp 2:80 => out from g5.snat:$b
         wait 150s
         g5 -> out udp 2:80 => out from g5.snat:$b
         wait 40s
         # Nothing else is left, so what waited longest is used all the same.
         g5 -> out udp 3:80 => out from g5.snat:$a
         wait 1s
         g5 -> out udp 4:80 => refuse nat_exhausted reply",
    );
}

/// RFC 6888, REQ-3: ranges and prefixes beside the port's addresses, of both families.
#[test]
fn pools_have_any_shape() {
    check(
        r#"external g5 =
         g5 -> out udp 1:80 => drop no_external_address
         set g5 = nat.ranges=[{"prefix":"192.0.2.1/32","first_port":6144,"last_port":6144},{"prefix":"2002::/64","first_port":6144,"last_port":7167}]
         g5 -> out udp 1:80 => out from g5.snat:6144
         g5 -> out udp 2:80 => refuse nat_exhausted reply
         g5 -> out udp6 1:80 => out
         g5 -> out udp6 2:80 => out
         leases g5 = 3
         # It grows in place.
         set g5 = nat.ranges=[{"prefix":"192.0.2.1/32","first_port":6144,"last_port":6145},{"prefix":"2002::/64","first_port":6144,"last_port":7167}]
         g5 -> out udp 1:80 => out from g5.snat:6144
         g5 -> out udp 2:80 => out from g5.snat:6145
         count g5 flows_cut = 0
         # And shrinks.
         set g5 = nat.ranges=[{"prefix":"192.0.2.1/32","first_port":6145,"last_port":6145}]
         g5 -> out udp 2:80 => out from g5.snat:6145
         wait 0s
         leases g5 = 1
         count g5 cut_pool_shrunk = 1
         count g5 flows_cut = 3"#,
    );
}

#[test]
fn ports_are_forwarded_and_the_endpoint_is_known_by_them() {
    check(
        r#"rules g5 = dir=in action=allow priority=1 protocol=tcp port=8080-8089; dir=in action=allow priority=1 protocol=udp
         set g5 = nat.forwards=[{"protocol":6,"external_ip":"192.0.2.1","external_ports":{"first":6200,"last":6209},"first_port":8080},{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6200,"last":6200},"first_port":53}]
         out -> g5.snat tcp:S 4000:6203 => g5 to g5:8083
         g5 -> out tcp:SA 8083:4000 => out from g5.snat:6203
         out -> g5.snat tcp:A 4000:6203 => g5 to g5:8083
         out -> g5.snat udp 4000:6200 => g5 to g5:53
         g5 -> out udp 53:4000 => out from g5.snat:6200
         out -> g5.snat udp 4000:6201 => drop not_for_guest
         # What the endpoint itself opens comes from there, too.
         g5 -> out2 udp 53:4001 => out from g5.snat:6200
         leases g5 = 0
         # An error about a forwarded connection.
         out -> g5.snat tcp:S 4001:6204 => g5 to g5:8084
         g5 -> out error => out from g5.snat about out:4001
         # Settings that are sent again change nothing.
         set g5 = nat.parity=false
         g5 -> out tcp:A 8083:4000 => out from g5.snat:6203
         count g5 flows_cut = 0
         set g5 = nat.forwards=[]
         wait 0s
         count g5 cut_forward_removed = 4
         flows g5 = 0"#,
    );
}

/// A forward takes its ports from the pool, and connections that have them end by name.
#[test]
fn a_forward_over_a_lease_cuts_it() {
    check(
        r#"external g5 = snat/2
         g5 -> out udp 1:80 => out from g5.snat:$a
         g5 -> out udp 2:80 => out from g5.snat:$b
         set g5 = nat.forwards=[{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6144,"last":6144},"first_port":53}]
         wait 0s
         count g5 flows_cut = 1
         count g5 cut_translated_otherwise = 1
         leases g5 = 1
         g5 -> out udp 3:80 => refuse nat_exhausted reply
         rules g5 = dir=in action=allow priority=1
         out -> g5.snat udp 9:6144 => g5 to g5:53
         set g5 = nat.forwards=[]
         wait 0s
         count g5 cut_forward_removed = 1
         g5 -> out udp 3:80 => out from g5.snat:6144"#,
    );
}

#[test]
fn prefixes_are_mapped_one_to_one() {
    check(
        r#"external g5 =
         set g5 = nat.one_to_one=[{"inside":"10.0.0.0/28","external":"203.0.113.64/28"},{"inside":"fd12::/64","external":"2001:9::/64"}]
         rules g5 = dir=in action=allow priority=1
         g5 -> out udp 1000:80 => out from g5.203.0.113.69:1000
         out -> g5.203.0.113.69 udp 80:1000 => g5 to g5:1000
         out2 -> g5.203.0.113.69 tcp:S 80:22 => g5 to g5:22
         # Other protocols by address alone.
         g5 -> out gre => out from g5.203.0.113.69
         out -> g5.203.0.113.70 udp 80:1000 => drop not_for_guest
         out -> g5.203.0.113.69 error => g5 about g5
         leases g5 = 0
         set g5 = nat.one_to_one=[]
         wait 0s
         count g5 cut_address_gone = 3"#,
    );
}

/// RFC 6888, REQ-6.
#[test]
fn towards_some_destinations_nothing_is_translated() {
    check(
        r#"set g5 = nat.untranslated=[{"prefix":"198.51.100.8/32","protocol":17,"ports":{"first":53,"last":53}}]
         g5 -> out2 udp 1000:53 => out from g5:1000
         out2 -> g5 udp 53:1000 => g5 to g5:1000
         g5 -> out2 udp 1000:54 => out from g5.snat:$p
         g5 -> out udp 1000:53 => out from g5.snat:$p
         set g5 = nat.untranslated=[]
         g5 -> out2 udp 1000:53 => out from g5.snat:$p
         count g5 flows_cut = 1"#,
    );
}

/// RFC 5508, REQ-1 and REQ-10b.
#[test]
fn timestamps_are_queries_like_echoes() {
    check(
        "g5 -> out stamp 7 => out from g5.snat:$e
         out -> g5.snat stamped $e => g5 to g5:7
         out -> g5.snat stamped 1 => drop firewall_default
         # Its identifiers are those of echoes.
         g5 -> out ping 7 => out from g5.snat:$f
         leases g5 = 2
         wait 61s
         leases g5 = 0",
    );
}

/// RFC 4787, REQ-12; RFC 5382, REQ-10; RFC 5508, REQ-6: an error ends nothing and keeps nothing
/// alive.
/// RFC 5508, REQ-4 and REQ-5: an error about nothing that is mapped goes nowhere.
/// RFC 4787, REQ-6.
#[test]
fn a_mapping_lives_as_long_as_it_is_used() {
    check(
        "g5 -> out udp 1000:80 => out from g5.snat:$p
         wait 200s
         g5 -> out udp 1000:81 => out from g5.snat:$p
         wait 200s
         # The first connection is over, the endpoint is mapped as before.
         flows g5 = 1
         g5 -> out udp 1000:80 => out from g5.snat:$p
         wait 200s
         out -> g5.snat udp 80:$p => g5 to g5:1000
         wait 200s
         # What comes in refreshes, too.
         leases g5 = 1
         set g5 = nat.outbound_refresh_only=true
         out -> g5.snat udp 80:$p => g5 to g5:1000
         wait 200s
         leases g5 = 0",
    );
}

/// RFC 4787, REQ-3a and REQ-4; RFC 7857, section 8.
#[test]
fn class_and_parity_are_kept_if_told_so() {
    check(
        r#"external g5 =
         set g5 = nat.parity=true nat.ranges=[{"prefix":"192.0.2.1/32","first_port":1022,"last_port":1025}]
         g5 -> out udp 500:80 => out from g5.snat:1022
         g5 -> out udp 501:80 => out from g5.snat:1023
         g5 -> out udp 5000:80 => out from g5.snat:1024
         g5 -> out udp 5001:80 => out from g5.snat:1025"#,
    );
}

#[test]
fn without_chance_the_lowest_port_is_taken_and_what_is_open_stays() {
    check(
        "g5 -> out udp 1:80 => out from g5.snat:$p
         set g5 = nat.sequential=true
         g5 -> out udp 2:80 => out from g5.snat:6144
         g5 -> out udp 3:80 => out from g5.snat:6145
         out -> g5.snat udp 80:$p => g5 to g5:1
         count g5 flows_cut = 0",
    );
}
