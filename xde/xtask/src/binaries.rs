// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The project's own programs.

use crate::workspace;
use anyhow::Result;
use std::path::PathBuf;

/// How programs are built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Profile {
    /// With checks for overflow, as tests are built; quick to build.
    Dev,
    /// As users run it.
    Release,
}

/// Programs that the lab runs.
#[derive(Clone)]
pub struct Binaries {
    /// The datapath process.
    pub xde: PathBuf,
    /// The operator's command line.
    pub opteadm: PathBuf,
}

impl Binaries {
    /// Builds them.
    pub fn build(profile: Profile) -> Result<Self> {
        let (option, dir): (&[&str], _) = match profile {
            Profile::Dev => (&[], "debug"),
            Profile::Release => (&["--release"], "release"),
        };
        let packages = ["build", "-p", "xde-linux", "-p", "opteadm", "--bins"];
        workspace::cargo().args(packages).args(option).show()?;
        let dir = workspace::target_dir()?.join(dir);
        Ok(Self {
            xde: dir.join("xde"),
            opteadm: dir.join("opteadm"),
        })
    }
}
