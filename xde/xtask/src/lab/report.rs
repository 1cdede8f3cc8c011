// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The live table: one line for each check, as it happens.

use anyhow::Result;
use std::fmt;
use std::io::{IsTerminal, Write, stdout};
use std::iter::Sum;
use std::ops::Add;
use std::time::{Duration, Instant};

/// How many of what.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Did what they should.
    pub passed: usize,
    /// Did not.
    pub failed: usize,
    /// Were not run.
    pub skipped: usize,
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Columns taken by the names of the checks.
const TITLE_WIDTH: usize = 46;

/// A table that grows by a line for each check.
pub struct Report {
    live: bool,
    group: &'static str,
    tally: Tally,
}

/// What a check answers that cannot run on this machine, and why.
#[derive(Debug)]
pub struct CannotRun(pub &'static str);

impl std::fmt::Display for CannotRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for CannotRun {}

impl Report {
    /// An empty table; colours and the line of the running check only on a terminal.
    pub fn new() -> Self {
        Self { live: stdout().is_terminal(), group: "", tally: Tally::default() }
    }

    /// Runs `action` under `title`; answers whether it went well.
    pub fn check(
        &mut self,
        group: &'static str,
        title: &str,
        action: impl FnOnce() -> Result<String>,
    ) -> bool {
        self.enter(group);
        if self.live {
            print!("  {}  {title}", self.paint("2", "...."));
            let _ = stdout().flush(); // A terminal that went away shows nothing anyway.
        }
        let begin = Instant::now();
        let result = action();
        match &result {
            Ok(detail) => {
                self.tally.passed += 1;
                self.line(("32", "ok"), title, detail, Some(begin.elapsed()));
            }
            Err(error) if error.is::<CannotRun>() => {
                self.tally.skipped += 1;
                self.line(("33", "skip"), title, &error.to_string(), None);
            }
            Err(error) => {
                self.tally.failed += 1;
                self.line(("31", "FAIL"), title, "", Some(begin.elapsed()));
                format!("{error:#}").lines().for_each(|line| println!("        {line}"));
            }
        }
        result.is_ok()
    }

    /// Writes that a check was not run, and why.
    pub fn skip(&mut self, group: &'static str, title: &str, why: &str) {
        self.enter(group);
        self.tally.skipped += 1;
        self.line(("33", "skip"), title, why, None);
    }

    /// The sums so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    fn enter(&mut self, group: &'static str) {
        if self.group != group {
            self.group = group;
            println!("\n{}", self.paint("1", group));
        }
    }

    fn line(
        &self,
        (colour, word): (&str, &str),
        title: &str,
        detail: &str,
        time: Option<Duration>,
    ) {
        if self.live {
            print!("\r\x1b[2K");
        }
        let time = time.map(|time| format!("  {:.1} s", time.as_secs_f32())).unwrap_or_default();
        let word = self.paint(colour, &format!("{word:4}"));
        println!("  {word}  {title:TITLE_WIDTH$}  {detail}{}", self.paint("2", &time));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.live { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn every_check_is_counted_once() {
        let mut report = Report::new();
        assert!(report.check("group", "good", || Ok("fine".into())));
        assert!(!report.check("group", "bad", || bail!("no\nmore")));
        report.skip("other", "absent", "needs root");
        assert_eq!(report.tally().to_string(), "1 passed, 1 failed, 1 skipped");
        let twice: Tally = [report.tally(), report.tally()].into_iter().sum();
        assert_eq!(twice, Tally { passed: 2, failed: 2, skipped: 2 });
    }
}
