// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Groups, their next hops and their listeners.

use super::{Show, table};
use oxide_vpc_api::multicast::{ForwardingEntry, M2pEntry, SubscriptionEntry};
use std::io::{self, Write};

impl Show for Vec<M2pEntry> {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.iter().map(|entry| [entry.group.to_string(), entry.underlay.to_string()]);
        table(out, ["GROUP", "UNDERLAY GROUP"], rows)
    }
}

impl Show for Vec<ForwardingEntry> {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.iter().flat_map(|entry| {
            entry.next_hops.iter().map(|hop| {
                [
                    entry.underlay.to_string(),
                    hop.addr.to_string(),
                    hop.vni.to_string(),
                    hop.replication.to_string(),
                    hop.filter.to_string(),
                ]
            })
        });
        table(out, ["UNDERLAY GROUP", "NEXT HOP", "VNI", "REPLICATION", "SOURCES"], rows)
    }
}

impl Show for Vec<SubscriptionEntry> {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.iter().flat_map(|entry| {
            let underlay = entry.underlay.map(|ip| ip.to_string()).unwrap_or_default();
            entry.subscribers.iter().map(move |subscriber| {
                [
                    entry.group.to_string(),
                    underlay.clone(),
                    subscriber.port.to_string(),
                    subscriber.filter.to_string(),
                ]
            })
        });
        table(out, ["GROUP", "UNDERLAY GROUP", "PORT", "SOURCES"], rows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table_of;
    use super::*;
    use oxide_vpc_api::multicast::{NextHop, Replication, SourceFilter, Subscriber};

    #[test]
    fn mappings() {
        let entry = M2pEntry {
            group: "239.1.1.1".parse().unwrap(),
            underlay: "ff04::e001:101".parse().unwrap(),
        };
        let expected = "GROUP      UNDERLAY GROUP\n239.1.1.1  ff04::e001:101\n";
        assert_eq!(table_of(&vec![entry]), expected);
    }

    #[test]
    fn each_next_hop_has_its_line() {
        let hop = |addr: &str, replication, filter: &str| NextHop {
            addr: addr.parse().unwrap(),
            vni: "77".parse().unwrap(),
            replication,
            filter: filter.parse().unwrap(),
        };
        let entry = ForwardingEntry {
            underlay: "ff04::1".parse().unwrap(),
            next_hops: vec![
                hop("fd00::2", Replication::Underlay, "any"),
                hop("fd00::9", Replication::Both, "exclude=10.0.0.1"),
            ],
        };
        let expected = "\
UNDERLAY GROUP  NEXT HOP  VNI  REPLICATION  SOURCES
ff04::1         fd00::2   77   underlay     any
ff04::1         fd00::9   77   both         exclude=10.0.0.1
";
        assert_eq!(table_of(&vec![entry]), expected);
    }

    #[test]
    fn each_listener_has_its_line() {
        let entry = SubscriptionEntry {
            group: "239.1.1.1".parse().unwrap(),
            underlay: None,
            subscribers: vec![Subscriber {
                port: "opte0".parse().unwrap(),
                filter: SourceFilter::default(),
            }],
        };
        let expected = "\
GROUP      UNDERLAY GROUP  PORT   SOURCES
239.1.1.1  -               opte0  any
";
        assert_eq!(table_of(&vec![entry]), expected);
    }
}
