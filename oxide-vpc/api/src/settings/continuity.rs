// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What becomes of connections that a change of the configuration concerns.

use crate::change::MAX_DRAIN;
use opte_api::OpteError;
use serde::{Deserialize, Serialize};

/// What becomes of connections on an external address that goes away.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressGone {
    /// They end.
    #[default]
    Cut,
    /// They go on for so many seconds.
    Drain(u64),
    /// They go on for as long as they live.
    Keep,
}

/// What becomes of connections that a change concerns. What firewall or routes forbid is cut in any
/// case.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContinuitySettings {
    /// Those on an external address that goes away.
    pub address_gone: AddressGone,
    /// Both ends of a TCP connection are told by resets that it was cut, as soon as one of them says
    /// something. At the same rate as other answers.
    pub tell: bool,
}

impl Default for ContinuitySettings {
    fn default() -> Self {
        Self { address_gone: AddressGone::Cut, tell: true }
    }
}

impl ContinuitySettings {
    /// Checks the bounds.
    pub fn validate(&self) -> Result<(), OpteError> {
        match self.address_gone {
            AddressGone::Drain(seconds) => check_drain(seconds),
            AddressGone::Cut | AddressGone::Keep => Ok(()),
        }
    }
}

/// Checks for how long connections may go on.
pub fn check_drain(seconds: u64) -> Result<(), OpteError> {
    if (1..=MAX_DRAIN).contains(&seconds) {
        return Ok(());
    }
    Err(OpteError::invalid("drain time", alloc::format!("use 1 to {MAX_DRAIN} seconds")))
}
