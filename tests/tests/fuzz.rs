// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A short run of each fuzz target, the same one each time. `cargo xtask fuzz` runs longer.

use opte_tests::fuzz::{Corpus, Rng, target};
use opte_tests::vectors;

fn run(name: &str, inputs: usize) {
    let run = target(name).expect("a known target");
    let corpus = Corpus::of(name, vectors::folder().as_deref());
    let mut rng = Rng::new(1);
    for _ in 0..inputs {
        run(&corpus.input(&mut rng));
    }
}

#[test]
fn frames() {
    run("frames", 5_000);
}

#[test]
fn services() {
    run("services", 5_000);
}

#[test]
fn rules() {
    run("rules", 5_000);
}

#[test]
fn saved() {
    run("saved", 2_000);
}

#[test]
fn control() {
    run("control", 2_000);
}
