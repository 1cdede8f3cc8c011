// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a packet costs.
//!
//! `benches/engine` is the program that measures; this library is what it measures with, so that
//! tests can show that the measured packets come out right:
//!
//! * [`packet`] writes packets, [`buffer`] holds them with room for outer headers in front, and
//!   [`sums`] checks what came out by sums of its own.
//! * [`world`] is a hypervisor host with guests that have source NAT, and [`flows`] are many
//!   connections of a guest.
//! * [`path`] is what is measured: packets through the engine, outer headers written or taken off.
//! * [`limit`] is the least work that gives the same bytes, written by hand: the yardstick.
//! * [`measure`] times batches, [`alone`] single things, [`opener`] opens connections for ever, [`report`] shows what came
//!   of it, keeps it for machines, [`summary`] draws conclusions, and [`goals`]
//!   are what was to be reached.

pub mod alone;
pub mod buffer;
pub mod flows;
pub mod goals;
pub mod limit;
pub mod measure;
pub mod opener;
pub mod packet;
pub mod path;
pub mod report;
pub mod summary;
pub mod sums;
pub mod world;
