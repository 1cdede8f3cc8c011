// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Runs a fuzz target for some time, or with one saved input.

use clap::Parser;
use opte_tests::fuzz::{Corpus, Rng, target};
use opte_tests::vectors;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Feed random bytes to the engine, and save those that it does not bear
#[derive(Debug, Parser)]
struct Cli {
    /// Frames, control, saved, or services
    target: String,
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What random numbers begin with [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    /// Only this input, which an earlier run has saved
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let run = target(&cli.target).ok_or_else(|| {
        anyhow::anyhow!("no target '{}': use frames, control, saved or services", cli.target)
    })?;
    if let Some(file) = &cli.input {
        run(&std::fs::read(file)?);
        return Ok(());
    }
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = cli.seed.map_or_else(|| now().map(|time| time.as_nanos() as u64), Ok)?;
    let corpus = Corpus::of(&cli.target, vectors::folder().as_deref());
    println!("{}: {} seeds, --seed {seed}, {} s", cli.target, corpus.len(), cli.seconds);
    let mut rng = Rng::new(seed);
    let end = Instant::now() + Duration::from_secs(cli.seconds);
    let mut runs = 0u64;
    while Instant::now() < end {
        let input = corpus.input(&mut rng);
        if catch_unwind(|| run(&input)).is_err() {
            let file = save(&cli.target, &input)?;
            anyhow::bail!("{} does not bear {} (run {runs})", cli.target, file.display());
        }
        runs += 1;
    }
    println!("{}: ok, {runs} inputs", cli.target);
    Ok(())
}

fn save(target: &str, input: &[u8]) -> anyhow::Result<PathBuf> {
    let folder = PathBuf::from("target/fuzz");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{target}-{}.bin", std::process::id()));
    std::fs::write(&file, input)?;
    Ok(file)
}
