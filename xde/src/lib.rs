// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The driver, without an operating system: which port gets this packet, and who answers this
//! request?
//!
//! * [`driver`] is the hypervisor host: guests, underlay, and what goes between them.
//! * [`boundary`] is the host at the edge: the outside, underlay, and its NAT table.
//! * [`host`] is what both ask of the system they run on.
//!
//! Requests come in as bytes and are answered as bytes ([`opte_api::frame`]); packets come in
//! batches and leave through a trait. Nothing here knows a kernel, a socket or a thread.

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

mod answer;
mod arrival;
pub mod boundary;
mod change;
mod dispatch;
pub mod driver;
mod dump;
mod dump_nat;
mod flow_dump;
mod follow;
mod hairpin;
pub mod host;
mod management;
mod multicast;
mod port_life;
mod publication;
mod routing;
mod saved;
mod shared;
mod shelf;
mod snapshot;
mod switch;
mod trace;

pub use driver::Driver;
pub use switch::Device;
