// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/conf.h`: flags of a driver, and entry points for what it lacks.
//!
//! The functions are declared without their arguments, as in C: they look at none, so a pointer to
//! one may stand wherever an entry point is wanted. That cast is the caller's.

use super::devops::pollhead;
use super::types::{c_int, c_short, dev_t};

/// No flag: an old-style driver.
pub const D_NEW: c_int = 0x0;
/// Entry points may run on many processors at once.
pub const D_MP: c_int = 0x20;
/// Entry points take 64-bit offsets.
pub const D_64BIT: c_int = 0x200;

unsafe extern "C" {
    /// Refuses: `ENXIO`.
    ///
    /// Context: any. Source: nodev(9F).
    pub fn nodev() -> c_int;

    /// Does nothing: 0.
    ///
    /// Context: any. Source: nulldev(9F).
    pub fn nulldev() -> c_int;

    /// Refuses to be polled: `ENXIO`.
    ///
    /// Context: user. Source: nochpoll(9F).
    pub fn nochpoll(
        device: dev_t,
        events: c_short,
        any: c_int,
        revents: *mut c_short,
        head: *mut *mut pollhead,
    ) -> c_int;
}
