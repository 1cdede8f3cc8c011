// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! No request is without a command.

use super::*;

#[test]
fn every_request_has_a_command() {
    let nat = "10.0.0.1 fd00::1 100 a8:40:25:f0:00:01";
    let lines = [
        "create-xde opte0 --mac a8:40:25:f0:00:01 --vni 100 --underlay-ip fd00::1
         --private-ip6 fd12::5 --subnet6 fd12::/64",
        "delete-xde opte0",
        "list-ports",
        "set-xde-underlay net0",
        "clear-xde-underlay",
        "show-xde-underlay",
        "list-layers -p opte0",
        "dump-layer -p opte0 nat",
        "dump-uft -p opte0",
        "clear-uft -p opte0",
        "dump-tcp-flows -p opte0",
        "kill-flow -p opte0 --port 53",
        "stats",
        "add-fw-rule -p opte0 dir=in action=allow priority=1",
        "rm-fw-rule -p opte0 --dir in 7",
        "set-fw-rules -p opte0",
        "add-router-entry -p opte0 0.0.0.0/0 ig system",
        "del-router-entry -p opte0 0.0.0.0/0 ig system",
        "set-v2p 172.30.0.6 a8:40:25:f0:00:02 fd00::2 100",
        "clear-v2p 172.30.0.6 a8:40:25:f0:00:02 fd00::2 100",
        "dump-v2p",
        "set-v2b ::/0 fd00:b::1",
        "clear-v2b ::/0 fd00:b::1",
        "dump-v2b",
        "clear-external-ips -p opte0",
        &format!("add-boundary-nat {nat}"),
        &format!("rm-boundary-nat {nat}"),
        "list-boundary-nat",
        "attach-subnet -p opte0 10.44.0.0/24",
        "detach-subnet -p opte0 10.44.0.0/24",
        "allow-cidr -p opte0 10.44.0.0/24",
        "remove-cidr -p opte0 10.44.0.0/24",
        "list-prefixes -p opte0",
        "set-port-settings -p opte0 --default",
        "show-port-settings -p opte0",
        "set-mtu -p opte0 1400",
        "set-dhcp -p opte0",
        "set-underlay-address -p opte0 fd00::2",
        "start-port opte0",
        "pause-port opte0",
        "reset-port opte0",
        "plan -",
        "apply -",
        "drain -p opte0 --seconds 60 203.0.113.5",
        "add-router-entry -p opte0 0.0.0.0/0 ig system --weight 2",
        "list-routes -p opte0",
        "set-routing -p opte0",
        "dump-gateways -p opte0",
        "set-m2p 239.1.1.1 ff04::1",
        "clear-m2p 239.1.1.1 ff04::1",
        "dump-m2p",
        "set-mcast-fwd ff04::1 fd00::2 both",
        "clear-mcast-fwd ff04::1",
        "dump-mcast-fwd",
        "mcast-subscribe -p opte0 239.1.1.1",
        "mcast-unsubscribe -p opte0 239.1.1.1",
        "mcast-unsubscribe-all 239.1.1.1",
        "dump-mcast-subs",
    ];
    let input = |line: &str| if line.ends_with(" -") { "[]" } else { "" };
    let mut sent: Vec<u16> =
        lines.iter().flat_map(|line| typed(line, input(line)).0).map(|(code, _)| code).collect();
    sent.sort_unstable();
    let all: Vec<u16> = COMMANDS.iter().map(|(code, _)| *code).collect();
    assert_eq!(sent, all);
}
