// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/ddi.h`: device numbers, and ticks of the clock.

use super::types::{clock_t, dev_t, major_t, minor_t};

unsafe extern "C" {
    /// The driver's number in a device number.
    ///
    /// Context: any. Source: getmajor(9F).
    pub fn getmajor(device: dev_t) -> major_t;

    /// The minor node's number in a device number.
    ///
    /// Context: any. Source: getminor(9F).
    pub fn getminor(device: dev_t) -> minor_t;

    /// The device number of both.
    ///
    /// Context: any. Source: makedevice(9F).
    pub fn makedevice(major: major_t, minor: minor_t) -> dev_t;

    /// Ticks that so many microseconds take, rounded up.
    ///
    /// Context: any. Source: drv_usectohz(9F).
    pub fn drv_usectohz(microseconds: clock_t) -> clock_t;
}
