// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Counters.

use super::{Show, table};
use oxide_vpc_api::dump::CounterSet;
use std::io::{self, Write};

impl Show for Vec<CounterSet> {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.iter().flat_map(|set| {
            set.counters.iter().map(|counter| {
                let port = set.port.as_ref().map(ToString::to_string).unwrap_or_default();
                [port, counter.name.clone(), counter.value.to_string()]
            })
        });
        table(out, ["PORT", "COUNTER", "VALUE"], rows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table_of;
    use super::*;
    use oxide_vpc_api::dump::Counter;

    #[test]
    fn the_host_has_no_port() {
        let set = |port: Option<&str>, name: &str, value| CounterSet {
            port: port.map(|port| port.parse().unwrap()),
            counters: vec![Counter { name: name.into(), value }],
        };
        let sets = vec![set(None, "rx_no_port", 3), set(Some("opte0"), "drop_spoofed", 12)];
        let expected = "\
PORT   COUNTER       VALUE
-      rx_no_port    3
opte0  drop_spoofed  12
";
        assert_eq!(table_of(&sets), expected);
    }
}
