// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What lies between the guest and others: how long packets may be, and how many hops they make.

use crate::config::{MAX_MTU, MIN_MTU};
use alloc::format;
use opte_api::OpteError;
use serde::{Deserialize, Serialize};

/// The way of a port's packets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WaySettings {
    /// Longest IP packet to guests of the VPC; `None`: as long as the guest's link lets it be.
    /// Who sends a longer one that must not be cut is told (RFC 1191; RFC 8201).
    pub inside_mtu: Option<u16>,
    /// Longest IP packet to the outside.
    pub outside_mtu: Option<u16>,
    /// SYN segments to and from the outside ask for segments that fit into `outside_mtu`, or else
    /// into the port's MTU.
    pub clamp_mss: bool,
    /// The gateway counts as a hop for what the guest sends.
    pub visible_hop: bool,
    /// The underlay sees the guest's DSCP (RFC 2983); ECN it always sees (RFC 6040).
    pub copy_dscp: bool,
    /// Packets come only from hosts of the underlay that the mappings name: of guests of the
    /// sender's network, or of ways out for what comes from outside.
    pub known_senders: bool,
}

impl WaySettings {
    /// Checks the bounds.
    pub fn validate(&self) -> Result<(), OpteError> {
        for (mtu, what) in [(self.inside_mtu, "inside MTU"), (self.outside_mtu, "outside MTU")] {
            if mtu.is_some_and(|mtu| !(MIN_MTU..=MAX_MTU).contains(&mtu)) {
                let why = format!("use {MIN_MTU} to {MAX_MTU}, or null for no limit");
                return Err(OpteError::invalid(what, why));
            }
        }
        Ok(())
    }
}
