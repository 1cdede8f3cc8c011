// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a message's sender left to do: mac_hcksum_get(9F), mac_lso_get(9F), and on kernels of the
//! Oxide tree facts about headers.
//!
//! The kernel keeps flags of checksums and of segmentation in one word of the data block; so
//! `mac_hcksum_set` takes a wish for segmentation back.

use crate::context::{May, begin};
use crate::world::{World, with};
use alloc::format;
use core::ptr::null_mut;
use illumos_sys_hdrs::oxide::mac_provider::mac_ether_offload_info_t;
use illumos_sys_hdrs::oxide::pattr::HCK_FLAGS;
use illumos_sys_hdrs::sys::pattr::{HCK_FULLCKSUM, HCK_PARTIALCKSUM, HW_LSO};
use illumos_sys_hdrs::sys::stream::mblk_t;

/// Offload facts of a message. Offsets count from the IP header.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// `HCK_` flags, and `HW_LSO`.
    pub flags: u32,
    /// First byte of the transport checksum.
    pub start: u32,
    /// Place of the sum.
    pub stuff: u32,
    /// Where it ends.
    pub end: u32,
    /// Payload of a segment, with `HW_LSO`.
    pub mss: u32,
    /// Headers, the outermost first, as somebody has told them.
    pub headers: [Option<mac_ether_offload_info_t>; 2],
}

exports! {
    mac_hcksum_get, mac_hcksum_set, mac_hcksum_clone, mac_lso_get, lso_info_set, lso_info_cleanup,
}

fn facts(world: &mut World, who: &'static str, message: *const mblk_t) -> Facts {
    begin(world, who, May::Anywhere);
    if let Some(facts) = world.messages.facts(message) {
        return *facts;
    }
    world.blame(format!("{who} of {:#x}, which is no message", message.addr()));
    Facts::default()
}

fn change(who: &'static str, message: *const mblk_t, change: impl FnOnce(&mut Facts)) {
    with(|world| {
        let mut new = facts(world, who, message);
        change(&mut new);
        // SAFETY: a message (asked above), whose data are there.
        let shared = unsafe { message.as_ref().is_some_and(|it| (*it.b_datap).db_ref != 1) };
        if shared {
            world.blame(format!("{who} of data that others look at, too"));
        }
        if let Some(place) = world.messages.facts(message) {
            *place = new;
        }
    });
}

fn tell(to: *mut u32, value: u32) {
    // SAFETY: null, or a place of the caller's, as the manual page says.
    if let Some(to) = unsafe { to.as_mut() } {
        *to = value;
    }
}

/// mac_hcksum_get(9F): offsets and value are told only if there is such a sum; any pointer may be
/// null.
extern "C" fn mac_hcksum_get(
    message: *const mblk_t,
    start: *mut u32,
    stuff: *mut u32,
    end: *mut u32,
    value: *mut u32,
    flags: *mut u32,
) {
    let facts = with(|world| facts(world, "mac_hcksum_get", message));
    if facts.flags & (HCK_PARTIALCKSUM | HCK_FULLCKSUM) != 0 {
        tell(value, 0);
    }
    if facts.flags & HCK_PARTIALCKSUM != 0 {
        tell(start, facts.start);
        tell(stuff, facts.stuff);
        tell(end, facts.end);
    }
    tell(flags, facts.flags & HCK_FLAGS);
}

/// mac_hcksum_set(9F): replaces all, the wish for segmentation included.
extern "C" fn mac_hcksum_set(
    message: *mut mblk_t,
    start: u32,
    stuff: u32,
    end: u32,
    _value: u32,
    flags: u32,
) {
    change("mac_hcksum_set", message, |it| {
        (it.start, it.stuff, it.end, it.flags) = (start, stuff, end, flags & 0xffff);
    });
}

/// `sys/mac_provider.h`: copies flags, offsets and the size of segments.
extern "C" fn mac_hcksum_clone(from: *const mblk_t, to: *mut mblk_t) {
    let from = with(|world| facts(world, "mac_hcksum_clone", from));
    change("mac_hcksum_clone", to, |it| *it = Facts { headers: it.headers, ..from });
}

/// mac_lso_get(9F): the size is told only if segmentation is asked for; flags may be null, and then
/// nothing is told.
extern "C" fn mac_lso_get(message: *mut mblk_t, mss: *mut u32, flags: *mut u32) {
    let facts = with(|world| facts(world, "mac_lso_get", message));
    if flags.is_null() {
        return;
    }
    tell(flags, facts.flags & HW_LSO);
    if facts.flags & HW_LSO != 0 {
        tell(mss, facts.mss);
    }
}

/// `sys/strsubr.h`.
extern "C" fn lso_info_set(message: *mut mblk_t, mss: u32, flags: u32) {
    change("lso_info_set", message, |it| {
        it.flags = it.flags & !HW_LSO | flags & HW_LSO;
        it.mss = if flags & HW_LSO != 0 { mss & 0xffff } else { 0 };
    });
}

/// `sys/strsubr.h`.
extern "C" fn lso_info_cleanup(message: *mut mblk_t) {
    change("lso_info_cleanup", message, |it| {
        it.flags &= !HW_LSO;
        it.mss = 0;
    });
}

/// `sys/mac_provider.h` of the Oxide tree: facts of the outermost packet, and of the one inside or
/// null.
pub(crate) extern "C" fn mac_ether_set_pktinfo(
    message: *mut mblk_t,
    outer: *const mac_ether_offload_info_t,
    inner: *const mac_ether_offload_info_t,
) {
    // SAFETY: null, or structures of the caller's.
    let headers = unsafe { [outer.as_ref().copied(), inner.as_ref().copied()] };
    change("mac_ether_set_pktinfo", message, |it| it.headers = headers);
}

/// What stands for no message.
pub const NONE: *mut mblk_t = null_mut();
