// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Scripts with this ending, by their names.
fn scripts(ending: &str) -> BTreeMap<String, String> {
    let folder = fs::read_dir(root().join("dtrace")).unwrap();
    let scripts = folder.filter_map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name()?.to_str()?.strip_suffix(ending)?.to_owned();
        Some((name, fs::read_to_string(path).unwrap()))
    });
    scripts.collect()
}

/// The word at the beginning of a text.
fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}

/// What is wrong with one clause of a script: it names a probe that there is, reads its one
/// argument as that probe's structure, and no field that it does not have.
fn faults(probe: &str, body: &str) -> Vec<String> {
    let Some(event) = EVENTS.iter().find(|event| event.probe == probe) else {
        return vec![format!("there is no probe {probe}")];
    };
    let mut faults = Vec::new();
    for (at, _) in body.match_indices("struct ") {
        let name = word(&body[at + "struct ".len()..]);
        if name != c_name(event.name) {
            faults.push(format!("{probe} is read as {name}"));
        }
    }
    for (at, _) in body.match_indices("arg") {
        let name = word(&body[at..]);
        let is_argument = name.len() > 3 && name[3..].bytes().all(|digit| digit.is_ascii_digit());
        if is_argument && name != "arg0" {
            faults.push(format!("{probe} has one argument, not {name}"));
        }
    }
    for (at, _) in body.match_indices("->") {
        let before = &body[..at];
        let (field, behind) = (word(&body[at + 2..]), &body[at + 2..]);
        if before.ends_with("this") || before.ends_with("self") {
            continue; // Variables of DTrace.
        }
        let Some(known) = event.fields.iter().find(|known| known.name == field) else {
            faults.push(format!("{probe} has no field {field}"));
            continue;
        };
        let rest = &behind[field.len()..];
        if let Some(inner) = rest.strip_prefix('.').map(word) {
            let key = ["src", "dst", "src_port", "dst_port", "protocol", "family"];
            if known.kind != FieldKind::Key || !key.contains(&inner) {
                faults.push(format!("{probe} has no field {field}.{inner}"));
            }
        }
    }
    faults
}

/// Clauses of a script: probe, and text up to the next one.
fn clauses<'a>(script: &'a str, provider: &str) -> Vec<(&'a str, &'a str)> {
    let starts: Vec<usize> = script
        .match_indices(provider)
        .map(|(at, _)| at)
        .filter(|at| *at == 0 || script.as_bytes()[at - 1] == b'\n')
        .collect();
    let ends = starts.iter().skip(1).copied().chain([script.len()]);
    let clause = |(start, end): (&usize, usize)| {
        script[start + provider.len()..end].split_once('\n').unwrap()
    };
    starts.iter().zip(ends).map(clause).collect()
}

#[test]
fn the_libraries_are_up_to_date() {
    run(true).unwrap();
}

#[test]
fn scripts_read_what_there_is() {
    let mut wrong = Vec::new();
    for (ending, provider) in [(".d", "sdt:xde::"), (".bt", "usdt:xde:opte:")] {
        let mut used = BTreeSet::new();
        for (name, script) in scripts(ending) {
            let clauses = clauses(&script, provider);
            assert!(!clauses.is_empty(), "{name}{ending} has no probe");
            for (probe, body) in clauses {
                used.insert(probe.to_owned());
                wrong.extend(faults(probe, body).iter().map(|f| format!("{name}{ending}: {f}")));
            }
        }
        let unused = EVENTS.iter().filter(|event| !used.contains(event.probe));
        wrong.extend(unused.map(|event| format!("no {ending} script uses {}", event.probe)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let questions = |ending| scripts(ending).into_keys().collect::<Vec<_>>();
    assert_eq!(questions(".d"), questions(".bt"));
}

#[test]
fn faults_are_found() {
    assert!(!faults("no-such", "").is_empty());
    assert!(faults("published", "(struct opte_published *)arg0; $e->generation").is_empty());
    for bad in ["(struct opte_dropped *)arg0", "arg1", "$e->key", "this->e->port.src"] {
        assert!(!faults("published", bad).is_empty(), "{bad}");
    }
}
