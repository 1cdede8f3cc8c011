// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the kernel loads: `_init`, `_info`, `_fini`, the tables of entry points, attach and detach.
//!
//! There is one instance. What attach makes is in [`Attached`], whose fields undo each step in
//! reverse order when they are dropped: by detach, or by attach itself when a later step fails.

use crate::device;
use crate::exports::Exports;
use crate::memory::{self, MayWait, ReserveHeld};
use crate::state::State;
use crate::statistics::Statistics;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_int, c_void};
use core::ptr::{null_mut, without_provenance_mut};
use core::sync::atomic::{AtomicPtr, Ordering};
use illumos_sys_hdrs::sys::cmn_err::{CE_WARN, cmn_err};
use illumos_sys_hdrs::sys::conf::{D_MP, nochpoll, nodev, nulldev};
use illumos_sys_hdrs::sys::ddi::getminor;
use illumos_sys_hdrs::sys::dditypes::{
    DDI_ATTACH, DDI_DETACH, DDI_FAILURE, DDI_INFO_DEVT2DEVINFO, DDI_INFO_DEVT2INSTANCE,
    DDI_SUCCESS, ddi_attach_cmd_t, ddi_detach_cmd_t, ddi_info_cmd_t, ddi_periodic_t, dev_info_t,
};
use illumos_sys_hdrs::sys::devops::{
    CB_REV, DEVO_REV, cb_arw_t, cb_devmap_t, cb_dump_t, cb_mmap_t, cb_ops, cb_print_t, cb_rw_t,
    cb_segmap_t, cb_strategy_t, dev_ops, devo_identify_t, devo_probe_t, devo_reset_t,
};
use illumos_sys_hdrs::sys::mac_provider::{mac_getinfo, mac_init_ops, mac_private_minor};
use illumos_sys_hdrs::sys::modctl::{
    MODREV_1, mod_driverops, mod_info, mod_install, mod_remove, modinfo, modldrv, modlinkage,
};
use illumos_sys_hdrs::sys::stat::S_IFCHR;
use illumos_sys_hdrs::sys::sunddi::{
    DDI_PSEUDO, ddi_create_minor_node, ddi_get_instance, ddi_prop_op, ddi_quiesce_not_needed,
    ddi_remove_minor_node, ddi_report_dev,
};
use illumos_sys_hdrs::sys::sunddi_callbacks::{DDI_IPL_0, ddi_periodic_add, ddi_periodic_delete};
use opte::host::Lock;

const NAME: &CStr = c"xde";
/// Name of the only minor node that is not a link.
const CONTROL: &CStr = c"ctl";
/// Time between rounds of upkeep, in nanoseconds.
const TICK: i64 = 250_000_000;

/// Memory that the kernel has the address of, and may change.
#[repr(transparent)]
pub struct Shared<T>(UnsafeCell<T>);

// SAFETY: we never look at it ourselves after it was made; the kernel knows how to share it.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// What the kernel is given.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Its address, for the kernel.
    pub const fn as_ptr(&self) -> *mut T {
        self.0.get()
    }
}

/// An entry point that a driver lacks, in the place of one of any kind.
///
/// # Safety
///
/// `T` is the type of an entry point that answers a `c_int`; the function looks at no argument.
const unsafe fn stub<T: Copy>(function: unsafe extern "C" fn() -> c_int) -> Option<T> {
    assert!(size_of::<T>() == size_of::<unsafe extern "C" fn() -> c_int>());
    // SAFETY: both are addresses of functions (the caller's promise), and in the C calling
    // convention of this machine a function may be called with arguments that it does not look at.
    Some(unsafe { core::mem::transmute_copy::<unsafe extern "C" fn() -> c_int, T>(&function) })
}

// SAFETY: all are types of entry points that answer a `c_int`, and `nodev` looks at no argument.
static CB_OPS: Shared<cb_ops> = Shared::new(unsafe {
    cb_ops {
        cb_open: Some(device::open),
        cb_close: Some(device::close),
        cb_strategy: stub::<cb_strategy_t>(nodev),
        cb_print: stub::<cb_print_t>(nodev),
        cb_dump: stub::<cb_dump_t>(nodev),
        cb_read: stub::<cb_rw_t>(nodev),
        cb_write: stub::<cb_rw_t>(nodev),
        cb_ioctl: Some(device::ioctl),
        cb_devmap: stub::<cb_devmap_t>(nodev),
        cb_mmap: stub::<cb_mmap_t>(nodev),
        cb_segmap: stub::<cb_segmap_t>(nodev),
        cb_chpoll: Some(nochpoll),
        cb_prop_op: Some(ddi_prop_op),
        cb_str: null_mut(),
        cb_flag: D_MP,
        cb_rev: CB_REV,
        cb_aread: stub::<cb_arw_t>(nodev),
        cb_awrite: stub::<cb_arw_t>(nodev),
    }
});

// SAFETY: as above; `nulldev` looks at no argument either.
static DEV_OPS: Shared<dev_ops> = Shared::new(unsafe {
    dev_ops {
        devo_rev: DEVO_REV,
        devo_refcnt: 0,
        devo_getinfo: Some(getinfo),
        devo_identify: stub::<devo_identify_t>(nulldev),
        devo_probe: stub::<devo_probe_t>(nulldev),
        devo_attach: Some(attach),
        devo_detach: Some(detach),
        devo_reset: stub::<devo_reset_t>(nodev),
        devo_cb_ops: CB_OPS.as_ptr(),
        devo_bus_ops: null_mut(),
        devo_power: None,
        devo_quiesce: Some(ddi_quiesce_not_needed),
    }
});

static DRIVER: Shared<modldrv> = Shared::new(modldrv {
    drv_modops: &raw mut mod_driverops,
    drv_linkinfo: c"OPTE packet transform engine".as_ptr().cast_mut(),
    drv_dev_ops: DEV_OPS.as_ptr(),
});

static LINKAGE: Shared<modlinkage> = Shared::new(modlinkage {
    ml_rev: MODREV_1,
    ml_linkage: {
        let mut linkage = [null_mut(); 7];
        linkage[0] = DRIVER.as_ptr().cast::<c_void>();
        linkage
    },
});

/// What attach has made; null while not attached.
static ATTACHED: AtomicPtr<Attached> = AtomicPtr::new(null_mut());

/// Loads the module.
///
/// # Safety
///
/// Called by the kernel, once, see _init(9E).
#[cfg_attr(target_os = "illumos", unsafe(export_name = "_init"))]
pub unsafe extern "C" fn init() -> c_int {
    // SAFETY: in `_init`, before `mod_install`. Links are not streams of ours, so there are no
    // tables to fill in.
    let installed = unsafe {
        mac_init_ops(null_mut(), NAME.as_ptr());
        mod_install(LINKAGE.as_ptr())
    };
    // `mac_init_ops` without operations has nothing that could be undone: `mac_fini_ops` reads
    // through what it is given.
    installed
}

/// Tells about the module.
///
/// # Safety
///
/// Called by the kernel, see _info(9E).
#[cfg_attr(target_os = "illumos", unsafe(export_name = "_info"))]
pub unsafe extern "C" fn info(info: *mut modinfo) -> c_int {
    // SAFETY: the kernel's own argument.
    unsafe { mod_info(LINKAGE.as_ptr(), info) }
}

/// Unloads the module, unless it is in use.
///
/// # Safety
///
/// Called by the kernel, see _fini(9E).
#[cfg_attr(target_os = "illumos", unsafe(export_name = "_fini"))]
pub unsafe extern "C" fn fini() -> c_int {
    // SAFETY: installed by `_init`.
    unsafe { mod_remove(LINKAGE.as_ptr()) }
}

/// A driver at work. Fields are dropped in this order: nobody calls us any more before what they
/// call goes.
pub struct Attached {
    _upkeep: Upkeep,
    _control: ControlNode,
    _statistics: Statistics,
    /// All there is.
    pub state: Arc<State>,
    _reserve: ReserveHeld,
}

/// What attach made, for an entry point of the control node. The kernel does not detach while a
/// node is open.
pub fn attached() -> Option<&'static Attached> {
    // SAFETY: set by attach once all of it is there, and unset by detach, which the kernel calls
    // while no node is open and no entry point runs. Both happen one after the other.
    unsafe { ATTACHED.load(Ordering::Acquire).as_ref() }
}

impl Attached {
    fn new(node: *mut dev_info_t) -> Result<Self, &'static CStr> {
        let _waits = MayWait::here();
        let reserve = memory::make_reserve();
        let state = State::new(node, Exports::find());
        let state = Arc::new(state.map_err(|_| c"there is no source of randomness")?);
        let statistics = Statistics::of_host(&state).ok_or(c"statistics cannot be made")?;
        let control = ControlNode::make(node)?;
        let upkeep = Upkeep::begin(&state)?;
        Ok(Self {
            _upkeep: upkeep,
            _control: control,
            _statistics: statistics,
            state,
            _reserve: reserve,
        })
    }
}

/// The control node. Removed when it is dropped.
struct ControlNode(*mut dev_info_t);

impl ControlNode {
    fn make(node: *mut dev_info_t) -> Result<Self, &'static CStr> {
        let (name, kind) = (CONTROL.as_ptr(), DDI_PSEUDO.as_ptr());
        // SAFETY: in attach; texts end with NUL.
        let made =
            unsafe { ddi_create_minor_node(node, name, S_IFCHR, mac_private_minor(), kind, 0) };
        if made == DDI_SUCCESS { Ok(Self(node)) } else { Err(c"the control node cannot be made") }
    }
}

impl Drop for ControlNode {
    fn drop(&mut self) {
        // SAFETY: made in attach under this name; dropped in attach or detach.
        unsafe { ddi_remove_minor_node(self.0, CONTROL.as_ptr()) };
    }
}

/// Calls of upkeep. They end when it is dropped, which waits for one that runs.
struct Upkeep(ddi_periodic_t);

impl Upkeep {
    fn begin(state: &Arc<State>) -> Result<Self, &'static CStr> {
        let argument = Arc::as_ptr(state).cast_mut().cast();
        // SAFETY: in attach; the state lives until after the callbacks have ended: see the order of
        // `Attached`.
        let periodic = unsafe { ddi_periodic_add(upkeep, argument, TICK, DDI_IPL_0) };
        if periodic.is_null() { Err(c"periodic work cannot begin") } else { Ok(Self(periodic)) }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        // SAFETY: begun once, ended once, not in the callback, and no lock is held.
        unsafe { ddi_periodic_delete(self.0) };
    }
}

/// # Safety
///
/// Called by the kernel with the state that [`Upkeep::begin`] gave it, in kernel context.
unsafe extern "C" fn upkeep(state: *mut c_void) {
    // SAFETY: the caller's promise.
    if let Some(state) = unsafe { state.cast::<State>().as_ref() } {
        let _waits = MayWait::here();
        state.watch_links();
        state.upkeep();
    }
}

/// # Safety
///
/// Called by the kernel, see attach(9E).
unsafe extern "C" fn attach(node: *mut dev_info_t, command: ddi_attach_cmd_t) -> c_int {
    // SAFETY: the entry point's argument.
    let instance = unsafe { ddi_get_instance(node) };
    if command != DDI_ATTACH || instance != 0 || attached().is_some() {
        return DDI_FAILURE;
    }
    // For all of it: what attach keeps must not come from the reserve, which goes with it.
    let _waits = MayWait::here();
    match Attached::new(node) {
        Ok(made) => {
            ATTACHED.store(Box::into_raw(Box::new(made)), Ordering::Release);
            // SAFETY: in attach.
            unsafe { ddi_report_dev(node) };
            DDI_SUCCESS
        }
        Err(why) => {
            warn(why);
            DDI_FAILURE
        }
    }
}

/// # Safety
///
/// Called by the kernel, see detach(9E).
unsafe extern "C" fn detach(_node: *mut dev_info_t, command: ddi_detach_cmd_t) -> c_int {
    let Some(it) = attached().filter(|_| command == DDI_DETACH) else { return DDI_FAILURE };
    if !it.state.made.with(|made| made.is_nothing()) {
        warn(c"ports or an underlay are there still: delete and clear them first");
        return DDI_FAILURE;
    }
    let _waits = MayWait::here();
    let made = ATTACHED.swap(null_mut(), Ordering::AcqRel);
    // SAFETY: made by `Box::into_raw` in attach, and taken out once. No entry point runs: no node
    // is open, there are no links, and nothing comes in.
    drop(unsafe { Box::from_raw(made) });
    DDI_SUCCESS
}

/// # Safety
///
/// Called by the kernel, see getinfo(9E).
unsafe extern "C" fn getinfo(
    node: *mut dev_info_t,
    command: ddi_info_cmd_t,
    argument: *mut c_void,
    result: *mut *mut c_void,
) -> c_int {
    // SAFETY: a device number travels as an address; asking for minor numbers is possible in any
    // context.
    let is_control = unsafe { getminor(argument.addr() as u64) == mac_private_minor() };
    if !is_control {
        // SAFETY: the entry point's arguments, passed on: a node of a link.
        return unsafe { mac_getinfo(node, command, argument, result) };
    }
    let answer = match (command, attached()) {
        (DDI_INFO_DEVT2DEVINFO, Some(attached)) => attached.state.node.cast(),
        // The only instance.
        (DDI_INFO_DEVT2INSTANCE, _) => without_provenance_mut(0),
        _ => return DDI_FAILURE,
    };
    // SAFETY: the entry point's argument.
    unsafe { *result = answer };
    DDI_SUCCESS
}

fn warn(why: &CStr) {
    // SAFETY: a literal format with one text that ends with NUL.
    unsafe { cmn_err(CE_WARN, c"xde: %s".as_ptr(), why.as_ptr()) };
}
