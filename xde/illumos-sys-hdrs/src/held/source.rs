// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Reads the declarations as text: nothing may be declared that no table answers for.

use super::{constant_table, home, layout_table, none, reasons};
use std::collections::BTreeSet;
use std::format;
use std::path::Path;
use std::string::String;
use std::vec::Vec;

/// Paths below `src` and texts of the files with declarations.
fn declarations() -> Vec<(String, String)> {
    fn walk(folder: &Path, top: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, top, found);
            } else {
                let name = path.strip_prefix(top).unwrap().to_string_lossy().into_owned();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let top = home().join("src");
    let mut found = Vec::new();
    for folder in ["sys", "inet", "net", "netinet", "oxide"] {
        walk(&top.join(folder), &top, &mut found);
    }
    found
}

/// The name that a line declares after `word`.
fn declared<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(word)?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

#[test]
fn every_declared_number_is_held_or_has_a_source() {
    let mut known: BTreeSet<String> = layout_table().into_keys().map(|(name, _)| name).collect();
    known.extend(constant_table().into_keys());
    let sourced = reasons("not-held.tsv");
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (path, text) in declarations() {
        let tree = if path.starts_with("oxide") { "@oxide" } else { "" };
        for line in text.lines() {
            let words = ["pub struct ", "pub union ", "pub const "];
            let Some(name) = words.iter().find_map(|word| declared(line, word)) else { continue };
            let name = format!("{name}{tree}");
            if !known.contains(&name) && !sourced.contains(&name) {
                wrong.push(format!("{path}: {name}"));
            }
            seen.insert(name);
        }
    }
    none("declared without a table or a source", &wrong);
    let stale = sourced.into_iter().filter(|name| !seen.contains(name));
    none("given a source and not declared", &stale.collect::<Vec<_>>());
}

#[test]
fn every_function_says_context_and_source() {
    let mut wrong = Vec::new();
    for (path, text) in declarations() {
        let mut docs = String::new();
        for line in text.lines() {
            let line = line.trim_start();
            if let Some(doc) = line.strip_prefix("///") {
                docs += doc;
                continue;
            }
            let is_extern = text.contains("unsafe extern \"C\" {") && !path.ends_with("sdt.rs");
            if let Some(name) = declared(line, "pub fn ").filter(|_| is_extern) {
                let says = ["Context: ", "Source: "].iter().all(|word| docs.contains(word));
                if !says {
                    wrong.push(format!("{path}: {name}"));
                }
            }
            docs.clear();
        }
    }
    none("functions without context or source", &wrong);
}

#[test]
fn every_file_names_its_header() {
    let lacks = |(path, text): &(String, String)| {
        let first = text.lines().find(|line| line.starts_with("//!")).unwrap_or_default();
        let names = first.contains(".h`") || path.ends_with("mod.rs");
        (!names).then(|| path.clone())
    };
    none("files without a header", &declarations().iter().filter_map(lacks).collect::<Vec<_>>());
}

/// A name that the kernel lacks would keep the whole module from loading.
#[test]
fn what_mainline_lacks_is_never_linked() {
    let linked = declarations()
        .into_iter()
        .filter(|(path, text)| path.starts_with("oxide") && text.contains("extern \"C\" {"));
    none("linked", &linked.map(|(path, _)| path).collect::<Vec<_>>());
}
