// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A virtual private cloud, as layers of the packet transform engine.
//!
//! Outbound packets pass [`gateway`], [`firewall`], [`router`], [`nat`] and [`overlay`], inbound
//! packets the same in reverse. [`VpcPort`] holds what a port has been told and makes the layers
//! of its policy; [`standing`] is what stands behind translations that connections have; [`mappings`] is what all ports of a host share; [`services`] are the answers of
//! the gateway. Both address families are served by the same code.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::disallowed_methods,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

extern crate alloc;

mod choice;
pub mod firewall;
pub mod gateway;
mod gateways;
pub mod mappings;
pub mod meta;
pub mod nat;
pub mod overlay;
pub mod router;
mod routes;
pub mod services;
pub mod settings;
pub mod standing;
mod vpc_port;

pub use gateways::Gateways;
pub use mappings::Mappings;
pub use routes::{MAX_ROUTES, Routes};
pub use vpc_port::{Routing, VpcPort};
