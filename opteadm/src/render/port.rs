// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Ports and the underlay.

use super::{Show, list, table};
use oxide_vpc_api::dump::{PortInfo, UnderlayInfo};
use std::io::{self, Write};

impl Show for Vec<PortInfo> {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let header = [
            "LINK",
            "MAC",
            "VNI",
            "MTU",
            "IPv4",
            "IPv6",
            "FLOATING",
            "EPHEMERAL",
            "SNAT",
            "STATE",
            "GENERATION",
        ];
        let rows = self.iter().map(|port| {
            [
                port.name.to_string(),
                port.mac.to_string(),
                port.vni.to_string(),
                port.mtu.to_string(),
                list(port.private_ips.iter().filter(|ip| ip.is_ipv4())),
                list(port.private_ips.iter().filter(|ip| ip.is_ipv6())),
                list(&port.floating),
                list(&port.ephemeral),
                list(&port.snat),
                port.state.to_string(),
                port.generation.to_string(),
            ]
        });
        table(out, header, rows)
    }
}

impl Show for UnderlayInfo {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        table(out, ["LINK"], self.links.iter().map(|link| [link.clone()]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::table_of;
    use super::*;
    use oxide_vpc_api::PortState;
    use std::net::IpAddr;

    #[test]
    fn a_port_with_everything_and_a_port_with_little() {
        let ips = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let bare = PortInfo {
            name: "opte0".parse().unwrap(),
            state: PortState::Ready,
            mac: "a8:40:25:f0:00:01".parse().unwrap(),
            vni: "7".parse().unwrap(),
            mtu: 1500,
            underlay_ip: "fd00::1".parse().unwrap(),
            private_ips: ips(&["fd12::5"]),
            floating: vec![],
            ephemeral: vec![],
            snat: vec![],
            generation: 1,
        };
        let full = PortInfo {
            name: "opte10".parse().unwrap(),
            state: PortState::Running,
            private_ips: ips(&["172.30.0.5", "fd12::6"]),
            floating: ips(&["203.0.113.8", "203.0.113.9"]),
            ephemeral: ips(&["2001:db8::9"]),
            snat: vec!["203.0.113.7:16384-32767".into()],
            ..bare.clone()
        };
        let expected = "\
LINK    MAC                VNI  MTU   IPv4        IPv6     FLOATING                 EPHEMERAL    \
SNAT                     STATE    GENERATION
opte0   a8:40:25:f0:00:01  7    1500  -           fd12::5  -                        -            \
-                        ready    1
opte10  a8:40:25:f0:00:01  7    1500  172.30.0.5  fd12::6  203.0.113.8,203.0.113.9  2001:db8::9  \
203.0.113.7:16384-32767  running  1
";
        assert_eq!(table_of(&vec![bare, full]), expected);
    }

    #[test]
    fn no_port_is_a_header_only() {
        assert_eq!(table_of(&Vec::<PortInfo>::new()).lines().count(), 1);
        assert_eq!(table_of(&UnderlayInfo::default()), "LINK\n");
    }
}
