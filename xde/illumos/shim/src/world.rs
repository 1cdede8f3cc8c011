// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! All that the shim knows, in one place and under one lock.
//!
//! A world is what one host's kernel is: tests that play two hosts have two, of which
//! [`exchange`] puts one in force. What the module does against the rules is *blamed* and kept, so
//! that a test can ask for it at its end; after what cannot go on the machine stops.

use crate::clock::Clock;
use crate::context::Thread;
use crate::ddi::Ddi;
use crate::dls::Dls;
use crate::fault::Faults;
use crate::ip::Ip;
use crate::kmem::Memory;
use crate::kstat::Statistics;
use crate::ksync::Locks;
use crate::mac::Macs;
use crate::machine::machine;
use crate::message::Messages;
use crate::modules::Modules;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::UnsafeCell;

/// Complaints that are kept; the first say most.
const COMPLAINTS: usize = 100;

/// One kernel.
pub struct World {
    pub(crate) faults: Faults,
    pub(crate) threads: BTreeMap<usize, Thread>,
    pub(crate) memory: Memory,
    pub(crate) locks: Locks,
    pub(crate) messages: Messages,
    pub(crate) modules: Modules,
    pub(crate) ddi: Ddi,
    pub(crate) statistics: Statistics,
    pub(crate) macs: Macs,
    pub(crate) dls: Dls,
    pub(crate) ip: Ip,
    pub(crate) clock: Clock,
    complaints: Vec<String>,
    console: Vec<String>,
    /// Threads that wait for others.
    waiting: u32,
}

// SAFETY: addresses in it are those of memory that any thread may use; it is used under a lock.
unsafe impl Send for World {}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A kernel that has just booted: no links, no memory in use, the time is 1000 s.
    pub const fn new() -> Self {
        Self {
            faults: Faults::new(),
            threads: BTreeMap::new(),
            memory: Memory::new(),
            locks: Locks::new(),
            messages: Messages::new(),
            modules: Modules::new(),
            ddi: Ddi::new(),
            statistics: Statistics::new(),
            macs: Macs::new(),
            dls: Dls::new(),
            ip: Ip::new(),
            clock: Clock::new(),
            complaints: Vec::new(),
            console: Vec::new(),
            waiting: 0,
        }
    }

    /// The module has broken a rule.
    pub(crate) fn blame(&mut self, what: String) {
        machine().print(&format!("WRONG: {what}"));
        if self.complaints.len() < COMPLAINTS {
            self.complaints.push(what);
        }
    }

    pub(crate) fn say(&mut self, line: String) {
        machine().print(&line);
        self.console.push(line);
    }
}

struct Shared(UnsafeCell<World>);

// SAFETY: reached through `with` and `wait_until` alone, under the machine's lock.
unsafe impl Sync for Shared {}

static WORLD: Shared = Shared(UnsafeCell::new(World::new()));

/// Runs `f` alone with the world. Nothing of the module may be called in it.
pub(crate) fn with<R>(f: impl FnOnce(&mut World) -> R) -> R {
    let machine = machine();
    machine.lock();
    // SAFETY: the machine's lock is held, and `f` cannot come back here, see above.
    let result = f(unsafe { &mut *WORLD.0.get() });
    machine.unlock();
    result
}

/// Waits until `f` has an answer. It is asked again after each change.
pub(crate) fn wait_until<R>(mut f: impl FnMut(&mut World) -> Option<R>) -> R {
    let machine = machine();
    machine.lock();
    loop {
        // SAFETY: as in `with`; the borrow ends before the lock is let go of.
        let world = unsafe { &mut *WORLD.0.get() };
        if let Some(result) = f(world) {
            machine.unlock();
            return result;
        }
        world.waiting += 1;
        machine.wait();
        // SAFETY: as above; the lock is held again.
        unsafe { (*WORLD.0.get()).waiting -= 1 };
    }
}

/// Whoever waits looks again. To be called with the world at hand.
pub(crate) fn wake() {
    machine().wake();
}

/// Puts another world in force, and takes the one that was. No other thread is in the kernel.
pub fn exchange(other: &mut World) {
    with(|world| core::mem::swap(world, other));
}

/// What the module did against the rules since the last call.
pub fn complaints() -> Vec<String> {
    with(|world| core::mem::take(&mut world.complaints))
}

/// Threads that wait for another one to do something.
pub fn waiting() -> u32 {
    with(|world| world.waiting)
}

/// Lines of the console since the last call.
pub fn console() -> Vec<String> {
    with(|world| core::mem::take(&mut world.console))
}

/// Everything that a module has taken and not given back, in words; nothing is as it should be
/// after `_fini`.
pub fn left_over() -> Vec<String> {
    with(|world| {
        let mut found = Vec::new();
        world.memory.left_over(&mut found);
        world.messages.left_over(&mut found);
        world.locks.left_over(&mut found);
        world.statistics.left_over(&mut found);
        world.ddi.left_over(&mut found);
        world.modules.left_over(&mut found);
        world.clock.left_over(&mut found);
        world.macs.left_over(&mut found);
        world.dls.left_over(&mut found);
        world.ip.left_over(&mut found);
        let held = world.threads.values().flat_map(Thread::held);
        found.extend(held.map(|what| format!("held by a thread: {what}")));
        found
    })
}
