// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Messages about shared external addresses.

use super::Example;
use super::examples::{example, of};
use super::ports::port;
use opte_api::Protocol;
use oxide_vpc_api::dump::Counter;
use oxide_vpc_api::pools::{
    LeasePlace, NatGuestInfo, NatLeaseInfo, NatLeasePage, NatPoolInfo, NatRangeInfo, NatUsage,
};
use oxide_vpc_api::request::{DumpNatLeases, DumpNatPools};

/// Pools, and what is on loan.
pub(super) fn pools() -> Vec<Example> {
    let usage = |used| NatUsage { used, free: 7, quarantined: 2, claimed: 1, high_water: 300 };
    let pool = NatPoolInfo {
        port: port(),
        mappings: 3,
        high_water: 300,
        failures: vec![Counter { name: "exhausted".into(), value: 4 }],
        ranges: vec![NatRangeInfo {
            prefix: of("2001:db8::/64"),
            first_port: 1024,
            last_port: 2047,
            tcp: usage(1),
            udp: usage(2),
            query: usage(0),
        }],
        guests: vec![NatGuestInfo {
            ip: of("10.0.0.5"),
            tcp: 1,
            udp: 2,
            query: 0,
            external_ip: Some(of("192.0.2.1")),
        }],
    };
    let place = LeasePlace {
        protocol: Protocol::UDP,
        external_ip: of("192.0.2.1"),
        external_port: 1025,
        ip: of("10.0.0.5"),
        port: 53,
    };
    let lease = NatLeaseInfo { place, connections: 2, shared: false };
    let ask = |after| DumpNatLeases { port: port(), after, limit: 4096 };
    vec![
        example(
            vec![DumpNatPools { port: None }, DumpNatPools { port: Some(port()) }],
            vec![vec![pool]],
        ),
        example(
            vec![ask(None), ask(Some(place))],
            vec![
                NatLeasePage { leases: vec![lease], more: true },
                NatLeasePage { leases: vec![], more: false },
            ],
        ),
    ]
}
