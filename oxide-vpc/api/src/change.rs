// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Changes of many things at once, and what they would do or have done to connections.

use crate::PortName;
use crate::request::{
    AddFwRule, AddRoute, AddWeightedRoute, AllowCidr, AttachSubnet, ClearV2b, ClearV2p, DelRoute,
    DetachSubnet, RemFwRule, RemoveCidr, SetDhcp, SetExternalIps, SetFwRules, SetPortSettings,
    SetRouting, SetV2b, SetV2p,
};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte_api::{Direction, FlowId, OpteError};
use serde::{Deserialize, Serialize};

/// Most steps of one change.
pub const MAX_STEPS: usize = 65_536;
/// Most connections that a report lists of each class.
pub const MAX_LISTED: u32 = 10_000;
/// Connections that a report lists of each class, unless told otherwise.
pub const DEFAULT_LISTED: u32 = 20;
/// Longest time that connections may go on by [`DrainAddresses`], in seconds: one week.
pub const MAX_DRAIN: u64 = 604_800;

/// Takes external addresses away from a port, but lets the connections go on that they have.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct DrainAddresses {
    /// The port.
    pub port: PortName,
    /// The addresses, with all of their ranges.
    pub addresses: Vec<IpAddr>,
    /// For how long.
    pub seconds: u64,
}

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// One step of a change: a request that changes something. Steps are taken in order, each
        /// behind the one before, and come into force together.
        #[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
        pub enum Step { $($(#[$doc])* $name($name)),* }

        impl Step {
            /// The name of the request.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name)),* }
            }
        }

        $(impl From<$name> for Step {
            fn from(step: $name) -> Self {
                Self::$name(step)
            }
        })*
    };
}

steps! {
    /// A firewall rule more.
    AddFwRule,
    /// A firewall rule less.
    RemFwRule,
    /// These firewall rules instead.
    SetFwRules,
    /// A route more.
    AddRoute,
    /// A route less.
    DelRoute,
    /// Where a guest is.
    SetV2p,
    /// No longer.
    ClearV2p,
    /// Ways out more.
    SetV2b,
    /// Ways out less.
    ClearV2b,
    /// These external addresses instead.
    SetExternalIps,
    /// These settings instead.
    SetPortSettings,
    /// A subnet is attached.
    AttachSubnet,
    /// No longer.
    DetachSubnet,
    /// The guest may use a prefix.
    AllowCidr,
    /// No longer.
    RemoveCidr,
    /// External addresses less, but for connections that they have.
    DrainAddresses,
    /// A route more, or one with another share.
    AddWeightedRoute,
    /// These routes, external addresses and gateway map instead.
    SetRouting,
    /// What DHCP tells the guest from now on.
    SetDhcp,
}

/// What becomes of connections.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// They go on as they are.
    Kept,
    /// They go on with the same translation; something else is new.
    Changed,
    /// They go on for a while, or as long as they live; no other opens like them.
    Drained,
    /// They end.
    Cut,
}

/// A connection in a report.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct AffectedFlow {
    /// The key under which it was opened.
    pub flow: FlowId,
    /// Which way it was opened.
    pub opened: Direction,
    /// How it is translated.
    pub nat: Option<String>,
}

/// Connections of one port with one fate for one reason.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct FateReport {
    /// What becomes of them.
    pub fate: Fate,
    /// Why: the name of the counter of a cut without `cut_`; what is new; until when.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<AffectedFlow>,
}

/// What a change does to the connections of one port.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct PortReport {
    /// The port.
    pub port: PortName,
    /// All of its connections.
    pub flows: Vec<FateReport>,
}

/// What a change does.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct ChangeReport {
    /// Number of the change that was in force before.
    pub generation: u64,
    /// Number of this one; the same if it says nothing new.
    pub next: u64,
    /// The ports for which it says something new.
    pub ports: Vec<PortReport>,
}

/// Checks what holds for every change.
pub fn validate(change: &[Step], listed: u32) -> Result<(), OpteError> {
    if change.len() > MAX_STEPS {
        return Err(OpteError::Limit { what: "steps of a change".into(), limit: MAX_STEPS as u64 });
    }
    if listed > MAX_LISTED {
        let what = "connections that a report lists".into();
        return Err(OpteError::Limit { what, limit: MAX_LISTED.into() });
    }
    Ok(())
}
