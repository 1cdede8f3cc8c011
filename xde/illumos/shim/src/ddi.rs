// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The device driver interface: nodes, opening and ioctls, memory of callers, and what any code of
//! the kernel asks.

use crate::context::{Context, May, begin, enter, run_in};
use crate::machine::machine;
use crate::text;
use crate::world::with;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int, c_short, c_void};
use core::ops::Range;
use core::ptr::without_provenance_mut;
use illumos_sys_hdrs::sys::cpuvar::cpu_t;
use illumos_sys_hdrs::sys::cred::cred_t;
use illumos_sys_hdrs::sys::dditypes::{
    DDI_ATTACH, DDI_DETACH, DDI_FAILURE, DDI_SUCCESS, ddi_info_cmd_t, ddi_prop_op_t, dev_info_t,
};
use illumos_sys_hdrs::sys::devops::pollhead;
use illumos_sys_hdrs::sys::errno::ENXIO;
use illumos_sys_hdrs::sys::file::{FKIOCTL, FNATIVE, FREAD, FWRITE};
use illumos_sys_hdrs::sys::open::OTYP_CHR;
use illumos_sys_hdrs::sys::stat::S_IFCHR;
use illumos_sys_hdrs::sys::thread::kthread_t;
use illumos_sys_hdrs::sys::types::{caddr_t, dev_t, minor_t};

/// Number of the driver.
const MAJOR: u64 = 251;
/// Bits of a minor number in a device number, `sys/mkdev.h`.
const MINOR_BITS: u32 = 32;
/// First minor number of a driver's own, `sys/mac.h`.
pub const PRIVATE_MINOR: minor_t = 1001;
/// The node of the device tree; no address of anything.
const NODE: usize = 0x4449_0000_0000_0010;
/// Credentials; no addresses of anything.
const CREDENTIALS: usize = 0x4352_0000_0000_0000;
const EPERM: c_int = 1;
const EAGAIN: c_int = 11;
/// Processors for which there is a structure.
const PROCESSORS: usize = 64;

pub(crate) struct Ddi {
    attached: bool,
    minors: BTreeMap<String, minor_t>,
    /// Memory of callers; whether it may be written.
    user: Vec<(Range<usize>, bool)>,
    open: u32,
    random: u64,
}

impl Ddi {
    pub(crate) const fn new() -> Self {
        let minors = BTreeMap::new();
        Self { attached: false, minors, user: Vec::new(), open: 0, random: 0x0123_4567_89ab_cdef }
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.attached
    }

    fn may(&self, at: usize, len: usize, write: bool) -> bool {
        let fits = |range: &Range<usize>| {
            range.start <= at && at.checked_add(len).is_some_and(|end| end <= range.end)
        };
        self.user.iter().any(|(range, writable)| fits(range) && (*writable || !write))
    }

    pub(crate) fn left_over(&self, found: &mut Vec<String>) {
        found.extend(self.minors.keys().map(|name| format!("minor node {name}")));
        found.extend(self.attached.then(|| "an instance is attached".into()));
    }
}

exports! {
    ddi_copyin, ddi_copyout, ddi_create_minor_node, ddi_remove_minor_node, ddi_get_instance,
    ddi_report_dev, ddi_prop_op, ddi_quiesce_not_needed, getminor, nodev, nulldev, nochpoll,
    cmn_err, panic, curcpup, threadp, random_get_bytes, random_get_pseudo_bytes,
    secpolicy_dl_config, mac_private_minor, mac_getinfo,
}

/// ddi_copyin(9F): user context, no lock held; -1 for memory that may not be read.
extern "C" fn ddi_copyin(from: *const c_void, to: *mut c_void, size: usize, mode: c_int) -> c_int {
    let fails = enter("ddi_copyin", May::SleepUnlocked);
    let kernel = mode.cast_unsigned() & FKIOCTL != 0;
    if fails || !(kernel || with(|world| world.ddi.may(from.addr(), size, false))) {
        return -1;
    }
    let from = core::ptr::with_exposed_provenance::<u8>(from.addr());
    // SAFETY: memory that a test has offered, or the kernel's; `to` has so many bytes.
    unsafe { to.cast::<u8>().copy_from_nonoverlapping(from, size) };
    0
}

/// ddi_copyout(9F): as `ddi_copyin`, for writing.
extern "C" fn ddi_copyout(from: *const c_void, to: *mut c_void, size: usize, mode: c_int) -> c_int {
    let fails = enter("ddi_copyout", May::SleepUnlocked);
    let kernel = mode.cast_unsigned() & FKIOCTL != 0;
    if fails || !(kernel || with(|world| world.ddi.may(to.addr(), size, true))) {
        return -1;
    }
    let to = core::ptr::with_exposed_provenance_mut::<u8>(to.addr());
    // SAFETY: as for `ddi_copyin`.
    unsafe { to.copy_from_nonoverlapping(from.cast::<u8>(), size) };
    0
}

/// ddi_create_minor_node(9F): a name of its own; `DDI_FAILURE` else.
extern "C" fn ddi_create_minor_node(
    node: *mut dev_info_t,
    name: *const c_char,
    kind: c_int,
    number: minor_t,
    node_type: *const c_char,
    flag: c_int,
) -> c_int {
    let fails = enter("ddi_create_minor_node", May::SleepUnlocked);
    // SAFETY: texts that end with NUL.
    let (name, node_type) = unsafe { (text::of(name), text::of(node_type)) };
    with(|world| {
        if node.addr() != NODE || kind != S_IFCHR || flag != 0 || number < PRIVATE_MINOR {
            world.blame(format!("ddi_create_minor_node {name}, {node_type}, number {number}"));
        }
        if fails || world.ddi.minors.contains_key(&name) {
            return DDI_FAILURE;
        }
        world.ddi.minors.insert(name, number);
        DDI_SUCCESS
    })
}

/// ddi_remove_minor_node(9F): by name; all for null.
extern "C" fn ddi_remove_minor_node(_node: *mut dev_info_t, name: *const c_char) {
    enter("ddi_remove_minor_node", May::SleepUnlocked);
    // SAFETY: null, or a text that ends with NUL.
    let wanted = (!name.is_null()).then(|| unsafe { text::of(name) });
    with(|world| match wanted {
        None => world.ddi.minors.clear(),
        Some(name) if world.ddi.minors.remove(&name).is_none() => {
            world.blame(format!("ddi_remove_minor_node of {name}, which there is not"));
        }
        Some(_) => {}
    });
}

/// ddi_get_instance(9F).
extern "C" fn ddi_get_instance(_node: *mut dev_info_t) -> c_int {
    enter("ddi_get_instance", May::Anywhere);
    0
}

/// ddi_report_dev(9F).
extern "C" fn ddi_report_dev(_node: *mut dev_info_t) {
    with(|world| {
        begin(world, "ddi_report_dev", May::SleepUnlocked);
        world.say("xde0 is /pseudo/xde@0".into());
    });
}

/// ddi_prop_op(9F): there are no properties (`DDI_PROP_NOT_FOUND`).
extern "C" fn ddi_prop_op(
    _device: dev_t,
    _node: *mut dev_info_t,
    _operation: ddi_prop_op_t,
    _flags: c_int,
    _name: *mut c_char,
    _value: caddr_t,
    _length: *mut c_int,
) -> c_int {
    1
}

/// ddi_quiesce_not_needed(9F).
extern "C" fn ddi_quiesce_not_needed(_node: *mut dev_info_t) -> c_int {
    DDI_SUCCESS
}

/// getminor(9F).
extern "C" fn getminor(device: dev_t) -> minor_t {
    device as minor_t
}

/// nodev(9F).
extern "C" fn nodev() -> c_int {
    ENXIO
}

/// nulldev(9F).
extern "C" fn nulldev() -> c_int {
    0
}

/// nochpoll(9F).
extern "C" fn nochpoll(
    _device: dev_t,
    _events: c_short,
    _any: c_int,
    _revents: *mut c_short,
    _head: *mut *mut pollhead,
) -> c_int {
    ENXIO
}

/// cmn_err(9F). In the C calling convention of this machine the first arguments of a function of any
/// number of arguments come in registers as all others do.
extern "C" fn cmn_err(level: c_int, format: *const c_char, a: usize, b: usize, c: usize, d: usize) {
    // SAFETY: a literal format of the module's, with arguments that fit.
    let line = unsafe { text::format(format, &[a, b, c, d]) };
    with(|world| {
        begin(world, "cmn_err", May::Anywhere);
        world.say(format!(
            "{}{line}",
            ["", "NOTICE: ", "WARNING: "].get(level as usize).unwrap_or(&"")
        ));
    });
}

/// `panic`, cmn_err(9F) with `CE_PANIC`.
extern "C" fn panic(format: *const c_char, a: usize, b: usize, c: usize, d: usize) -> ! {
    // SAFETY: as for `cmn_err`.
    let line = unsafe { text::format(format, &[a, b, c, d]) };
    machine().stop(&format!("panic: {line}"))
}

struct Processors(UnsafeCell<[u64; PROCESSORS * 2]>);

// SAFETY: written with the numbers that they always have.
unsafe impl Sync for Processors {}

/// The first fields of `cpu_t`, for each processor.
static FIELDS: Processors = Processors(UnsafeCell::new([0; PROCESSORS * 2]));

/// `sys/cpuvar.h`: the structure of this processor, of which its numbers may be read.
extern "C" fn curcpup() -> *mut cpu_t {
    let cpu = machine().cpu() % PROCESSORS as u32;
    // SAFETY: inside of the array; each writes the same.
    unsafe {
        let at = FIELDS.0.get().cast::<u64>().add(cpu as usize * 2);
        at.write(u64::from(cpu) | u64::from(cpu) << 32);
        at.cast()
    }
}

/// `sys/thread.h`: the thread that runs this.
extern "C" fn threadp() -> *mut kthread_t {
    without_provenance_mut(machine().thread())
}

fn fill(into: *mut u8, length: usize) {
    let next = |world: &mut crate::world::World| {
        // The generator of Marsaglia, "Xorshift RNGs", 2003.
        let mut it = world.ddi.random;
        it ^= it << 13;
        it ^= it >> 7;
        it ^= it << 17;
        world.ddi.random = it;
        it
    };
    with(|world| {
        for at in 0..length {
            // SAFETY: the caller's buffer has so many bytes.
            unsafe { into.add(at).write((next(world) >> 32) as u8) };
        }
    });
}

/// `sys/random.h`: `EAGAIN` while there is too little of it.
extern "C" fn random_get_bytes(into: *mut u8, length: usize) -> c_int {
    if enter("random_get_bytes", May::Anywhere) {
        return EAGAIN;
    }
    fill(into, length);
    0
}

/// `sys/random.h`.
extern "C" fn random_get_pseudo_bytes(into: *mut u8, length: usize) -> c_int {
    if enter("random_get_pseudo_bytes", May::Anywhere) {
        return EAGAIN;
    }
    fill(into, length);
    0
}

/// `sys/policy.h`: 0, or `EPERM`.
extern "C" fn secpolicy_dl_config(credentials: *const cred_t) -> c_int {
    let fails = enter("secpolicy_dl_config", May::SleepUnlocked);
    if fails || credentials.addr() != CREDENTIALS + Who::Privileged as usize { EPERM } else { 0 }
}

/// `sys/mac_provider.h`: the first minor number of a driver's own.
extern "C" fn mac_private_minor() -> minor_t {
    PRIVATE_MINOR
}

/// `sys/mac_provider.h`: of links; there are no nodes of links here.
extern "C" fn mac_getinfo(
    _node: *mut dev_info_t,
    _command: ddi_info_cmd_t,
    _argument: *mut c_void,
    _result: *mut *mut c_void,
) -> c_int {
    DDI_FAILURE
}

/// Seeds what is random.
pub fn seed(seed: u64) {
    with(|world| world.ddi.random = seed | 1);
}

/// Attaches the instance, as the kernel does after `mod_install`; whether that worked.
pub fn attach() -> bool {
    let Some((ops, _)) = with(|world| world.modules.driver()) else { return false };
    let node = without_provenance_mut(NODE);
    // SAFETY: the module is installed, so its entry points are there.
    let attach = unsafe { (*ops).devo_attach };
    // SAFETY: as above; kernel context, one thread at a time.
    let call = |it| run_in(Context::Kernel, || unsafe { attach.map(|f| f(it, DDI_ATTACH)) });
    let well = call(node) == Some(DDI_SUCCESS);
    with(|world| world.ddi.attached |= well);
    well
}

/// Detaches it, if no node is open; whether that worked.
pub fn detach() -> bool {
    let Some((ops, _)) = with(|world| world.modules.driver()) else { return false };
    if with(|world| world.ddi.open > 0) {
        return false;
    }
    // SAFETY: as for `attach`.
    let detach = unsafe { (*ops).devo_detach };
    let node = without_provenance_mut(NODE);
    // SAFETY: as for `attach`.
    let left = run_in(Context::Kernel, || unsafe { detach.map(|f| f(node, DDI_DETACH)) });
    let well = left == Some(DDI_SUCCESS);
    with(|world| world.ddi.attached &= !well);
    well
}

/// Who opens a device or makes an ioctl.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Who {
    /// May configure data links.
    Privileged = 0x10,
    /// May not.
    Anybody = 0x20,
}

fn credentials(who: Who) -> *mut cred_t {
    without_provenance_mut(CREDENTIALS + who as usize)
}

fn device(name: &str) -> Option<dev_t> {
    let minor = with(|world| world.ddi.minors.get(name).copied())?;
    Some(MAJOR << MINOR_BITS | u64::from(minor))
}

/// Opens a minor node; an error number else.
pub fn open(name: &str, flags: c_int, who: Who) -> Result<(), c_int> {
    let (_, cb) = with(|world| world.modules.driver()).ok_or(ENXIO)?;
    let mut device = device(name).ok_or(ENXIO)?;
    // SAFETY: installed.
    let open = unsafe { (*cb).cb_open }.ok_or(ENXIO)?;
    let flags = flags | FREAD | FWRITE;
    // SAFETY: user context, with a device number of the caller's.
    let call = || unsafe { open(&mut device, flags, OTYP_CHR, credentials(who)) };
    match run_in(Context::Kernel, call) {
        0 => {
            with(|world| world.ddi.open += 1);
            Ok(())
        }
        error => Err(error),
    }
}

/// Closes it.
pub fn close(name: &str) {
    let close = with(|world| world.modules.driver()).and_then(|(_, cb)| {
        // SAFETY: installed.
        unsafe { (*cb).cb_close }
    });
    if let (Some(close), Some(device)) = (close, device(name)) {
        // SAFETY: user context.
        let call = || unsafe { close(device, 0, OTYP_CHR, credentials(Who::Privileged)) };
        run_in(Context::Kernel, call);
    }
    with(|world| world.ddi.open -= 1);
}

/// Makes an ioctl on a minor node; the error number, 0 for none.
pub fn ioctl(name: &str, command: c_int, argument: usize, who: Who) -> c_int {
    let ioctl = with(|world| world.modules.driver()).and_then(|(_, cb)| {
        // SAFETY: installed.
        unsafe { (*cb).cb_ioctl }
    });
    let (Some(ioctl), Some(device)) = (ioctl, device(name)) else { return ENXIO };
    let (mut value, mode) = (0, FREAD | FWRITE | FNATIVE);
    let argument = argument.cast_signed();
    // SAFETY: user context; the argument is the module's to check.
    let call = || unsafe { ioctl(device, command, argument, mode, credentials(who), &mut value) };
    run_in(Context::Kernel, call)
}

/// Offers memory of a caller's to the kernel, for as long as `f` runs: readable, or writable too.
pub fn with_memory<R>(ranges: &[(Range<usize>, bool)], f: impl FnOnce() -> R) -> R {
    let before = with(|world| {
        let before = world.ddi.user.len();
        world.ddi.user.extend_from_slice(ranges);
        before
    });
    let result = f();
    with(|world| world.ddi.user.truncate(before));
    result
}

/// Minor nodes that there are.
pub fn minors() -> Vec<String> {
    with(|world| world.ddi.minors.keys().cloned().collect())
}
