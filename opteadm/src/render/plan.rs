// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a change does to connections.

use super::{Show, table};
use oxide_vpc_api::ChangeReport;
use oxide_vpc_api::change::{Fate, FateReport};
use std::io::{self, Write};

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Kept => "kept",
        Fate::Changed => "changed",
        Fate::Drained => "drained",
        Fate::Cut => "cut",
    }
}

/// All ports and what becomes of their connections.
fn fates(report: &ChangeReport) -> impl Iterator<Item = (String, &FateReport)> {
    report.ports.iter().flat_map(|port| {
        let name = port.port.to_string();
        port.flows.iter().map(move |fate| (name.clone(), fate))
    })
}

impl Show for ChangeReport {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.next == self.generation {
            return writeln!(out, "nothing new, generation stays {}", self.generation);
        }
        writeln!(out, "generation {} to {}\n", self.generation, self.next)?;
        let rows = fates(self).map(|(port, fate)| {
            [port, word(fate.fate).into(), fate.count.to_string(), fate.reason.clone()]
        });
        table(out, ["PORT", "FATE", "FLOWS", "REASON"], rows)?;
        let touched = |(_, fate): &(String, &FateReport)| fate.fate != Fate::Kept;
        let flows = fates(self).filter(touched).flat_map(|(port, fate)| {
            fate.first.iter().map(move |flow| {
                [
                    port.clone(),
                    word(fate.fate).into(),
                    fate.reason.clone(),
                    flow.opened.to_string(),
                    flow.flow.to_string(),
                    flow.nat.clone().unwrap_or_default(),
                ]
            })
        });
        writeln!(out)?;
        table(out, ["PORT", "FATE", "REASON", "OPENED", "FLOW", "NAT"], flows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table_of;
    use super::*;
    use opte_api::{Direction, FlowId, Protocol};
    use oxide_vpc_api::change::{AffectedFlow, PortReport};

    fn report() -> ChangeReport {
        let flow = FlowId {
            protocol: Protocol::UDP,
            src: "10.0.0.5".parse().unwrap(),
            src_port: 1000,
            dst: "198.51.100.7".parse().unwrap(),
            dst_port: 80,
        };
        let nat = Some("192.0.2.1:6144".into());
        let flow = AffectedFlow { flow, opened: Direction::Out, nat };
        let kept = FateReport {
            fate: Fate::Kept,
            reason: "as it is".into(),
            count: 2,
            first: vec![flow.clone()],
        };
        let cut = FateReport {
            fate: Fate::Cut,
            reason: "address_gone".into(),
            count: 1,
            first: vec![flow],
        };
        let port = PortReport { port: "opte0".parse().unwrap(), flows: vec![kept, cut] };
        ChangeReport { generation: 6, next: 7, ports: vec![port] }
    }

    #[test]
    fn classes_are_counted_and_what_is_touched_is_listed() {
        let text = table_of(&report());
        assert!(text.starts_with("generation 6 to 7\n"), "{text}");
        for line in ["opte0  kept  2      as it is", "opte0  cut   1      address_gone"] {
            assert!(text.lines().any(|known| known == line), "{text}");
        }
        assert_eq!(text.matches("192.0.2.1:6144").count(), 1, "{text}");
    }

    #[test]
    fn nothing_new_is_said_so() {
        let report = ChangeReport { generation: 6, next: 6, ports: Vec::new() };
        assert_eq!(table_of(&report), "nothing new, generation stays 6\n");
    }
}
