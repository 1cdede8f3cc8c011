// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Perimeters of links, `sys/mac_client_priv.h`: one thread at a time, which may enter again.

use super::pointer;
use crate::context::{May, begin, enter};
use crate::machine::machine;
use crate::world::{World, wait_until, wake, with};
use alloc::format;
use core::ffi::c_int;
use illumos_sys_hdrs::sys::errno::ENOENT;
use illumos_sys_hdrs::sys::mac_client::mac_perim_handle_t;
use illumos_sys_hdrs::sys::types::datalink_id_t;

exports! { mac_perim_enter_by_linkid, mac_perim_exit }

/// Enters the perimeter of a link; waits for it.
pub(crate) fn go_in(mac: usize) {
    let me = machine().thread();
    wait_until(|world| {
        let Some(it) = world.macs.all.get_mut(&mac) else { return Some(()) };
        match &mut it.perimeter {
            Some((owner, depth)) if *owner == me => *depth += 1,
            Some(_) => return None,
            free => *free = Some((me, 1)),
        }
        world.thread().perimeters.push(mac);
        Some(())
    });
}

/// Leaves it.
pub(crate) fn go_out(mac: usize) {
    let me = machine().thread();
    with(|world| {
        let Some(it) = world.mac("mac_perim_exit", mac) else { return };
        match &mut it.perimeter {
            Some((owner, 1)) if *owner == me => it.perimeter = None,
            Some((owner, depth)) if *owner == me => *depth -= 1,
            _ => world.blame("mac_perim_exit by a thread that is not inside".into()),
        }
        let inside = &mut world.thread().perimeters;
        if let Some(at) = inside.iter().rposition(|it| *it == mac) {
            inside.remove(at);
        }
        wake();
    });
}

impl World {
    /// Blames a call that belongs into the perimeter of a link and is outside.
    pub(crate) fn want_inside(&mut self, who: &str, mac: usize) {
        if !self.thread().perimeters.contains(&mac) {
            self.blame(format!("{who} outside of the perimeter"));
        }
    }

    /// Blames a call that must not be made in any perimeter.
    pub(crate) fn want_outside(&mut self, who: &str) {
        if !self.thread().perimeters.is_empty() {
            self.blame(format!("{who} inside of a perimeter"));
        }
    }
}

/// `sys/mac_client_priv.h`: user or kernel context, no lock held; an error number for a number that
/// no link has. Cannot fail for a link that somebody holds.
extern "C" fn mac_perim_enter_by_linkid(
    link: datalink_id_t,
    entered: *mut mac_perim_handle_t,
) -> c_int {
    let held = with(|world| world.dls.holds(link) > 0);
    let name = if held { "mac_perim_enter_by_linkid(held)" } else { "mac_perim_enter_by_linkid" };
    let fails = enter(name, May::SleepUnlocked);
    let Some(mac) = with(|world| world.dls.mac_of(link)).filter(|_| !fails) else { return ENOENT };
    go_in(mac);
    // SAFETY: a place of the caller's.
    unsafe { *entered = pointer(mac) };
    0
}

/// `sys/mac_client_priv.h`: by the thread that entered.
extern "C" fn mac_perim_exit(entered: mac_perim_handle_t) {
    with(|world| begin(world, "mac_perim_exit", May::SleepUnlocked));
    go_out(entered.addr());
}
