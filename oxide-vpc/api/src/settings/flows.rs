// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How many flows a port may have.

use opte_api::OpteError;
use serde::{Deserialize, Serialize};

/// Limits of a port's flow table.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowSettings {
    /// Most flows; `None` is what the host allows each port, and more than that is refused. If
    /// there are more when it is set, those are evicted that would be evicted for new ones.
    pub limit: Option<u32>,
}

impl FlowSettings {
    /// Checks the bound that does not depend on the host.
    pub fn validate(&self) -> Result<(), OpteError> {
        if self.limit == Some(0) {
            return Err(OpteError::invalid("flow limit", "use 1 or more, or null for the host's"));
        }
        Ok(())
    }
}
