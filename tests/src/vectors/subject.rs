// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The engine under test.

use super::contract::{Change, Outcome, Refusal, Subject};
use super::model::PortDescription;
use opte_api::Direction;

/// Makes the engine for a fresh port.
pub fn make(_port: &PortDescription) -> Result<Box<dyn Subject>, Refusal> {
    Ok(Box::new(DropAll))
}

/// Accepts every change and forwards nothing: the baseline that any engine must beat.
#[derive(Clone, Copy, Debug)]
pub struct DropAll;

impl Subject for DropAll {
    fn change(&mut self, _change: &Change) -> Result<(), Refusal> {
        Ok(())
    }

    fn advance(&mut self, _ms: u64) {}

    fn expire(&mut self) {}

    fn packet(&mut self, _direction: Direction, _bytes: &[u8]) -> Outcome {
        Outcome::Drop("everything is dropped".into())
    }
}
