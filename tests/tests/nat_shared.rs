// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Ports of one host that borrow from one range outside. The language is explained at
//! [`opte_tests::scenario`]; fragments are in `fragments.rs`.

use opte_tests::scenario::check;

/// Ports of one VPC borrow from one range. The boundary knows one of them, and who gets a packet is
/// who has its tuple.
#[test]
fn ports_of_one_host_share_a_range() {
    check(
        "external g6 = snat.g5
         g5 -> out udp 1000:80 => out from g5.snat:$p
         g6 -> out udp 1000:80 => out from g5.snat:$q
         out -> g5.snat udp 80:$p by=g5 => g5 to g5:1000
         out -> g5.snat udp 80:$p by=g6 => g5 to g5:1000
         out -> g5.snat udp 80:$q by=g5 => g6 to g6:1000
         out -> g5.snat udp 80:$q by=g6 => g6 to g6:1000
         g5 -> out tcp:S 1:80 => out from g5.snat:$t
         g6 -> out tcp:S 1:80 => out from g5.snat:$u
         out -> g5.snat tcp:SA 80:$t by=g6 => g5 to g5:1
         out -> g5.snat tcp:SA 80:$u by=g5 => g6 to g6:1
         # Queries by their identifiers.
         g6 -> out ping 7 => out from g5.snat:$e
         g5 -> out ping 7 => out from g5.snat:$f
         out -> g5.snat pong $e by=g5 => g6 to g6:7
         out -> g5.snat pong $f by=g6 => g5 to g5:7
         # Errors by what they quote.
         out -> g5.snat error by=g6 => g5 about g5:7
         g6 -> out udp 1000:80 => out from g5.snat:$q
         out2 -> g5.snat error by=g5 => g6 from out2 about g6:1000
         # Nobody has these.
         out -> g5.snat udp 80:1 by=g6 => drop nat_unmapped
         out -> g5.snat pong 1 by=g5 => drop nat_unmapped
         out -> g5.snat ping 7 by=g5 => drop nat_unmapped
         out -> g5.snat gre by=g5 => drop nat_unmapped
         # IPv6 alike.
         g6 -> out udp6 1000:80 => out from g5.snat:$v
         out -> g5.snat udp6 80:$v by=g5 => g6 to g6:1000
         leases g5 = 3
         leases g6 = 4",
    );
}

/// RFC 4787, REQ-3: the pool is one, to the last port.
#[test]
fn ports_that_share_a_range_never_share_a_tuple() {
    check(
        "external g5 = snat/2
         external g6 = snat.g5/2
         g5 -> out udp 1:80 => out from g5.snat:$a
         g6 -> out udp 1:80 => out from g5.snat:$b
         g5 -> out udp 2:80 => refuse nat_exhausted reply
         g6 -> out udp 2:80 => refuse nat_exhausted reply
         out -> g5.snat udp 80:$a by=g6 => g5 to g5:1
         out -> g5.snat udp 80:$b by=g6 => g6 to g6:1
         wait 301s
         # What one has had waits for the other, too, and then goes to it.
         g6 -> out udp 3:80 => out from g5.snat:$c
         g6 -> out udp 4:80 => out from g5.snat:$d
         out -> g5.snat udp 80:$a by=g5 => g6
         out -> g5.snat udp 80:$b by=g5 => g6",
    );
}

/// A range is shared as a whole, and with nobody of another VPC; a sharer may go.
#[test]
fn who_shares_a_range_comes_and_goes() {
    check(
        "external g5 = snat
         refused share external g6 = snat.g5/2
         external g6 = snat.g5
         g5 -> out udp 1:80 => out from g5.snat:$a
         g6 -> out udp 1:80 => out from g5.snat:$b
         # What leads to a guest by itself goes before what is lent.
         rules g6 = dir=in action=allow priority=1
         set g6 = nat.forwards=[{\"protocol\":17,\"external_ip\":\"192.0.2.1\",\"external_ports\":{\"first\":9000,\"last\":9009},\"first_port\":53}]
         out -> g5.snat udp 80:9001 by=g5 => g6 to g6:54
         set g6 = nat.forwards=[]
         out -> g5.snat udp 80:9001 by=g5 => drop nat_unmapped
         # Taken away from one, the other goes on by whichever way.
         external g6 =
         out -> g5.snat udp 80:$a by=g6 => g5 to g5:1
         out -> g5.snat udp 80:$a by=g5 => g5 to g5:1
         wait 0s
         count g6 cut_address_gone = 1
         count g5 flows_cut = 0
         external g6 = snat.g5
         g6 -> out udp 2:80 => out from g5.snat:$c
         delete g6
         out -> g5.snat udp 80:$c by=g6 => drop nat_unmapped
         out -> g5.snat udp 80:$a by=g6 => g5 to g5:1
         g5 -> out udp 1:80 => out from g5.snat:$a",
    );
}

/// A port whose range is taken away gets what is under way to connections that drain.
#[test]
fn connections_that_drain_from_a_shared_range_are_found() {
    check(
        r#"external g6 = snat.g5
         set g6 = continuity.address_gone={"drain":100}
         g6 -> out udp 1:80 => out from g5.snat:$b
         external g6 =
         out -> g5.snat udp 80:$b by=g5 => g6 to g6:1
         g6 -> out udp 1:80 => out from g5.snat:$b
         wait 101s
         wait 0s
         out -> g5.snat udp 80:$b by=g5 => drop nat_unmapped
         count g6 cut_drain_over = 1"#,
    );
}

/// Settings that take a range away drain its connections as `continuity.address_gone` says, whichever
/// request brings them.
#[test]
fn settings_drain_what_they_take_away() {
    check(
        r#"external g5 =
         set g5 = continuity.address_gone={"drain":100} nat.ranges=[{"prefix":"192.0.2.1/32","first_port":6144,"last_port":6145}]
         g5 -> out udp 1:80 => out from g5.snat:$a
         set g5 = nat.ranges=[]
         g5 -> out udp 1:80 => out from g5.snat:$a
         g5 -> out udp 2:80 => drop no_external_address
         wait 101s
         wait 0s
         flows g5 = 0
         count g5 cut_drain_over = 1"#,
    );
}
