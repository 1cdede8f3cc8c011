// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Mutexes, mutex(9F), and condition variables, condvar(9F).
//!
//! A mutex is the word that the module has: zero is a free adaptive one, also without `mutex_init`
//! and after it was moved; else the number of the thread that holds it, as in the kernel.

use crate::context::{May, begin, enter};
use crate::machine::machine;
use crate::order::Order;
use crate::world::{World, wait_until, wake, with};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{c_char, c_uint, c_void};
use core::ptr::with_exposed_provenance_mut;
use core::sync::atomic::{AtomicUsize, Ordering};
use illumos_sys_hdrs::sys::condvar::{CV_DRIVER, kcondvar_t};
use illumos_sys_hdrs::sys::mutex::{MUTEX_DRIVER, kmutex_t};

/// The word of a mutex that was destroyed.
const DEAD: usize = 6;

/// What `mutex_init` or `cv_init` has made.
struct Made {
    what: &'static str,
    waiters: u32,
    /// Grows with each wake-up.
    round: u64,
}

pub(crate) struct Locks {
    made: BTreeMap<usize, Made>,
    /// Mutexes that are held, and by whom.
    held: BTreeMap<usize, usize>,
    order: Order,
}

impl Locks {
    pub(crate) const fn new() -> Self {
        Self { made: BTreeMap::new(), held: BTreeMap::new(), order: Order::new() }
    }

    /// What of a lock lies in this memory that must not go.
    pub(crate) fn within(&self, at: usize, size: usize) -> Option<String> {
        let held = self.held.range(at..at + size).next();
        let held = held.map(|(lock, _)| format!("a mutex that is held at {lock:#x}"));
        let made = || self.made.range(at..at + size).next();
        held.or_else(|| {
            made().map(|(lock, it)| format!("a {} at {lock:#x} that was not destroyed", it.what))
        })
    }

    pub(crate) fn forget(&mut self, at: usize, size: usize) {
        self.order.forget(at, size);
    }

    pub(crate) fn left_over(&self, found: &mut Vec<String>) {
        found.extend(self.made.iter().map(|(at, it)| format!("{} at {at:#x}", it.what)));
    }
}

fn word<'a>(at: usize) -> &'a AtomicUsize {
    // SAFETY: a mutex of a caller who keeps it while it is used; a word, and aligned.
    unsafe { AtomicUsize::from_ptr(with_exposed_provenance_mut(at)) }
}

exports! {
    mutex_init, mutex_destroy, mutex_enter, mutex_exit,
    cv_init, cv_destroy, cv_wait, cv_broadcast,
}

fn init(world: &mut World, at: usize, what: &'static str) {
    if world.locks.made.insert(at, Made { what, waiters: 0, round: 0 }).is_some() {
        world.blame(format!("a {what} at {at:#x} is made twice"));
    }
}

fn destroy(world: &mut World, at: usize, what: &'static str) {
    match world.locks.made.remove(&at) {
        Some(made) if made.what == what && made.waiters == 0 => {}
        Some(made) => world.blame(format!(
            "a {} at {at:#x} with {} waiters is destroyed as a {what}",
            made.what, made.waiters
        )),
        None => world.blame(format!("a {what} at {at:#x} is destroyed that was never made")),
    }
}

/// mutex_init(9F): a free mutex. Drivers give no name, `MUTEX_DRIVER`, and a priority where an
/// interrupt above lock level takes it; here is none.
extern "C" fn mutex_init(
    mutex: *mut kmutex_t,
    name: *mut c_char,
    kind: c_uint,
    cookie: *mut c_void,
) {
    with(|world| {
        begin(world, "mutex_init", May::Anywhere);
        if kind != MUTEX_DRIVER || !cookie.is_null() || !name.is_null() {
            world.blame(format!("mutex_init of kind {kind}"));
        }
        init(world, mutex.expose_provenance(), "mutex");
        word(mutex.addr()).store(0, Ordering::SeqCst);
    });
}

/// mutex_destroy(9F): free, or held by this thread.
extern "C" fn mutex_destroy(mutex: *mut kmutex_t) {
    with(|world| {
        begin(world, "mutex_destroy", May::Anywhere);
        let at = mutex.expose_provenance();
        destroy(world, at, "mutex");
        if word(at).swap(DEAD, Ordering::SeqCst) != 0 {
            world.blame(format!("mutex_destroy at {at:#x}, which is held"));
        }
    });
}

/// Takes the mutex, if it is free.
fn take(world: &mut World, at: usize) -> Option<()> {
    let me = machine().thread();
    match word(at).load(Ordering::SeqCst) {
        0 => {}
        owner if owner == me => machine().stop(&format!("recursive mutex_enter at {at:#x}")),
        owner if world.threads.contains_key(&owner) => return None,
        other => machine().stop(&format!("mutex_enter at {at:#x}, whose word is {other:#x}")),
    }
    word(at).store(me, Ordering::SeqCst);
    let held = world.thread().mutexes.clone();
    for first in held {
        if world.locks.order.note(first, at) {
            world.blame(format!("mutexes at {first:#x} and {at:#x} are taken in two orders"));
        }
    }
    world.thread().mutexes.push(at);
    world.locks.held.insert(at, me);
    Some(())
}

fn let_go(world: &mut World, at: usize) {
    let me = machine().thread();
    if word(at).load(Ordering::SeqCst) != me {
        machine().stop(&format!("mutex_exit at {at:#x} by somebody who does not hold it"));
    }
    world.thread().mutexes.retain(|held| *held != at);
    world.locks.held.remove(&at);
    word(at).store(0, Ordering::SeqCst);
    wake();
}

/// mutex_enter(9F): waits; the kernel panics when this thread has it already.
extern "C" fn mutex_enter(mutex: *mut kmutex_t) {
    enter("mutex_enter", May::Anywhere);
    let at = mutex.expose_provenance();
    wait_until(|world| take(world, at));
}

/// mutex_exit(9F): by the thread that holds it.
extern "C" fn mutex_exit(mutex: *mut kmutex_t) {
    with(|world| let_go(world, mutex.expose_provenance()));
}

/// Takes a mutex for the kernel itself.
pub(crate) fn lock(mutex: *mut kmutex_t) {
    mutex_enter(mutex);
}

/// Undoes [`lock`].
pub(crate) fn unlock(mutex: *mut kmutex_t) {
    mutex_exit(mutex);
}

/// cv_init(9F): `CV_DRIVER`, no name, no argument.
extern "C" fn cv_init(cv: *mut kcondvar_t, name: *mut c_char, kind: c_uint, argument: *mut c_void) {
    with(|world| {
        begin(world, "cv_init", May::Anywhere);
        if kind != CV_DRIVER || !name.is_null() || !argument.is_null() {
            world.blame(format!("cv_init of kind {kind}"));
        }
        init(world, cv.addr(), "condition");
    });
}

/// cv_destroy(9F): nobody waits.
extern "C" fn cv_destroy(cv: *mut kcondvar_t) {
    with(|world| {
        begin(world, "cv_destroy", May::Sleep);
        destroy(world, cv.addr(), "condition");
    });
}

/// cv_wait(9F): user or kernel context, with the mutex and no other held.
extern "C" fn cv_wait(cv: *mut kcondvar_t, mutex: *mut kmutex_t) {
    let (cv, at) = (cv.addr(), mutex.expose_provenance());
    let round = with(|world| {
        begin(world, "cv_wait", May::Sleep);
        if world.thread().mutexes != [at] {
            world.blame("cv_wait with another mutex held, or without its own".into());
        }
        let_go(world, at);
        let Some(made) = world.locks.made.get_mut(&cv).filter(|it| it.what == "condition") else {
            machine().stop(&format!("cv_wait at {cv:#x}, which is no condition"));
        };
        made.waiters += 1;
        made.round
    });
    wait_until(|world| {
        let made = world.locks.made.get_mut(&cv)?;
        (made.round != round).then(|| made.waiters -= 1)
    });
    wait_until(|world| take(world, at));
}

/// cv_broadcast(9F): wakes all; any context.
extern "C" fn cv_broadcast(cv: *mut kcondvar_t) {
    with(|world| {
        begin(world, "cv_broadcast", May::Anywhere);
        match world.locks.made.get_mut(&cv.addr()) {
            Some(made) => made.round += 1,
            None => world.blame(format!("cv_broadcast at {:#x}, which is none", cv.addr())),
        }
        wake();
    });
}
