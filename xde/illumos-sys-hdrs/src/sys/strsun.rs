// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/strsun.h`: helpers for messages.

use super::stream::{mblk_t, queue_t};
use super::types::{c_int, size_t};

unsafe extern "C" {
    /// Bytes in all blocks of a message.
    ///
    /// Context: user, kernel, interrupt. Source: msgsize(9F).
    pub fn msgsize(message: *const mblk_t) -> size_t;

    /// Sends an ioctl message back: done, with a count and a value to return.
    ///
    /// Context: user, kernel, interrupt. Source: miocack(9F).
    pub fn miocack(queue: *mut queue_t, message: *mut mblk_t, count: c_int, value: c_int);

    /// Sends an ioctl message back: refused, with `error` or `EINVAL` for 0.
    ///
    /// Context: user, kernel, interrupt. Source: miocnak(9F).
    pub fn miocnak(queue: *mut queue_t, message: *mut mblk_t, count: c_int, error: c_int);
}
