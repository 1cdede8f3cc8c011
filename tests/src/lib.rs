// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Tests of the whole project, and what they share.

#![forbid(unsafe_code)]

pub mod alone;
pub mod fuzz;
pub mod hypervisor;
pub mod moving;
pub mod packets;
pub mod scenario;
pub mod setting;
pub mod twins;
pub mod vectors;
pub mod view;
pub mod wire;
