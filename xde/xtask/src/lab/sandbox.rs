// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A name for all that a run makes, a folder for its logs, a folder that goes with it.

use crate::lab::{PREFIX, clean, scratch_dir};
use crate::shell;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// What a run makes is removed when this value is dropped: programs in namespaces with its name,
/// these namespaces, the scratch folder. Logs stay.
pub struct Sandbox {
    run: String,
    logs: PathBuf,
    scratch: PathBuf,
    kept: bool,
}

impl Sandbox {
    /// Makes the folders and nothing else.
    pub fn new() -> Result<Self> {
        let run = format!("{PREFIX}{}", std::process::id());
        let labs = crate::workspace::target_dir()?.join("lab");
        clean::forget_old_runs(&labs)?;
        let logs = labs.join(&run);
        // Sockets are here: their paths must be short (unix(7): 108 bytes).
        let scratch = scratch_dir(&run);
        for dir in [&logs, &scratch] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        shell::start_journal(&logs.join("commands.log"))?;
        Ok(Self { run, logs, scratch, kept: false })
    }

    /// What all names of this run begin with.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Where logs are.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The folder that goes with the run.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Leaves everything as it is when this value is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = clean::remove(&self.run) {
            eprintln!("warning: not all is gone ({error:#}); try `cargo xtask lab clean`");
        }
    }
}
