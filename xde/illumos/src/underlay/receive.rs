// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What comes in from the underlay: Geneve is ours, the rest goes on as it came.

use crate::look::{Is, OUTER_LOOK, is_geneve, is_geneve_behind};
use crate::message::{Chain, Message};
use crate::state::State;
use core::ffi::c_void;
use core::ptr::null_mut;
use illumos_sys_hdrs::sys::mac::mac_resource_handle_t;
use illumos_sys_hdrs::sys::stream::mblk_t;
use illumos_sys_hdrs::sys::types::{boolean_t, c_uint, size_t};
use opte::frame::HEAD_LEN;

fn is_ours(message: &Message) -> bool {
    let first = message.first();
    let is = if first.len() >= OUTER_LOOK {
        is_geneve(first)
    } else {
        let mut front = [0; OUTER_LOOK];
        let len = message.copy_out(0, &mut front);
        is_geneve(front.get(..len).unwrap_or_default())
    };
    match is {
        Is::Ours => true,
        Is::Else => false,
        Is::Unclear => is_ours_behind(message),
    }
}

/// The same of a packet with extension headers, of which more is copied.
#[cold]
#[inline(never)]
fn is_ours_behind(message: &Message) -> bool {
    let mut head = [0; HEAD_LEN];
    let len = message.copy_out(0, &mut head);
    is_geneve_behind(head.get(..len).unwrap_or_default())
}

/// What a siphon gives back.
struct Rest {
    chain: Chain,
    count: c_uint,
    bytes: size_t,
}

/// Sorts a chain. Order is kept on both sides.
fn sort(mut all: Chain) -> (Chain, Rest) {
    let mut ours = Chain::default();
    let mut rest = Rest { chain: Chain::default(), count: 0, bytes: 0 };
    while let Some(message) = all.pop() {
        if is_ours(&message) {
            ours.push(message);
        } else {
            rest.count += 1;
            rest.bytes += message.len();
            rest.chain.push(message);
        }
    }
    (ours, rest)
}

/// Takes what is ours out of what comes in for a client of a link, see `mac_siphon_t`.
///
/// # Safety
///
/// Called by the MAC layer: the argument is the state that the siphon was set with, the chain is
/// the callee's, and each pointer is null or may be written.
pub unsafe extern "C" fn siphon(
    state: *mut c_void,
    chain: *mut mblk_t,
    last: *mut *mut mblk_t,
    count: *mut c_uint,
    bytes: *mut size_t,
) -> *mut mblk_t {
    // SAFETY: `Siphon` holds the state until no siphon runs any more; the chain is ours.
    let (state, chain) = unsafe { (state.cast::<State>().as_ref(), Chain::from_raw(chain)) };
    let Some(state) = state else { return null_mut() };
    let (ours, rest) = sort(chain);
    state.from_underlay(ours);
    // SAFETY: each is null or may be written.
    unsafe {
        if let Some(last) = last.as_mut() {
            *last = rest.chain.last();
        }
        if let Some(count) = count.as_mut() {
            *count = rest.count;
        }
        if let Some(bytes) = bytes.as_mut() {
            *bytes = rest.bytes;
        }
    }
    rest.chain.into_raw()
}

/// Takes what is ours out of copies of what comes in, see `mac_rx_t`; frees the rest, of which IP
/// has the originals.
///
/// # Safety
///
/// Called by the MAC layer: the argument is the state that the callback was added with, the chain
/// is the callee's.
pub unsafe extern "C" fn copies(
    state: *mut c_void,
    _from: mac_resource_handle_t,
    chain: *mut mblk_t,
    _own: boolean_t,
) {
    // SAFETY: `Ear` holds the state until no callback runs any more; the chain is ours.
    let (state, chain) = unsafe { (state.cast::<State>().as_ref(), Chain::from_raw(chain)) };
    if let Some(state) = state {
        state.from_underlay(sort(chain).0);
    }
}
