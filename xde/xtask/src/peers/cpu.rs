// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! CPU time that others used, to the nanosecond, from `/proc/PID/task/*/schedstat`.
//!
//! The sums of the whole machine in `/proc/stat` would hold whatever else runs on it. What a
//! packet costs is in the run time of its sender, its receiver, the data path between them and
//! `ksoftirqd`, for the kernel works on packets in whichever of these is running.

use std::fs;
use std::path::Path;

/// Run time of all threads of these processes, in nanoseconds. Those that have ended count
/// nothing.
pub fn of_processes(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| of_tasks(&Path::new("/proc").join(pid.to_string()).join("task"))).sum()
}

fn of_tasks(tasks: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(tasks) else { return 0 };
    let stats = entries.filter_map(|entry| {
        let text = fs::read_to_string(entry.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    stats.sum()
}

/// The kernel's threads for packets that nobody's time is left for.
pub fn softirq_threads() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        name.starts_with("ksoftirqd/").then_some(pid)
    });
    pids.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_time_and_a_missing_one_none() {
        assert!(of_processes(&[std::process::id()]) > 0);
        assert_eq!(of_processes(&[99_999_999]), 0);
    }
}
