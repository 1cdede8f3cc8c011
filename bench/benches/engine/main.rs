// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Measures the engine and prints figures: `cargo bench -p bench [-- WORD...]`, where each WORD
//! names a section. See bench/README.md for what the lines mean.

mod change;
mod configuration;
mod first;
mod hit;
mod memory;
mod parse;
mod ports;
mod probes;
mod publish;
mod stages;
mod threads;
mod upkeep;

use bench::measure::Plan;
use bench::report::{Report, results_path};
use std::process::ExitCode;
use std::time::Instant;

type Section = (&'static str, fn(Plan, &mut Report));

const SECTIONS: &[Section] = &[
    ("parse", parse::run),
    ("hit", hit::run),
    ("size", hit::run_sizes),
    ("stages", stages::run),
    ("first", first::run),
    ("full", first::run_full),
    ("rules", configuration::run_rules),
    ("routes", configuration::run_routes),
    ("ports", ports::run),
    ("change", change::run),
    ("generations", change::run_generations),
    ("upkeep", upkeep::run),
    ("publish", publish::run),
    ("threads", threads::run),
    ("probes", probes::run),
    ("memory", memory::run),
];
/// Not measured: the table of goals, out of what was.
const TABLE: &str = "table";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo says so when it benches. Otherwise this is a test that everything runs.
    let plan =
        if arguments.iter().any(|word| word == "--bench") { Plan::FULL } else { Plan::SMOKE };
    let words: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let names: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = words.iter().find(|word| **word != TABLE && !names.contains(word)) {
        eprintln!("'{unknown}' is no section: name any of {} {TABLE}", names.join(" "));
        return ExitCode::FAILURE;
    }
    let sections: Vec<&Section> = SECTIONS
        .iter()
        .filter(|(name, _)| words.contains(name) || words.iter().all(|word| *word == TABLE))
        .collect();
    match measure(plan, &sections) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the results cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(plan: Plan, sections: &[&Section]) -> std::io::Result<()> {
    println!(
        "least, middle and greatest of {} medians of {} batches of {} packets",
        plan.repetitions,
        plan.batches,
        bench::measure::BATCH
    );
    let (start, mut report) = (Instant::now(), Report::default());
    for (_, run) in sections {
        run(plan, &mut report);
    }
    println!("\n{}", bench::goals::table(&report));
    if plan.is_full() {
        let path = results_path(env!("CARGO_TARGET_TMPDIR"));
        report.write(&path)?;
        println!("measured in {} s", start.elapsed().as_secs());
    }
    Ok(())
}
