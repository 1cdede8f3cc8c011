// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The cores for a target without an operating system.
//!
//! Code that says `no_std` may still need what only an operating system has, through one of its
//! dependencies. So the cores are checked for a target that has nothing but `core` and `alloc`,
//! with the compiler that Debian ships together with the source of its own libraries.

use crate::setup;
use crate::workspace::{cargo, target_dir};
use anyhow::Result;

/// What must do without an operating system.
const CORES: &[&str] =
    &["opte-api", "opte", "oxide-vpc-api", "oxide-vpc", "xde", "illumos-sys-hdrs"];
const TARGET: &str = "x86_64-unknown-none";

/// Name of this check in a report.
pub const NAME: &str = "cores for a bare target";

/// Checks all of them, in a target folder of its own since the compiler is another one.
pub fn check() -> Result<String> {
    setup::install(&[setup::BARE_TARGET])?;
    let packages = CORES.iter().flat_map(|name| ["-p", name]);
    cargo()
        .args(["check", "--lib", "-Zbuild-std=core,alloc", "--target", TARGET])
        .args(packages)
        .arg("--target-dir")
        .arg(target_dir()?.join("bare"))
        .env("RUSTC", "/usr/bin/rustc")
        // A stable compiler builds its own libraries only when told that it may.
        .env("RUSTC_BOOTSTRAP", "1")
        // Wrappers and flags of the user are meant for the usual compiler.
        .env("RUSTC_WRAPPER", "")
        .env("RUSTFLAGS", "")
        .show()?;
    Ok(format!("{} check for {TARGET}", CORES.join(", ")))
}
