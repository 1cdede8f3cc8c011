// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What of the kernel module every run of all tests checks.

use super::harness::Harness;
use super::ring0::{self, Ring0};
use super::{Built, make, package};
use crate::lab::report::{Report, Tally};
use crate::setup;
use crate::shell::interrupted;
use anyhow::{Context, Result, ensure};

const GROUP: &str = "Kernel module";

/// One check.
pub struct Check {
    /// Its name, by which tables of demands refer to it (`kmod:NAME`).
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// Does it; answers what was seen.
    pub run: fn(&mut Made) -> Result<String>,
}

/// What checks leave for those behind them.
#[derive(Default)]
pub struct Made {
    module: Option<Built>,
    harness: Option<Harness>,
}

impl Made {
    /// The module, if the check before has let it pass.
    pub fn module(&self) -> Result<&Built> {
        self.module.as_ref().context("there is no module that keeps all rules")
    }
}

/// All of them, in order.
const CHECKS: &[Check] = &[
    Check { name: "gate", title: "the loader would take the module", run: gate },
    Check { name: "process", title: "the module at work in a process of Linux", run: at_work },
    Check { name: "valgrind", title: "the same under a checker of memory", run: under_valgrind },
    Check { name: "ring0", title: "the module in ring 0, interrupted anywhere", run: in_ring0 },
    Check { name: "package", title: "opteadm, plug-in, package for illumos", run: packaged },
];

/// Builds the module and what goes with it, and checks all of it.
pub fn run() -> Tally {
    let mut report = Report::new();
    let mut made = Made::default();
    for check in CHECKS {
        if interrupted() {
            break;
        }
        let title = format!("{}: {}", check.name, check.title);
        if setup::can_install(&[setup::KERNEL_MODULE]) {
            report.check(GROUP, &title, || (check.run)(&mut made));
        } else {
            let packages = setup::packages(setup::KERNEL_MODULE);
            let why = format!("SKIPPED, because {packages} cannot be installed here");
            report.skip(GROUP, &title, &why);
        }
    }
    report.tally()
}

fn gate(made: &mut Made) -> Result<String> {
    let module = make()?;
    ensure!(module.problems().is_empty(), "{}", module.problems().join("\n"));
    let told = module.summary();
    made.module = Some(module);
    Ok(told)
}

fn at_work(made: &mut Made) -> Result<String> {
    let harness = Harness::build()?;
    let told = harness.show(&made.module()?.path)?;
    made.harness = Some(harness);
    Ok(told)
}

fn under_valgrind(made: &mut Made) -> Result<String> {
    let harness = made.harness.as_ref().context("the module does not work without a checker")?;
    harness.show_checked(&made.module()?.path)
}

fn in_ring0(made: &mut Made) -> Result<String> {
    let module = &made.module()?.path;
    let machine = Ring0::prepare()?;
    machine.controls()?;
    let said = machine.module(module, ring0::PACKETS)?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

fn packaged(made: &mut Made) -> Result<String> {
    let [_, tar] = package::make(made.module()?)?;
    let size = std::fs::metadata(&tar).context("the tar")?.len();
    Ok(format!("{}, {} KiB", tar.display(), size >> 10))
}
