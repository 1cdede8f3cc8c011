// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The engine's host on Linux: a process whose ports are TAP devices or links, and whose underlay
//! is UDP.
//!
//! ```text
//!  guest's kernel                                                            other hosts
//!       |                                                                         |
//!     port --> vnet --> worker --> engine --> outbox (segment, sum) --> underlay (lane, run)
//!     port <-- vnet <-- worker <-- engine <----------- coalesce <------ underlay
//!
//!  opteadm --> control --> engine --> platform --> worker
//! ```
//!
//! * [`packet`] is the buffer that all of them hand on; [`inner`] finds the headers of a guest's
//!   frame, as far as offloads must know them.
//! * [`worker`] is the thread that moves packets, of which there may be several; [`poller`] is what
//!   it waits with, [`vigil`] says how long it stays awake.
//! * [`platform`], [`control`] and [`crew`] are how requests reach them; [`hypervisor`] puts the process
//!   together, from its [`settings`]. [`boundary`] is the other role of the binary.
//! * [`counters`] has a name for whatever ends here.
//!
//! Guarantees: no bytes of a guest, of the underlay or of a client cause a panic or undefined
//! behaviour; no frame vanishes without a counter; the packet thread waits for packets alone.
//! `unsafe` is in [`sys`] only.

#![deny(unsafe_code)]

pub mod appetite;
pub mod boundary;
pub mod check;
pub mod coalesce;
pub mod control;
pub mod counters;
pub mod crew;
pub mod engine;
pub mod host;
pub mod hypervisor;
pub mod inner;
pub mod netlink;
pub mod outbox;
pub mod packet;
pub mod platform;
pub mod poller;
pub mod port;
pub mod segment;
pub mod segment_size;
pub mod service;
pub mod settings;
pub mod signals;
pub mod sum;
#[allow(unsafe_code)]
pub mod sys;
pub mod underlay;
pub mod vigil;
pub mod vnet;
mod way_out;
pub mod worker;
