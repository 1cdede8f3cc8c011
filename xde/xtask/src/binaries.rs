// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The project's own programs.

use crate::workspace;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// How programs are built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Profile {
    /// With checks for overflow, as tests are built; quick to build.
    Dev,
    /// As users run it.
    Release,
}

impl Profile {
    /// What cargo is told.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Self::Dev => &[],
            Self::Release => &["--release"],
        }
    }

    /// Where cargo puts what it builds.
    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
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
        let packages = ["build", "-p", "xde-linux", "-p", "opteadm", "--bins"];
        workspace::cargo().args(packages).args(profile.options()).show()?;
        Self::inside(&workspace::target_dir()?.join(profile.folder()))
    }

    /// Takes them out of a folder.
    pub fn inside(dir: &Path) -> Result<Self> {
        let find = |name: &str| {
            let path = dir.join(name);
            std::path::absolute(&path)
                .ok()
                .filter(|path| path.is_file())
                .with_context(|| format!("there is no {}", path.display()))
        };
        Ok(Self { xde: find("xde")?, opteadm: find("opteadm")? })
    }
}
