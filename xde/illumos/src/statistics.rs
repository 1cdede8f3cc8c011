// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Counters for kstat(8): `xde:<port number>:<port name>` for each port, `xde:0:host` for the host.
//!
//! Values are copied from the counters when somebody reads them; packets know nothing of it.

use crate::host::IllumosHost;
use crate::memory::MayWait;
use crate::state::State;
use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_int};
use core::mem::zeroed;
use core::ptr::{NonNull, null_mut};
use illumos_sys_hdrs::sys::errno::{ENOSPC, ENOTSUP};
use illumos_sys_hdrs::sys::kstat::{
    KSTAT_DATA_UINT64, KSTAT_FLAG_VIRTUAL, KSTAT_STRLEN, KSTAT_TYPE_NAMED, KSTAT_WRITE,
    kstat_create, kstat_delete, kstat_install, kstat_named_init, kstat_named_t, kstat_t,
    kstat_value,
};
use illumos_sys_hdrs::sys::mutex::{MUTEX_DRIVER, kmutex_t, mutex_destroy, mutex_init};
use oxide_vpc_api::PortName;
use xde::Device;
use xde::host::PortId;

const MODULE: &CStr = c"xde";
const CLASS: &CStr = c"net";

/// Whose counters.
enum Source {
    Port(PortId),
    Host,
}

/// What the kernel has the address of.
struct Shown {
    source: Source,
    state: Weak<State>,
    values: UnsafeCell<Vec<kstat_named_t>>,
    /// Held by the kernel while values are brought up to date and read.
    lock: UnsafeCell<kmutex_t>,
}

/// Counters that are shown. Shown no more when it is dropped, which waits for readers.
pub struct Statistics {
    kstat: NonNull<kstat_t>,
    shown: Box<Shown>,
}

// SAFETY: made and ended by threads that serve requests; readers are the kernel's, under the lock.
unsafe impl Send for Statistics {}
// SAFETY: nothing can be done with a shared reference.
unsafe impl Sync for Statistics {}

impl Statistics {
    /// Shows the counters of a port. `None` when the kernel could not.
    pub fn of_port(state: &Arc<State>, port: PortId, name: &PortName) -> Option<Self> {
        let instance = c_int::try_from(port.0).ok()?;
        let name = CString::new(name.as_str()).ok()?;
        let names = Device::<IllumosHost>::counter_names();
        Self::show(Source::Port(port), state, instance, &name, &names)
    }

    /// Shows those of the host. `None` when the kernel could not.
    pub fn of_host(state: &Arc<State>) -> Option<Self> {
        let names: Vec<String> = host_counters(state).into_iter().map(|(name, _)| name).collect();
        Self::show(Source::Host, state, 0, c"host", &names)
    }

    fn show(
        source: Source,
        state: &Arc<State>,
        instance: c_int,
        name: &CStr,
        names: &[String],
    ) -> Option<Self> {
        let mut values = Vec::with_capacity(names.len());
        for name in names {
            let value = kstat_value { ui64: 0 };
            let mut named = kstat_named_t { name: [0; KSTAT_STRLEN], data_type: 0, value };
            let name = CString::new(name.as_str()).ok()?;
            // SAFETY: a value of ours, and a name that ends with NUL and is copied.
            unsafe { kstat_named_init(&mut named, name.as_ptr(), KSTAT_DATA_UINT64) };
            values.push(named);
        }
        // SAFETY: a mutex is a word of plain data, which is made one below, in its box.
        let lock = UnsafeCell::new(unsafe { zeroed() });
        let values = UnsafeCell::new(values);
        let shown = Box::new(Shown { source, state: Arc::downgrade(state), values, lock });
        let count = u32::try_from(names.len()).ok()?;
        let (module, class) = (MODULE.as_ptr(), CLASS.as_ptr());
        // SAFETY: texts end with NUL and are copied; the data are ours.
        let kstat = NonNull::new(unsafe {
            let kind = KSTAT_TYPE_NAMED;
            kstat_create(module, instance, name.as_ptr(), class, kind, count, KSTAT_FLAG_VIRTUAL)
        })?;
        // SAFETY: nobody sees it yet. What it points to is in a box, which lives until after
        // `kstat_delete`, and the vector does not grow.
        unsafe {
            mutex_init(shown.lock.get(), null_mut(), MUTEX_DRIVER, null_mut());
            let it = &mut *kstat.as_ptr();
            it.ks_data = (*shown.values.get()).as_mut_ptr().cast();
            it.ks_update = Some(update);
            it.ks_private = (&raw const *shown).cast_mut().cast();
            it.ks_lock = shown.lock.get();
            kstat_install(kstat.as_ptr());
        }
        Some(Self { kstat, shown })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        // SAFETY: made once, ended once; the lock is not held by us, and nobody's afterwards.
        unsafe {
            kstat_delete(self.kstat.as_ptr());
            mutex_destroy(self.shown.lock.get());
        }
    }
}

fn host_counters(state: &State) -> Vec<(String, u64)> {
    state.driver.counters(state.counters.all())
}

/// Brings values up to date, see ks_update(9E).
///
/// # Safety
///
/// Called by the kernel with `ks_lock` held, for a kstat of [`Statistics`], in user context.
unsafe extern "C" fn update(kstat: *mut kstat_t, way: c_int) -> c_int {
    if way == KSTAT_WRITE {
        return ENOTSUP;
    }
    let _waits = MayWait::here();
    // SAFETY: `ks_private` is the address of a `Shown` that lives until `kstat_delete` has come
    // back.
    let shown = unsafe { &*(*kstat).ks_private.cast::<Shown>() };
    let Some(state) = shown.state.upgrade() else { return ENOSPC };
    let now = match shown.source {
        Source::Port(port) => match state.driver.device(port) {
            Some(device) => device.counters(),
            // It is being made, or has just gone.
            None => Vec::new(),
        },
        Source::Host => host_counters(&state),
    };
    // SAFETY: under `ks_lock`, which whoever reads the values holds, too.
    let values = unsafe { &mut *shown.values.get() };
    values.iter_mut().zip(now).for_each(|(to, (_, now))| to.value.ui64 = now);
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_fit_and_differ() {
        let mut names = Device::<IllumosHost>::counter_names();
        assert!(names.len() > 50);
        for name in &names {
            assert!(name.len() < KSTAT_STRLEN, "{name} is too long");
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        for counter in crate::counters::Counter::ALL {
            assert!(counter.name().len() < KSTAT_STRLEN);
        }
    }
}
