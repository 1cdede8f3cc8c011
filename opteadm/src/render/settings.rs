// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What is set for a port: one line for each setting.

use super::{Show, table};
use oxide_vpc_api::PortSettings;
use serde_json::Value;
use std::io::{self, Write};

impl Show for PortSettings {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut rows = Vec::new();
        collect(String::new(), &serde_json::to_value(self)?, &mut rows);
        table(out, ["SETTING", "VALUE"], rows)
    }
}

fn collect(name: String, value: &Value, rows: &mut Vec<[String; 2]>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (field, value) in fields {
                let dot = if name.is_empty() { "" } else { "." };
                collect(format!("{name}{dot}{field}"), value, rows);
            }
        }
        Value::Null => rows.push([name, String::new()]),
        Value::String(text) => rows.push([name, text.clone()]),
        other => rows.push([name, other.to_string()]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table_of;
    use super::*;

    #[test]
    fn each_setting_has_a_line() {
        let table = table_of(&PortSettings::default());
        assert!(table.lines().any(|line| line.starts_with("idle.udp ") && line.ends_with(" 300")));
        assert!(table.lines().any(|line| line.starts_with("flows.limit ") && line.ends_with(" -")));
    }
}
