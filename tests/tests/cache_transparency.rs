// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Stored transforms change nothing but speed: a host that runs them and one that decides about
//! every packet anew give the same verdicts, bytes, counters, events and dumps, for any history
//! of packets, clock steps and changes. Along the way, changes of several things do what was planned, and
//! end no connection that they might have let be.
//!
//! `PROPTEST_CASES=10000 cargo test -p opte-tests --test cache_transparency` runs more histories,
//! `PROPTEST_RNG_SEED=1` other ones.

use opte_tests::setting::cases;
use opte_tests::twins::{Twins, steps};
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::Cell;

const STEPS: usize = 120;

#[test]
fn stored_transforms_change_nothing_but_speed() {
    let limits = prop_oneof![2 => Just(4096u32), 1 => 2u32..12];
    let rules = prop_oneof![
        Just(vec![]),
        Just(vec!["dir=in action=allow priority=9"]),
        Just(vec!["dir=in action=allow priority=9 hosts=vni=100"]),
    ];
    let histories = (any::<u64>(), limits, rules, vec(steps(), 1..STEPS));
    let (played, hits, applied) = (Cell::new(0), Cell::new(0), Cell::new([0; 2]));
    let mut runner = proptest::test_runner::TestRunner::new(cases(300));
    let result = runner.run(&histories, |(seed, limit, rules, steps)| {
        let rules: Vec<_> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let mut twins = Twins::new(seed, limit, &rules);
        for (at, step) in steps.iter().enumerate() {
            twins.play(step).map_err(|why| TestCaseError::fail(format!("step {at}: {why}")))?;
        }
        played.set(played.get() + steps.len());
        hits.set(hits.get() + twins.hits);
        let [changes, cut] = twins.applied;
        applied.update(|all: [u64; 2]| [all[0] + changes, all[1] + cut]);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    // Otherwise nothing was compared.
    assert!(hits.get() * 20 > played.get() as u64, "{} hits", hits.get());
    let [changes, cut] = applied.get();
    assert!(changes > 100 && cut > 20, "{changes} changes ended {cut} connections");
}
