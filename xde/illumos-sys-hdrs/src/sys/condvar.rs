// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/condvar.h`: waiting for something to become true.

use super::mutex::kmutex_t;
use super::types::{c_char, c_int, c_uint, c_void, clock_t};

/// Kind of a condition variable; drivers pass [`CV_DRIVER`].
pub type kcv_type_t = c_uint;
/// For the kernel proper.
pub const CV_DEFAULT: kcv_type_t = 0;
/// For drivers.
pub const CV_DRIVER: kcv_type_t = 1;

/// A condition variable. It must not move while it is in use.
#[repr(C)]
pub struct kcondvar_t {
    pub(crate) _opaque: u16,
}

unsafe extern "C" {
    /// Makes a condition variable; `name` and `argument` are null.
    ///
    /// Context: user, kernel, interrupt. Source: condvar(9F).
    pub fn cv_init(cv: *mut kcondvar_t, name: *mut c_char, kind: kcv_type_t, argument: *mut c_void);

    /// Ends a condition variable that nobody waits for.
    ///
    /// Context: user, kernel. Source: condvar(9F).
    pub fn cv_destroy(cv: *mut kcondvar_t);

    /// Lets go of the mutex, waits to be woken, takes the mutex again. What is waited for must be
    /// looked at again afterwards.
    ///
    /// Context: user, kernel; holds the mutex and no other. Source: condvar(9F).
    pub fn cv_wait(cv: *mut kcondvar_t, mutex: *mut kmutex_t);

    /// Like [`cv_wait`], until a signal comes for the process: then 0.
    ///
    /// Context: user; holds the mutex and no other. Source: condvar(9F).
    pub fn cv_wait_sig(cv: *mut kcondvar_t, mutex: *mut kmutex_t) -> c_int;

    /// Like [`cv_wait`], until the clock reaches `until` ticks since boot: then -1.
    ///
    /// Context: user, kernel; holds the mutex and no other. Source: condvar(9F).
    pub fn cv_timedwait(cv: *mut kcondvar_t, mutex: *mut kmutex_t, until: clock_t) -> clock_t;

    /// Like [`cv_timedwait`], until a signal comes for the process: then 0.
    ///
    /// Context: user; holds the mutex and no other. Source: condvar(9F).
    pub fn cv_timedwait_sig(cv: *mut kcondvar_t, mutex: *mut kmutex_t, until: clock_t) -> clock_t;

    /// Wakes one who waits.
    ///
    /// Context: user, kernel, interrupt. Source: condvar(9F).
    pub fn cv_signal(cv: *mut kcondvar_t);

    /// Wakes all who wait.
    ///
    /// Context: user, kernel, interrupt. Source: condvar(9F).
    pub fn cv_broadcast(cv: *mut kcondvar_t);
}
