// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Modules: what a driver installs of itself, mod_install(9F), and what it looks up in others,
//! ddi_modopen(9F).
//!
//! Which kernel this is decides what is found: see [`Kernel`].

use crate::context::{Context, May, begin, enter, run_in};
use crate::dls;
use crate::mac::client;
use crate::offload;
use crate::text;
use crate::world::{World, with};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{c_char, c_int, c_void};
use core::ptr::{null_mut, with_exposed_provenance_mut, without_provenance_mut};
use illumos_sys_hdrs::sys::devops::{CB_REV, DEVO_REV, cb_ops, dev_ops};
use illumos_sys_hdrs::sys::errno::{EBUSY, EINVAL, ENOENT};
use illumos_sys_hdrs::sys::modctl::{
    KRTLD_MODE_FIRST, MODREV_1, ddi_modhandle_t, modinfo, modldrv, modlinkage,
};

/// Which kernel this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kernel {
    /// illumos-gate.
    Mainline,
    /// The Oxide tree: siphons, detached openers, offloads inside of tunnels.
    Oxide,
}

/// Handles of open modules are no addresses of anything.
const HANDLES: usize = 0x4d4f_0000_0000_0000;
/// Modules that can be opened, in the order of their handles.
const NAMES: [&str; 2] = ["misc/mac", "drv/dld"];

/// What drivers point to as `mod_driverops`. Nobody looks into it.
static DRIVER_OPS: u64 = 0x6472_6976_6572;

pub(crate) struct Modules {
    pub(crate) kernel: Kernel,
    open: [u32; NAMES.len()],
    installed: Option<usize>,
    /// Names for which `mac_init_ops` was called, without and with operations.
    mac_drivers: u32,
}

impl Modules {
    pub(crate) const fn new() -> Self {
        Self { kernel: Kernel::Oxide, open: [0; NAMES.len()], installed: None, mac_drivers: 0 }
    }

    /// Entry points of the driver, once it is installed.
    pub(crate) fn driver(&self) -> Option<(*mut dev_ops, *mut cb_ops)> {
        let linkage: *mut modlinkage = with_exposed_provenance_mut(self.installed?);
        // SAFETY: checked by `mod_install`, and part of the module as long as it is installed.
        unsafe {
            let driver: *mut modldrv = (*linkage).ml_linkage[0].cast();
            let ops = (*driver).drv_dev_ops;
            Some((ops, (*ops).devo_cb_ops))
        }
    }

    pub(crate) fn is_mac_driver(&self) -> bool {
        self.mac_drivers > 0
    }

    pub(crate) fn left_over(&self, found: &mut Vec<String>) {
        for (name, count) in NAMES.iter().zip(self.open).filter(|(_, count)| *count > 0) {
            found.push(format!("module {name} is open {count} times"));
        }
        found.extend(self.installed.map(|_| "the module is installed".into()));
    }
}

pub(crate) fn find(name: &str) -> Option<usize> {
    if name == "mod_driverops" {
        return Some((&raw const DRIVER_OPS).expose_provenance());
    }
    find_function(name)
}

macro_rules! functions {
    ($($name:ident),* $(,)?) => {
        fn find_function(name: &str) -> Option<usize> {
            match name {
                $(stringify!($name) => Some(($name as *const ()).expose_provenance()),)*
                _ => None,
            }
        }
    };
}

functions! {
    mod_install, mod_remove, mod_info, ddi_modopen, ddi_modsym, ddi_modclose,
    mac_init_ops, mac_fini_ops,
}

/// What is wrong with what a driver wants to install, by modlinkage(9S), dev_ops(9S), cb_ops(9S).
///
/// # Safety
///
/// What the module has passed to `mod_install`.
unsafe fn flaw(linkage: *mut modlinkage) -> Option<&'static str> {
    // SAFETY: the caller's promise; each pointer is looked at after it was compared with null.
    unsafe {
        let Some(linkage) = linkage.as_ref() else { return Some("no linkage") };
        let [first, second, ..] = linkage.ml_linkage;
        let Some(driver) = first.cast::<modldrv>().as_ref() else { return Some("no driver") };
        if linkage.ml_rev != MODREV_1 || !second.is_null() {
            return Some("revision of modlinkage, or a second module");
        }
        if driver.drv_modops.addr() != (&raw const DRIVER_OPS).addr() {
            return Some("drv_modops");
        }
        let Some(ops) = driver.drv_dev_ops.as_ref() else { return Some("no dev_ops") };
        let needed = [ops.devo_attach.is_some(), ops.devo_detach.is_some()];
        let revisions = ops.devo_rev == DEVO_REV && ops.devo_refcnt == 0;
        let Some(cb) = ops.devo_cb_ops.as_ref() else { return Some("no cb_ops") };
        let entries = [
            cb.cb_open.is_some(),
            cb.cb_close.is_some(),
            cb.cb_strategy.is_some(),
            cb.cb_print.is_some(),
            cb.cb_dump.is_some(),
            cb.cb_read.is_some(),
            cb.cb_write.is_some(),
            cb.cb_ioctl.is_some(),
            cb.cb_devmap.is_some(),
            cb.cb_mmap.is_some(),
            cb.cb_segmap.is_some(),
            cb.cb_chpoll.is_some(),
            cb.cb_prop_op.is_some(),
            cb.cb_aread.is_some(),
            cb.cb_awrite.is_some(),
            ops.devo_getinfo.is_some(),
            ops.devo_identify.is_some(),
            ops.devo_probe.is_some(),
            ops.devo_reset.is_some(),
            ops.devo_quiesce.is_some(),
        ];
        if !revisions || cb.cb_rev != CB_REV {
            return Some("revisions of dev_ops and cb_ops");
        }
        entries.iter().chain(&needed).any(|there| !there).then_some("an entry point is null")
    }
}

/// mod_install(9F): error number.
extern "C" fn mod_install(linkage: *mut modlinkage) -> c_int {
    let fails = enter("mod_install", May::SleepUnlocked);
    // SAFETY: the module's own.
    let flaw = unsafe { flaw(linkage) };
    with(|world| {
        if let Some(flaw) = flaw {
            world.blame(format!("mod_install: {flaw}"));
            return EINVAL;
        }
        if fails || world.modules.installed.is_some() {
            return EBUSY;
        }
        world.modules.installed = Some(linkage.expose_provenance());
        0
    })
}

/// mod_remove(9F): not 0 while an instance is attached.
extern "C" fn mod_remove(linkage: *mut modlinkage) -> c_int {
    let fails = enter("mod_remove", May::SleepUnlocked);
    with(|world| {
        if world.modules.installed != Some(linkage.addr()) {
            world.blame("mod_remove of what is not installed".into());
            return EINVAL;
        }
        if fails || world.ddi.is_attached() {
            return EBUSY;
        }
        world.modules.installed = None;
        0
    })
}

/// mod_info(9F): 1, or 0 when it failed.
extern "C" fn mod_info(linkage: *mut modlinkage, _info: *mut modinfo) -> c_int {
    enter("mod_info", May::SleepUnlocked);
    // SAFETY: the module's own.
    c_int::from(unsafe { flaw(linkage) }.is_none())
}

/// `sys/mac_provider.h`: a driver of links, by name; without operations of its own nothing is
/// allocated.
extern "C" fn mac_init_ops(ops: *mut dev_ops, name: *const c_char) {
    enter("mac_init_ops", May::SleepUnlocked);
    // SAFETY: a text that ends with NUL.
    let name = unsafe { text::of(name) };
    with(|world| {
        if world.modules.installed.is_some() || name != "xde" || !ops.is_null() {
            world.blame(format!("mac_init_ops of {name} after mod_install, or with operations"));
        }
        world.modules.mac_drivers += 1;
    });
}

/// `sys/mac_provider.h`: frees what `mac_init_ops` has put into the operations. It reads through the
/// pointer without asking, so there is nothing that a driver may do with null.
extern "C" fn mac_fini_ops(ops: *mut dev_ops) {
    enter("mac_fini_ops", May::SleepUnlocked);
    if ops.is_null() {
        with(|world| world.blame("mac_fini_ops(NULL) makes the kernel read address 0".into()));
    }
}

/// ddi_modopen(9F): user context; null with an error number.
extern "C" fn ddi_modopen(name: *const c_char, mode: c_int, error: *mut c_int) -> ddi_modhandle_t {
    let fails = enter("ddi_modopen", May::SleepUnlocked);
    // SAFETY: a text that ends with NUL.
    let name = unsafe { text::of(name) };
    let found = NAMES.iter().position(|known| *known == name).filter(|_| !fails);
    with(|world| {
        if mode != KRTLD_MODE_FIRST {
            world.blame(format!("ddi_modopen with mode {mode}"));
        }
        let Some(at) = found else {
            // SAFETY: null, or the caller's.
            unsafe { error.as_mut() }.into_iter().for_each(|error| *error = ENOENT);
            return null_mut();
        };
        world.modules.open[at] += 1;
        without_provenance_mut(HANDLES + (at << 4))
    })
}

fn opened(world: &mut World, who: &str, handle: ddi_modhandle_t) -> Option<usize> {
    let at = handle.addr().wrapping_sub(HANDLES) >> 4;
    let is = world.modules.open.get(at).is_some_and(|count| *count > 0);
    if !is {
        world.blame(format!("{who} of a module that is not open"));
    }
    is.then_some(at)
}

/// ddi_modsym(9F): address of what the module itself has; null with an error number.
extern "C" fn ddi_modsym(
    module: ddi_modhandle_t,
    symbol: *const c_char,
    error: *mut c_int,
) -> *mut c_void {
    let fails = enter("ddi_modsym", May::SleepUnlocked);
    // SAFETY: a text that ends with NUL.
    let symbol = unsafe { text::of(symbol) };
    let (at, kernel) = with(|world| (opened(world, "ddi_modsym", module), world.modules.kernel));
    let known: BTreeMap<&str, *const ()> = match (kernel, at) {
        (Kernel::Oxide, Some(0)) => BTreeMap::from([
            ("mac_siphon_set", client::mac_siphon_set as *const ()),
            ("mac_siphon_clear", client::mac_siphon_clear as *const ()),
            ("mac_ether_set_pktinfo", offload::mac_ether_set_pktinfo as *const ()),
        ]),
        (Kernel::Oxide, Some(1)) => BTreeMap::from([
            ("dld_str_create_detached", dls::dld_str_create_detached as *const ()),
            ("dld_str_destroy_detached", dls::dld_str_destroy_detached as *const ()),
            ("dld_str_mac_client_handle", dls::dld_str_mac_client_handle as *const ()),
        ]),
        _ => BTreeMap::new(),
    };
    match known.get(symbol.as_str()).filter(|_| !fails) {
        Some(found) => found.cast_mut().cast(),
        None => {
            // SAFETY: null, or the caller's.
            unsafe { error.as_mut() }.into_iter().for_each(|error| *error = ENOENT);
            null_mut()
        }
    }
}

/// ddi_modclose(9F).
extern "C" fn ddi_modclose(module: ddi_modhandle_t) -> c_int {
    with(|world| {
        begin(world, "ddi_modclose", May::SleepUnlocked);
        if let Some(at) = opened(world, "ddi_modclose", module) {
            world.modules.open[at] -= 1;
        }
        0
    })
}

/// Says which kernel this is. Before the module is attached.
pub fn be(kernel: Kernel) {
    with(|world| world.modules.kernel = kernel);
}

/// Calls `_init` or `_fini` of a module.
pub fn run_entry(entry: extern "C" fn() -> c_int) -> c_int {
    run_in(Context::Kernel, || entry())
}
