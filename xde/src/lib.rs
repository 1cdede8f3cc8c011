// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The driver, without an operating system: which port gets this packet, and who answers this
//! request?
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod host;
