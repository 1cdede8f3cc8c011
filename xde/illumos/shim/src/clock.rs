// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Time, which the test moves, and what happens when it does.

use crate::context::{Context, May, enter, run_in};
use crate::world::{wait_until, wake, with};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{c_int, c_void};
use illumos_sys_hdrs::sys::dditypes::ddi_periodic_t;
use illumos_sys_hdrs::sys::sunddi_callbacks::{DDI_IPL_0, ddi_callback_t};
use illumos_sys_hdrs::sys::types::hrtime_t;

/// What intervals are multiples of, ddi_periodic_add(9F): 10 ms.
const GRAIN: hrtime_t = 10_000_000;
/// Handles are no addresses of anything: a module that follows one faults.
const HANDLES: usize = 0x5045_0000_0000_0000;

struct Periodic {
    callback: ddi_callback_t,
    argument: usize,
    interval: hrtime_t,
    due: hrtime_t,
    runs: bool,
}

pub(crate) struct Clock {
    now: hrtime_t,
    periodics: BTreeMap<usize, Periodic>,
    made: usize,
}

impl Clock {
    pub(crate) const fn new() -> Self {
        Self { now: 1_000_000_000_000, periodics: BTreeMap::new(), made: 0 }
    }

    pub(crate) fn left_over(&self, found: &mut Vec<String>) {
        found.extend(self.periodics.keys().map(|it| format!("periodic callback {it:#x}")));
    }
}

exports! { gethrtime, ddi_periodic_add, ddi_periodic_delete }

/// gethrtime(9F): does not go back; any context.
extern "C" fn gethrtime() -> hrtime_t {
    enter("gethrtime", May::Anywhere);
    with(|world| world.clock.now)
}

/// ddi_periodic_add(9F): user or kernel context; the interval is a multiple of 10 ms, not 0. The
/// page promises a handle; a module that copes with none is tried with none.
extern "C" fn ddi_periodic_add(
    callback: ddi_callback_t,
    argument: *mut c_void,
    interval: hrtime_t,
    level: c_int,
) -> ddi_periodic_t {
    let fails = enter("ddi_periodic_add", May::SleepUnlocked);
    with(|world| {
        if interval <= 0 || interval % GRAIN != 0 || level != DDI_IPL_0 {
            world.blame(format!("ddi_periodic_add every {interval} ns at level {level}"));
        }
        if fails {
            return core::ptr::null_mut();
        }
        let clock = &mut world.clock;
        clock.made += 16;
        let (handle, due) = (HANDLES + clock.made, clock.now + interval);
        let argument = argument.expose_provenance();
        clock.periodics.insert(handle, Periodic { callback, argument, interval, due, runs: false });
        core::ptr::without_provenance_mut(handle)
    })
}

/// ddi_periodic_delete(9F): user or kernel context, never from the callback; waits for one that
/// runs.
extern "C" fn ddi_periodic_delete(periodic: ddi_periodic_t) {
    enter("ddi_periodic_delete", May::SleepUnlocked);
    let handle = periodic.addr();
    wait_until(|world| {
        if world.thread().callbacks.contains(&handle) {
            world.blame("ddi_periodic_delete in its own callback".into());
            return Some(());
        }
        match world.clock.periodics.get(&handle) {
            None => world.blame(format!("ddi_periodic_delete of {handle:#x}, which is none")),
            Some(periodic) if periodic.runs => return None,
            Some(_) => drop(world.clock.periodics.remove(&handle)),
        }
        Some(())
    });
}

/// Moves the clock, without what happens meanwhile.
pub fn advance(nanos: hrtime_t) {
    with(|world| world.clock.now += nanos);
}

/// The time, in nanoseconds.
pub fn now() -> hrtime_t {
    with(|world| world.clock.now)
}

/// The time of every periodic callback has come, whatever the clock says.
pub fn make_due() {
    with(|world| {
        let now = world.clock.now;
        world.clock.periodics.values_mut().for_each(|it| it.due = it.due.min(now));
    });
}

/// Calls every periodic callback whose time has come, each once, in kernel context; answers how
/// many there were. What the kernel does on the side is done, too.
pub fn tick() -> usize {
    crate::dls::settle();
    let due = with(|world| {
        let now = world.clock.now;
        let due = world.clock.periodics.iter_mut().filter(|(_, it)| it.due <= now && !it.runs);
        let due = due.map(|(handle, it)| {
            (it.runs, it.due) = (true, now + it.interval);
            (*handle, it.callback, it.argument)
        });
        due.collect::<Vec<_>>()
    });
    for (handle, callback, argument) in &due {
        with(|world| world.thread().callbacks.push(*handle));
        let argument = core::ptr::with_exposed_provenance_mut(*argument);
        // SAFETY: the module's own callback with its own argument; not deleted while it runs.
        run_in(Context::Kernel, || unsafe { callback(argument) });
        with(|world| {
            world.thread().callbacks.retain(|it| it != handle);
            if let Some(periodic) = world.clock.periodics.get_mut(handle) {
                periodic.runs = false;
            }
            wake();
        });
    }
    due.len()
}
