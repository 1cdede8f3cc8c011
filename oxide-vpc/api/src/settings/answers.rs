// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What senders are told of packets that do not pass.

use alloc::format;
use opte_api::OpteError;
use serde::{Deserialize, Serialize};

/// Most answers of a port in a second, or at once.
pub const MAX_ANSWERS: u32 = 1_000_000;

/// Resets and ICMP errors that a port sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerSettings {
    /// The guest is told where it cannot get: no route, a route that says drop, nobody there, no
    /// address outside, or a rule that says deny.
    pub unreachable: bool,
    /// Answers in each second, in the long run; 0 is none (RFC 4443, section 2.4 f).
    pub per_second: u32,
    /// Answers at once.
    pub burst: u32,
}

impl Default for AnswerSettings {
    fn default() -> Self {
        Self { unreachable: false, per_second: 1000, burst: 50 }
    }
}

impl AnswerSettings {
    /// Checks the bounds.
    pub fn validate(&self) -> Result<(), OpteError> {
        if self.per_second > MAX_ANSWERS || self.burst > MAX_ANSWERS {
            return Err(OpteError::invalid("answers", format!("use 0 to {MAX_ANSWERS}")));
        }
        Ok(())
    }
}
