// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Mappings and the NAT table of a boundary.

use super::flow::more;
use super::{Show, table};
use oxide_vpc_api::BoundaryNat;
use oxide_vpc_api::dump::{V2bDump, V2pDump};
use std::io::{self, Write};

impl Show for V2pDump {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.entries.iter().map(|entry| {
            [
                entry.vni.to_string(),
                entry.ip.to_string(),
                entry.location.mac.to_string(),
                entry.location.underlay_ip.to_string(),
            ]
        });
        table(out, ["VNI", "IP", "MAC", "UNDERLAY IP"], rows)?;
        more(out, self.next.map(|(vni, ip)| format!("{vni}/{ip}")))
    }
}

impl Show for V2bDump {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.entries.iter().flat_map(|entry| {
            entry.endpoints.iter().map(|endpoint| {
                [
                    entry.prefix.to_string(),
                    endpoint.underlay_ip.to_string(),
                    endpoint.vni.to_string(),
                ]
            })
        });
        table(out, ["PREFIX", "BOUNDARY IP", "VNI"], rows)?;
        more(out, self.next)
    }
}

impl Show for Vec<BoundaryNat> {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.iter().map(|entry| {
            [
                entry.ip.to_string(),
                format!("{}-{}", entry.first_port, entry.last_port),
                entry.underlay_ip.to_string(),
                entry.vni.to_string(),
                entry.mac.to_string(),
            ]
        });
        table(out, ["EXTERNAL IP", "PORTS", "UNDERLAY IP", "VNI", "MAC"], rows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table_of;
    use super::*;
    use oxide_vpc_api::{BoundaryEndpoint, GuestLocation, V2bEntry, V2pEntry};

    #[test]
    fn guests() {
        let entry = V2pEntry {
            vni: "100".parse().unwrap(),
            ip: "172.30.0.6".parse().unwrap(),
            location: GuestLocation {
                mac: "a8:40:25:f0:00:02".parse().unwrap(),
                underlay_ip: "fd00::2".parse().unwrap(),
            },
        };
        let expected = "\
VNI  IP          MAC                UNDERLAY IP
100  172.30.0.6  a8:40:25:f0:00:02  fd00::2

There may be more: go on with --after 100/172.30.0.6
";
        let next = Some((entry.vni, entry.ip));
        assert_eq!(table_of(&V2pDump { entries: vec![entry], next }), expected);
    }

    #[test]
    fn each_way_out_has_its_line() {
        let endpoint = |ip: &str, vni: &str| BoundaryEndpoint {
            underlay_ip: ip.parse().unwrap(),
            vni: vni.parse().unwrap(),
        };
        let entry = V2bEntry {
            prefix: "0.0.0.0/0".parse().unwrap(),
            endpoints: vec![endpoint("fd00:b::1", "99"), endpoint("fd00:b::2", "7")],
        };
        let expected = "\
PREFIX     BOUNDARY IP  VNI
0.0.0.0/0  fd00:b::1    99
0.0.0.0/0  fd00:b::2    7
";
        assert_eq!(table_of(&V2bDump { entries: vec![entry], next: None }), expected);
    }

    #[test]
    fn boundary_entries() {
        let entry = BoundaryNat {
            ip: "203.0.113.7".parse().unwrap(),
            first_port: 16384,
            last_port: 32767,
            underlay_ip: "fd00::1".parse().unwrap(),
            vni: "100".parse().unwrap(),
            mac: "a8:40:25:f0:00:01".parse().unwrap(),
        };
        let expected = "\
EXTERNAL IP  PORTS        UNDERLAY IP  VNI  MAC
203.0.113.7  16384-32767  fd00::1      100  a8:40:25:f0:00:01
";
        assert_eq!(table_of(&vec![entry]), expected);
    }
}
