// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What was demanded, row by row, and the tests that show it.
//!
//! `data/rfc-rows.tsv`: the demands of the RFCs on NAT, and those on continuity over a change of
//! configuration (`RC`): document, row, level, demand, status, tests, remark. The status is `yes`,
//! `part`, `no`, or `n/a`; whatever is not `yes` has a remark, and a `must` is `yes` or `n/a`.
//!
//! `data/reference-rows.tsv`: the features of the reference implementation: row, mark, status, tests or
//! reason. A mark says that it is a defect there, known (`D`) or suspected (`S`), so that the test shows
//! that we do not share it. A row is done, or left out on purpose, and then `ARCHITECTURE.md` says so.
//!
//! A test is `path/of/file.rs::name`, `lab:name` for a check of `cargo xtask demo`, or `kmod:name` for
//! one of the kernel module in `cargo xtask test`, or
//! `harness:kind` for the cases of that kind in `xde/illumos/harness`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rows of each document.
const RFC_ROWS: &[(&str, usize)] = &[
    ("RC", 12),
    ("RFC 4787", 26),
    ("RFC 5382", 13),
    ("RFC 5508", 24),
    ("RFC 6888", 22),
    ("RFC 7857", 14),
];
/// Rows of the reference, by section: API, command line, engine, what tracers see, VPC, kernel module.
const REFERENCE_ROWS: &[(&str, usize)] =
    &[("A", 53), ("C", 27), ("E", 147), ("K", 49), ("V", 85), ("X", 33)];
/// Where checks of the lab and of the kernel module are.
const CHECKS: [(&str, &str); 2] =
    [("lab:", "xde/xtask/src/lab/checks"), ("kmod:", "xde/xtask/src/kmod")];
/// Where cases of the harness are.
const CASES: &str = "xde/illumos/harness/src/cases/mod.rs";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Lines of a table that are no comment, by columns.
fn rows(file: &str, columns: usize) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("tests/data").join(file)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let row = |line: &str| {
        let row: Vec<String> = line.split('\t').map(|column| column.trim().to_owned()).collect();
        assert_eq!(row.len(), columns, "{file}: {line}");
        row
    };
    lines.map(row).collect()
}

/// Why a test is none.
fn fault(test: &str, texts: &mut BTreeMap<String, String>) -> Option<String> {
    for (kind, folder) in CHECKS {
        let Some(name) = test.strip_prefix(kind) else { continue };
        let named = format!("name: \"{name}\"");
        let files = fs::read_dir(root().join(folder)).unwrap().map(|file| file.unwrap().path());
        let mut files = files.filter(|path| path.is_file());
        let known = files.any(|path| fs::read_to_string(path).unwrap().contains(&named));
        return (!known).then(|| format!("there is no check {name}"));
    }
    if let Some(kind) = test.strip_prefix("harness:") {
        let text = fs::read_to_string(root().join(CASES)).unwrap_or_default();
        let known = [format!("(\"{kind}\","), format!("(\"{kind}: ")];
        let known = known.iter().any(|known| text.contains(known));
        return (!known).then(|| format!("the harness has no case of {kind}"));
    }
    let Some((file, name)) = test.rsplit_once("::") else {
        return Some(format!("'{test}' is no file::name"));
    };
    if !texts.contains_key(file) {
        let Ok(text) = fs::read_to_string(root().join(file)) else {
            return Some(format!("there is no {file}"));
        };
        texts.insert(file.to_owned(), text);
    }
    let lines: Vec<&str> = texts[file].lines().collect();
    let head = format!("fn {name}(");
    let at = lines.iter().position(|line| line.trim_start().starts_with(&head));
    let Some(at) = at else { return Some(format!("{file} has no {name}")) };
    let above = lines[..at].iter().rev().map(|line| line.trim_start());
    let mut above = above.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    let is_test = above.any(|line| line == "#[test]");
    (!is_test).then(|| format!("{file}::{name} is no test"))
}

/// What is wrong with the tests of a row, of which there is one at the least.
fn faults(row: &str, tests: &str, texts: &mut BTreeMap<String, String>) -> Vec<String> {
    let tests: Vec<&str> = tests.split(' ').filter(|test| !test.is_empty()).collect();
    if tests.is_empty() {
        return vec![format!("{row} names no test")];
    }
    let faults = tests.iter().filter_map(|test| fault(test, texts));
    faults.map(|fault| format!("{row}: {fault}")).collect()
}

fn assert_rows(counted: BTreeMap<String, BTreeSet<String>>, expected: &[(&str, usize)]) {
    let counted: Vec<_> = counted.iter().map(|(name, rows)| (name.as_str(), rows.len())).collect();
    assert_eq!(counted, expected);
}

#[test]
fn each_demand_of_the_rfcs_has_its_answer() {
    let mut texts = BTreeMap::new();
    let mut counted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for row in rows("rfc-rows.tsv", 7) {
        let [document, name, level, demand, status, tests, remark] = &row[..] else {
            unreachable!()
        };
        let known = counted.entry(document.clone()).or_default().insert(name.clone());
        assert!(known, "{document} {name} is there twice");
        assert!(["must", "should", "may"].contains(&level.as_str()), "{row:?}");
        assert!(!demand.is_empty(), "{row:?}");
        let row = format!("{document} {name}");
        match status.as_str() {
            "yes" => wrong.extend(faults(&row, tests, &mut texts)),
            "part" | "no" if level == "must" => wrong.push(format!("{row} is open")),
            "part" | "no" | "n/a" if remark.is_empty() => wrong.push(format!("{row}: why?")),
            "part" | "no" | "n/a" => {}
            other => wrong.push(format!("{row}: '{other}' is no status")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_rows(counted, RFC_ROWS);
}

#[test]
fn each_feature_of_the_reference_has_its_answer() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut texts = BTreeMap::new();
    let mut counted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for row in rows("reference-rows.tsv", 4) {
        let [name, mark, status, shown] = &row[..] else { unreachable!() };
        let known = counted.entry(name[..1].to_owned()).or_default().insert(name.clone());
        assert!(known, "{name} is there twice");
        assert!(["", "D", "S"].contains(&mark.as_str()), "{row:?}");
        match status.as_str() {
            "done" => wrong.extend(faults(name, shown, &mut texts)),
            "left out" if shown.is_empty() => wrong.push(format!("{name}: why?")),
            "left out" if !architecture.contains(&format!("`{name}`")) => {
                wrong.push(format!("{name} is left out, but ARCHITECTURE.md does not say so"));
            }
            "left out" => {}
            other => wrong.push(format!("{name}: '{other}' is no status")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_rows(counted, REFERENCE_ROWS);
}
