// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Raw declarations of the illumos kernel's interfaces, header by header.
//!
//! Empty for now: the kernel module and everything it needs come with an issue of their own. The
//! crate is here so that the workspace has its final shape and the rule that `unsafe` lives in
//! named places can be held from the first day.

#![no_std]
