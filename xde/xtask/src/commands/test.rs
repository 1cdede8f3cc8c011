// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Every test there is, and one line that sums them up.

use crate::binaries::{Binaries, Profile};
use crate::commands::bare;
use crate::kmod;
use crate::lab::report::{Report, Tally};
use crate::lab::scenario;
use crate::setup;
use crate::shell::interrupted;
use crate::workspace::cargo;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

const NEEDS_ROOT: &str = "skipped: needs root";

/// Runs all tests, the lab's only if it is wanted.
pub fn run(lab: bool) -> Result<bool> {
    if setup::is_root() {
        // Root runs the tests that need network namespaces, so `ip` must be there for the first.
        setup::install(&[setup::LAB])?;
    }
    let mut tally = workspace_tests()?;
    tally = tally + bare_target();
    if !interrupted() {
        tally = tally + kmod::checks::run();
    }
    if lab && !interrupted() {
        tally = tally + lab_tests()?;
    }
    ensure!(!interrupted(), "interrupted");
    println!("\n{tally}");
    Ok(tally.failed == 0)
}

/// Everything that `cargo test` finds. A test that cannot run here says so in one of two ways,
/// and both are counted as skipped: it is marked `ignore` because it needs root, or it prints
/// `NAME: skipped, REASON` and passes. Root runs those of the first kind too.
fn workspace_tests() -> Result<Tally> {
    let as_root: &[&str] = if setup::is_root() { &["--include-ignored"] } else { &[] };
    let mut child = cargo()
        .args(["test", "--workspace", "--no-fail-fast", "--", "--show-output"])
        .args(as_root)
        .command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo test")?;
    let mut reader = Reader::default();
    for line in BufReader::new(child.stdout.take().context("no output")?).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if reader.wants_shown(&line) {
            println!("{line}");
        }
    }
    let mut tally = reader.tally;
    if !child.wait()?.success() && tally.failed == 0 {
        tally.failed = 1; // It does not build, or a test took its whole process down.
    }
    Ok(tally)
}

/// Reads what `cargo test -- --show-output` prints.
#[derive(Default)]
struct Reader {
    tally: Tally,
    in_successes: bool,
    /// Names of tests of the running program that passed without doing anything.
    skipped: BTreeSet<String>,
}

impl Reader {
    /// Takes a line; answers whether a reader wants it too. Output of tests that passed is noise,
    /// unless it tells that a test did nothing.
    fn wants_shown(&mut self, line: &str) -> bool {
        let result = parse_result(line);
        if line == "successes:" {
            self.in_successes = true;
        } else if line == "failures:" || result.is_some() {
            self.in_successes = false;
        }
        let skipped = line.split_once(": skipped, ").filter(|_| self.in_successes);
        self.skipped.extend(skipped.map(|(name, _)| name.to_owned()));
        if let Some(mut result) = result {
            let skipped = std::mem::take(&mut self.skipped).len();
            result.skipped += skipped;
            result.passed = result.passed.saturating_sub(skipped);
            self.tally = self.tally + result;
        }
        skipped.is_some() || !self.in_successes
    }
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
fn parse_result(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |name: &str| {
        let mut parts = counts.split("; ").filter_map(|part| part.split_once(' '));
        parts.find(|(_, what)| *what == name)?.0.parse().ok()
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
}

fn bare_target() -> Tally {
    let mut report = Report::new();
    if setup::can_install(&[setup::BARE_TARGET]) {
        report.check("Bare target", bare::NAME, bare::check);
    } else {
        report.skip("Bare target", bare::NAME, "needs root to install a compiler");
    }
    report.tally()
}

fn lab_tests() -> Result<Tally> {
    if !setup::is_root() {
        return Ok(scenario::skip_all(NEEDS_ROOT));
    }
    // Programs with the checks that only tests have: overflow, debug assertions.
    scenario::run(&scenario::Options::default(), Binaries::build(Profile::Dev)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo_test_are_read() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out";
        assert_eq!(parse_result(line), Some(Tally { passed: 3, failed: 1, skipped: 2 }));
        assert_eq!(parse_result("test lab::works ... ok"), None);
    }

    #[test]
    fn a_test_that_did_nothing_is_skipped_and_noise_is_hidden() {
        let mut reader = Reader::default();
        let shown: Vec<&str> = "\
test vectors ... ok
successes:
---- vectors stdout ----
noise
vectors: skipped, no folder of vectors
vectors: skipped, nor an index
failures:
why it failed
test result: ok. 5 passed; 1 failed; 0 ignored; 0 measured"
            .lines()
            .filter(|line| reader.wants_shown(line))
            .collect();
        assert_eq!(reader.tally, Tally { passed: 4, failed: 1, skipped: 1 });
        assert_eq!(shown.len(), 6);
        assert!(shown.contains(&"vectors: skipped, no folder of vectors"));
    }
}
