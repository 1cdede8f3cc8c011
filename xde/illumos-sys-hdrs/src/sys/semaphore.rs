// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/semaphore.h`: counting semaphores.

use super::types::{c_char, c_int, c_uint, c_void};

/// Kind of a semaphore; drivers pass [`SEMA_DRIVER`].
pub type ksema_type_t = c_uint;
/// For drivers.
pub const SEMA_DRIVER: ksema_type_t = 1;

/// A semaphore. It must not move while it is in use.
#[repr(C)]
pub struct ksema_t {
    pub(crate) _opaque: [*mut c_void; 2],
}

unsafe extern "C" {
    /// Makes a semaphore that `value` callers may pass; `name` and `argument` are null.
    ///
    /// Context: user, kernel, interrupt. Source: semaphore(9F).
    pub fn sema_init(
        semaphore: *mut ksema_t,
        value: c_uint,
        name: *mut c_char,
        kind: ksema_type_t,
        argument: *mut c_void,
    );

    /// Ends a semaphore that nobody waits for.
    ///
    /// Context: user, kernel. Source: semaphore(9F).
    pub fn sema_destroy(semaphore: *mut ksema_t);

    /// Counts down; waits while the count is 0.
    ///
    /// Context: user, kernel. Source: semaphore(9F).
    pub fn sema_p(semaphore: *mut ksema_t);

    /// Counts down if the count is not 0; not 0 when it did.
    ///
    /// Context: user, kernel, interrupt. Source: semaphore(9F).
    pub fn sema_tryp(semaphore: *mut ksema_t) -> c_int;

    /// Counts up and wakes one who waits.
    ///
    /// Context: user, kernel, interrupt. Source: semaphore(9F).
    pub fn sema_v(semaphore: *mut ksema_t);
}
