// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/strsubr.h`: chains of messages, and segmentation by the hardware.

use super::stream::mblk_t;

unsafe extern "C" {
    /// Frees every message of a chain.
    ///
    /// Context: user, kernel, interrupt. Source: `sys/strsubr.h`; no manual page.
    pub fn freemsgchain(chain: *mut mblk_t);

    /// Copies every message of a chain; null when there is no memory.
    ///
    /// Context: user, kernel, interrupt. Source: `sys/strsubr.h`; no manual page.
    pub fn copymsgchain(chain: *mut mblk_t) -> *mut mblk_t;

    /// Asks for segmentation into segments of `mss` bytes, with [`HW_LSO`](super::pattr::HW_LSO) in
    /// `flags`.
    ///
    /// Context: user, kernel, interrupt; the message is the caller's alone. Source:
    /// `sys/strsubr.h`; no manual page.
    pub fn lso_info_set(message: *mut mblk_t, mss: u32, flags: u32);

    /// Takes the wish for segmentation back.
    ///
    /// Context: user, kernel, interrupt; the message is the caller's alone. Source:
    /// `sys/strsubr.h`; no manual page.
    pub fn lso_info_cleanup(message: *mut mblk_t);
}
