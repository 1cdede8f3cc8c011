// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Entry points of a port's link, see mac_callbacks(9S). Each gets the [`Guest`] that the link was
//! registered with.

use super::Guest;
use super::numbers::number;
use crate::message::Chain;
use crate::module::Shared;
use core::ffi::{c_char, c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::Ordering;
use illumos_sys_hdrs::sys::dlpi::HCKSUM_INET_PARTIAL;
use illumos_sys_hdrs::sys::errno::{EINVAL, ENOTSUP};
use illumos_sys_hdrs::sys::mac::{MAC_PROP_MTU, MAC_PROP_PERM_READ, mac_prop_id_t};
use illumos_sys_hdrs::sys::mac_offload::{
    LSO_TX_BASIC_TCP_IPV4, LSO_TX_BASIC_TCP_IPV6, MAC_CAPAB_HCKSUM, MAC_CAPAB_LSO,
    MAC_CAPAB_OVERLAY, lso_basic_tcp_ipv4_t, lso_basic_tcp_ipv6_t, mac_capab_lso_t, mac_capab_t,
};
use illumos_sys_hdrs::sys::mac_provider::{
    MC_GETCAPAB, MC_GETPROP, MC_PROPINFO, MC_SETPROP, mac_callbacks_t, mac_prop_info_handle_t,
    mac_prop_info_set_default_uint32, mac_prop_info_set_perm, mac_prop_info_set_range_uint32,
};
use illumos_sys_hdrs::sys::stream::mblk_t;
use illumos_sys_hdrs::sys::types::{B_FALSE, B_TRUE, boolean_t};

/// Longest frame that is cut: as long as a 16-bit length says.
const LSO_MAX: u32 = u16::MAX as u32;

/// Entry points of all links.
pub static TABLE: Shared<mac_callbacks_t> = Shared::new(mac_callbacks_t {
    mc_callbacks: MC_GETCAPAB | MC_SETPROP | MC_GETPROP | MC_PROPINFO,
    mc_getstat: Some(getstat),
    mc_start: Some(start),
    mc_stop: Some(stop),
    mc_setpromisc: Some(setpromisc),
    mc_multicst: Some(multicst),
    mc_unicst: Some(unicst),
    mc_tx: Some(tx),
    mc_reserved: null_mut(),
    mc_ioctl: None,
    mc_getcapab: Some(getcapab),
    mc_open: None,
    mc_close: None,
    mc_setprop: Some(setprop),
    mc_getprop: Some(getprop),
    mc_propinfo: Some(propinfo),
});

/// # Safety
///
/// Called by an entry point with the pointer that the link was registered with, for as long as it
/// runs.
unsafe fn guest<'a>(driver: *mut c_void) -> &'a Guest {
    // SAFETY: `register` gave the MAC layer the address of a `Guest`, which `Owned` keeps until the
    // link is unregistered; no entry point is called or runs afterwards.
    unsafe { &*driver.cast::<Guest>() }
}

unsafe extern "C" fn getstat(driver: *mut c_void, statistic: u32, value: *mut u64) -> c_int {
    // SAFETY: an entry point's arguments.
    let (guest, value) = unsafe { (guest(driver), value.as_mut()) };
    // A link that is just being made has no port yet, and has counted nothing.
    let device = guest.state.driver.device(guest.id);
    let found = number(statistic, device.as_ref().map(|device| device.port.counters()));
    let (Some(found), Some(value)) = (found, value) else { return ENOTSUP };
    *value = found;
    0
}

/// From now on the guest gets packets. Whether the port takes any is the operator's to say.
unsafe extern "C" fn start(driver: *mut c_void) -> c_int {
    // SAFETY: an entry point's argument.
    let guest = unsafe { guest(driver) };
    guest.started.store(true, Ordering::Relaxed);
    0
}

/// The guest has gone, and whoever comes next is another one: connections end.
unsafe extern "C" fn stop(driver: *mut c_void) {
    // SAFETY: an entry point's argument.
    let guest = unsafe { guest(driver) };
    guest.started.store(false, Ordering::Relaxed);
    if let Some(device) = guest.state.driver.device(guest.id) {
        device.port.clear_flows();
    }
}

/// A guest gets what is for it, and no more, whatever it listens to.
unsafe extern "C" fn setpromisc(_driver: *mut c_void, _on: boolean_t) -> c_int {
    0
}

/// All multicast that its network lets through is the guest's to sort.
unsafe extern "C" fn multicst(_driver: *mut c_void, _add: boolean_t, _address: *const u8) -> c_int {
    0
}

/// The address of a guest is that of its port.
unsafe extern "C" fn unicst(driver: *mut c_void, address: *const u8) -> c_int {
    // SAFETY: an entry point's arguments: the address of an Ethernet link is 6 bytes.
    let (guest, address) = unsafe { (guest(driver), address.cast::<[u8; 6]>().as_ref()) };
    if address == Some(&guest.mac.0) { 0 } else { ENOTSUP }
}

/// Takes all of it, always: what cannot go on is dropped and counted.
unsafe extern "C" fn tx(driver: *mut c_void, chain: *mut mblk_t) -> *mut mblk_t {
    // SAFETY: an entry point's arguments; the chain is ours.
    let (guest, chain) = unsafe { (guest(driver), Chain::from_raw(chain)) };
    guest.state.from_guest(guest.id, chain);
    null_mut()
}

unsafe extern "C" fn getcapab(
    driver: *mut c_void,
    capability: mac_capab_t,
    data: *mut c_void,
) -> boolean_t {
    // SAFETY: an entry point's argument.
    let guest = unsafe { guest(driver) };
    match capability {
        MAC_CAPAB_HCKSUM => {
            // Partial sums alone: they are what translation can carry on.
            // SAFETY: this capability's memory begins with a word of flags on every kernel.
            unsafe { data.cast::<u32>().write(HCKSUM_INET_PARTIAL) };
            B_TRUE
        }
        MAC_CAPAB_LSO => {
            // Mainline cannot cut IPv6 for us where a link does not.
            let both = guest.state.exports.packet_facts().is_some();
            let ipv6 = if both { LSO_TX_BASIC_TCP_IPV6 } else { 0 };
            let lso = mac_capab_lso_t {
                lso_flags: LSO_TX_BASIC_TCP_IPV4 | ipv6,
                lso_basic_tcp_ipv4: lso_basic_tcp_ipv4_t { lso_max: LSO_MAX },
                lso_basic_tcp_ipv6: lso_basic_tcp_ipv6_t { lso_max: LSO_MAX },
            };
            // SAFETY: this capability's memory has at least this shape on every kernel.
            unsafe { data.cast::<mac_capab_lso_t>().write(lso) };
            B_TRUE
        }
        MAC_CAPAB_OVERLAY => B_TRUE,
        _ => B_FALSE,
    }
}

/// Properties of a port are set with the port. To set what is set already is no change.
unsafe extern "C" fn setprop(
    driver: *mut c_void,
    _name: *const c_char,
    property: mac_prop_id_t,
    size: u32,
    value: *const c_void,
) -> c_int {
    // SAFETY: an entry point's argument.
    let guest = unsafe { guest(driver) };
    if property != MAC_PROP_MTU {
        return ENOTSUP;
    }
    if (size as usize) < size_of::<u32>() {
        return EINVAL;
    }
    // SAFETY: the value has `size` bytes, not necessarily aligned.
    let mtu = unsafe { value.cast::<u32>().read_unaligned() };
    if mtu == guest.mtu() { 0 } else { ENOTSUP }
}

/// The MAC layer knows the properties that we have.
unsafe extern "C" fn getprop(
    _driver: *mut c_void,
    _name: *const c_char,
    _property: mac_prop_id_t,
    _size: u32,
    _value: *mut c_void,
) -> c_int {
    ENOTSUP
}

unsafe extern "C" fn propinfo(
    driver: *mut c_void,
    _name: *const c_char,
    property: mac_prop_id_t,
    info: mac_prop_info_handle_t,
) {
    // SAFETY: an entry point's argument.
    let mtu = unsafe { guest(driver) }.mtu();
    if property == MAC_PROP_MTU {
        // SAFETY: the handle that this call is about.
        unsafe {
            mac_prop_info_set_perm(info, MAC_PROP_PERM_READ);
            mac_prop_info_set_default_uint32(info, mtu);
            mac_prop_info_set_range_uint32(info, mtu, mtu);
        }
    }
}
