// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Holds every declaration against tables that a C compiler printed from illumos headers.

use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::vec::Vec;

mod constants;
mod layouts;
mod source;

/// Offset and size, in bytes, of the field of a structure; `(total)` and `(align)` are fields, too.
type Layout = BTreeMap<(String, String), (usize, usize)>;
type Constants = BTreeMap<String, i128>;

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

/// Lines of a table without its heading, cut at tabs.
fn table(name: &str) -> Vec<Vec<String>> {
    let path = home().join("tests/data").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let cells = |line: &str| line.split('\t').map(str::to_string).collect();
    text.lines().skip(1).map(cells).collect()
}

fn layout_table() -> Layout {
    let line = |cells: Vec<String>| {
        let [name, field, offset, size] = <[String; 4]>::try_from(cells).unwrap();
        ((name, field), (offset.parse().unwrap(), size.parse().unwrap()))
    };
    table("layout.tsv").into_iter().map(line).collect()
}

fn constant_table() -> Constants {
    let line = |cells: Vec<String>| (cells[0].clone(), cells[1].parse().unwrap());
    table("constants.tsv").into_iter().map(line).collect()
}

/// Names of a table of names and reasons; each has a reason.
fn reasons(name: &str) -> BTreeSet<String> {
    let line = |cells: Vec<String>| {
        let [name, reason] = <[String; 2]>::try_from(cells).unwrap();
        assert!(!reason.is_empty(), "{name} without a reason");
        name
    };
    table(name).into_iter().map(line).collect()
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// What is wrong with `declared`, given what the table has and what is needless.
fn compare<K: Ord, V: PartialEq + core::fmt::Debug>(
    table: &BTreeMap<K, V>,
    declared: &BTreeMap<K, V>,
    show: impl Fn(&K) -> String,
    needless: impl Fn(&K) -> bool,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (key, held) in table {
        match declared.get(key) {
            Some(_) if needless(key) => {
                wrong.push(format!("{} is declared and not needed", show(key)));
            }
            None if !needless(key) => {
                wrong.push(format!("{} is neither declared nor not needed", show(key)));
            }
            Some(ours) if ours != held => {
                wrong.push(format!("{} is {ours:?} here and {held:?} in illumos", show(key)));
            }
            _ => {}
        }
    }
    let unknown = declared.keys().filter(|key| !table.contains_key(key));
    wrong.extend(unknown.map(|key| format!("{} is not in the table", show(key))));
    wrong
}

#[test]
fn structures_have_the_layout_of_illumos() {
    let needless = reasons("not-needed.tsv");
    let show = |(name, field): &(String, String)| format!("{name} {field}");
    let is_needless = |(name, _): &(String, String)| needless.contains(name);
    let wrong = compare(&layout_table(), &layouts::declared(), show, is_needless);
    none("layout (offset, size)", &wrong);
}

#[test]
fn constants_have_the_values_of_illumos() {
    let needless = reasons("not-needed.tsv");
    let is_needless = |name: &String| needless.contains(name);
    let wrong = compare(&constant_table(), &constants::declared(), String::clone, is_needless);
    none("constants", &wrong);
}

#[test]
fn tables_agree_with_each_other() {
    let mut known: BTreeSet<String> = layout_table().into_keys().map(|(name, _)| name).collect();
    known.extend(constant_table().into_keys());
    let stale = reasons("not-needed.tsv").into_iter().filter(|name| !known.contains(name));
    none("not needed and not in a table", &stale.collect::<Vec<_>>());
    let held = reasons("not-held.tsv").into_iter().filter(|name| known.contains(name));
    none("called not held and in a table", &held.collect::<Vec<_>>());
}

#[test]
fn each_kind_of_difference_is_found() {
    let table =
        BTreeMap::from([("same", 1), ("moved", 8), ("missing", 2), ("stale", 3), ("no", 4)]);
    let declared = BTreeMap::from([("same", 1), ("moved", 16), ("stale", 3), ("new", 5)]);
    let needless = |name: &&str| ["stale", "no"].contains(name);
    let expected = [
        "missing is neither declared nor not needed",
        "moved is 16 here and 8 in illumos",
        "stale is declared and not needed",
        "new is not in the table",
    ];
    assert_eq!(compare(&table, &declared, |name| name.to_string(), needless), expected);
}
