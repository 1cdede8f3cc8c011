// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Layers with their rules and decisions.

use super::flow::{FLOW_HEADER, flow_cells, more};
use super::{Show, table};
use opte_api::Direction;
use oxide_vpc_api::dump::{LayerDump, LayerInfo, RuleInfo};
use std::io::{self, Write};

impl Show for Vec<LayerInfo> {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let header = ["NAME", "RULES OUT", "RULES IN", "DEF OUT", "DEF IN", "FLOWS"];
        let rows = self.iter().map(|layer| {
            let [rules_out, rules_in] = layer.rules.map(|count| count.to_string());
            let [default_out, default_in] = layer.default.clone();
            let (name, flows) = (layer.name.clone(), layer.flows.to_string());
            [name, rules_out, rules_in, default_out, default_in, flows]
        });
        table(out, header, rows)
    }
}

impl Show for LayerDump {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Layer {}", self.name)?;
        for direction in Direction::BOTH {
            let title = match direction {
                Direction::Out => "Outbound",
                Direction::In => "Inbound",
            };
            writeln!(out, "\n{title} rules")?;
            rules(self, direction, out)?;
        }
        writeln!(out, "\nFlows")?;
        let [proto, src, sport, dst, dport] = FLOW_HEADER;
        let header = ["OPENED", proto, src, sport, dst, dport, "DECISION"];
        let rows = self.flows.iter().map(|entry| {
            let [proto, src, sport, dst, dport] = flow_cells(&entry.flow);
            [entry.opened.to_string(), proto, src, sport, dst, dport, entry.decision.clone()]
        });
        table(out, header, rows)?;
        more(out, self.next)
    }
}

/// The rules of one direction; the last row is what happens when none matches.
fn rules(layer: &LayerDump, direction: Direction, out: &mut dyn Write) -> io::Result<()> {
    let at = direction.index();
    let default = [
        "DEF".into(),
        String::new(),
        layer.default_hits[at].to_string(),
        String::new(),
        String::new(),
        String::new(),
        layer.default[at].clone(),
        String::new(),
    ];
    let rows = layer.rules[at].iter().map(rule_cells).chain([default]);
    let header = ["ID", "PRIORITY", "HITS", "PACKETS", "BYTES", "PREDICATES", "ACTION", "COMMENT"];
    table(out, header, rows)
}

fn rule_cells(rule: &RuleInfo) -> [String; 8] {
    [
        rule.id.to_string(),
        rule.priority.to_string(),
        rule.hits.to_string(),
        rule.packets.to_string(),
        rule.bytes.to_string(),
        rule.predicates.join(" "),
        rule.action.clone(),
        rule.comment.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::table_of;
    use super::*;
    use opte_api::{FlowId, Protocol};
    use oxide_vpc_api::dump::LayerFlow;

    #[test]
    fn layers_in_a_list() {
        let layer = LayerInfo {
            name: "firewall".into(),
            rules: [0, 12],
            default: ["allow".into(), "deny".into()],
            flows: 3,
        };
        let expected = "\
NAME      RULES OUT  RULES IN  DEF OUT  DEF IN  FLOWS
firewall  0          12        allow    deny    3
";
        assert_eq!(table_of(&vec![layer]), expected);
    }

    #[test]
    fn rules_default_and_flows() {
        let rule = RuleInfo {
            id: 3,
            priority: 100,
            predicates: vec!["protocol=tcp".into(), "port=22".into()],
            action: "allow".into(),
            hits: 5,
            packets: 70,
            bytes: 9000,
            uuid: None,
            comment: Some("SSH".into()),
        };
        let flow = LayerFlow {
            flow: FlowId {
                protocol: Protocol::TCP,
                src: "10.0.0.9".parse().unwrap(),
                src_port: 40000,
                dst: "172.30.0.5".parse().unwrap(),
                dst_port: 22,
            },
            opened: Direction::In,
            decision: "rule 3".into(),
        };
        let layer = LayerDump {
            name: "firewall".into(),
            rules: [vec![], vec![rule]],
            default: ["allow".into(), "deny".into()],
            default_hits: [7, 12],
            flows: vec![flow],
            next: None,
        };
        let expected = "\
Layer firewall

Outbound rules
ID   PRIORITY  HITS  PACKETS  BYTES  PREDICATES  ACTION  COMMENT
DEF  -         7     -        -      -           allow   -

Inbound rules
ID   PRIORITY  HITS  PACKETS  BYTES  PREDICATES            ACTION  COMMENT
3    100       5     70       9000   protocol=tcp port=22  allow   SSH
DEF  -         12    -        -      -                     deny    -

Flows
OPENED  PROTO  SRC       SPORT  DST         DPORT  DECISION
in      TCP    10.0.0.9  40000  172.30.0.5  22     rule 3
";
        assert_eq!(table_of(&layer), expected);
    }
}
