// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Who calls, and what that forbids: sleeping in an interrupt, calling other modules under a mutex.

use crate::machine::machine;
use crate::world::{World, with};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What a thread is in the middle of.
#[derive(Default)]
pub(crate) struct Thread {
    /// Interrupts below lock level, one in another.
    interrupts: u32,
    /// Addresses of mutexes, in the order in which they were taken.
    pub(crate) mutexes: Vec<usize>,
    /// Perimeters of links, likewise; one for each time that it was entered.
    pub(crate) perimeters: Vec<usize>,
    /// Callbacks that run: what they belong to.
    pub(crate) callbacks: Vec<usize>,
}

impl Thread {
    pub(crate) fn is_interrupt(&self) -> bool {
        self.interrupts > 0
    }

    pub(crate) fn held(&self) -> impl Iterator<Item = String> {
        let mutexes = self.mutexes.iter().map(|at| format!("mutex at {at:#x}"));
        let perimeters = self.perimeters.iter().map(|mac| format!("perimeter of {mac:#x}"));
        mutexes.chain(perimeters)
    }
}

/// In which contexts a function may be called; the words are those of section 9F of the manual.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum May {
    /// User, kernel, interrupt, with mutexes held.
    Anywhere,
    /// User, kernel, interrupt; calls other modules or takes their locks, so no mutex is held.
    Unlocked,
    /// User, kernel: it may wait. Mutexes may be held.
    Sleep,
    /// User, kernel: it may wait, for long or for somebody who needs a mutex of the caller's.
    SleepUnlocked,
}

/// Begins a call: counts it, blames a wrong context, and answers whether it is to fail.
pub(crate) fn enter(name: &'static str, may: May) -> bool {
    with(|world| begin(world, name, may))
}

pub(crate) fn begin(world: &mut World, name: &'static str, may: May) -> bool {
    let thread = world.thread();
    let (in_interrupt, locks) = (thread.is_interrupt(), thread.mutexes.len());
    if in_interrupt && matches!(may, May::Sleep | May::SleepUnlocked) {
        world.blame(format!("{name} in an interrupt"));
    }
    if locks > 0 && matches!(may, May::Unlocked | May::SleepUnlocked) {
        world.blame(format!("{name} with {locks} mutexes held"));
    }
    world.faults.count(name)
}

impl World {
    /// This thread.
    pub(crate) fn thread(&mut self) -> &mut Thread {
        self.threads.entry(machine().thread()).or_default()
    }
}

/// How packets come to a driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Context {
    /// In an interrupt below lock level: nothing may sleep.
    Interrupt,
    /// In a thread of the kernel, such as one that polls a ring.
    Kernel,
}

/// Runs `f` in this context. Afterwards it holds nothing that it did not hold before.
pub fn run_in<R>(context: Context, f: impl FnOnce() -> R) -> R {
    let step = u32::from(context == Context::Interrupt);
    let before = with(|world| {
        let thread = world.thread();
        thread.interrupts += step;
        (thread.mutexes.len(), thread.perimeters.len())
    });
    let result = f();
    with(|world| {
        let thread = world.thread();
        thread.interrupts -= step;
        let after = (thread.mutexes.len(), thread.perimeters.len());
        if after != before {
            let held: Vec<String> = world.thread().held().collect();
            world.blame(format!("an entry point came back with {}", held.join(", ")));
        }
    });
    result
}
