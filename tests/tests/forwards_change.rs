// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Port forwards that come, go and change under live connections. The list of all cases is in
//! `reconfiguration.rs`, the language is explained at [`opte_tests::scenario`].

use opte_tests::scenario::check;

#[test]
fn a_port_forward_that_is_removed_ends_its_connections() {
    check(
        r#"rules g5 = dir=in action=allow priority=1
         set g5 = nat.forwards=[{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6200,"last":6209},"first_port":8080}]
         out -> g5.snat udp 4000:6203 => g5 to g5:8083
         out -> g5.snat udp 4000:6204 => g5 to g5:8084
         set g5 = nat.forwards=[]
         # The next packet finds it out, or the sweep does.
         g5 -> out udp 8083:4000 => out from g5.snat:$p
         count g5 cut_forward_removed = 1
         wait 1s
         count g5 cut_forward_removed = 2
         flows g5 = 1"#,
    );
}

#[test]
fn a_port_forward_takes_tuples_and_cuts_who_has_them() {
    check(
        r#"rules g5 = dir=in action=allow priority=1
         set g5 = nat.sequential=true
         g5 -> out udp 1:80 => out from g5.snat:6144
         g5 -> out udp 2:80 => out from g5.snat:6145
         # Tuples that nobody has: nobody is cut, and nobody gets them from now on.
         set g5 = nat.forwards=[{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6146,"last":6150},"first_port":53}]
         g5 -> out udp 3:80 => out from g5.snat:6151
         count g5 flows_cut = 0
         # One that a connection has: that one ends, by name.
         set g5 = nat.forwards=[{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6145,"last":6150},"first_port":52}]
         out -> g5.snat udp 80:6144 => g5 to g5:1
         out -> g5.snat udp 80:6145 => g5 to g5:52
         wait 1s
         count g5 cut_translated_otherwise = 1
         count g5 flows_cut = 1
         # Its endpoint is translated anew.
         g5 -> out udp 2:80 => out from g5.snat:6152"#,
    );
}

#[test]
fn a_port_forward_that_changes_keeps_what_it_still_maps_alike() {
    check(
        r#"rules g5 = dir=in action=allow priority=1
         set g5 = nat.forwards=[{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6200,"last":6209},"first_port":8080}]
         out -> g5.snat udp 4000:6203 => g5 to g5:8083
         # Wider, with the same offset.
         set g5 = nat.forwards=[{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6190,"last":6219},"first_port":8070}] idle.udp=200
         out -> g5.snat udp 4000:6203 => g5 to g5:8083
         g5 -> out udp 8083:4000 => out from g5.snat:6203
         out -> g5.snat udp 4000:6213 => g5 to g5:8093
         # Narrower: what is outside of it ends.
         set g5 = nat.forwards=[{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6200,"last":6209},"first_port":8080}]
         out -> g5.snat udp 4000:6203 => g5 to g5:8083
         wait 1s
         count g5 cut_forward_removed = 1
         count g5 flows_cut = 1"#,
    );
}

#[test]
fn a_port_forward_that_leads_elsewhere_cuts() {
    check(
        r#"rules g5 = dir=in action=allow priority=1
         set g5 = nat.forwards=[{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6200,"last":6209},"first_port":8080}]
         out -> g5.snat udp 4000:6203 => g5 to g5:8083
         out -> g5.snat udp 4000:6204 => g5 to g5:8084
         set g5 = nat.forwards=[{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6200,"last":6209},"first_port":9080}]
         out -> g5.snat udp 4000:6203 => g5 to g5:9083
         wait 1s
         count g5 cut_translated_otherwise = 2
         count g5 flows_cut = 2
         flows g5 = 1"#,
    );
}

#[test]
fn a_port_forward_on_a_tuple_of_another_port_is_refused_and_changes_nothing() {
    check(
        r#"external g5 = snat/1
         g5 -> out udp 1:80 => out from g5.snat:6144
         generation g6 = $g
         refused 6144 set g6 = nat.forwards=[{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6144,"last":6144},"first_port":53}]
         generation g6 = $g
         out -> g5.snat udp 80:6144 => g5 to g5:1
         # A free one is g6's from now on, and nobody else gets it.
         rules g6 = dir=in action=allow priority=1
         set g6 = nat.forwards=[{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6145,"last":6145},"first_port":53}]
         out -> g6.snat udp 9:6145 => g6 to g6:53
         external g5 = snat/3
         set g5 = nat.sequential=true
         g5 -> out udp 2:80 => out from g5.snat:6146
         refused 6145 set g5 = nat.forwards=[{"protocol":17,"external_ip":"192.0.2.1","external_ports":{"first":6145,"last":6145},"first_port":53}]
         g5 -> out udp 1:80 => out from g5.snat:6144
         count g5 flows_cut = 0
         count g6 flows_cut = 0"#,
    );
}
