// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Plays the vectors. Every scenario passes all of its undisputed steps, or stands in
//! `tests/data/vectors-not-passing.tsv` with the reason; one that stands there must not pass.

use opte_tests::vectors::report::{Tally, lines};
use opte_tests::vectors::{FOLDER_VARIABLE, folder, json, play, subject};
use std::collections::BTreeMap;

/// Scenario, tab, reason. Lines that begin with `#` are comments.
const NOT_PASSING: &str = include_str!("../data/vectors-not-passing.tsv");

#[test]
fn open_vectors_pass_or_are_listed() {
    let Some(folder) = folder() else {
        println!("open_vectors_pass_or_are_listed: skipped, no folder of vectors");
        return;
    };
    let mut listed = read_list(NOT_PASSING);
    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    for scenario in json::read_folder(&folder).unwrap() {
        let played = play::play(&scenario, &subject::make);
        tally.add(&played);
        match (Tally::from(&played).failed, listed.remove(scenario.name.as_str())) {
            (0, None) => {}
            (0, Some(_)) => {
                wrong.push(format!("{} passes: remove it from the list", scenario.name));
            }
            (_, None) => wrong.extend(lines(&scenario, &played, false)),
            (_, Some(reason)) => println!("{} is not passing: {reason}", scenario.name),
        }
    }
    if std::env::var_os(FOLDER_VARIABLE).is_none() {
        wrong.extend(listed.keys().map(|name| format!("{name} is listed but does not exist")));
    }
    println!("{tally}");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn read_list(text: &str) -> BTreeMap<&str, &str> {
    let mut listed = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, reason) = line.split_once('\t').expect("a scenario, a tab and a reason");
        assert!(!reason.is_empty(), "{name} has no reason");
        assert!(listed.insert(name, reason).is_none(), "{name} is listed twice");
    }
    listed
}
