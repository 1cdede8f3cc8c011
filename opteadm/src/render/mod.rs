// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How answers look: aligned tables for people, JSON for programs.
//!
//! A table has its header even when it has no row, and a dash in each empty cell, so that a
//! column keeps its place for `awk` too. JSON is the answer itself as `oxide-vpc-api` defines it.

mod change;
mod counters;
mod flow;
mod layer;
mod mapping;
mod multicast;
mod nat;
mod plan;
mod port;
mod prefix;
mod route;
mod saved;
mod settings;
mod trace;

pub use change::AddedRule;

use serde::Serialize;
use std::fmt::Display;
use std::io::{self, Write};
use tabwriter::TabWriter;

/// An answer that can be shown.
pub trait Show: Serialize {
    /// For people.
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()>;

    /// For programs, without a line end.
    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(out, self).map_err(io::Error::from)
    }
}

/// Writes aligned columns.
fn table<const N: usize>(
    out: &mut dyn Write,
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> io::Result<()> {
    let mut writer = TabWriter::new(out).padding(2);
    writeln!(writer, "{}", header.join("\t"))?;
    for row in rows {
        writeln!(writer, "{}", row.map(cell).join("\t"))?;
    }
    writer.flush()
}

/// One line of text without tabs, whatever was sent.
fn cell(text: String) -> String {
    match text.as_str() {
        "" => "-".into(),
        plain if !plain.contains(char::is_control) => text,
        _ => text.replace(char::is_control, " "),
    }
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

/// The table of an answer, for tests.
#[cfg(test)]
fn table_of(answer: &impl Show) -> String {
    let mut out = Vec::new();
    answer.write_table(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The JSON of an answer, for tests.
#[cfg(test)]
fn json_of(answer: &impl Show) -> String {
    let mut out = Vec::new();
    answer.write_json(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_stay_in_their_line() {
        let mut out = Vec::new();
        let rows = [["a".into(), String::new()], ["long one".into(), "x\ty\n".into()]];
        table(&mut out, ["A", "B"], rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A         B\na         -\nlong one  x y \n");
    }
}
