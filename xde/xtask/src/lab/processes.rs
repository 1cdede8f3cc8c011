// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Programs that run in the background of the lab.

use crate::shell::{Cmd, kill_group, wait_until};
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

/// How long a program may take to end when it is asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A program in the background. It is stopped when this value is dropped.
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
    left_running: bool,
}

impl Daemon {
    /// Starts `cmd`, which writes to `dir/name.log`.
    pub fn start(name: &str, cmd: Cmd, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = cmd.spawn(file)?;
        Ok(Self { name: name.into(), child, log, left_running: false })
    }

    /// Fails, with the end of the log, when the program has ended.
    pub fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended: {status}{}", self.name, self.last_words()),
        }
    }

    /// How the program ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that the program has written.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for `sign` of the program being ready.
    pub fn wait_ready(
        &mut self,
        what: &str,
        mut sign: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        let what = format!("{} {what}", self.name);
        wait_until(&what, Duration::from_secs(10), || {
            self.check_running()?;
            Ok(sign(self)?.then_some(()))
        })
        .with_context(|| format!("log {}{}", self.log.display(), self.last_words()))
    }

    /// Sends a signal to the program alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// Asks the program to end and waits for that.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        kill_group(&self.child, Signal::SIGTERM);
        let begin = std::time::Instant::now();
        while begin.elapsed() < STOP_TIMEOUT {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        kill_group(&self.child, Signal::SIGKILL);
        self.child.wait()?;
        bail!("{} had to be killed: SIGTERM did not end it", self.name)
    }

    /// Lets the program outlive this value.
    pub fn leave_running(&mut self) {
        self.left_running = true;
    }

    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(8);
        lines[from..].iter().map(|line| format!("\n    {line}")).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.left_running {
            // A program that had to be killed is gone as well.
            let _ = self.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_ends_when_asked_and_its_log_is_kept() {
        let dir = std::env::temp_dir();
        let name = format!("xtask-test-{}", std::process::id());
        let script = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done";
        let cmd = Cmd::new("sh").args(["-c", script]);
        let mut daemon = Daemon::start(&name, cmd, &dir).unwrap();
        daemon.wait_ready("says so", |daemon| Ok(daemon.log().contains("ready"))).unwrap();
        assert_eq!(daemon.stop().unwrap().code(), Some(7));
        assert!(daemon.check_running().unwrap_err().to_string().contains("bye"));
        fs::remove_file(dir.join(format!("{name}.log"))).unwrap();
    }
}
