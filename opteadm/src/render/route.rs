// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Routes and gateways.

use super::{Show, table};
use oxide_vpc_api::gateway::GatewayAddress;
use oxide_vpc_api::request::Ensured;
use oxide_vpc_api::{GatewayInfo, RouteInfo};
use serde_json::json;
use std::io::{self, Write};

impl Show for Vec<RouteInfo> {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.iter().map(|info| {
            [
                info.route.dest.to_string(),
                info.route.target.to_string(),
                info.route.class.to_string(),
                info.weight.to_string(),
                if info.in_use { "yes" } else { "no" }.into(),
                info.hits.to_string(),
            ]
        });
        table(out, ["DESTINATION", "TARGET", "CLASS", "WEIGHT", "IN USE", "HITS"], rows)
    }
}

impl Show for Vec<GatewayInfo> {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.iter().flat_map(|info| {
            // A gateway without an address has a line of its own.
            let first = info.addresses.first().map_or_else(Default::default, address);
            let rest = info.addresses.iter().skip(1).map(address);
            let name = info.gateway.map_or("(no name)".into(), |uuid| uuid.to_string());
            let head = [name, info.routes.to_string(), info.denied.to_string()];
            let heads = [head].into_iter().chain(std::iter::repeat_with(Default::default));
            let cells = [first].into_iter().chain(rest);
            heads.zip(cells).map(|([name, routes, denied], [ip, kind, flows, inbound])| {
                [name, routes, denied, ip, kind, flows, inbound]
            })
        });
        let header = ["GATEWAY", "ROUTES", "DENIED", "ADDRESS", "KIND", "FLOWS", "INBOUND FLOWS"];
        table(out, header, rows)
    }
}

fn address(address: &GatewayAddress) -> [String; 4] {
    let ip = match (address.ports, address.ip.is_ipv4()) {
        (None, _) => address.ip.to_string(),
        (Some((first, last)), true) => format!("{}:{first}-{last}", address.ip),
        (Some((first, last)), false) => format!("[{}]:{first}-{last}", address.ip),
    };
    let mark = if address.is_first { "*" } else { "" };
    let (flows, inbound) = (address.flows.to_string(), address.inbound_flows.to_string());
    [ip, format!("{}{mark}", address.kind), flows, inbound]
}

impl Show for Ensured {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(match self {
            Self::Changed => b"changed\n",
            Self::Unchanged => b"unchanged: all was so already\n",
        })
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}", json!({ "result": self }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{json_of, table_of};
    use super::*;
    use oxide_vpc_api::gateway::AddressKind;
    use oxide_vpc_api::{RouteEntry, RouterClass};

    #[test]
    fn routes() {
        let info = RouteInfo {
            route: RouteEntry {
                dest: "10.9.0.0/16".parse().unwrap(),
                target: "ip=172.30.0.8".parse().unwrap(),
                class: RouterClass::Custom,
            },
            weight: 3,
            in_use: true,
            hits: 7,
        };
        let expected = "\
DESTINATION  TARGET         CLASS   WEIGHT  IN USE  HITS
10.9.0.0/16  ip=172.30.0.8  custom  3       yes     7
";
        assert_eq!(table_of(&vec![info]), expected);
    }

    #[test]
    fn gateways_and_their_addresses() {
        let address = |ip: &str, ports, kind, is_first| GatewayAddress {
            ip: ip.parse().unwrap(),
            ports,
            kind,
            is_first,
            flows: 2,
            inbound_flows: 0,
        };
        let addresses = vec![
            address("203.0.113.8", None, AddressKind::Floating, true),
            address("2001:db8::7", Some((1, 9)), AddressKind::Snat, false),
        ];
        let gateways = vec![
            GatewayInfo { gateway: None, routes: 1, addresses: vec![], denied: 5 },
            GatewayInfo { gateway: Some(uuid::Uuid::nil()), routes: 0, addresses, denied: 0 },
        ];
        let expected = "\
GATEWAY                               ROUTES  DENIED  ADDRESS            KIND       FLOWS  INBOUND FLOWS
(no name)                             1       5       -                  -          -      -
00000000-0000-0000-0000-000000000000  0       0       203.0.113.8        floating*  2      0
-                                     -       -       [2001:db8::7]:1-9  snat       2      0
";
        assert_eq!(table_of(&gateways), expected);
    }

    #[test]
    fn what_was_so_already_is_told() {
        assert_eq!(table_of(&Ensured::Changed), "changed\n");
        assert_eq!(json_of(&Ensured::Unchanged), r#"{"result":"unchanged"}"#);
    }
}
