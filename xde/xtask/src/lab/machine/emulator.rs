// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! QEMU: the one that is installed, or that of Debian's packages, unpacked.

use super::unpacked;
use crate::shell::{Cmd, find_program};
use crate::workspace::target_dir;
use anyhow::Result;
use std::path::PathBuf;

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// Where it is.
pub struct Emulator {
    /// A folder with an unpacked QEMU, unless it is installed.
    folder: Option<PathBuf>,
}

impl Emulator {
    /// Fetches it, or finds that of last time.
    pub fn fetch() -> Result<Self> {
        let folder = match find_program(PROGRAM) {
            Some(_) => None,
            None => Some(unpacked(&target_dir()?.join("machine").join("qemu"), packages)?),
        };
        Ok(Self { folder })
    }

    /// A call of it, without arguments. `exec` calls a program.
    pub fn cmd(&self, exec: impl Fn(&str) -> Cmd) -> Cmd {
        let cmd = exec("env");
        let Some(folder) = &self.folder else { return cmd.arg(PROGRAM) };
        let libraries = folder.join("usr/lib/x86_64-linux-gnu");
        cmd.arg(format!("LD_LIBRARY_PATH={}", libraries.display()))
            .arg(folder.join("usr/bin").join(PROGRAM))
            .arg("-L")
            .arg(folder.join("usr/share/seabios"))
            .arg("-L")
            .arg(folder.join("usr/share/qemu"))
    }
}

/// QEMU and all that it needs and this machine has not.
fn packages() -> Result<Vec<String>> {
    let options = ["install", "--simulate", "--no-install-recommends", PACKAGE];
    let plan = Cmd::new("apt-get").args(options).run()?;
    let names = plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    Ok(names.map(String::from).collect())
}
