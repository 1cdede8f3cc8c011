// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A packet transform engine: match-action layers for the first packet of a connection, one
//! compiled transform for all later ones.
//!
//! From the bytes up:
//!
//! * [`wire`] and [`headers`] read a frame once; [`geneve`] and [`outer`] are the headers between
//!   hosts; [`checksum`] is the arithmetic of both.
//! * [`care`] and [`ecn`] are what is asked of each packet beside its rewriting.
//! * [`edit`] says what is to be changed, as registers that compose; [`transform`] is the same,
//!   compiled for one direction of one flow, and the only writer of packets.
//! * [`rule`], [`table`], [`layer`] and [`policy`] are what decides, [`classifier`] and
//!   [`prefix_map`] how it is found; [`walk`] is one decision.
//! * [`flow`], [`flow_table`], [`tcp`] and [`nat`] are what is remembered; [`judge`] says whether it
//!   is still right, and [`cut`] why not. [`kept`] is what of it can be carried elsewhere.
//! * [`fragments`] lets later fragments follow the first.
//! * [`answer`] writes the packets that the engine sends itself.
//! * [`trace`] tells what would become of a packet, and does nothing.
//! * [`port`] puts them together: packets in, verdicts out.
//!
//! The engine is a function of its arguments. Bytes, exclusion, eyes, time and randomness come
//! from a host ([`frame::Frame`], [`host::Host`]); nothing here knows an operating system, a
//! clock, or what a virtual private cloud is.

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

pub mod answer;
pub mod care;
pub mod checksum;
pub mod classifier;
pub mod counters;
pub mod cut;
mod decide;
pub mod drop_reason;
pub mod ecn;
pub mod edit;
pub mod event;
pub mod flow;
pub mod flow_key;
pub mod flow_table;
pub mod fragments;
pub mod frame;
pub mod geneve;
pub mod headers;
pub mod host;
mod icmp_error;
pub mod judge;
pub mod kept;
pub mod layer;
pub mod meta;
mod named;
pub mod nat;
pub mod outer;
mod paths;
pub mod policy;
pub mod port;
pub mod prefix_map;
mod quote;
pub mod rule;
mod slot;
pub mod table;
pub mod tcp;
pub mod trace;
pub mod transform;
pub mod walk;
pub mod wheel;
pub mod wire;

pub use slot::{Slot, Stored};
