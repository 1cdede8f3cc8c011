// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The illumos kernel module: `xde` as a MAC provider towards guests and a MAC client of the
//! underlay.
//!
//! From the bottom up:
//!
//! * [`memory`], [`lock`] and [`host`] are what the engine takes from a kernel: an allocator that
//!   knows who may wait, exclusion, eyes, time and a secret. [`panic`] is how it ends.
//! * [`message`] owns STREAMS messages and chains of them; [`look`] says how much of one must lie
//!   in one piece, [`offload`] what its sender left to do, [`packet`] is a message as the engine's
//!   frame.
//! * [`guest`] is the link of a port, [`underlay`] the links between hosts, [`routes`] the next
//!   hop. [`way_out`] gathers what a burst sends.
//! * [`platform`] makes and removes links as requests want it; [`state`] holds all there is;
//!   [`statistics`] shows it; [`device`] is `/dev/xde`; [`module`] is what the kernel loads.
//!
//! # Contexts
//!
//! | who calls | context | may wait for memory |
//! |---|---|---|
//! | `attach`, `detach`, an ioctl, a reader of statistics, the periodic callback | user or kernel | yes: a [`memory::MayWait`] stands for it |
//! | `mc_tx`, a siphon, a receive callback | interrupt below lock level, or kernel | no |
//! | `mc_start`, `mc_stop` and other control entry points of a link | kernel, in its perimeter | no |
//!
//! # Lock order
//!
//! 1. The token of requests: [`lock::Token`], held by the thread that serves one. No packet asks
//!    for it.
//! 2. Perimeters of links, entered and left inside of one call of [`platform`]. Entry points that
//!    the kernel calls inside of a perimeter never ask for the token.
//! 3. A lock of statistics (`ks_lock`), taken by the kernel around the callback that reads
//!    counters.
//! 4. The engine's locks in the order that `opte::flow_table` tells, or one lock of this crate
//!    (ways, routes, the reserve): each is the last that its thread takes. Nothing of the MAC, IP
//!    or DLS modules is called under one of these, and no memory is waited for except by the thread
//!    that serves a request.
//!
//! [`lock::Rundown`] is not a lock: those who use a link count themselves, and who removes it waits
//! for them, holding the token alone.
//!
//! # Which kernel
//!
//! One module runs on mainline illumos and on the kernel of the Oxide tree; [`exports`] finds out
//! at attach which one it is.
//!
//! `unsafe` is here and in `illumos-sys-hdrs`, and each block says why it is sound.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod counters;
pub mod device;
pub mod exports;
pub mod guest;
pub mod host;
pub mod lock;
pub mod look;
pub mod memory;
pub mod message;
pub mod module;
pub mod offload;
pub mod packet;
#[cfg(target_os = "illumos")]
mod panic;
pub mod platform;
pub mod routes;
pub mod state;
pub mod statistics;
pub mod underlay;
pub mod way_out;

#[cfg(test)]
mod kernel;
