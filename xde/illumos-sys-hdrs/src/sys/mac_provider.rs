// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/mac_provider.h`: how a driver offers a link to the MAC layer.
//!
//! Offload facts of packets are in [`mac_offload`](super::mac_offload), which is the same header.

use super::dditypes::{ddi_info_cmd_t, dev_info_t};
use super::devops::dev_ops;
use super::mac::{link_state_t, mac_handle_t, mac_prop_id_t, mac_resource_handle_t};
use super::mac_offload::mac_capab_t;
use super::stream::{mblk_t, queue_t};
use super::types::{boolean_t, c_char, c_int, c_uint, c_void, minor_t, size_t};

pub use super::mac_offload::{mac_hcksum_get, mac_hcksum_set, mac_lso_get};

opaque! {
    /// What stands behind a [`mac_prop_info_handle_t`].
    __mac_prop_info_handle;
}

/// Where [`mc_propinfo`](mac_callbacks_t::mc_propinfo) puts its answer.
pub type mac_prop_info_handle_t = *mut __mac_prop_info_handle;

/// The stable interface.
pub const MAC_VERSION_V1: c_uint = 1;
/// Argument of [`mac_alloc`].
pub const MAC_VERSION: c_uint = MAC_VERSION_V1;

/// `mc_callbacks`: never set.
pub const MC_RESERVED: c_uint = 0x1;
/// `mc_callbacks`: there is `mc_ioctl`.
pub const MC_IOCTL: c_uint = 0x2;
/// `mc_callbacks`: there is `mc_getcapab`.
pub const MC_GETCAPAB: c_uint = 0x4;
/// `mc_callbacks`: there is `mc_open`.
pub const MC_OPEN: c_uint = 0x8;
/// `mc_callbacks`: there is `mc_close`.
pub const MC_CLOSE: c_uint = 0x10;
/// `mc_callbacks`: there is `mc_setprop`.
pub const MC_SETPROP: c_uint = 0x20;
/// `mc_callbacks`: there is `mc_getprop`.
pub const MC_GETPROP: c_uint = 0x40;
/// `mc_callbacks`: there is `mc_propinfo`.
pub const MC_PROPINFO: c_uint = 0x80;

/// A statistic: driver's pointer, which, where it goes. 0 or `ENOTSUP`. Context: any; must not
/// wait. See mc_getstat(9E).
pub type mac_getstat_t = unsafe extern "C" fn(*mut c_void, c_uint, *mut u64) -> c_int;
/// Begins to carry packets. Error number. Context: user, kernel, in the perimeter. See
/// mc_start(9E).
pub type mac_start_t = unsafe extern "C" fn(*mut c_void) -> c_int;
/// Carries no more packets. Context: user, kernel, in the perimeter. See mc_stop(9E).
pub type mac_stop_t = unsafe extern "C" fn(*mut c_void);
/// Hears all packets, or not. Error number. Context: user, kernel, in the perimeter. See
/// mc_setpromisc(9E).
pub type mac_setpromisc_t = unsafe extern "C" fn(*mut c_void, boolean_t) -> c_int;
/// Hears a multicast address, or no more. Error number. Context: user, kernel, in the perimeter.
/// See mc_multicst(9E).
pub type mac_multicst_t = unsafe extern "C" fn(*mut c_void, boolean_t, *const u8) -> c_int;
/// Takes another address. Error number. Context: user, kernel, in the perimeter. See mc_unicst(9E).
pub type mac_unicst_t = unsafe extern "C" fn(*mut c_void, *const u8) -> c_int;
/// Sends a chain; what comes back was not taken, and the sender waits for [`mac_tx_update`].
/// Context: user, kernel, interrupt; many at a time. See mc_tx(9E).
pub type mac_tx_t = unsafe extern "C" fn(*mut c_void, *mut mblk_t) -> *mut mblk_t;
/// Answers an unknown ioctl. Context: user, kernel. See mc_ioctl(9E).
pub type mac_ioctl_t = unsafe extern "C" fn(*mut c_void, *mut queue_t, *mut mblk_t);
/// Whether the link has a capability; fills in its structure. Context: user, kernel. See
/// mc_getcapab(9E).
pub type mac_getcapab_t = unsafe extern "C" fn(*mut c_void, mac_capab_t, *mut c_void) -> boolean_t;
/// The first client comes. Error number. Context: user, kernel. See mc_open(9E).
pub type mac_open_t = unsafe extern "C" fn(*mut c_void) -> c_int;
/// The last client has gone. Context: user, kernel. See mc_close(9E).
pub type mac_close_t = unsafe extern "C" fn(*mut c_void);
/// Sets a property: driver's pointer, name of a private one, which, size and address of the value.
/// Error number. Context: user, kernel, in the perimeter. See mc_setprop(9E).
pub type mac_set_prop_t =
    unsafe extern "C" fn(*mut c_void, *const c_char, mac_prop_id_t, c_uint, *const c_void) -> c_int;
/// Tells a property; arguments as for [`mac_set_prop_t`]. Context: user, kernel, in the perimeter.
/// See mc_getprop(9E).
pub type mac_get_prop_t =
    unsafe extern "C" fn(*mut c_void, *const c_char, mac_prop_id_t, c_uint, *mut c_void) -> c_int;
/// Tells what values a property may have. Context: user, kernel, in the perimeter. See
/// mc_propinfo(9E).
pub type mac_prop_info_t =
    unsafe extern "C" fn(*mut c_void, *const c_char, mac_prop_id_t, mac_prop_info_handle_t);

/// Entry points of a link; the driver's pointer is the first argument of each. See
/// mac_callbacks(9S).
#[repr(C)]
pub struct mac_callbacks_t {
    /// `MC_` flag of each optional entry point that is there.
    pub mc_callbacks: c_uint,
    /// Tells a statistic.
    pub mc_getstat: Option<mac_getstat_t>,
    /// Begins.
    pub mc_start: Option<mac_start_t>,
    /// Ends.
    pub mc_stop: Option<mac_stop_t>,
    /// Hears all packets, or not.
    pub mc_setpromisc: Option<mac_setpromisc_t>,
    /// Hears a multicast address, or no more.
    pub mc_multicst: Option<mac_multicst_t>,
    /// Takes another address.
    pub mc_unicst: Option<mac_unicst_t>,
    /// Sends.
    pub mc_tx: Option<mac_tx_t>,
    /// Null.
    pub mc_reserved: *mut c_void,
    /// Optional: answers an unknown ioctl.
    pub mc_ioctl: Option<mac_ioctl_t>,
    /// Optional: tells capabilities.
    pub mc_getcapab: Option<mac_getcapab_t>,
    /// Optional: the first client comes.
    pub mc_open: Option<mac_open_t>,
    /// Optional: the last client has gone.
    pub mc_close: Option<mac_close_t>,
    /// Optional: sets a property.
    pub mc_setprop: Option<mac_set_prop_t>,
    /// Optional: tells a property.
    pub mc_getprop: Option<mac_get_prop_t>,
    /// Optional: tells what values a property may have.
    pub mc_propinfo: Option<mac_prop_info_t>,
}

/// A link to be registered. Made by [`mac_alloc`] alone. See mac_register(9S).
#[repr(C)]
pub struct mac_register_t {
    pub(crate) m_version: c_uint,
    /// Name of the plug-in for this kind of link.
    pub m_type_ident: *const c_char,
    /// The driver's pointer.
    pub m_driver: *mut c_void,
    /// Node of the device tree.
    pub m_dip: *mut dev_info_t,
    /// Number of the link, below 1000; 0: the instance of the node; all ones: any that is free,
    /// for pseudo-drivers with many links.
    pub m_instance: c_uint,
    /// Address of the link; copied.
    pub m_src_addr: *mut u8,
    /// Address of the other end; null for none.
    pub m_dst_addr: *mut u8,
    /// Entry points; must stay as long as the link is registered.
    pub m_callbacks: *mut mac_callbacks_t,
    /// Smallest packet without link header, in bytes.
    pub m_min_sdu: c_uint,
    /// Largest packet without link header, in bytes.
    pub m_max_sdu: c_uint,
    /// Data of the plug-in; null for Ethernet.
    pub m_pdata: *mut c_void,
    /// Their size in bytes.
    pub m_pdata_size: size_t,
    /// Names of private properties, closed by null; null for none.
    pub m_priv_props: *mut *mut c_char,
    /// Bytes by which a frame may be longer: 4 for a VLAN tag.
    pub m_margin: u32,
    /// Help with virtual links in hardware: 0.
    pub m_v12n: u32,
    /// Largest multicast packet; 0: like others.
    pub m_multicast_sdu: c_uint,
}

unsafe extern "C" {
    /// An empty [`mac_register_t`]; null for an unknown version.
    ///
    /// Context: user, kernel. Source: mac_alloc(9F).
    pub fn mac_alloc(version: c_uint) -> *mut mac_register_t;

    /// Frees it.
    ///
    /// Context: user, kernel. Source: mac_alloc(9F).
    pub fn mac_free(registration: *mut mac_register_t);

    /// Registers a link; error number. Entry points may be called before it comes back. The
    /// registration may be freed afterwards.
    ///
    /// Context: user, kernel. Source: mac_register(9F).
    pub fn mac_register(registration: *mut mac_register_t, link: *mut mac_handle_t) -> c_int;

    /// Ends a link; `EBUSY` while it has clients. Afterwards no entry point is called.
    ///
    /// Context: user, kernel. Source: mac_register(9F).
    pub fn mac_unregister(link: mac_handle_t) -> c_int;

    /// No client may open the link any more; `EBUSY` while it has clients. To be followed by
    /// [`mac_unregister`].
    ///
    /// Context: user, kernel. Source: `sys/mac_provider.h`; no manual page.
    pub fn mac_disable(link: mac_handle_t) -> c_int;

    /// Fills in entry points of a driver of links, before `mod_install`.
    ///
    /// Context: `_init`. Source: mac_init_ops(9F).
    pub fn mac_init_ops(ops: *mut dev_ops, name: *const c_char);

    /// Undoes [`mac_init_ops`], after `mod_remove` succeeded or when `mod_install` failed. It
    /// reads through `ops` without asking: not for drivers that gave none.
    ///
    /// Context: `_init`, `_fini`. Source: mac_init_ops(9F).
    pub fn mac_fini_ops(ops: *mut dev_ops);

    /// For `devo_getinfo` of drivers of links.
    ///
    /// Context: user, kernel. Source: `sys/mac_provider.h`; no manual page.
    pub fn mac_getinfo(
        node: *mut dev_info_t,
        command: ddi_info_cmd_t,
        argument: *mut c_void,
        result: *mut *mut c_void,
    ) -> c_int;

    /// First number for minor nodes of the driver's own, above those that the MAC layer makes for
    /// links.
    ///
    /// Context: any. Source: `sys/mac_provider.h`; no manual page.
    pub fn mac_private_minor() -> minor_t;

    /// Hands a chain that came in to the link's clients. The chain is theirs. `from` is null.
    ///
    /// Context: user, kernel, interrupt; no lock of the driver held. Source: mac_rx(9F).
    pub fn mac_rx(link: mac_handle_t, from: mac_resource_handle_t, chain: *mut mblk_t);

    /// Tells whether the link is up.
    ///
    /// Context: user, kernel, interrupt. Source: mac_link_update(9F).
    pub fn mac_link_update(link: mac_handle_t, state: link_state_t);

    /// Tells that sending goes on after `mc_tx` gave packets back.
    ///
    /// Context: user, kernel, interrupt; no lock of the driver held. Source: mac_tx_update(9F).
    pub fn mac_tx_update(link: mac_handle_t);

    /// Tells that capabilities changed.
    ///
    /// Context: user, kernel. Source: `sys/mac_provider.h`; no manual page.
    pub fn mac_capab_update(link: mac_handle_t);

    /// Tells the new address.
    ///
    /// Context: user, kernel, interrupt. Source: `sys/mac_provider.h`; no manual page.
    pub fn mac_unicst_update(link: mac_handle_t, address: *const u8);

    /// Tells the new largest packet; error number.
    ///
    /// Context: user, kernel. Source: mac_maxsdu_update(9F).
    pub fn mac_maxsdu_update(link: mac_handle_t, max: c_uint) -> c_int;

    /// Smallest and largest packet without link header, in bytes; either may be null.
    ///
    /// Context: user, kernel. Source: `sys/mac_provider.h`; no manual page.
    pub fn mac_sdu_get(link: mac_handle_t, min: *mut c_uint, max: *mut c_uint);

    /// Answer of `mc_propinfo`: the value when none is set.
    ///
    /// Context: mc_propinfo(9E). Source: mac_prop_info(9F).
    pub fn mac_prop_info_set_default_uint32(info: mac_prop_info_handle_t, value: u32);

    /// Answer of `mc_propinfo`: values from `min` to `max`.
    ///
    /// Context: mc_propinfo(9E). Source: mac_prop_info(9F).
    pub fn mac_prop_info_set_range_uint32(info: mac_prop_info_handle_t, min: u32, max: u32);

    /// Answer of `mc_propinfo`: whether it may be read or written.
    ///
    /// Context: mc_propinfo(9E). Source: mac_prop_info(9F).
    pub fn mac_prop_info_set_perm(info: mac_prop_info_handle_t, permission: u8);
}
