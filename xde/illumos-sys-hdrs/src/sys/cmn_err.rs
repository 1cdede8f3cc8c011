// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/cmn_err.h`: messages to the console and the system log, and text.

use super::types::{c_char, c_int, size_t};

/// The message goes on from the last one.
pub const CE_CONT: c_int = 0;
/// Something to note.
pub const CE_NOTE: c_int = 1;
/// Something went wrong.
pub const CE_WARN: c_int = 2;
/// The kernel cannot go on.
pub const CE_PANIC: c_int = 3;
/// Print nothing.
pub const CE_IGNORE: c_int = 4;

unsafe extern "C" {
    /// Prints a message in the manner of `printf`; the format ends with NUL and the arguments fit
    /// it. Callers here pass a literal format, never text from outside.
    ///
    /// Context: any. Source: cmn_err(9F).
    pub fn cmn_err(level: c_int, format: *const c_char, ...);

    /// Stops the kernel with a message in the manner of `printf`. Does not come back.
    ///
    /// Context: any. Source: cmn_err(9F), with `CE_PANIC`.
    pub fn panic(format: *const c_char, ...) -> !;

    /// Writes text in the manner of `printf` into `size` bytes at `into`, closing NUL included, and
    /// cuts it where it does not fit; returns the length that it would have had without the NUL.
    ///
    /// Context: any. Source: sprintf(9F).
    pub fn snprintf(into: *mut c_char, size: size_t, format: *const c_char, ...) -> size_t;
}
