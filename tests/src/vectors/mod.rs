// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The player for recorded packet scenarios ("vectors").
//!
//! A scenario is a port, operations on it, and packets with the answers that were recorded from
//! a running engine. From the bottom up: [`model`] is a scenario in the project's own types and
//! [`json`] reads it from a file, strictly; [`contract`] is what an engine must offer to be
//! played; [`checksum`], [`fields`] and [`decode`] understand packet bytes; [`check`] compares
//! one answer with what was recorded; [`play`] runs a whole scenario and [`report`] counts and
//! prints; [`subject`] is the engine under test.
//!
//! Guarantees: whatever a file says is either evaluated or refused with the names of the file and
//! the step, never passed over; [`check`] depends on its arguments only; no code here shares
//! anything with the engine but the types of the API.

pub mod check;
pub mod checksum;
pub mod contract;
pub mod decode;
pub mod fields;
pub mod json;
pub mod model;
#[cfg(test)]
mod oracle;
pub mod play;
pub mod report;
#[cfg(test)]
mod self_test;
pub mod subject;

use std::path::{Path, PathBuf};

/// Environment variable that names another folder of scenarios for the tests.
pub const FOLDER_VARIABLE: &str = "OPTE_VECTORS";

/// The folder of scenarios that the tests play: what [`FOLDER_VARIABLE`] names, or
/// `../shared/vectors/open` beside the project, or `None` where that does not exist.
pub fn folder() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(FOLDER_VARIABLE) {
        return Some(named.into());
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/open");
    beside.is_dir().then_some(beside)
}
