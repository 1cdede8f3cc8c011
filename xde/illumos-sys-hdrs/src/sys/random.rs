// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/random.h`: randomness of the kernel.

use super::types::{c_int, size_t};

unsafe extern "C" {
    /// Fills `length` bytes at `into` with randomness fit for keys, without waiting. 0, or `EAGAIN`
    /// when there is not enough of it yet; then nothing may be used.
    ///
    /// Context: user, kernel, interrupt. Source: `sys/random.h`; no manual page.
    pub fn random_get_bytes(into: *mut u8, length: size_t) -> c_int;

    /// Fills `length` bytes at `into` with randomness that is not fit for keys. 0 always.
    ///
    /// Context: user, kernel, interrupt. Source: `sys/random.h`; no manual page.
    pub fn random_get_pseudo_bytes(into: *mut u8, length: size_t) -> c_int;
}
