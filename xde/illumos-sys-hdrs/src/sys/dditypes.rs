// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/dditypes.h`: types of the device driver interface.

use super::types::{c_int, c_uint};

opaque! {
    /// A node of the device tree.
    dev_info_t;
    /// What stands behind a [`ddi_periodic_t`].
    __ddi_periodic;
}

/// A periodic callback; null is none.
pub type ddi_periodic_t = *mut __ddi_periodic;

/// What [`devo_attach_t`](super::devops::devo_attach_t) is asked for.
pub type ddi_attach_cmd_t = c_uint;
/// Begin with this instance.
pub const DDI_ATTACH: ddi_attach_cmd_t = 0;
/// Go on after [`DDI_SUSPEND`].
pub const DDI_RESUME: ddi_attach_cmd_t = 1;

/// What [`devo_detach_t`](super::devops::devo_detach_t) is asked for.
pub type ddi_detach_cmd_t = c_uint;
/// End with this instance.
pub const DDI_DETACH: ddi_detach_cmd_t = 0;
/// Save all state: power goes away.
pub const DDI_SUSPEND: ddi_detach_cmd_t = 1;

/// What [`devo_getinfo_t`](super::devops::devo_getinfo_t) is asked for.
pub type ddi_info_cmd_t = c_uint;
/// The node of the device tree that belongs to a device number.
pub const DDI_INFO_DEVT2DEVINFO: ddi_info_cmd_t = 0;
/// The instance that belongs to a device number.
pub const DDI_INFO_DEVT2INSTANCE: ddi_info_cmd_t = 1;

/// What a property request wants; only passed on to [`ddi_prop_op`](super::sunddi::ddi_prop_op).
pub type ddi_prop_op_t = c_uint;
/// What a `reset` entry point is asked for.
pub type ddi_reset_cmd_t = c_uint;

/// All went well.
pub const DDI_SUCCESS: c_int = 0;
/// It did not.
pub const DDI_FAILURE: c_int = -1;
