// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Runs the kernel module, the very file that is shipped, in a process of Linux.
//!
//! [`module`] loads it as the kernel's own loader does, over the kernel that `xde-illumos-shim`
//! stands for; [`host`] is one such kernel with everybody around it, [`shape`] says how frames lie in
//! messages, and [`played`] lets vectors and scenarios of the whole project play with it. [`cases`] is
//! what is shown; [`process`] is the machine.

pub mod cases;
pub mod host;
pub mod module;
pub mod played;
pub mod process;
pub mod scene;
pub mod shape;
