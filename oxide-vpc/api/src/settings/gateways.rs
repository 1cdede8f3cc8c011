// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How the gateways of a port share out its external addresses.

use crate::config::MAX_GATEWAYS;
use alloc::collections::BTreeSet;
use opte_api::OpteError;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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

/// How the gateways of a port share out its external addresses, and what they do to packets.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySettings {
    /// What unmapped addresses serve.
    pub unmapped: Unmapped,
    /// What serves routes without a gateway.
    pub untagged: Untagged,
    /// Which addresses the port is reached by.
    pub reached: Reached,
    /// Gateways whose SYN segments ask for segments that fit into `way.outside_mtu`; `None` is the
    /// one without a name. Where `way.clamp_mss` is set, all are among them.
    pub clamp_mss: BTreeSet<Option<Uuid>>,
}

impl GatewaySettings {
    /// Checks the bounds.
    pub fn validate(&self) -> Result<(), OpteError> {
        if self.clamp_mss.len() > MAX_GATEWAYS {
            return Err(OpteError::Limit { what: "gateways".into(), limit: MAX_GATEWAYS as u64 });
        }
        if self.clamp_mss.contains(&Some(Uuid::nil())) {
            let why = "the nil UUID names no gateway; null is the one without a name";
            return Err(OpteError::invalid("clamping gateway", why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn gateways_that_clamp_have_names_and_a_limit() {
        let of = |clamp_mss| GatewaySettings { clamp_mss, ..GatewaySettings::default() };
        let some = |count: u128| (1..=count).map(|bits| Some(Uuid::from_u128(bits))).collect();
        assert_eq!(of(some(MAX_GATEWAYS as u128)).validate(), Ok(()));
        assert_eq!(of([None].into()).validate(), Ok(()));
        let limit = OpteError::Limit { what: "gateways".into(), limit: MAX_GATEWAYS as u64 };
        assert_eq!(of(some(MAX_GATEWAYS as u128 + 1)).validate(), Err(limit));
        let nil = of([Some(Uuid::nil())].into()).validate().unwrap_err().to_string();
        assert!(nil.contains("null is the one without a name"), "{nil}");
    }
}
