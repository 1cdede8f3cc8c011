// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The module at work: the very file that is shipped, in a process of Linux, over a kernel of the
//! project's own making. `xde/illumos/harness` says what is shown.

use super::build;
use crate::lab::report::CannotRun;
use crate::setup;
use crate::shell::Cmd;
use crate::workspace::{cargo, target_dir};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PACKAGE: &str = "xde-illumos-harness";
/// What the checker of memory answers when it has found something.
const FOUND: &str = "--error-exitcode=9";
/// How long a run may take: many times what it takes.
const RUNNING: Duration = Duration::from_secs(1800);
/// How many packets are counted, twice: the difference is what is measured.
const PACKETS: [u64; 2] = [640, 1920];
/// How many packets come in one chain.
const CHAINS: [u64; 2] = [1, 64];

/// The program that runs the module, built as tests are.
pub struct Harness(PathBuf);

impl Harness {
    /// Builds it.
    pub fn build() -> Result<Self> {
        cargo().args(["build", "--quiet", "-p", PACKAGE, "--bins"]).show()?;
        Ok(Self(target_dir()?.join("debug").join(PACKAGE)))
    }

    /// All cases, on this module.
    fn cases(&self, module: &Path) -> Cmd {
        Cmd::new(&self.0).arg(module).timeout(RUNNING)
    }

    /// A part of them under a checker of memory.
    fn checked(&self, module: &Path) -> Cmd {
        let excused = build::sources().join("harness").join("valgrind.supp");
        let excused = format!("--suppressions={}", excused.display());
        let options = ["--quiet", FOUND, "--track-origins=yes", &excused];
        Cmd::new("valgrind").args(options).arg(&self.0).arg(module).arg("--plain").timeout(RUNNING)
    }

    /// Runs all cases; answers how many there were.
    pub fn show(&self, module: &Path) -> Result<String> {
        told(self.cases(module))
    }

    /// The same of the part under the checker. Where there is none, it cannot run.
    pub fn show_checked(&self, module: &Path) -> Result<String> {
        if !setup::can_install(&[setup::VALGRIND]) {
            return Err(CannotRun("SKIPPED, because there is no valgrind").into());
        }
        setup::install(&[setup::VALGRIND])?;
        told(self.checked(module))
    }
}

/// The last line of a run that went well; all of one that did not.
fn told(cmd: Cmd) -> Result<String> {
    let output = cmd.output()?;
    let (stdout, stderr) = (&output.stdout, &output.stderr);
    ensure!(output.status.success(), "{stdout}{stderr}\nit ended with {}", output.status);
    Ok(stdout.lines().last().unwrap_or_default().to_owned())
}

/// Runs the module through all cases, or those whose names begin like one of `only`; then a part of
/// them once more under valgrind, if that can be had. Whether all went well.
pub fn run(only: &[String]) -> Result<bool> {
    let (module, harness) = (build::module()?, Harness::build()?);
    let only: Vec<&str> = only.iter().flat_map(|name| ["--only", name]).collect();
    let mut well = harness.cases(&module).args(&only).command().status()?.success();
    if !setup::can_install(&[setup::VALGRIND]) {
        println!("under valgrind: skipped, it is not installed and cannot be");
        return Ok(well);
    }
    setup::install(&[setup::VALGRIND])?;
    println!("under valgrind:");
    well &= harness.checked(&module).args(&only).command().status()?.success();
    Ok(well)
}

/// Counts instructions of a packet of a known flow in the module, on each way.
pub fn measure() -> Result<bool> {
    setup::install(&[setup::VALGRIND])?;
    let (module, harness) = (build::module()?, Harness::build()?);
    for (way, chain) in ["near", "out", "in"].iter().flat_map(|way| CHAINS.map(|it| (*way, it))) {
        let count = |packets| instructions(&harness.0, &module, way, [packets, chain]);
        let [few, many] = PACKETS.map(count);
        let each = (many? - few?) / (PACKETS[1] - PACKETS[0]);
        println!("{way}, chains of {chain}: {each} instructions in the module for each packet");
    }
    Ok(true)
}

/// Instructions of the module itself: it lies in memory that is of no file.
fn instructions(
    program: &Path,
    module: &Path,
    way: &str,
    [packets, chain]: [u64; 2],
) -> Result<u64> {
    let out = target_dir()?.join("kmod").join(format!("callgrind.{way}"));
    let text = Cmd::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .arg(module)
        .args(["--measure", way, "--packets", &packets.to_string()])
        .args(["--chain", &chain.to_string()])
        .run()?;
    print!("{text}");
    let all = std::fs::read_to_string(&out).with_context(|| format!("{}", out.display()))?;
    Ok(of_no_file(&all))
}

/// Sums costs of functions of no object file in what callgrind writes. Costs of calls stand behind
/// `calls=` lines and are those of the callees.
fn of_no_file(text: &str) -> u64 {
    let (mut unknown, mut ours, mut is_call, mut sum) = (None, false, false, 0);
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            let (number, name) = object.split_once(' ').unwrap_or((object, ""));
            if name == "???" {
                unknown = Some(number);
            }
            ours = unknown == Some(number);
        } else if let Some(object) = line.strip_prefix("cob=") {
            if let Some((number, "???")) = object.split_once(' ') {
                unknown = Some(number);
            }
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
            sum += cost.filter(|_| ours && !is_call).unwrap_or_default();
            is_call = false;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_of_memory_without_a_file_are_summed() {
        let text = "\
events: Ir
ob=(1) /bin/program
fn=(1) main
12 100
cob=(2) ???
cfn=(2) 0x40001000
calls=1 0
12 57
+3 1
ob=(2)
fn=(2)
0 40
cob=(1)
cfn=(3) helper
calls=1 0
0 10
* 7
ob=(1)
fn=(3)
5 10
";
        assert_eq!(of_no_file(text), 47);
    }
}
