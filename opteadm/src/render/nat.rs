// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Pools, and what is on loan.

use super::{Show, table};
use oxide_vpc_api::pools::{NatLeaseInfo, NatPoolInfo, NatUsage};
use std::io::{self, Write};

impl Show for Vec<NatPoolInfo> {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let header =
            ["PORT", "ADDRESSES", "PORTS", "KIND", "USED", "FREE", "WAITING", "CLAIMED", "MOST"];
        let ranges = self.iter().flat_map(|pool| {
            pool.ranges.iter().flat_map(|range| {
                [("tcp", range.tcp), ("udp", range.udp), ("query", range.query)].map(
                    |(kind, usage)| {
                        let NatUsage { used, free, quarantined, claimed, high_water } = usage;
                        let numbers = [used, free, quarantined, claimed, high_water];
                        let [a, b, c, d, e] = numbers.map(|number| number.to_string());
                        let ports = format!("{}-{}", range.first_port, range.last_port);
                        let (port, prefix) = (pool.port.to_string(), range.prefix.to_string());
                        [port, prefix, ports, kind.into(), a, b, c, d, e]
                    },
                )
            })
        });
        table(out, header, ranges)?;
        writeln!(out)?;
        let guests = self.iter().flat_map(|pool| {
            pool.guests.iter().map(|guest| {
                let [tcp, udp, query] =
                    [guest.tcp, guest.udp, guest.query].map(|number| number.to_string());
                let external = guest.external_ip.map(|ip| ip.to_string()).unwrap_or_default();
                [pool.port.to_string(), guest.ip.to_string(), external, tcp, udp, query]
            })
        });
        table(out, ["PORT", "GUEST", "EXTERNAL", "TCP", "UDP", "QUERY"], guests)?;
        writeln!(out)?;
        let failures = self.iter().flat_map(|pool| {
            pool.failures.iter().map(|failure| {
                [pool.port.to_string(), failure.name.clone(), failure.value.to_string()]
            })
        });
        table(out, ["PORT", "FAILURE", "COUNT"], failures)
    }
}

impl Show for Vec<NatLeaseInfo> {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.iter().map(|lease| {
            let place = &lease.place;
            let shared = if lease.shared { "shared" } else { "" };
            [
                place.protocol.to_string(),
                place.external_ip.to_string(),
                place.external_port.to_string(),
                place.ip.to_string(),
                place.port.to_string(),
                lease.connections.to_string(),
                shared.into(),
            ]
        });
        let header = ["PROTO", "EXTERNAL", "PORT", "INSIDE", "PORT", "CONNECTIONS", "NOTE"];
        table(out, header, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{json_of, table_of};
    use super::*;
    use oxide_vpc_api::dump::Counter;
    use oxide_vpc_api::pools::{LeasePlace, NatGuestInfo, NatRangeInfo};

    #[test]
    fn pools() {
        let usage = |used| NatUsage { used, free: 7, quarantined: 2, claimed: 1, high_water: 9 };
        let pool = NatPoolInfo {
            port: "opte0".parse().unwrap(),
            mappings: 3,
            high_water: 9,
            failures: vec![Counter { name: "exhausted".into(), value: 4 }],
            ranges: vec![NatRangeInfo {
                prefix: "192.0.2.1/32".parse().unwrap(),
                first_port: 1024,
                last_port: 2047,
                tcp: usage(1),
                udp: usage(2),
                query: usage(0),
            }],
            guests: vec![NatGuestInfo {
                ip: "10.0.0.5".parse().unwrap(),
                tcp: 1,
                udp: 2,
                query: 0,
                external_ip: None,
            }],
        };
        assert_eq!(
            table_of(&vec![pool.clone()]),
            "PORT   ADDRESSES     PORTS      KIND   USED  FREE  WAITING  CLAIMED  MOST\n\
             opte0  192.0.2.1/32  1024-2047  tcp    1     7     2        1        9\n\
             opte0  192.0.2.1/32  1024-2047  udp    2     7     2        1        9\n\
             opte0  192.0.2.1/32  1024-2047  query  0     7     2        1        9\n\
             \n\
             PORT   GUEST     EXTERNAL  TCP  UDP  QUERY\n\
             opte0  10.0.0.5  -         1    2    0\n\
             \n\
             PORT   FAILURE    COUNT\n\
             opte0  exhausted  4\n"
        );
        assert!(json_of(&vec![pool]).starts_with(
            r#"[{"port":"opte0","mappings":3,"high_water":9,"failures":[{"name":"exhausted","value":4}]"#
        ));
    }

    #[test]
    fn leases() {
        let lease = NatLeaseInfo {
            place: LeasePlace {
                protocol: opte_api::Protocol::UDP,
                external_ip: "192.0.2.1".parse().unwrap(),
                external_port: 1025,
                ip: "10.0.0.5".parse().unwrap(),
                port: 53,
            },
            connections: 2,
            shared: false,
        };
        assert_eq!(
            table_of(&vec![lease]),
            "PROTO  EXTERNAL   PORT  INSIDE    PORT  CONNECTIONS  NOTE\n\
             UDP    192.0.2.1  1025  10.0.0.5  53    2            -\n"
        );
    }
}
