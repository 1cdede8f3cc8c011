// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Removal of labs: the one that just ended, or those that were kept or killed.

use crate::lab::{PREFIX, scratch_dir};
use crate::shell::{Cmd, wait_until};
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Runs whose logs and captures are left for reading.
const RUNS_REMEMBERED: usize = 4;

/// Removes every lab on this machine that no running process looks after; answers their names.
pub fn clean() -> Result<Vec<String>> {
    let mut runs = BTreeSet::new();
    for dir in ["/run/netns", "/tmp"] {
        let Ok(entries) = fs::read_dir(dir) else {
            continue;
        };
        for entry in entries {
            runs.extend(run_of(&entry?.file_name().to_string_lossy()));
        }
    }
    let abandoned: Vec<String> = runs.into_iter().filter(|run| !has_owner(run)).collect();
    abandoned.iter().try_for_each(|run| remove(run))?;
    Ok(abandoned)
}

/// Removes all of one lab but its logs and captures.
pub(super) fn remove(run: &str) -> Result<()> {
    let namespaces = namespaces_of(run)?;
    for name in &namespaces {
        end_all(name)?;
    }
    for name in &namespaces {
        Cmd::new("ip").args(["netns", "del", name]).even_if_interrupted().run()?;
    }
    match fs::remove_dir_all(scratch_dir(run)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("scratch directory")
        }
        _ => Ok(()),
    }
}

/// Removes logs and captures of all runs but the last few, and of those that are still up.
pub(super) fn forget_old_runs(labs: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(labs) else { return Ok(()) };
    let mut ended = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if run_of(&name).as_ref() == Some(&name) && !scratch_dir(&name).exists() {
            ended.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    ended.sort();
    let many = ended.len().saturating_sub(RUNS_REMEMBERED);
    ended.iter().take(many).try_for_each(|(_, dir)| fs::remove_dir_all(dir))?;
    Ok(())
}

fn namespaces_of(run: &str) -> Result<Vec<String>> {
    let listed = Cmd::new("ip").args(["netns", "list"]).even_if_interrupted().run()?;
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| run_of(name).as_deref() == Some(run)).map(String::from).collect())
}

/// Kills whatever still runs in a namespace.
fn end_all(netns: &str) -> Result<()> {
    let pids = || -> Result<Vec<i32>> {
        let text = Cmd::new("ip").args(["netns", "pids", netns]).even_if_interrupted().run()?;
        Ok(text.lines().filter_map(|pid| pid.trim().parse().ok()).collect())
    };
    for pid in pids()? {
        // It may have ended by itself since it was listed.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    // Devices of a process go when it is gone, and a namespace with it.
    let gone = wait_until(&format!("end of {netns}"), Duration::from_secs(3), || {
        Ok(pids()?.is_empty().then_some(()))
    });
    if crate::shell::interrupted() { Ok(()) } else { gone }
}

/// `opte-PID` out of `opte-PID` or `opte-PID-NAME`.
fn run_of(name: &str) -> Option<String> {
    let rest = name.strip_prefix(PREFIX)?;
    let pid = rest.split_once('-').map_or(rest, |(pid, _)| pid);
    let is_number = !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| format!("{PREFIX}{pid}"))
}

/// The process that made the lab still runs.
fn has_owner(run: &str) -> bool {
    let pid = run.strip_prefix(PREFIX).unwrap_or_default();
    let name = fs::read_to_string(Path::new("/proc").join(pid).join("comm"));
    name.is_ok_and(|name| name.trim() == "xtask")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_labs_are_taken() {
        for name in ["opte-12", "opte-12-h1", "opte-12-web1"] {
            assert_eq!(run_of(name).as_deref(), Some("opte-12"), "{name}");
        }
        for name in ["opte-", "opte-x", "opte-12x-h1", "opte", "other-12-h1", "opte--h1"] {
            assert_eq!(run_of(name), None, "{name}");
        }
    }

    #[test]
    fn the_last_runs_are_remembered() {
        let labs = std::env::temp_dir().join(format!("xtask-runs-{}", std::process::id()));
        for pid in 4_294_000..4_294_010 {
            fs::create_dir_all(labs.join(format!("opte-{pid}"))).unwrap();
        }
        fs::create_dir_all(labs.join("else")).unwrap();
        forget_old_runs(&labs).unwrap();
        assert_eq!(fs::read_dir(&labs).unwrap().count(), RUNS_REMEMBERED + 1);
        assert!(labs.join("else").exists());
        fs::remove_dir_all(&labs).unwrap();
    }

    #[test]
    fn a_lab_without_its_process_has_no_owner() {
        // Process numbers end at 2^22 (proc(5), pid_max).
        assert!(!has_owner("opte-99999999"));
    }
}
