// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What each command of `cargo xtask` does. Each answers whether all went well.

pub mod bare;
pub mod bench;
pub mod demo;
pub mod peers;
pub mod test;

use crate::shell::Cmd;
use crate::workspace::{cargo, root};
use anyhow::Result;
use std::ffi::OsString;

/// Plays a folder of vectors; the player knows its arguments.
pub fn vectors(args: &[OsString]) -> Result<bool> {
    // Where the user is, so that a relative folder is the one that the user means.
    let here = std::env::current_dir()?;
    succeeds(tests_binary("vectors").args(args).dir(here))
}

/// Runs all fuzz targets, with the checks for overflow that only this profile has; it also
/// unwinds, so that the input that did the harm can be saved.
pub fn fuzz(seconds: u32) -> Result<bool> {
    let mut well = true;
    for target in ["frames", "control", "services", "rules"] {
        let seconds = seconds.to_string();
        well &= succeeds(tests_binary("fuzz").args([target, "--seconds", &seconds]))?;
    }
    Ok(well)
}

/// Builds and checks the kernel module.
pub fn kmod() -> Result<bool> {
    let module = crate::kmod::make()?;
    module.show();
    Ok(module.problems().is_empty())
}

/// Makes a package of the kernel module and what goes with it.
pub fn package() -> Result<bool> {
    let made = crate::kmod::package()?;
    made.iter().for_each(|path| println!("{}", path.display()));
    Ok(true)
}

/// Does what the machine does that takes changes in.
pub fn ci() -> Result<bool> {
    succeeds(Cmd::new("bash").arg(root().join(".ci/run")))
}

/// A program of the package with the tests, built as tests are.
fn tests_binary(name: &str) -> Cmd {
    cargo().args(["run", "--quiet", "--manifest-path"]).arg(root().join("Cargo.toml")).args([
        "-p",
        "opte-tests",
        "--bin",
        name,
        "--",
    ])
}

/// Runs a program on our terminal; it has said itself what went wrong.
fn succeeds(cmd: Cmd) -> Result<bool> {
    Ok(cmd.command().status()?.success())
}
