// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Counts and prints what was played.

use super::check::Mismatch;
use super::model::Scenario;
use super::play::{Checked, Dispute, Played, Verdict};
use std::fmt;

/// How many checks ended how.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// As recorded.
    pub passed: usize,
    /// Otherwise, or not reached.
    pub failed: usize,
    /// What was recorded is arguable.
    pub disputed: usize,
}

impl Tally {
    /// Adds a scenario.
    pub fn add(&mut self, played: &Played) {
        for check in &played.checks {
            match check.verdict {
                Verdict::Passed => self.passed += 1,
                Verdict::Failed(_) | Verdict::NotPlayed => self.failed += 1,
                Verdict::Disputed(_) => self.disputed += 1,
            }
        }
    }
}

impl From<&Played> for Tally {
    fn from(played: &Played) -> Self {
        let mut tally = Self::default();
        tally.add(played);
        tally
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, disputed } = self;
        write!(f, "{passed} passed, {failed} failed, {disputed} disputed")
    }
}

/// One line for each check that failed, and one for the end of a scenario that stopped early.
/// `verbose`: one for every other check as well, and the bytes of packets that were answered
/// otherwise than recorded.
pub fn lines(scenario: &Scenario, played: &Played, verbose: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for check in &played.checks {
        let (word, mismatches) = match &check.verdict {
            Verdict::Failed(mismatches) => ("FAIL", mismatches.as_slice()),
            Verdict::Passed if verbose => ("pass", &[][..]),
            Verdict::Disputed(dispute) if verbose => word_of(dispute),
            _ => continue,
        };
        let Checked { step, what, .. } = check;
        let name = &scenario.name;
        lines.push(format!("{word} {name} step {step} ({what}){}", told(mismatches)));
        if let (true, false, Some((input, outcome))) =
            (verbose, mismatches.is_empty(), &check.packet)
        {
            lines.push(format!("     in  {}", digits(input)));
            if let Some((_, output)) = outcome.as_frame() {
                lines.push(format!("     out {}", digits(output)));
            }
        }
    }
    if let Some((step, why)) = &played.stopped {
        lines.push(format!("FAIL {} step {step} and all after it: {why}", scenario.name));
    }
    lines
}

fn word_of(dispute: &Dispute) -> (&'static str, &[Mismatch]) {
    match dispute {
        Dispute::Followed => ("disputed, as recorded", &[]),
        Dispute::AlsoOk => ("disputed, another accepted answer", &[]),
        Dispute::Differs(mismatches) => ("disputed, differs", mismatches),
        Dispute::NotPlayed => ("disputed, not reached", &[]),
    }
}

fn told(mismatches: &[Mismatch]) -> String {
    let told: Vec<_> = mismatches.iter().map(Mismatch::to_string).collect();
    if told.is_empty() { String::new() } else { format!(": {}", told.join("; ")) }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
