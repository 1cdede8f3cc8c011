// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Routing in one step, and multicast.

use super::*;
use oxide_vpc_api::multicast::{ForwardingEntry, M2pEntry, NextHop, Replication};

#[test]
fn routing_in_one_step() {
    let route = |dest: &str, target: &str, weight| WeightedRoute {
        route: RouteEntry { dest: of(dest), target: of(target), class: of("system") },
        weight,
    };
    let floating = vec![of("203.0.113.8"), of("203.0.113.9")];
    let line = format!(
        "set-routing -p opte0 --revision 7 --floating-ip 203.0.113.8 --floating-ip 203.0.113.9
         --gateway 203.0.113.8={GATEWAY} --gateway 203.0.113.9=none"
    );
    check_input(
        &line,
        "0.0.0.0/0 ig system\n::/0 drop system 3 # not yet\n",
        SetRouting {
            port: port(),
            revision: Some(7),
            routes: vec![route("0.0.0.0/0", "ig", 1), route("::/0", "drop", 3)],
            ipv4: Some(ExternalIps { floating, ..ExternalIps::default() }),
            ipv6: None,
            gateways: [(of("203.0.113.8"), [of(GATEWAY)].into()), (of("203.0.113.9"), [].into())]
                .into(),
        },
    );
    let (requests, error) = typed("set-routing -p opte0", "0.0.0.0/0 ig\n");
    assert_eq!(requests, []);
    assert!(error.contains("line 1: a route is DEST TARGET CLASS"), "{error}");
    check_error(
        &format!("set-routing -p opte0 --gateway 203.0.113.8={GATEWAY}"),
        &["203.0.113.8", "no external address"],
    );
}

#[test]
fn multicast() {
    let entry = M2pEntry { group: of("239.1.1.1"), underlay: of("ff04::1") };
    check("set-m2p 239.1.1.1 ff04::1", SetM2p { entry });
    check("clear-m2p 239.1.1.1 ff04::1", ClearM2p { entry });
    check_error("set-m2p 10.0.0.1 ff04::1", &["no multicast address"]);
    check_error("set-m2p 239.1.1.1 ff05::1", &["ff04::/16"]);
    let hop = |filter: &str| NextHop {
        addr: of("fd00::2"),
        vni: of("77"),
        replication: Replication::Both,
        filter: of(filter),
    };
    for (flag, filter) in [("", "any"), (" --filter exclude=10.0.0.7", "exclude=10.0.0.7")] {
        let entry = ForwardingEntry { underlay: of("ff04::1"), next_hops: vec![hop(filter)] };
        let line = format!("set-mcast-fwd ff04::1 fd00::2 both{flag}");
        check(&line, SetMulticastForwarding { entry });
        check(
            &format!("mcast-subscribe -p opte0 239.1.1.1{flag}"),
            MulticastSubscribe { port: port(), group: of("239.1.1.1"), filter: of(filter) },
        );
    }
    check_error("set-mcast-fwd ff04::1 ff04::2 both", &["no unicast address"]);
    check_error("set-mcast-fwd ff04::1 fd00::2 reserved", &["external, underlay or both"]);
    check_error("mcast-subscribe -p opte0 239.1.1.1 --filter only=1", &["include=ADDRESS"]);
    check_error("mcast-subscribe -p opte0 10.0.0.1", &["no multicast address"]);
    check("clear-mcast-fwd ff04::1", ClearMulticastForwarding { underlay: of("ff04::1") });
    let group = of("ff05::1:3");
    check("mcast-unsubscribe -p opte0 ff05::1:3", MulticastUnsubscribe { port: port(), group });
    check("mcast-unsubscribe-all ff05::1:3", MulticastUnsubscribeAll { group });
    check("dump-m2p", DumpM2p {});
    check("dump-mcast-fwd", DumpMulticastForwarding {});
    check("dump-mcast-subs", DumpMulticastSubscriptions {});
}
