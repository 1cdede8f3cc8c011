// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Counters that others read, kstat(9S), kstat_create(9F).

use crate::context::{May, enter};
use crate::ksync::{lock, unlock};
use crate::text;
use crate::world::{World, wait_until, with};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{c_char, c_int, c_uchar, c_uint};
use core::ptr::{null_mut, with_exposed_provenance_mut};
use illumos_sys_hdrs::sys::kstat::{
    KSTAT_DATA_UINT64, KSTAT_FLAG_VIRTUAL, KSTAT_READ, KSTAT_STRLEN, KSTAT_TYPE_NAMED,
    kstat_named_t, kstat_t,
};

/// Module, instance and name: what tells counters apart.
type Key = (String, c_int, String);

struct Shown {
    key: Key,
    installed: bool,
    readers: u32,
}

pub(crate) struct Statistics {
    all: BTreeMap<usize, Shown>,
}

impl Statistics {
    pub(crate) const fn new() -> Self {
        Self { all: BTreeMap::new() }
    }

    pub(crate) fn left_over(&self, found: &mut Vec<String>) {
        found.extend(self.all.values().map(|shown| format!("kstat {:?}", shown.key)));
    }
}

exports! { kstat_create, kstat_install, kstat_delete, kstat_named_init }

/// kstat_create(9F): null for a name that is taken or does not fit.
extern "C" fn kstat_create(
    module: *const c_char,
    instance: c_int,
    name: *const c_char,
    class: *const c_char,
    kind: c_uchar,
    count: c_uint,
    flags: c_uchar,
) -> *mut kstat_t {
    let fails = enter("kstat_create", May::SleepUnlocked);
    // SAFETY: texts that end with NUL.
    let (module, name, class) = unsafe { (text::of(module), text::of(name), text::of(class)) };
    with(|world| {
        if kind != KSTAT_TYPE_NAMED || flags != KSTAT_FLAG_VIRTUAL || class.is_empty() {
            world.blame(format!("kstat_create of kind {kind} with flags {flags}"));
        }
        let key = (module, instance, name);
        let taken = world.statistics.all.values().any(|shown| shown.key == key);
        if fails || taken || key.2.len() >= KSTAT_STRLEN {
            return null_mut();
        }
        let it = world.make::<kstat_t>();
        // SAFETY: a fresh structure.
        unsafe {
            (*it).ks_ndata = count;
            (*it).ks_data_size = count as usize * size_of::<kstat_named_t>();
        }
        let shown = Shown { key, installed: false, readers: 0 };
        world.statistics.all.insert(it.expose_provenance(), shown);
        it
    })
}

fn shown<'a>(world: &'a mut World, who: &str, it: *mut kstat_t) -> Option<&'a mut Shown> {
    if !world.statistics.all.contains_key(&it.addr()) {
        world.blame(format!("{who} of {:#x}, which is none", it.addr()));
    }
    world.statistics.all.get_mut(&it.addr())
}

/// kstat_install(9F): the data of virtual counters must be there.
extern "C" fn kstat_install(it: *mut kstat_t) {
    enter("kstat_install", May::SleepUnlocked);
    with(|world| {
        let Some(shown) = shown(world, "kstat_install", it) else { return };
        let again = core::mem::replace(&mut shown.installed, true);
        // SAFETY: known, so it lives.
        if again || unsafe { (*it).ks_data.is_null() } {
            world.blame("kstat_install twice, or without data".into());
        }
    });
}

/// kstat_delete(9F): waits for readers.
extern "C" fn kstat_delete(it: *mut kstat_t) {
    enter("kstat_delete", May::SleepUnlocked);
    wait_until(|world| {
        if shown(world, "kstat_delete", it)?.readers > 0 {
            return None;
        }
        world.statistics.all.remove(&it.addr());
        world.unmake("kstat_delete", it);
        Some(())
    });
}

/// kstat_named_init(9F): the name is copied and cut where it does not fit.
extern "C" fn kstat_named_init(value: *mut kstat_named_t, name: *const c_char, kind: c_uchar) {
    enter("kstat_named_init", May::Sleep);
    // SAFETY: a value of the caller's, and a text that ends with NUL.
    let (value, name) = unsafe { (&mut *value, text::of(name)) };
    if name.len() >= KSTAT_STRLEN || kind != KSTAT_DATA_UINT64 {
        with(|world| world.blame(format!("kstat_named_init of {name}, kind {kind}")));
    }
    value.name = [0; KSTAT_STRLEN];
    let places = value.name.iter_mut().take(KSTAT_STRLEN - 1);
    places.zip(name.bytes()).for_each(|(to, byte)| *to = byte.cast_signed());
    value.data_type = kind;
}

/// Instances and names of all counters of a module that somebody could read.
pub fn list(module: &str) -> Vec<(c_int, String)> {
    with(|world| {
        let all = world.statistics.all.values().filter(|it| it.installed && it.key.0 == module);
        all.map(|shown| (shown.key.1, shown.key.2.clone())).collect()
    })
}

/// Reads counters as kstat(8) does: under their lock, brought up to date first. An error number is
/// what the driver answers.
pub fn read(module: &str, name: &str) -> Option<Result<BTreeMap<String, u64>, c_int>> {
    let at = with(|world| {
        let is = |shown: &Shown| shown.installed && shown.key.0 == module && shown.key.2 == name;
        let (at, shown) = world.statistics.all.iter_mut().find(|(_, shown)| is(shown))?;
        shown.readers += 1;
        Some(*at)
    })?;
    let it: *mut kstat_t = with_exposed_provenance_mut(at);
    // SAFETY: there are readers, so it is not deleted; the driver keeps its data as long.
    let values = unsafe {
        lock((*it).ks_lock);
        let error = (*it).ks_update.map_or(0, |update| update(it, KSTAT_READ));
        let values = core::slice::from_raw_parts(
            (*it).ks_data.cast::<kstat_named_t>(),
            (*it).ks_ndata as usize,
        );
        let named = values.iter().map(|it| (text::of(it.name.as_ptr()), it.value.ui64));
        let values = if error == 0 { Ok(named.collect()) } else { Err(error) };
        unlock((*it).ks_lock);
        values
    };
    with(|world| {
        if let Some(shown) = world.statistics.all.get_mut(&at) {
            shown.readers -= 1;
        }
        crate::world::wake();
    });
    Some(values)
}
