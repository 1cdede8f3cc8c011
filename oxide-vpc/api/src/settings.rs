// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What an operator may set for one port, at its creation and while it runs.
//!
//! One structure for each topic, each in a file of its own, with its default and its bounds. In
//! JSON what is left out has its default, and what nobody knows is refused.

mod answers;
mod continuity;
mod flows;
mod gateways;
mod idle;
mod nat;
mod tcp;
mod way;

pub use answers::{AnswerSettings, MAX_ANSWERS};
pub use continuity::{AddressGone, ContinuitySettings, check_drain};
pub use flows::FlowSettings;
pub use gateways::{GatewaySettings, Reached, Unmapped, Untagged};
pub use idle::{IdleSettings, MAX_IDLE};
pub use nat::{
    MAX_FORWARDS, MAX_NAT_PREFIXES, MAX_NAT_RANGES, MAX_QUARANTINE, MAX_UNTRANSLATED,
    NatDependence, NatDependences, NatDestination, NatLimits, NatPooling, NatRange, NatRate,
    NatRates, NatSettings, OneToOne, PortForward, Quarantine, Untranslated,
};
pub use tcp::TcpSettings;
pub use way::WaySettings;

use opte_api::OpteError;
use serde::{Deserialize, Serialize};

/// Everything that may be set for a port.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortSettings {
    /// How long flows live without packets.
    pub idle: IdleSettings,
    /// How many flows there may be.
    pub flows: FlowSettings,
    /// How TCP connections are followed.
    pub tcp: TcpSettings,
    /// What senders are told of packets that do not pass.
    pub answers: AnswerSettings,
    /// How long packets may be, and how many hops they make.
    pub way: WaySettings,
    /// Which external addresses serve which routes.
    pub gateways: GatewaySettings,
    /// How it is translated, beyond its external addresses.
    pub nat: NatSettings,
    /// What becomes of connections that a change concerns.
    pub continuity: ContinuitySettings,
}

impl PortSettings {
    /// Checks the bounds of each topic.
    pub fn validate(&self) -> Result<(), OpteError> {
        self.idle.validate()?;
        self.flows.validate()?;
        self.answers.validate()?;
        self.way.validate()?;
        self.gateways.validate()?;
        self.nat.validate()?;
        self.continuity.validate()
    }
}
