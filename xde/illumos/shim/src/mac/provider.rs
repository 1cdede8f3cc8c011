// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a driver of links calls: `sys/mac_provider.h`, mac_register(9F), mac_rx(9F).

use super::{NO_MEMORY, Provider, entry, pointer};
use crate::context::{Context, May, begin, enter};
use crate::world::with;
use alloc::format;
use core::ffi::{CStr, c_int, c_uint};
use core::ptr::null_mut;
use illumos_sys_hdrs::sys::errno::{EBUSY, EINVAL};
use illumos_sys_hdrs::sys::mac::{
    MAC_PROP_MTU, MAC_STAT_IFSPEED, link_state_t, mac_handle_t, mac_resource_handle_t,
};
use illumos_sys_hdrs::sys::mac_ether::MAC_PLUGIN_IDENT_ETHER;
use illumos_sys_hdrs::sys::mac_offload::{MAC_CAPAB_HCKSUM, MAC_CAPAB_LSO, MAC_CAPAB_OVERLAY};
use illumos_sys_hdrs::sys::mac_provider::{
    MAC_VERSION, mac_callbacks_t, mac_prop_info_handle_t, mac_register_t,
};
use illumos_sys_hdrs::sys::stream::mblk_t;

/// First number of links that ask for any, `sys/mac.h`: `MAC_MAX_MINOR`.
const FIRST_NUMBER: u32 = 1000;
/// A capability that no driver has heard of.
const UNKNOWN: c_uint = 0x4000_0000;
/// The handle of a property that a driver is asked about.
const PROPERTY: usize = 0x4d50_0000_0000_0010;

/// What a driver tells of a property.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Property {
    /// `MAC_PROP_PERM_` flags.
    pub permission: Option<u8>,
    /// The value when none is set.
    pub default: Option<u32>,
    /// Smallest and largest value.
    pub range: Option<(u32, u32)>,
}

impl Property {
    pub(crate) const NONE: Self = Self { permission: None, default: None, range: None };
}

exports! {
    mac_alloc, mac_free, mac_register, mac_unregister, mac_rx, mac_link_update,
    mac_maxsdu_update, mac_sdu_get, mac_prop_info_set_default_uint32,
    mac_prop_info_set_range_uint32, mac_prop_info_set_perm,
}

/// mac_alloc(9F): null for another version.
extern "C" fn mac_alloc(version: c_uint) -> *mut mac_register_t {
    enter("mac_alloc", May::SleepUnlocked);
    if version != MAC_VERSION {
        return null_mut();
    }
    with(|world| {
        let it = world.make::<mac_register_t>();
        world.macs.registrations.insert(it.expose_provenance(), ());
        it
    })
}

/// mac_alloc(9F).
extern "C" fn mac_free(registration: *mut mac_register_t) {
    enter("mac_free", May::SleepUnlocked);
    with(|world| {
        if world.macs.registrations.remove(&registration.addr()).is_none() {
            world.blame("mac_free of what mac_alloc has not made".into());
            return;
        }
        world.unmake("mac_free", registration);
    });
}

/// What is wrong with a registration, mac_register(9S), mac_callbacks(9S).
fn flaw(it: &mac_register_t) -> Option<&'static str> {
    // SAFETY: a text that ends with NUL, and a table that stays as long as the link.
    let (kind, callbacks) = unsafe {
        (it.m_type_ident.as_ref().map(|kind| CStr::from_ptr(kind)), it.m_callbacks.as_ref())
    };
    let Some(callbacks) = callbacks else { return Some("no callbacks") };
    if kind != Some(MAC_PLUGIN_IDENT_ETHER) || !it.m_pdata.is_null() {
        return Some("it is no Ethernet link");
    }
    if it.m_src_addr.is_null() || it.m_max_sdu <= it.m_min_sdu {
        return Some("no address, or no room between the sizes");
    }
    if it.m_instance != c_uint::MAX && it.m_instance >= FIRST_NUMBER {
        return Some("its number is too large");
    }
    missing(callbacks).then_some("an entry point is null that must be there")
}

fn missing(it: &mac_callbacks_t) -> bool {
    let always = [
        it.mc_getstat.is_some(),
        it.mc_start.is_some(),
        it.mc_stop.is_some(),
        it.mc_setpromisc.is_some(),
        it.mc_multicst.is_some(),
        it.mc_unicst.is_some(),
        it.mc_tx.is_some(),
    ];
    let optional = [
        (0x2, it.mc_ioctl.is_some()),
        (0x4, it.mc_getcapab.is_some()),
        (0x8, it.mc_open.is_some()),
        (0x10, it.mc_close.is_some()),
        (0x20, it.mc_setprop.is_some()),
        (0x40, it.mc_getprop.is_some()),
        (0x80, it.mc_propinfo.is_some()),
    ];
    always.contains(&false)
        || optional.iter().any(|(flag, there)| it.mc_callbacks & flag != 0 && !there)
}

/// mac_register(9F): needs `mac_init_ops`; asks the driver for capabilities, numbers and the MTU's
/// bounds before it comes back. Error number.
extern "C" fn mac_register(registration: *mut mac_register_t, link: *mut mac_handle_t) -> c_int {
    let fails = enter("mac_register", May::SleepUnlocked);
    // SAFETY: of `mac_alloc`, and filled in.
    let it = unsafe { &*registration };
    let made = with(|world| {
        if !world.macs.registrations.contains_key(&registration.addr()) {
            world.blame("mac_register of what mac_alloc has not made".into());
            return Err(EINVAL);
        }
        if let Some(flaw) = flaw(it) {
            world.blame(format!("mac_register: {flaw}"));
            return Err(EINVAL);
        }
        if fails || !world.modules.is_mac_driver() {
            return Err(if fails { NO_MEMORY } else { EINVAL });
        }
        let number = FIRST_NUMBER + world.macs.number;
        world.macs.number += 1;
        let driver = it.m_driver.expose_provenance();
        let provider = Provider { callbacks: it.m_callbacks, driver };
        // SAFETY: checked: an address of an Ethernet link, 6 bytes.
        let address = unsafe { it.m_src_addr.cast::<[u8; 6]>().read() };
        let handle = world.make_mac(&format!("xde{number}"), Some(provider), address);
        if let Some(mac) = world.macs.all.get_mut(&handle) {
            mac.sdu = [it.m_min_sdu, it.m_max_sdu];
        }
        Ok(handle)
    });
    match made {
        Ok(handle) => {
            ask(handle);
            // SAFETY: a place of the caller's.
            unsafe { *link = pointer(handle) };
            0
        }
        Err(error) => error,
    }
}

/// What the kernel asks of a link while it is registered.
fn ask(mac: usize) {
    for kind in [MAC_CAPAB_HCKSUM, MAC_CAPAB_LSO, MAC_CAPAB_OVERLAY, UNKNOWN] {
        capability(mac, kind);
    }
    statistic(mac, MAC_STAT_IFSPEED);
    property(mac, MAC_PROP_MTU);
}

/// A capability of a link of the module's, if it has it: as much memory as any kernel brings.
pub(crate) fn capability(mac: usize, kind: c_uint) -> Option<[u32; 32]> {
    let mut data = [0_u32; 32];
    let has = entry(mac, Context::Kernel, |callbacks, driver| {
        // SAFETY: registered; the memory is longer than any shape.
        callbacks.mc_getcapab.map(|ask| unsafe { ask(driver, kind, data.as_mut_ptr().cast()) })
    });
    (has.flatten() == Some(1)).then_some(data)
}

/// A statistic of a link, if it has it.
pub(crate) fn statistic(mac: usize, which: c_uint) -> Option<u64> {
    let mut value = 0;
    let error = entry(mac, Context::Kernel, |callbacks, driver| {
        // SAFETY: registered.
        callbacks.mc_getstat.map(|ask| unsafe { ask(driver, which, &mut value) })
    });
    (error.flatten() == Some(0)).then_some(value)
}

/// What the driver tells of a property.
pub(crate) fn property(mac: usize, which: c_uint) -> Property {
    with(|world| world.macs.property = Property::default());
    entry(mac, Context::Kernel, |callbacks, driver| {
        if let Some(ask) = callbacks.mc_propinfo {
            // SAFETY: registered.
            unsafe { ask(driver, c"".as_ptr(), which, pointer(PROPERTY)) };
        }
    });
    with(|world| world.macs.property)
}

fn tell(info: mac_prop_info_handle_t, tell: impl FnOnce(&mut Property)) {
    with(|world| {
        if info.addr() != PROPERTY {
            world.blame("an answer about a property that nobody asked for".into());
        }
        tell(&mut world.macs.property);
    });
}

/// mac_prop_info(9F).
extern "C" fn mac_prop_info_set_default_uint32(info: mac_prop_info_handle_t, value: u32) {
    tell(info, |it| it.default = Some(value));
}

/// mac_prop_info(9F).
extern "C" fn mac_prop_info_set_range_uint32(info: mac_prop_info_handle_t, min: u32, max: u32) {
    tell(info, |it| it.range = Some((min, max)));
}

/// mac_prop_info(9F).
extern "C" fn mac_prop_info_set_perm(info: mac_prop_info_handle_t, permission: u8) {
    tell(info, |it| it.permission = Some(permission));
}

/// mac_register(9F): `EBUSY` while somebody has the link open, the data link included.
extern "C" fn mac_unregister(link: mac_handle_t) -> c_int {
    let fails = enter("mac_unregister", May::SleepUnlocked);
    with(|world| {
        world.want_outside("mac_unregister");
        let Some(mac) = world.mac("mac_unregister", link.addr()) else { return EINVAL };
        if fails || mac.opens > 0 || !mac.clients.is_empty() {
            return EBUSY;
        }
        if mac.entries > 0 {
            world.blame("mac_unregister while an entry point runs".into());
        }
        world.unmake_mac("mac_unregister", link.addr());
        0
    })
}

/// mac_rx(9F): no lock of the driver's held; the chain is the clients'.
extern "C" fn mac_rx(link: mac_handle_t, from: mac_resource_handle_t, chain: *mut mblk_t) {
    enter("mac_rx", May::Unlocked);
    let hook = with(|world| {
        if !from.is_null() {
            world.blame("mac_rx from somewhere".into());
        }
        let messages = world.take_packets("mac_rx", chain);
        if messages.is_empty() {
            world.blame("mac_rx of no packet".into());
        }
        let Some(mac) = world.mac("mac_rx", link.addr()).filter(|mac| mac.active > 0) else {
            messages.into_iter().for_each(|message| world.freemsg("mac_rx", message));
            return None;
        };
        mac.received.extend(messages.iter().map(|it| it.expose_provenance()));
        mac.hook.clone()
    });
    if let Some(hook) = hook {
        hook();
    }
}

/// mac_link_update(9F).
extern "C" fn mac_link_update(link: mac_handle_t, state: link_state_t) {
    with(|world| {
        begin(world, "mac_link_update", May::Unlocked);
        if let Some(mac) = world.mac("mac_link_update", link.addr()) {
            mac.state = Some(state);
        }
    });
}

/// mac_maxsdu_update(9F): error number.
extern "C" fn mac_maxsdu_update(link: mac_handle_t, max: c_uint) -> c_int {
    let fails = enter("mac_maxsdu_update", May::SleepUnlocked);
    with(|world| {
        let Some(mac) = world.mac("mac_maxsdu_update", link.addr()) else { return EINVAL };
        if fails || max < mac.sdu[0] {
            return EINVAL;
        }
        mac.sdu[1] = max;
        0
    })
}

/// `sys/mac_provider.h`: either pointer may be null.
extern "C" fn mac_sdu_get(link: mac_handle_t, min: *mut c_uint, max: *mut c_uint) {
    enter("mac_sdu_get", May::SleepUnlocked);
    with(|world| {
        let Some(mac) = world.mac("mac_sdu_get", link.addr()) else { return };
        let sdu = mac.sdu;
        // SAFETY: null, or places of the caller's.
        let places = unsafe { [min.as_mut(), max.as_mut()] };
        places.into_iter().zip(sdu).for_each(|(to, value)| {
            to.into_iter().for_each(|to| *to = value);
        });
    });
}
