// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The gateway layer as a whole host shows it: whose packets pass, and what the gateway answers.

use opte_tests::scenario::check;

#[test]
fn transit_prefixes_are_allowed_by_direction() {
    check(
        "rules g6 = dir=in action=allow priority=1
         rules g7 = dir=in action=allow priority=1
         route g7 + g6.transit g6
         g6.transit -> g7 udp 1:2 => drop spoofed
         allow g6 out = transit
         g6.transit -> g7 udp 1:2 => g7 from g6.transit:1
         # The way back is not allowed by that.
         g7 -> g6.transit udp 2:1 => drop not_for_guest
         allow g6 in = transit
         g7 -> g6.transit udp 2:1 => g6 to g6.transit:1
         g7 -> g6.transit tcp6:S 9:22 => g6 to g6.transit:22
         # Others may still not be imitated.
         g6.attached -> g7 udp 1:2 => drop spoofed
         # What is taken back ends what lives by it, with the next packet.
         remove g6 out = transit
         g6.transit -> g7 udp 1:2 => drop spoofed
         g7 -> g6.transit udp 2:1 => g6 to g6.transit:1
         remove g6 = transit
         g7 -> g6.transit udp 2:1 => drop not_for_guest",
    );
}

#[test]
fn transit_sources_share_the_translation_of_the_guest_and_get_their_replies() {
    check(
        "allow g5 = transit
         g5.transit -> out udp 1000:80 => out from g5.snat:$p
         g5 -> out udp 1000:80 => out from g5.snat:$q
         out -> g5.snat udp 80:$p => g5 to g5.transit:1000
         out -> g5.snat udp 80:$q => g5 to g5:1000
         out -> g5.snat error => g5 to g5 about g5:1000
         external g5 = floating
         g5.transit -> out tcp6:S 1000:80 => out from g5.floating:1000
         out -> g5.floating tcp6:SA 80:1000 => g5 to g5.transit:1000
         # An address of one's own has one place for each connection.
         g5 -> out tcp6:S 1000:80 => drop flow_conflict",
    );
}

#[test]
fn internal_subnets_are_reached_inside_and_translated_outside() {
    check(
        "rules g6 = dir=in action=allow priority=1 hosts=vni=100
         route g7 + g6.attached g6
         attach g6 = attached
         rules g7 = dir=in action=allow priority=1 hosts=vni=100
         g6.attached -> g7 udp 5:6 => g7 from g6.attached:5
         g7 -> g6.attached udp 6:5 => g6 to g6.attached:5
         g7 -> g6.attached udp6 9:9 => g6 to g6.attached:9
         g6.attached -> out udp 1000:80 => out from g6.snat:$p
         out -> g6.snat udp 80:$p => g6 to g6.attached:1000
         # A transit prefix of the same range ends, the attachment stays.
         allow g6 = attached
         remove g6 = attached
         g7 -> g6.attached udp 6:5 => g6 to g6.attached:5
         detach g6 = attached
         g7 -> g6.attached udp 6:5 => drop not_for_guest",
    );
}

#[test]
fn external_subnets_are_known_outside_as_they_are_and_only_there() {
    check(
        "attach g5 = known
         g5.known -> out udp 1000:80 => out from g5.known:1000
         out -> g5.known udp 80:1000 => g5 to g5.known:1000
         out -> g5.known udp6 80:1000 => drop firewall_default
         rules g5 = dir=in action=allow priority=1
         out -> g5.known tcp6:S 4000:22 => g5 to g5.known:22
         g5.known -> out tcp6:SA 22:4000 => out from g5.known:22
         g5.known -> g7 udp 1:2 => drop external_inside
         # The guest's own address is translated as ever.
         g5 -> out udp 1000:80 => out from g5.snat:$p
         # It does not matter which gateway the route names, nor whether there is another address.
         external g5 =
         route g5 + out ig@3
         g5.known -> out udp 1001:80 => out from g5.known:1001
         g5 -> out udp 1001:80 => drop no_external_address
         detach g5 = known
         g5.known -> out udp 1000:80 => drop spoofed
         out -> g5.known udp 80:1000 => drop not_for_guest
         out -> g5.known tcp6:A 4000:22 => drop not_for_guest",
    );
}
