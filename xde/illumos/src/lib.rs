// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The illumos kernel module: `xde` as a MAC provider towards guests and a MAC client of the
//! underlay.
//!
//! Empty for now, but for the proof that the driver it will carry is fit for a kernel: it is
//! `no_std`, and it is generic over everything that a kernel would supply.

#![no_std]

pub use xde::driver::Driver;
