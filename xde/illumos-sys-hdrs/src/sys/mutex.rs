// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/mutex.h`: mutual exclusion.

use super::types::{c_char, c_int, c_uint, c_void};

/// Kind of a mutex; drivers pass [`MUTEX_DRIVER`].
pub type kmutex_type_t = c_uint;
/// Spins while the owner runs, else sleeps.
pub const MUTEX_ADAPTIVE: kmutex_type_t = 0;
/// Spins with interrupts blocked.
pub const MUTEX_SPIN: kmutex_type_t = 1;
/// For drivers: adaptive, or spinning when an interrupt above lock level takes it.
pub const MUTEX_DRIVER: kmutex_type_t = 4;
/// For the kernel proper.
pub const MUTEX_DEFAULT: kmutex_type_t = 6;

/// A mutex. All zeros is an adaptive one that is free, but debug kernels ask for [`mutex_init`]. It
/// must not move while it is in use.
#[repr(C)]
pub struct kmutex_t {
    pub(crate) _opaque: [*mut c_void; 1],
}

unsafe extern "C" {
    /// Makes a free mutex. `name` is null by convention. `cookie` is null for a mutex that no
    /// interrupt handler takes, or only one without high priority; else the priority that the
    /// interrupt was registered with.
    ///
    /// Context: user, kernel, interrupt. Source: mutex(9F).
    pub fn mutex_init(
        mutex: *mut kmutex_t,
        name: *mut c_char,
        kind: kmutex_type_t,
        cookie: *mut c_void,
    );

    /// Ends a mutex that is free, or held by this thread, and that nobody will ask for.
    ///
    /// Context: user, kernel, interrupt. Source: mutex(9F).
    pub fn mutex_destroy(mutex: *mut kmutex_t);

    /// Takes the mutex; waits for it. The kernel panics when this thread has it already.
    ///
    /// Context: user, kernel, interrupt below lock level. Source: mutex(9F).
    pub fn mutex_enter(mutex: *mut kmutex_t);

    /// Takes the mutex if it is free; not 0 when it was.
    ///
    /// Context: user, kernel, interrupt below lock level. Source: mutex(9F).
    pub fn mutex_tryenter(mutex: *mut kmutex_t) -> c_int;

    /// Lets go of a mutex that this thread holds.
    ///
    /// Context: as for [`mutex_enter`]. Source: mutex(9F).
    pub fn mutex_exit(mutex: *mut kmutex_t);

    /// Not 0 if this thread holds the mutex. For assertions only.
    ///
    /// Context: user, kernel, interrupt. Source: mutex(9F).
    pub fn mutex_owned(mutex: *const kmutex_t) -> c_int;
}
