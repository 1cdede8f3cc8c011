// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Data links: names that administrators give to links, `sys/dls.h`, and openers, `sys/dld_impl.h`.
//!
//! Numbers of names are those of dlmgmtd(8), which a test stands for. When a data link is made, that
//! program is told and reads its properties: until it is done ([`settle`]), the data link can be
//! destroyed only by who is ready to wait.

use crate::context::{May, begin, enter};
use crate::mac::{NO_MEMORY, perimeter, pointer};
use crate::text;
use crate::world::{World, with};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{c_char, c_int};
use core::ptr::{null, null_mut};
use illumos_sys_hdrs::sys::dld_impl::dld_str_t;
use illumos_sys_hdrs::sys::dls::dls_dl_handle_t;
use illumos_sys_hdrs::sys::dls_impl::dls_link_t;
use illumos_sys_hdrs::sys::errno::{EBUSY, EEXIST, EINVAL, ENOENT};
use illumos_sys_hdrs::sys::mac::mac_handle_t;
use illumos_sys_hdrs::sys::mac_client::{mac_client_handle_t, mac_tx_cookie_t};
use illumos_sys_hdrs::sys::stream::mblk_t;
use illumos_sys_hdrs::sys::types::{B_FALSE, boolean_t, datalink_id_t, zoneid_t};
use illumos_sys_hdrs::sys::zone::GLOBAL_ZONEID;

struct Devnet {
    mac: usize,
    /// Holds, beside that of its maker.
    holds: u32,
    /// dlmgmtd still reads its properties.
    busy: bool,
}

/// What openers of a link share.
struct Link {
    mac: usize,
    holds: u32,
    client: usize,
}

pub(crate) struct Dls {
    names: BTreeMap<String, datalink_id_t>,
    devnets: BTreeMap<datalink_id_t, Devnet>,
    /// Handles of holds, and what they hold.
    held: BTreeMap<usize, datalink_id_t>,
    links: BTreeMap<usize, Link>,
    /// Openers, and what they have open: a link and a hold.
    openers: BTreeMap<usize, Option<(usize, usize)>>,
}

impl Dls {
    pub(crate) const fn new() -> Self {
        Self {
            names: BTreeMap::new(),
            devnets: BTreeMap::new(),
            held: BTreeMap::new(),
            links: BTreeMap::new(),
            openers: BTreeMap::new(),
        }
    }

    /// The link of a data link.
    pub(crate) fn mac_of(&self, link: datalink_id_t) -> Option<usize> {
        self.devnets.get(&link).map(|devnet| devnet.mac)
    }

    /// Holds of a data link.
    pub(crate) fn holds(&self, link: datalink_id_t) -> u32 {
        self.devnets.get(&link).map_or(0, |devnet| devnet.holds)
    }

    /// Changes the holds of a data link.
    pub(crate) fn hold(&mut self, link: datalink_id_t, change: i32) {
        if let Some(devnet) = self.devnets.get_mut(&link) {
            devnet.holds = devnet.holds.wrapping_add_signed(change);
        }
    }

    /// The number of a name.
    pub(crate) fn number(&self, name: &str) -> Option<datalink_id_t> {
        self.names.get(name).copied()
    }

    pub(crate) fn left_over(&self, found: &mut Vec<String>) {
        found.extend(self.held.values().map(|link| format!("hold of data link {link}")));
        found.extend(self.openers.keys().map(|opener| format!("opener {opener:#x}")));
        let links = self.links.values().filter(|link| link.holds != 1);
        found.extend(links.map(|link| format!("{} holds of an open link", link.holds)));
    }
}

impl World {
    /// A wire gets a name, a data link, and IP as its opener.
    pub(crate) fn plumb(&mut self, name: &str, mac: usize) {
        let number = self.number_of(name);
        self.dls.devnets.insert(number, Devnet { mac, holds: 0, busy: false });
        if let Some(it) = self.macs.all.get_mut(&mac) {
            // The data link, and IP.
            it.opens += 2;
        }
        let client = self.join(mac);
        let handle = self.macs.handle();
        self.dls.links.insert(handle, Link { mac, holds: 1, client });
    }

    fn number_of(&mut self, name: &str) -> datalink_id_t {
        let next = self.dls.names.len() as datalink_id_t + 1;
        *self.dls.names.entry(name.into()).or_insert(next)
    }
}

exports! {
    dls_devnet_create, dls_devnet_destroy, dls_devnet_hold, dls_devnet_rele, dls_devnet_mac,
    dls_mgmt_get_linkid, dls_link_hold, dls_link_rele, dls_open, dls_close,
    str_mdata_fastpath_put,
}

/// `sys/dls.h`: asks dlmgmtd; no lock held, not in a perimeter. Error number.
extern "C" fn dls_mgmt_get_linkid(name: *const c_char, link: *mut datalink_id_t) -> c_int {
    let fails = enter("dls_mgmt_get_linkid", May::SleepUnlocked);
    // SAFETY: a text that ends with NUL.
    let name = unsafe { text::of(name) };
    with(|world| {
        world.want_outside("dls_mgmt_get_linkid");
        if fails {
            return EINVAL;
        }
        let Some(number) = world.dls.number(&name) else { return ENOENT };
        // SAFETY: a place of the caller's.
        unsafe { *link = number };
        0
    })
}

/// `sys/dls.h`: enters the perimeter itself. `EEXIST` for a number or a link that has one.
extern "C" fn dls_devnet_create(mac: mac_handle_t, link: datalink_id_t, zone: zoneid_t) -> c_int {
    let fails = enter("dls_devnet_create", May::SleepUnlocked);
    let handle = mac.addr();
    perimeter::go_in(handle);
    let error = with(|world| {
        let dls = &mut world.dls;
        if zone != GLOBAL_ZONEID || !dls.names.values().any(|number| *number == link) {
            return EINVAL;
        }
        if dls.devnets.iter().any(|(number, it)| *number == link || it.mac == handle) {
            return EEXIST;
        }
        if fails {
            return NO_MEMORY;
        }
        dls.devnets.insert(link, Devnet { mac: handle, holds: 0, busy: true });
        if let Some(mac) = world.mac("dls_devnet_create", handle) {
            mac.opens += 1;
        }
        0
    });
    perimeter::go_out(handle);
    error
}

/// `sys/dls.h`: tells the number; `EBUSY` while it is held, or, unless it may wait, while dlmgmtd is
/// at it. Waiting is for who is outside of the perimeter.
extern "C" fn dls_devnet_destroy(
    mac: mac_handle_t,
    link: *mut datalink_id_t,
    wait: boolean_t,
) -> c_int {
    let fails = enter("dls_devnet_destroy", May::SleepUnlocked);
    with(|world| {
        world.want_outside("dls_devnet_destroy");
        let is = |(_, devnet): &(&datalink_id_t, &Devnet)| devnet.mac == mac.addr();
        // SAFETY: a place of the caller's.
        unsafe { *link = 0 };
        let Some((number, devnet)) = world.dls.devnets.iter().find(is) else { return ENOENT };
        if fails || devnet.holds > 0 || (devnet.busy && wait == B_FALSE) {
            return EBUSY;
        }
        let number = *number;
        // SAFETY: as above.
        unsafe { *link = number };
        world.dls.devnets.remove(&number);
        if let Some(mac) = world.mac("dls_devnet_destroy", mac.addr()) {
            mac.opens -= 1;
        }
        0
    })
}

/// `sys/dls.h`: in the perimeter; error number.
extern "C" fn dls_devnet_hold(link: datalink_id_t, held: *mut dls_dl_handle_t) -> c_int {
    let fails = enter("dls_devnet_hold", May::SleepUnlocked);
    with(|world| {
        let Some(mac) = world.dls.mac_of(link).filter(|_| !fails) else { return ENOENT };
        world.want_inside("dls_devnet_hold", mac);
        world.dls.hold(link, 1);
        let handle = world.macs.handle();
        world.dls.held.insert(handle, link);
        // SAFETY: a place of the caller's.
        unsafe { *held = pointer(handle) };
        0
    })
}

fn release(world: &mut World, who: &str, held: usize) {
    let Some(link) = world.dls.held.remove(&held) else {
        return world.blame(format!("{who} of {held:#x}, which holds nothing"));
    };
    if let Some(mac) = world.dls.mac_of(link) {
        world.want_inside(who, mac);
    }
    world.dls.hold(link, -1);
}

/// `sys/dls.h`: in the perimeter.
extern "C" fn dls_devnet_rele(held: dls_dl_handle_t) {
    enter("dls_devnet_rele", May::SleepUnlocked);
    with(|world| release(world, "dls_devnet_rele", held.addr()));
}

/// `sys/dls.h`: valid while held.
extern "C" fn dls_devnet_mac(held: dls_dl_handle_t) -> *const c_char {
    enter("dls_devnet_mac", May::SleepUnlocked);
    with(|world| {
        let link = world.dls.held.get(&held.addr()).copied();
        let mac = link.and_then(|link| world.dls.mac_of(link)).unwrap_or_default();
        world.mac("dls_devnet_mac", mac).map_or(null(), |mac| mac.name.as_ptr())
    })
}

/// `sys/dls_impl.h`: in the perimeter; error number.
extern "C" fn dls_link_hold(name: *const c_char, link: *mut *mut dls_link_t) -> c_int {
    let fails = enter("dls_link_hold", May::SleepUnlocked);
    // SAFETY: a text that ends with NUL.
    let name = unsafe { text::of(name) };
    with(|world| {
        let is = |it: &Link| {
            world.macs.all.get(&it.mac).is_some_and(|mac| mac.name.as_bytes() == name.as_bytes())
        };
        let found = world.dls.links.iter().find(|(_, it)| is(it)).map(|(at, it)| (*at, it.mac));
        let Some((handle, mac)) = found.filter(|_| !fails) else { return ENOENT };
        world.want_inside("dls_link_hold", mac);
        if let Some(it) = world.dls.links.get_mut(&handle) {
            it.holds += 1;
        }
        // SAFETY: a place of the caller's.
        unsafe { *link = pointer(handle) };
        0
    })
}

fn release_link(world: &mut World, who: &str, link: usize) {
    let Some(it) = world.dls.links.get_mut(&link).filter(|it| it.holds > 1) else {
        return world.blame(format!("{who} of {link:#x}, which nobody holds"));
    };
    it.holds -= 1;
    let mac = it.mac;
    world.want_inside(who, mac);
}

/// `sys/dls_impl.h`: in the perimeter.
extern "C" fn dls_link_rele(link: *mut dls_link_t) {
    enter("dls_link_rele", May::SleepUnlocked);
    with(|world| release_link(world, "dls_link_rele", link.addr()));
}

/// `sys/dls.h`: in the perimeter; error number. On success both holds are the opener's.
extern "C" fn dls_open(
    link: *mut dls_link_t,
    held: dls_dl_handle_t,
    opener: *mut dld_str_t,
) -> c_int {
    let fails = enter("dls_open", May::SleepUnlocked);
    with(|world| {
        let mac = world.dls.links.get(&link.addr()).map(|link| link.mac).unwrap_or_default();
        world.want_inside("dls_open", mac);
        let fresh = world.dls.openers.get(&opener.addr()) == Some(&None);
        if !fresh || !world.dls.held.contains_key(&held.addr()) {
            world.blame("dls_open of an opener that is not fresh, or without a hold".into());
            return EINVAL;
        }
        if fails {
            return EBUSY;
        }
        world.dls.openers.insert(opener.addr(), Some((link.addr(), held.addr())));
        0
    })
}

/// `sys/dls.h`: in the perimeter; lets go of both holds.
extern "C" fn dls_close(opener: *mut dld_str_t) {
    enter("dls_close", May::SleepUnlocked);
    with(|world| {
        let open = world.dls.openers.get_mut(&opener.addr()).and_then(Option::take);
        let Some((link, held)) = open else {
            return world.blame("dls_close of an opener that is not open".into());
        };
        release_link(world, "dls_close", link);
        release(world, "dls_close", held);
    });
}

/// `sys/dld_impl.h` of the Oxide tree: null when that failed.
pub(crate) extern "C" fn dld_str_create_detached() -> *mut dld_str_t {
    if enter("dld_str_create_detached", May::SleepUnlocked) {
        return null_mut();
    }
    with(|world| {
        let handle = world.macs.handle();
        world.dls.openers.insert(handle, None);
        pointer(handle)
    })
}

/// `sys/dld_impl.h` of the Oxide tree: closed before.
pub(crate) extern "C" fn dld_str_destroy_detached(opener: *mut dld_str_t) {
    with(|world| {
        begin(world, "dld_str_destroy_detached", May::SleepUnlocked);
        if world.dls.openers.remove(&opener.addr()) != Some(None) {
            world.blame("dld_str_destroy_detached of none, or of one that is open".into());
        }
    });
}

fn client_of(world: &mut World, who: &str, opener: usize) -> usize {
    let open = world.dls.openers.get(&opener).copied().flatten();
    let link = open.and_then(|(link, _)| world.dls.links.get(&link));
    match link.map(|link| link.client) {
        Some(client) => client,
        None => {
            world.blame(format!("{who} of an opener that is not open"));
            0
        }
    }
}

/// `sys/dld_impl.h` of the Oxide tree: the client that openers share.
pub(crate) extern "C" fn dld_str_mac_client_handle(opener: *mut dld_str_t) -> mac_client_handle_t {
    with(|world| {
        begin(world, "dld_str_mac_client_handle", May::Anywhere);
        pointer(client_of(world, "dld_str_mac_client_handle", opener.addr()))
    })
}

/// `sys/dld_impl.h`: `mac_tx` of the opener's client.
extern "C" fn str_mdata_fastpath_put(
    opener: *mut dld_str_t,
    chain: *mut mblk_t,
    hint: usize,
    flags: u16,
) -> mac_tx_cookie_t {
    enter("str_mdata_fastpath_put", May::Unlocked);
    with(|world| {
        let client = client_of(world, "str_mdata_fastpath_put", opener.addr());
        world.transmit("str_mdata_fastpath_put", client, chain, hint, flags);
    });
    0
}

/// Gives a name a number, as dladm(8) does for who asks for a port.
pub fn name(name: &str) -> datalink_id_t {
    with(|world| world.number_of(name))
}

/// dlmgmtd has read the properties of all data links.
pub fn settle() {
    with(|world| world.dls.devnets.values_mut().for_each(|devnet| devnet.busy = false));
}

/// Whether there is a data link of this name.
pub fn exists(name: &str) -> bool {
    with(|world| {
        let number = world.dls.number(name);
        number.is_some_and(|number| world.dls.devnets.contains_key(&number))
    })
}
