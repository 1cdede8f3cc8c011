// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/sunddi.h`: the device driver interface: nodes, memory of callers, properties.
//!
//! Callbacks and state are in [`sunddi_callbacks`](super::sunddi_callbacks), which is the same
//! header.

use super::dditypes::{ddi_prop_op_t, dev_info_t};
use super::types::{
    c_char, c_int, c_uint, c_void, caddr_t, clock_t, dev_t, major_t, minor_t, size_t,
};

/// Kind of minor nodes without hardware: `node_type` of [`ddi_create_minor_node`].
pub const DDI_PSEUDO: &core::ffi::CStr = c"ddi_pseudo";
/// Any device: a property is not looked for by device number.
pub const DDI_DEV_T_ANY: dev_t = -2_i64 as dev_t;
/// A property is not looked for in the parents of a node.
pub const DDI_PROP_DONTPASS: c_uint = 0x1;

unsafe extern "C" {
    /// Copies from an address of the caller of an ioctl; -1 when that may not be read. `mode` is
    /// the mode of the ioctl: with `FKIOCTL` the address is the kernel's.
    ///
    /// Context: user, kernel; no lock held that a page fault might want. Source: ddi_copyin(9F).
    pub fn ddi_copyin(from: *const c_void, to: *mut c_void, size: size_t, mode: c_int) -> c_int;

    /// Copies to an address of the caller of an ioctl; -1 when that may not be written. `mode` as
    /// for [`ddi_copyin`].
    ///
    /// Context: user, kernel; no lock held that a page fault might want. Source: ddi_copyout(9F).
    pub fn ddi_copyout(from: *const c_void, to: *mut c_void, size: size_t, mode: c_int) -> c_int;

    /// Makes a node in the file system: its name, `S_IFCHR`, its number, its kind, 0. `DDI_SUCCESS`
    /// or `DDI_FAILURE`.
    ///
    /// Context: attach(9E). Source: ddi_create_minor_node(9F).
    pub fn ddi_create_minor_node(
        node: *mut dev_info_t,
        name: *const c_char,
        kind: c_int,
        number: minor_t,
        node_type: *const c_char,
        flag: c_int,
    ) -> c_int;

    /// Removes the node of that name; all of them for null.
    ///
    /// Context: attach(9E), detach(9E). Source: ddi_remove_minor_node(9F).
    pub fn ddi_remove_minor_node(node: *mut dev_info_t, name: *const c_char);

    /// Number of the driver by its name, or -1 in all bits.
    ///
    /// Context: user, kernel. Source: `sys/sunddi.h`; no manual page.
    pub fn ddi_name_to_major(name: *const c_char) -> major_t;

    /// Which instance this node is.
    ///
    /// Context: user, kernel, interrupt. Source: ddi_get_instance(9F).
    pub fn ddi_get_instance(node: *mut dev_info_t) -> c_int;

    /// What [`ddi_set_driver_private`] last kept; null after attach and detach.
    ///
    /// Context: user, kernel, interrupt. Source: ddi_get_driver_private(9F).
    pub fn ddi_get_driver_private(node: *mut dev_info_t) -> *mut c_void;

    /// Keeps a pointer with a node.
    ///
    /// Context: user, kernel, interrupt. Source: ddi_set_driver_private(9F).
    pub fn ddi_set_driver_private(node: *mut dev_info_t, data: *mut c_void);

    /// Announces the device on the console and in the log.
    ///
    /// Context: attach(9E). Source: ddi_report_dev(9F).
    pub fn ddi_report_dev(node: *mut dev_info_t);

    /// For `devo_quiesce` of drivers without hardware: `DDI_SUCCESS`.
    ///
    /// Context: quiesce(9E). Source: ddi_quiesce_not_needed(9F).
    pub fn ddi_quiesce_not_needed(node: *mut dev_info_t) -> c_int;

    /// For `cb_prop_op`: tells of properties.
    ///
    /// Context: user, kernel. Source: ddi_prop_op(9F).
    pub fn ddi_prop_op(
        device: dev_t,
        node: *mut dev_info_t,
        operation: ddi_prop_op_t,
        flags: c_int,
        name: *mut c_char,
        value: caddr_t,
        length: *mut c_int,
    ) -> c_int;

    /// Whether there is such a property: 1 or 0.
    ///
    /// Context: user, kernel. Source: ddi_prop_exists(9F).
    pub fn ddi_prop_exists(
        device: dev_t,
        node: *mut dev_info_t,
        flags: c_uint,
        name: *const c_char,
    ) -> c_int;

    /// A whole number of driver.conf(5), or `default` when there is none.
    ///
    /// Context: user, kernel. Source: ddi_prop_get_int(9F).
    pub fn ddi_prop_get_int(
        device: dev_t,
        node: *mut dev_info_t,
        flags: c_uint,
        name: *const c_char,
        default: c_int,
    ) -> c_int;

    /// A text of driver.conf(5), to be given back by [`ddi_prop_free`]; 0 (`DDI_PROP_SUCCESS`) when
    /// there is one.
    ///
    /// Context: user, kernel. Source: ddi_prop_lookup_string(9F).
    pub fn ddi_prop_lookup_string(
        device: dev_t,
        node: *mut dev_info_t,
        flags: c_uint,
        name: *const c_char,
        text: *mut *mut c_char,
    ) -> c_int;

    /// Gives back what a look-up of a property made.
    ///
    /// Context: user, kernel. Source: ddi_prop_free(9F).
    pub fn ddi_prop_free(data: *mut c_void);

    /// Ticks since boot; may wrap.
    ///
    /// Context: any. Source: ddi_get_lbolt(9F).
    pub fn ddi_get_lbolt() -> clock_t;
}
