// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How the gateways of a port share out its external addresses.

use serde::{Deserialize, Serialize};

/// What an external address serves that the gateway map does not name. One that the map names
/// with an empty set serves nothing.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unmapped {
    /// Routes that name no gateway, and those alone.
    #[default]
    Untagged,
    /// These, and any gateway that no address of the map serves.
    AnyLast,
    /// Nothing.
    Nowhere,
}

/// Which addresses serve routes that name no gateway.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Untagged {
    /// Those that the gateway map does not name.
    #[default]
    Unmapped,
    /// All.
    Any,
}

/// Which of its own addresses outside a port is reached by.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// All of them, whatever the gateway map says.
    #[default]
    ByAny,
    /// Those that serve some gateway, or routes that name none.
    ByServing,
}

/// How the gateways of a port share out its external addresses.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySettings {
    /// What unmapped addresses serve.
    pub unmapped: Unmapped,
    /// What serves routes without a gateway.
    pub untagged: Untagged,
    /// Which addresses the port is reached by.
    pub reached: Reached,
}
