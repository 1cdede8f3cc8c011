// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How TCP connections are followed.

use serde::{Deserialize, Serialize};

/// How a port follows TCP connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TcpSettings {
    /// A connection whose SYN was not seen is picked up as it seems to be, if the rules let it: it
    /// may be older than the port. Otherwise its segments are dropped (`tcp_mid_stream`).
    pub pick_up: bool,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self { pick_up: true }
    }
}
