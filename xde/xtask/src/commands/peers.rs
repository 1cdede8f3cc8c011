// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The data path beside its peers.

use crate::binaries::{Binaries, Profile};
use crate::peers::{self, Options};
use crate::setup;
use anyhow::{Result, ensure};

/// Measures all of them.
pub fn run(options: &Options) -> Result<bool> {
    ensure!(
        setup::is_root(),
        "network namespaces need root: sudo -E env \"PATH=$PATH\" cargo xtask peers"
    );
    setup::install(&[setup::PEERS])?;
    let binaries = match &options.bin_dir {
        Some(dir) => Binaries::inside(dir)?,
        None => {
            println!("building xde and opteadm (the first time takes some minutes)");
            Binaries::build(Profile::Release)?
        }
    };
    peers::run(options, &binaries)
}
