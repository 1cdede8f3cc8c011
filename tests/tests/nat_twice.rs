// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Connections of which both ends are translated. The language is explained at
//! [`opte_tests::scenario`].

use opte_tests::scenario::check;

/// Twice NAT (RFC 2663, section 4.3): the guest knows destinations by other addresses than they have.
#[test]
fn both_ends_of_a_connection_are_translated() {
    check(
        r#"set g5 = nat.destinations=[{"seen":"10.99.0.0/24","real":"198.51.100.0/24"},{"seen":"fd77:5::9/128","real":"2001:db8:7::7/128"}]
         g5 -> g5.10.99.0.7 udp 1000:80 => out from g5.snat:$p to out:80
         out -> g5.snat udp 80:$p => g5 from g5.10.99.0.7:80 to g5:1000
         g5 -> g5.10.99.0.8 tcp:S 1000:80 => out from g5.snat:$t to out2:80
         out2 -> g5.snat tcp:SA 80:$t => g5 from g5.10.99.0.8:80 to g5:1000
         g5 -> g5.10.99.0.7 ping 7 => out from g5.snat:$e
         out -> g5.snat pong $e => g5 from g5.10.99.0.7 to g5:7
         g5 -> g5.transit udp6 1000:80 => out from g5.snat:$q to out:80
         out -> g5.snat udp6 80:$q => g5 from g5.transit:80 to g5:1000
         out -> g5.snat error6 => g5 from g5.transit about g5:1000 towards g5.transit:80
         # Errors, by the remote end and by somebody between.
         g5 -> g5.10.99.0.7 udp 1000:80 => out from g5.snat:$p
         out -> g5.snat error => g5 from g5.10.99.0.7 about g5:1000 towards g5.10.99.0.7:80
         out2 -> g5.snat error => g5 from out2 about g5:1000 towards g5.10.99.0.7:80
         out -> g5.snat udp 80:$p => g5 from g5.10.99.0.7:80
         g5 -> g5.10.99.0.7 error => out from g5.snat about out:80 towards g5.snat:$p
         # What is outside opens connections by its own address, and an endpoint is mapped as ever.
         rules g5 = dir=in action=allow priority=1
         out2 -> g5.snat udp 99:$p => g5 from out2:99 to g5:1000
         g5 -> out2 udp 1000:81 => out from g5.snat:$p to out2:81
         # Both ways to one remote port are one connection's.
         g5 -> out udp 1000:80 => drop flow_conflict
         # Where the source is the guest's own, too.
         external g5 = floating
         g5 -> g5.10.99.0.7 udp 1:80 => out from g5.floating:1 to out:80
         out -> g5.floating udp 80:1 => g5 from g5.10.99.0.7:80 to g5:1
         g5 -> g5.10.99.0.7 gre => out from g5.floating to out
         out -> g5.floating gre => g5 from g5.10.99.0.7"#,
    );
}

#[test]
fn ports_of_destinations_are_translated() {
    check(
        r#"set g5 = nat.destinations=[{"seen":"10.99.0.7/32","real":"198.51.100.8/32","protocol":6,"ports":{"first":80,"last":89},"first_port":8080}]
         g5 -> g5.10.99.0.7 tcp:S 1000:85 => out from g5.snat:$t to out2:8085
         out2 -> g5.snat tcp:SA 8085:$t => g5 from g5.10.99.0.7:85 to g5:1000
         g5 -> g5.10.99.0.7 tcp:A 1000:85 => out from g5.snat:$t to out2:8085
         out2 -> g5.snat error => g5 from g5.10.99.0.7 about g5:1000 towards g5.10.99.0.7:85
         # Others are as they are.
         g5 -> g5.10.99.0.7 udp 1000:85 => out to g5.10.99.0.7:85
         g5 -> g5.10.99.0.7 tcp:S 1000:90 => out to g5.10.99.0.7:90"#,
    );
}

/// A connection keeps both ends for life, or ends.
#[test]
fn a_connection_whose_destination_is_another_one_now_is_cut() {
    check(
        r#"set g5 = nat.destinations=[{"seen":"10.99.0.7/32","real":"198.51.100.7/32"}]
         g5 -> g5.10.99.0.7 udp 1000:80 => out to out:80
         g5 -> out2 udp 1000:80 => out to out2:80
         g5 -> g5.10.99.0.9 udp 1000:80 => out to g5.10.99.0.9:80
         # Said in other words.
         set g5 = nat.destinations=[{"seen":"10.99.0.6/31","real":"198.51.100.6/31"}] nat.parity=true
         wait 0s
         count g5 flows_cut = 0
         set g5 = nat.destinations=[{"seen":"10.99.0.8/31","real":"198.51.100.8/31"}]
         wait 0s
         count g5 cut_translated_otherwise = 2
         flows g5 = 1
         g5 -> g5.10.99.0.7 udp 1000:80 => out to g5.10.99.0.7:80
         # Also while its external address drains.
         set g5 = nat.destinations=[] continuity.address_gone={"drain":100}
         g5 -> g5.10.99.0.7 udp 1000:80 => out from g5.snat:$p
         external g5 =
         g5 -> g5.10.99.0.7 udp 1000:80 => out from g5.snat:$p
         set g5 = nat.destinations=[{"seen":"10.99.0.7/32","real":"198.51.100.7/32"}]
         wait 0s
         count g5 cut_translated_otherwise = 3
         refused overlap set g5 = nat.destinations=[{"seen":"10.99.0.7/32","real":"198.51.100.7/32"},{"seen":"10.99.0.0/24","real":"198.51.100.0/24"}]"#,
    );
}
