// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! This machine, as the shim wants it; and the names that the module wants.

use crate::fault::fail;
use crate::say;
use crate::threads;
use crate::trap::{interrupts_off, interrupts_on};
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};
use xde_illumos_shim::machine::{Machine, install};

/// Numbers of the two threads.
const MAIN: usize = 0x1000;
const INTERRUPT: usize = 0x2000;

struct Bare {
    /// Whoever has the lock had interrupts on before.
    interrupts: AtomicBool,
}

impl Machine for Bare {
    fn thread(&self) -> usize {
        if threads::in_interrupt() { INTERRUPT } else { MAIN }
    }

    fn cpu(&self) -> u32 {
        0
    }

    fn lock(&self) {
        let were_on = interrupts_off();
        self.interrupts.store(were_on, Ordering::Relaxed);
    }

    fn unlock(&self) {
        if self.interrupts.load(Ordering::Relaxed) {
            interrupts_on();
        }
    }

    fn wait(&self) {
        self.unlock();
        threads::give_way();
        self.lock();
    }

    /// Whoever waits looks again with the next tick.
    fn wake(&self) {}

    fn print(&self, line: &str) {
        say!("  {line}");
    }

    fn stop(&self, why: &str) -> ! {
        fail(format_args!("{why}"))
    }
}

static BARE: Bare = Bare { interrupts: AtomicBool::new(false) };

/// Puts the shim onto this machine.
pub fn begin() {
    install(&BARE);
}

unsafe extern "C" {
    fn memcpy(to: *mut c_void, from: *const c_void, len: usize) -> *mut c_void;
    fn memmove(to: *mut c_void, from: *const c_void, len: usize) -> *mut c_void;
    fn memset(to: *mut c_void, byte: i32, len: usize) -> *mut c_void;
    fn memcmp(one: *const c_void, other: *const c_void, len: usize) -> i32;
}

/// The address of a name of the kernel.
pub fn resolve(name: &str) -> Option<usize> {
    let function = match name {
        "memcpy" => memcpy as *const (),
        "memmove" => memmove as *const (),
        "memset" => memset as *const (),
        "memcmp" => memcmp as *const (),
        _ => return xde_illumos_shim::resolve(name),
    };
    Some(function.expose_provenance())
}
