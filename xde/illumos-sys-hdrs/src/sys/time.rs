// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/time.h`: clocks.

use super::types::{c_long, hrtime_t, time_t};

/// Seconds and nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct timestruc_t {
    /// Seconds.
    pub tv_sec: time_t,
    /// Nanoseconds, below 10⁹.
    pub tv_nsec: c_long,
}

unsafe extern "C" {
    /// Nanoseconds since some moment in the past. Never goes back; costs a few nanoseconds.
    ///
    /// Context: any. Source: gethrtime(9F).
    pub fn gethrtime() -> hrtime_t;

    /// Time of day; an administrator may set it back.
    ///
    /// Context: user, kernel, interrupt. Source: `sys/time.h`; no manual page.
    pub fn gethrestime(now: *mut timestruc_t);
}
