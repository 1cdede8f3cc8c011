// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Brings a lab up, runs checks in it, and takes it down.

use crate::binaries::Binaries;
use crate::lab::Lab;
use crate::lab::checks::{self, Check};
use crate::lab::drawing;
use crate::lab::report::{Report, Tally};
use crate::lab::set_up;
use crate::shell::interrupted;
use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::path::PathBuf;

const SET_UP: &str = "Setting up";

/// What the user asks for.
#[derive(Default)]
pub struct Options {
    /// Leave the lab up.
    pub keep: bool,
    /// Where captures go instead of the lab's own directory.
    pub pcap_dir: Option<PathBuf>,
    /// Run only these checks and those that they need; all of them when empty.
    pub only: Vec<String>,
}

/// Runs the scenario; answers how the checks went.
pub fn run(options: &Options, binaries: Binaries) -> Result<Tally> {
    let chosen = choose(&options.only)?;
    let mut lab = Lab::new(binaries, options.pcap_dir.as_deref())?;
    println!("{}", drawing::topology());
    let mut report = Report::new();
    if bring_up(&mut lab, &mut report) {
        run_checks(&mut lab, &mut report, &chosen);
    } else {
        chosen.iter().for_each(|check| report.skip(check.group, check.title, "the lab is not up"));
    }
    println!("\nlogs and captures: {}", lab.logs().display());
    if lab.pcaps() != lab.logs() {
        println!("captures: {}", lab.pcaps().display());
    }
    if options.keep && !interrupted() {
        lab.keep();
    }
    Ok(report.tally())
}

/// Reports every check as skipped.
pub fn skip_all(why: &str) -> Tally {
    let mut report = Report::new();
    checks::all().for_each(|check| report.skip(check.group, check.title, why));
    report.tally()
}

fn bring_up(lab: &mut Lab, report: &mut Report) -> bool {
    let mut steps = set_up::STEPS.iter().chain([&set_up::CAPTURES]);
    steps.all(|(title, step)| !interrupted() && report.check(SET_UP, title, || step(lab)))
}

fn run_checks(lab: &mut Lab, report: &mut Report, chosen: &[&'static Check]) {
    let mut good = BTreeSet::new();
    for check in chosen {
        if interrupted() {
            report.skip(check.group, check.title, "interrupted");
        } else if let Some(missing) = check.needs.iter().find(|name| !good.contains(*name)) {
            report.skip(check.group, check.title, &format!("needs {missing}"));
        } else if let Some(why) = checks::unavailable(check) {
            report.skip(check.group, check.title, &why);
        } else if report.check(check.group, check.title, || (check.run)(lab)) {
            good.insert(&check.name);
        }
    }
}

/// The checks with those names, and what they need, in their usual order.
fn choose(only: &[String]) -> Result<Vec<&'static Check>> {
    let known: Vec<&str> = checks::all().map(|check| check.name).collect();
    if let Some(unknown) = only.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no check is named {unknown}; there are: {}", known.join(", "));
    }
    let mut wanted: BTreeSet<&str> = only.iter().map(String::as_str).collect();
    let all: Vec<&'static Check> = checks::all().collect();
    // What a check needs stands before it, so one pass from the end finds everything.
    for check in all.iter().rev() {
        if wanted.contains(check.name) {
            wanted.extend(check.needs);
        }
    }
    Ok(all.into_iter().filter(|check| only.is_empty() || wanted.contains(check.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_named_once_and_need_only_earlier_ones() {
        let mut seen = BTreeSet::new();
        for check in checks::all() {
            for needed in check.needs {
                assert!(seen.contains(needed), "{} needs {needed}", check.name);
            }
            assert!(seen.insert(check.name), "{} stands twice", check.name);
        }
    }

    #[test]
    fn a_chosen_check_brings_what_it_needs() {
        let names = |only: &[&str]| -> Vec<&str> {
            let only: Vec<String> = only.iter().map(|name| (*name).into()).collect();
            choose(&only).unwrap().iter().map(|check| check.name).collect()
        };
        assert_eq!(names(&[]).len(), checks::all().count());
        assert_eq!(names(&["dhcp4"]), ["dhcp4"]);
        assert!(names(&["ping-across"]).contains(&"dhcp4"));
        assert!(choose(&["nonsense".into()]).is_err());
    }
}
