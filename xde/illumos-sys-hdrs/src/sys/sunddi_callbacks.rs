// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/sunddi.h`: the device driver interface: state of instances, periodic callbacks, threads.

use super::dditypes::{ddi_periodic_t, dev_info_t};
use super::types::{c_char, c_int, c_uint, c_void, hrtime_t, pri_t, size_t};

opaque! {
    /// Threads that run callbacks one after the other.
    ddi_taskq_t;
}

/// A callback with one argument.
pub type ddi_callback_t = unsafe extern "C" fn(*mut c_void);

/// Periodic callbacks run in kernel context.
pub const DDI_IPL_0: c_int = 0;
/// Wait for memory.
pub const DDI_SLEEP: c_uint = 0;
/// Do not wait for memory.
pub const DDI_NOSLEEP: c_uint = 1;
/// Priority of threads of a [`ddi_taskq_t`] that leaves the choice to the kernel.
pub const TASKQ_DEFAULTPRI: pri_t = -1;

unsafe extern "C" {
    /// Calls `callback` every `interval` ns or a little later: an even multiple of 10 ms, not 0. A
    /// call that would overlap the last one is left out. At `DDI_IPL_0` it runs in kernel context
    /// and may wait.
    ///
    /// Context: user, kernel. Source: ddi_periodic_add(9F).
    pub fn ddi_periodic_add(
        callback: ddi_callback_t,
        argument: *mut c_void,
        interval: hrtime_t,
        level: c_int,
    ) -> ddi_periodic_t;

    /// Ends a periodic callback and waits for one that runs. The caller must hold no lock that the
    /// callback takes.
    ///
    /// Context: user, kernel; not in the callback. Source: ddi_periodic_delete(9F).
    pub fn ddi_periodic_delete(periodic: ddi_periodic_t);

    /// Prepares state of `size` bytes for each instance; `state` points to null before. Error
    /// number.
    ///
    /// Context: `_init`. Source: ddi_soft_state(9F).
    pub fn ddi_soft_state_init(state: *mut *mut c_void, size: size_t, instances: size_t) -> c_int;

    /// Makes zeroed state of an instance: `DDI_SUCCESS` or `DDI_FAILURE`.
    ///
    /// Context: user, kernel. Source: ddi_soft_state(9F).
    pub fn ddi_soft_state_zalloc(state: *mut c_void, instance: c_int) -> c_int;

    /// State of an instance; null when there is none.
    ///
    /// Context: user, kernel, interrupt. Source: ddi_soft_state(9F).
    pub fn ddi_get_soft_state(state: *mut c_void, instance: c_int) -> *mut c_void;

    /// Ends state of an instance.
    ///
    /// Context: user, kernel. Source: ddi_soft_state(9F).
    pub fn ddi_soft_state_free(state: *mut c_void, instance: c_int);

    /// Ends state of all instances.
    ///
    /// Context: `_fini`, and `_init` when it fails. Source: ddi_soft_state(9F).
    pub fn ddi_soft_state_fini(state: *mut *mut c_void);

    /// Starts threads for callbacks; null when that failed.
    ///
    /// Context: user, kernel. Source: taskq(9F).
    pub fn ddi_taskq_create(
        node: *mut dev_info_t,
        name: *const c_char,
        threads: c_int,
        priority: pri_t,
        flags: c_uint,
    ) -> *mut ddi_taskq_t;

    /// Waits for all callbacks and ends the threads. Nobody may ask for another.
    ///
    /// Context: user, kernel. Source: taskq(9F).
    pub fn ddi_taskq_destroy(taskq: *mut ddi_taskq_t);

    /// Has a thread call `callback`. `DDI_FAILURE` when there is no memory for it (only with
    /// `DDI_NOSLEEP`).
    ///
    /// Context: user, kernel; interrupt only with `DDI_NOSLEEP`. Source: taskq(9F).
    pub fn ddi_taskq_dispatch(
        taskq: *mut ddi_taskq_t,
        callback: ddi_callback_t,
        argument: *mut c_void,
        flags: c_uint,
    ) -> c_int;

    /// Waits for all callbacks asked for so far.
    ///
    /// Context: user, kernel; not in a callback. Source: taskq(9F).
    pub fn ddi_taskq_wait(taskq: *mut ddi_taskq_t);
}
