// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Flows.

use super::{Show, table};
use opte_api::{Direction, FlowId, Protocol};
use oxide_vpc_api::dump::{FlowInfo, FlowTableDump, KilledFlows, TcpFlowDump};
use std::fmt::Display;
use std::io::{self, Write};

/// Headers above [`flow_cells`].
pub(super) const FLOW_HEADER: [&str; 5] = ["PROTO", "SRC", "SPORT", "DST", "DPORT"];

/// A flow in five cells. ICMP shows type/code and the echo identifier in place of the ports.
pub(super) fn flow_cells(flow: &FlowId) -> [String; 5] {
    let src_port = match flow.protocol {
        Protocol::ICMP | Protocol::ICMPV6 => {
            let [kind, code] = flow.src_port.to_be_bytes();
            format!("{kind}/{code}")
        }
        _ => flow.src_port.to_string(),
    };
    [
        flow.protocol.to_string(),
        flow.src.to_string(),
        src_port,
        flow.dst.to_string(),
        flow.dst_port.to_string(),
    ]
}

impl Show for FlowTableDump {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let (shown, count, limit) = (self.flows.len(), self.count, self.limit);
        writeln!(out, "{shown} of {count} flows; at most {limit}\n")?;
        let [proto, src, sport, dst, dport] = FLOW_HEADER;
        let header = [
            "OPENED",
            "DIR",
            proto,
            src,
            sport,
            dst,
            dport,
            "PACKETS",
            "BYTES",
            "NAT",
            "TCP",
            "IDLE",
            "GEN",
            "TRANSFORM",
        ];
        let rows = self.flows.iter().flat_map(|flow| Direction::BOTH.map(|dir| side(flow, dir)));
        table(out, header, rows)?;
        more(out, self.next)
    }
}

/// One direction of a flow; what both share stands in both lines.
fn side(flow: &FlowInfo, direction: Direction) -> [String; 14] {
    let side = match direction {
        Direction::Out => &flow.out,
        Direction::In => &flow.inbound,
    };
    let [proto, src, sport, dst, dport] = flow_cells(&side.flow);
    [
        flow.opened.to_string(),
        direction.to_string(),
        proto,
        src,
        sport,
        dst,
        dport,
        side.packets.to_string(),
        side.bytes.to_string(),
        flow.nat.clone().unwrap_or_default(),
        flow.tcp.clone().unwrap_or_default(),
        duration(flow.idle_ms),
        flow.judged.to_string(),
        side.transform.clone(),
    ]
}

/// Says how to go on.
pub(super) fn more(out: &mut dyn Write, next: Option<impl Display>) -> io::Result<()> {
    match next {
        Some(next) => writeln!(out, "\nThere may be more: go on with --after {next}"),
        None => Ok(()),
    }
}

impl Show for KilledFlows {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "removed {} flows", self.count)?;
        if self.first.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        table(out, FLOW_HEADER, self.first.iter().map(flow_cells))?;
        match self.count - self.first.len() as u64 {
            0 => Ok(()),
            rest => writeln!(out, "\nand {rest} more"),
        }
    }
}

impl Show for TcpFlowDump {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let header = [
            "SRC",
            "SPORT",
            "DST",
            "DPORT",
            "STATE",
            "SEGS OUT",
            "SEGS IN",
            "BYTES OUT",
            "BYTES IN",
        ];
        let rows = self.flows.iter().map(|tcp| {
            let [_, src, sport, dst, dport] = flow_cells(&tcp.flow);
            let [segments_out, segments_in] = tcp.segments.map(|count| count.to_string());
            let [bytes_out, bytes_in] = tcp.bytes.map(|count| count.to_string());
            let state = tcp.state.clone();
            [src, sport, dst, dport, state, segments_out, segments_in, bytes_out, bytes_in]
        });
        table(out, header, rows)?;
        more(out, self.next)
    }
}

/// Milliseconds as people say them, rounded down.
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{}.{}s", seconds, ms % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{json_of, table_of};
    use super::*;
    use oxide_vpc_api::dump::{FlowSide, TcpFlowInfo};

    fn id(protocol: Protocol, src: &str, src_port: u16, dst: &str, dst_port: u16) -> FlowId {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        FlowId { protocol, src, src_port, dst, dst_port }
    }

    fn side(flow: FlowId, packets: u64, transform: &str) -> FlowSide {
        let transform = transform.into();
        FlowSide { flow, packets, bytes: packets * 100, generation: 4, transform }
    }

    fn two_flows() -> FlowTableDump {
        let web = FlowInfo {
            opened: Direction::Out,
            out: side(id(Protocol::TCP, "172.30.0.5", 40000, "198.51.100.9", 443), 12, "encap"),
            inbound: side(id(Protocol::TCP, "198.51.100.9", 443, "203.0.113.7", 16384), 9, "snat"),
            nat: Some("203.0.113.7:16384".into()),
            tcp: Some("ESTABLISHED".into()),
            judged: 4,
            idle_ms: 1_250,
        };
        let ping = FlowInfo {
            opened: Direction::In,
            out: side(id(Protocol::ICMPV6, "fd12::5", 129 << 8, "fd12::6", 77), 1, ""),
            inbound: side(id(Protocol::ICMPV6, "fd12::6", 128 << 8, "fd12::5", 77), 1, "allow"),
            nat: None,
            tcp: None,
            judged: 3,
            idle_ms: 90,
        };
        FlowTableDump { limit: 8192, count: 7, flows: vec![web, ping], next: Some(41) }
    }

    #[test]
    fn both_directions_of_each_flow() {
        let expected = "\
2 of 7 flows; at most 8192

OPENED  DIR  PROTO  SRC           SPORT  DST           DPORT  \
PACKETS  BYTES  NAT                TCP          IDLE  GEN  TRANSFORM
out     out  TCP    172.30.0.5    40000  198.51.100.9  443    \
12       1200   203.0.113.7:16384  ESTABLISHED  1.2s  4    encap
out     in   TCP    198.51.100.9  443    203.0.113.7   16384  \
9        900    203.0.113.7:16384  ESTABLISHED  1.2s  4    snat
in      out  ICMP6  fd12::5       129/0  fd12::6       77     \
1        100    -                  -            90ms  3    -
in      in   ICMP6  fd12::6       128/0  fd12::5       77     \
1        100    -                  -            90ms  3    allow

There may be more: go on with --after 41
";
        assert_eq!(table_of(&two_flows()), expected);
    }

    #[test]
    fn json_round_trips() {
        let dump = two_flows();
        assert_eq!(serde_json::from_str::<FlowTableDump>(&json_of(&dump)).unwrap(), dump);
    }

    #[test]
    fn tcp_connections() {
        let tcp = TcpFlowInfo {
            flow: id(Protocol::TCP, "172.30.0.5", 40000, "198.51.100.9", 443),
            state: "TIME_WAIT".into(),
            segments: [5, 4],
            bytes: [500, 4000],
        };
        let expected = "\
SRC         SPORT  DST           DPORT  STATE      SEGS OUT  SEGS IN  BYTES OUT  BYTES IN
172.30.0.5  40000  198.51.100.9  443    TIME_WAIT  5         4        500        4000
";
        assert_eq!(table_of(&TcpFlowDump { flows: vec![tcp], next: None }), expected);
    }

    #[test]
    fn killed_flows_are_counted_and_the_first_are_listed() {
        let first = vec![id(Protocol::TCP, "172.30.0.5", 40000, "198.51.100.9", 443)];
        let expected = "\
removed 3 flows

PROTO  SRC         SPORT  DST           DPORT
TCP    172.30.0.5  40000  198.51.100.9  443

and 2 more
";
        assert_eq!(table_of(&KilledFlows { count: 3, first }), expected);
        assert_eq!(table_of(&KilledFlows::default()), "removed 0 flows\n");
        assert_eq!(json_of(&KilledFlows::default()), r#"{"count":0,"first":[]}"#);
    }

    #[test]
    fn durations_as_people_say_them() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1.0s"),
            (59_999, "59.9s"),
            (60_000, "1m00s"),
            (3_599_999, "59m59s"),
            (3_600_000, "1h00m"),
            (90_061_000, "25h01m"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }
}
