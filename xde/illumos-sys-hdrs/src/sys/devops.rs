// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/devops.h`: entry points of a driver.

use super::cred::cred_t;
use super::dditypes::{
    ddi_attach_cmd_t, ddi_detach_cmd_t, ddi_info_cmd_t, ddi_prop_op_t, ddi_reset_cmd_t, dev_info_t,
};
use super::stream::streamtab;
use super::types::{
    c_char, c_int, c_short, c_uint, c_void, caddr_t, dev_t, intptr_t, off_t, size_t,
};

opaque! {
    /// A request to read or write blocks.
    buf;
    /// Where data of read and write go.
    uio;
    /// Mapping of a device.
    devmap_cookie;
    /// Address space of a process.
    r#as;
    /// What poll(2) waits on.
    pollhead;
    /// An asynchronous read or write.
    aio_req;
    /// Entry points of a bus.
    bus_ops;
}

/// Opens a minor node: device (may be changed to a clone), `FREAD` and other flags, `OTYP_` kind,
/// who. Error number. Context: user. See open(9E).
pub type cb_open_t = unsafe extern "C" fn(*mut dev_t, c_int, c_int, *mut cred_t) -> c_int;
/// The last opener of this kind has gone: device, flags, kind, who. Error number. Context: user.
/// See close(9E).
pub type cb_close_t = unsafe extern "C" fn(dev_t, c_int, c_int, *mut cred_t) -> c_int;
/// Does a block request. See strategy(9E).
pub type cb_strategy_t = unsafe extern "C" fn(*mut buf) -> c_int;
/// Prints a message about a device. See print(9E).
pub type cb_print_t = unsafe extern "C" fn(dev_t, *mut c_char) -> c_int;
/// Dumps memory. See dump(9E).
pub type cb_dump_t = unsafe extern "C" fn(dev_t, caddr_t, i64, c_int) -> c_int;
/// Reads or writes. See read(9E), write(9E).
pub type cb_rw_t = unsafe extern "C" fn(dev_t, *mut uio, *mut cred_t) -> c_int;
/// Does a command: device, command, argument (an address of the caller, or a number), mode with
/// `FKIOCTL` and data model, who, value to return. Error number. Context: user. See ioctl(9E).
pub type cb_ioctl_t =
    unsafe extern "C" fn(dev_t, c_int, intptr_t, c_int, *mut cred_t, *mut c_int) -> c_int;
/// Maps device memory. See devmap(9E).
pub type cb_devmap_t =
    unsafe extern "C" fn(dev_t, *mut devmap_cookie, i64, size_t, *mut size_t, c_uint) -> c_int;
/// Checks a page of a mapping. See mmap(9E).
pub type cb_mmap_t = unsafe extern "C" fn(dev_t, off_t, c_int) -> c_int;
/// Maps into an address space. See segmap(9E).
pub type cb_segmap_t = unsafe extern "C" fn(
    dev_t,
    off_t,
    *mut r#as,
    *mut caddr_t,
    off_t,
    c_uint,
    c_uint,
    c_uint,
    *mut cred_t,
) -> c_int;
/// Waits for events. See chpoll(9E).
pub type cb_chpoll_t =
    unsafe extern "C" fn(dev_t, c_short, c_int, *mut c_short, *mut *mut pollhead) -> c_int;
/// Tells of properties. See prop_op(9E); drivers put [`ddi_prop_op`](super::sunddi::ddi_prop_op)
/// here.
pub type cb_prop_op_t = unsafe extern "C" fn(
    dev_t,
    *mut dev_info_t,
    ddi_prop_op_t,
    c_int,
    *mut c_char,
    caddr_t,
    *mut c_int,
) -> c_int;
/// Reads or writes later. See aread(9E), awrite(9E).
pub type cb_arw_t = unsafe extern "C" fn(dev_t, *mut aio_req, *mut cred_t) -> c_int;

/// Entry points of a character device. See cb_ops(9S). What a driver lacks is `nodev`, `nulldev` or
/// `nochpoll`, never null, except `cb_str`.
#[repr(C)]
pub struct cb_ops {
    /// Opens a minor node.
    pub cb_open: Option<cb_open_t>,
    /// The last opener has gone.
    pub cb_close: Option<cb_close_t>,
    /// Block input and output.
    pub cb_strategy: Option<cb_strategy_t>,
    /// Prints about a block device.
    pub cb_print: Option<cb_print_t>,
    /// Dumps to a block device.
    pub cb_dump: Option<cb_dump_t>,
    /// Reads.
    pub cb_read: Option<cb_rw_t>,
    /// Writes.
    pub cb_write: Option<cb_rw_t>,
    /// Does a command.
    pub cb_ioctl: Option<cb_ioctl_t>,
    /// Maps device memory.
    pub cb_devmap: Option<cb_devmap_t>,
    /// Checks a page of a mapping.
    pub cb_mmap: Option<cb_mmap_t>,
    /// Maps into an address space.
    pub cb_segmap: Option<cb_segmap_t>,
    /// Waits for events.
    pub cb_chpoll: Option<cb_chpoll_t>,
    /// Tells of properties.
    pub cb_prop_op: Option<cb_prop_op_t>,
    /// STREAMS entry points; null in drivers without.
    pub cb_str: *mut streamtab,
    /// `D_` flags.
    pub cb_flag: c_int,
    /// [`CB_REV`].
    pub cb_rev: c_int,
    /// Reads later.
    pub cb_aread: Option<cb_arw_t>,
    /// Writes later.
    pub cb_awrite: Option<cb_arw_t>,
}

/// Version of [`cb_ops`].
pub const CB_REV: c_int = 1;

/// Translates a device number: null, what is asked, the device number as an address, where the
/// answer goes. `DDI_SUCCESS` or `DDI_FAILURE`. Context: user, kernel. See getinfo(9E).
pub type devo_getinfo_t =
    unsafe extern "C" fn(*mut dev_info_t, ddi_info_cmd_t, *mut c_void, *mut *mut c_void) -> c_int;
/// Obsolete. See identify(9E).
pub type devo_identify_t = unsafe extern "C" fn(*mut dev_info_t) -> c_int;
/// Whether there is a device. See probe(9E).
pub type devo_probe_t = unsafe extern "C" fn(*mut dev_info_t) -> c_int;
/// Begins with an instance. One thread at a time for each instance. Context: kernel. See
/// attach(9E).
pub type devo_attach_t = unsafe extern "C" fn(*mut dev_info_t, ddi_attach_cmd_t) -> c_int;
/// Ends with an instance, or refuses and has changed nothing. Context: kernel. See detach(9E).
pub type devo_detach_t = unsafe extern "C" fn(*mut dev_info_t, ddi_detach_cmd_t) -> c_int;
/// Obsolete. See dev_ops(9S).
pub type devo_reset_t = unsafe extern "C" fn(*mut dev_info_t, ddi_reset_cmd_t) -> c_int;
/// Changes power. See power(9E).
pub type devo_power_t = unsafe extern "C" fn(*mut dev_info_t, c_int, c_int) -> c_int;
/// Silences the device before a fast reboot: one processor, no interrupts, no locks, no memory. See
/// quiesce(9E).
pub type devo_quiesce_t = unsafe extern "C" fn(*mut dev_info_t) -> c_int;

/// Entry points of a driver towards the device tree. See dev_ops(9S).
#[repr(C)]
pub struct dev_ops {
    /// [`DEVO_REV`].
    pub devo_rev: c_int,
    /// 0; the kernel counts here.
    pub devo_refcnt: c_int,
    /// Translates a device number.
    pub devo_getinfo: Option<devo_getinfo_t>,
    /// `nulldev`.
    pub devo_identify: Option<devo_identify_t>,
    /// Whether there is a device; `nulldev` where that is certain.
    pub devo_probe: Option<devo_probe_t>,
    /// Begins with an instance.
    pub devo_attach: Option<devo_attach_t>,
    /// Ends with an instance.
    pub devo_detach: Option<devo_detach_t>,
    /// `nodev`.
    pub devo_reset: Option<devo_reset_t>,
    /// Entry points of the character device.
    pub devo_cb_ops: *mut cb_ops,
    /// Null: this is no bus.
    pub devo_bus_ops: *mut bus_ops,
    /// Changes power; null without.
    pub devo_power: Option<devo_power_t>,
    /// Silences the device.
    pub devo_quiesce: Option<devo_quiesce_t>,
}

/// Version of [`dev_ops`].
pub const DEVO_REV: c_int = 4;
