// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the shim asks of the machine that it runs on: a process of Linux, or a bare processor.
//!
//! Memory comes from the global allocator of whoever links this crate.

use alloc::boxed::Box;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

/// A machine. All calls may come from any thread that runs code of the module.
pub trait Machine: Sync {
    /// Which thread runs this: a number that is no other thread's, a multiple of 16 and not 0. An
    /// interrupt that borrows the stack of a thread may answer that thread's number or one of its
    /// own.
    fn thread(&self) -> usize;

    /// Which processor runs this, from 0.
    fn cpu(&self) -> u32;

    /// Takes the one lock that guards all of the shim. Never taken twice by a thread. On a machine
    /// with one processor: blocks interrupts.
    fn lock(&self);

    /// Lets go of it.
    fn unlock(&self);

    /// With the lock held: lets go of it, lets others run until [`Machine::wake`] or for some time,
    /// and takes it again. Where nobody else could run: [`Machine::stop`].
    fn wait(&self);

    /// With the lock held: whoever waits looks again.
    fn wake(&self);

    /// Shows a line of the kernel's console.
    fn print(&self, line: &str);

    /// The kernel has panicked, or the module has done something after which nothing can go on.
    fn stop(&self, why: &str) -> !;
}

/// Address of a fat pointer, for a pointer that fits into an atomic word.
static MACHINE: AtomicPtr<&'static dyn Machine> = AtomicPtr::new(null_mut());

/// Says which machine this is. Before all else, once.
pub fn install(machine: &'static dyn Machine) {
    MACHINE.store(Box::into_raw(Box::new(machine)), Ordering::Release);
}

pub(crate) fn machine() -> &'static dyn Machine {
    // SAFETY: null, or made by `install` from a box that is never freed.
    let installed = unsafe { MACHINE.load(Ordering::Acquire).as_ref() };
    match installed {
        Some(machine) => *machine,
        // Nothing is there that could say what is wrong.
        None => panic!("no machine was installed"),
    }
}
