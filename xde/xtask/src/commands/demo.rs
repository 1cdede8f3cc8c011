// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The lab as a show.

use crate::binaries::{Binaries, Profile};
use crate::lab::{clean as lab_clean, scenario};
use crate::setup;
use anyhow::{Result, ensure};
use std::path::PathBuf;

/// Shows the scenario.
pub fn run(options: scenario::Options, bin_dir: Option<PathBuf>) -> Result<bool> {
    ensure!(
        setup::is_root(),
        "network namespaces need root: sudo -E env \"PATH=$PATH\" cargo xtask demo"
    );
    setup::install(&[setup::LAB])?;
    let binaries = match bin_dir {
        Some(dir) => Binaries::inside(&dir)?,
        None => {
            println!("building xde and opteadm (the first time takes some minutes)");
            Binaries::build(Profile::Release)?
        }
    };
    let tally = scenario::run(&options, binaries)?;
    println!("\n{tally}");
    Ok(tally.failed == 0 && tally.skipped == 0)
}

/// Removes labs that were kept or killed.
pub fn clean() -> Result<bool> {
    ensure!(setup::is_root(), "sudo -E env \"PATH=$PATH\" cargo xtask lab clean");
    let gone = lab_clean::clean()?;
    if gone.is_empty() {
        println!("there is no lab to remove");
    } else {
        println!("removed {}", gone.join(", "));
    }
    Ok(true)
}
