// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/cpuvar.h`: processors.

use super::types::{c_int, c_ushort, c_void, processorid_t};

/// A processor. Only the first fields are declared; the kernel makes all there are.
#[repr(C, align(8))]
pub struct cpu_t {
    /// Number that an administrator sees.
    pub cpu_id: processorid_t,
    /// Number from 0 without gaps, below [`ncpus`] at boot. It may change when processors are taken
    /// out and put in while the kernel runs.
    pub cpu_seqid: processorid_t,
    pub(crate) cpu_flags: c_ushort,
    pub(crate) cpu_self: *mut cpu_t,
    pub(crate) cpu_thread: *mut c_void,
    pub(crate) cpu_idle_thread: *mut c_void,
    pub(crate) cpu_pause_thread: *mut c_void,
    pub(crate) cpu_lwp: *mut c_void,
    pub(crate) cpu_fpowner: *mut c_void,
    pub(crate) cpu_part: *mut c_void,
    pub(crate) cpu_lpl: *mut c_void,
    pub(crate) cpu_cache_offset: c_int,
    pub(crate) cpu_next: *mut cpu_t,
    pub(crate) cpu_prev: *mut cpu_t,
    pub(crate) cpu_next_onln: *mut cpu_t,
    pub(crate) cpu_prev_onln: *mut cpu_t,
    pub(crate) cpu_next_part: *mut cpu_t,
    pub(crate) cpu_prev_part: *mut cpu_t,
    pub(crate) cpu_next_lgrp: *mut cpu_t,
    pub(crate) cpu_prev_lgrp: *mut cpu_t,
    pub(crate) _rest: [u8; 8192 - 152],
}

unsafe extern "C" {
    /// The processor that runs this. The thread may be moved to another at any time, so the answer
    /// is a hint unless the thread is bound or in an interrupt.
    ///
    /// Context: any. Source: `sys/cpuvar.h`; no manual page.
    pub fn curcpup() -> *mut cpu_t;

    /// How many processors there are.
    pub static ncpus: c_int;
}
