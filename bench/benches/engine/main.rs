// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Measures the engine and prints one table: `cargo bench -p bench [-- WORD...]`, where each WORD
//! names a section. See bench/README.md for what the lines mean.

mod first;
mod hit;
mod parse;
mod stages;
mod whole;

use bench::measure::Plan;
use std::process::ExitCode;

type Section = (&'static str, fn(Plan));

const SECTIONS: &[Section] = &[
    ("parse", parse::run),
    ("hit", hit::run),
    ("flows", hit::run_flows),
    ("stages", stages::run),
    ("driver", whole::run),
    ("first", first::run),
    ("rules", first::run_rules),
    ("memory", first::run_memory),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo says so when it benches. Otherwise this is a test that everything runs.
    let plan =
        if arguments.iter().any(|word| word == "--bench") { Plan::FULL } else { Plan::SMOKE };
    let words: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    if let Some(unknown) = words.iter().find(|word| SECTIONS.iter().all(|(name, _)| name != *word))
    {
        let names: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
        eprintln!("'{unknown}' is no section: name any of {}", names.join(" "));
        return ExitCode::FAILURE;
    }
    println!(
        "ns for each packet: least, middle and greatest of {} medians of {} batches of {}",
        plan.repetitions,
        plan.batches,
        bench::measure::BATCH
    );
    for (name, run) in SECTIONS {
        if words.is_empty() || words.contains(name) {
            run(plan);
        }
    }
    ExitCode::SUCCESS
}
