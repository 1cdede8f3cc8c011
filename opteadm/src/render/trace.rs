// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a port would do with a packet.

use super::flow::{FLOW_HEADER, flow_cells};
use super::{Show, table};
use oxide_vpc_api::trace::{PacketTrace, TraceVerdict, TracedFlow};
use std::io::{self, Write};

impl Show for PacketTrace {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Generation {}\n", self.generation)?;
        if let Some(packet) = &self.packet {
            table(out, FLOW_HEADER, [flow_cells(packet)])?;
            writeln!(out)?;
        }
        if let Some(flow) = &self.flow {
            write_flow(flow, out)?;
        }
        let header = ["LAYER", "DECIDED BY", "PREDICATES", "ACTION", "CHANGES", "NOTES"];
        let rows = self.steps.iter().map(|step| {
            [
                step.layer.clone(),
                step.decided.clone(),
                step.predicates.join(" "),
                step.action.clone(),
                step.changes.join(" "),
                step.notes.join(" "),
            ]
        });
        table(out, header, rows)?;
        writeln!(out)?;
        match &self.verdict {
            TraceVerdict::Forward { packet, changes, nat } => {
                let nat = nat.as_ref().map(|nat| format!(", translated to {nat}"));
                writeln!(out, "Forwarded{}", nat.unwrap_or_default())?;
                writeln!(out, "  {}\n", changes.join(" "))?;
                table(out, FLOW_HEADER, [flow_cells(packet)])
            }
            TraceVerdict::Reply { frame } => {
                writeln!(out, "Answered with {} bytes", frame.len())?;
                let hex: Vec<String> = frame.iter().map(|byte| format!("{byte:02x}")).collect();
                hex.chunks(16).try_for_each(|line| writeln!(out, "  {}", line.join(" ")))
            }
            TraceVerdict::Drop { reason } => writeln!(out, "Dropped: {reason}"),
        }
    }
}

fn write_flow(traced: &TracedFlow, out: &mut dyn Write) -> io::Result<()> {
    let flow = &traced.flow;
    writeln!(out, "Connection opened {}: {}", flow.opened, traced.judgement)?;
    writeln!(out, "  out {}", flow.out.flow)?;
    writeln!(out, "  in  {}", flow.inbound.flow)?;
    for (name, value) in [("nat", &flow.nat), ("tcp", &flow.tcp), ("stored", &traced.stored)] {
        if let Some(value) = value {
            writeln!(out, "  {name} {value}")?;
        }
    }
    if traced.cut {
        writeln!(out, "  It would end, and the packet is decided without it.")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::super::{json_of, table_of};
    use super::*;
    use opte_api::{Direction, FlowId, Protocol};
    use oxide_vpc_api::dump::{FlowInfo, FlowSide};
    use oxide_vpc_api::trace::TraceStep;

    fn id(src: &str, src_port: u16, dst: &str, dst_port: u16) -> FlowId {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        FlowId { protocol: Protocol::TCP, src, src_port, dst, dst_port }
    }

    fn trace(verdict: TraceVerdict) -> PacketTrace {
        let step = |layer: &str, decided: &str, action: &str, changes: &[&str]| TraceStep {
            layer: layer.into(),
            decided: decided.into(),
            predicates: vec![],
            action: action.into(),
            changes: changes.iter().map(|text| (*text).into()).collect(),
            notes: vec![],
        };
        PacketTrace {
            generation: 4,
            packet: Some(id("172.30.0.5", 40000, "198.51.100.9", 443)),
            flow: None,
            steps: vec![
                step("firewall", "default", "allow (stateful)", &[]),
                step("nat", "rule 3", "snat", &["src_ip=203.0.113.7", "src_port=16384"]),
            ],
            verdict,
        }
    }

    const HEAD: &str = "\
Generation 4

PROTO  SRC         SPORT  DST           DPORT
TCP    172.30.0.5  40000  198.51.100.9  443

";
    const STEPS: &str = "\
LAYER     DECIDED BY  PREDICATES  ACTION            CHANGES                            NOTES
firewall  default     -           allow (stateful)  -                                  -
nat       rule 3      -           snat              src_ip=203.0.113.7 src_port=16384  -

";

    #[test]
    fn layers_and_verdict() {
        let forward = TraceVerdict::Forward {
            packet: id("203.0.113.7", 16384, "198.51.100.9", 443),
            changes: vec!["src_ip=203.0.113.7".into()],
            nat: Some("203.0.113.7:16384".into()),
        };
        let end = "\
Forwarded, translated to 203.0.113.7:16384
  src_ip=203.0.113.7

PROTO  SRC          SPORT  DST           DPORT
TCP    203.0.113.7  16384  198.51.100.9  443
";
        assert_eq!(table_of(&trace(forward)), format!("{HEAD}{STEPS}{end}"));
        let drop = trace(TraceVerdict::Drop { reason: "firewall_rule".into() });
        assert_eq!(table_of(&drop), format!("{HEAD}{STEPS}Dropped: firewall_rule\n"));
        assert!(json_of(&drop).ends_with(r#""verdict":{"drop":{"reason":"firewall_rule"}}}"#));
        let reply = trace(TraceVerdict::Reply { frame: vec![7; 17] });
        assert!(table_of(&reply).ends_with(
            "Answered with 17 bytes\n  07 07 07 07 07 07 07 07 \
            07 07 07 07 07 07 07 07\n  07\n"
        ));
    }

    #[test]
    fn the_connection_and_its_judgement() {
        let side = |flow| FlowSide {
            flow,
            packets: 1,
            bytes: 60,
            generation: 3,
            transform: String::new(),
        };
        let mut traced = trace(TraceVerdict::Drop { reason: "x".into() });
        traced.flow = Some(TracedFlow {
            flow: FlowInfo {
                opened: Direction::Out,
                out: side(id("172.30.0.5", 40000, "198.51.100.9", 443)),
                inbound: side(id("198.51.100.9", 443, "203.0.113.7", 16384)),
                nat: Some("203.0.113.7:16384".into()),
                tcp: Some("ESTABLISHED".into()),
                judged: 4,
                idle_ms: 5,
            },
            judgement: "cut: address_gone".into(),
            cut: true,
            stored: None,
        });
        let expected = "\
Connection opened out: cut: address_gone
  out TCP:172.30.0.5:40000:198.51.100.9:443
  in  TCP:198.51.100.9:443:203.0.113.7:16384
  nat 203.0.113.7:16384
  tcp ESTABLISHED
  It would end, and the packet is decided without it.

";
        let text = table_of(&traced);
        assert!(text.contains(expected), "{text}");
    }
}
