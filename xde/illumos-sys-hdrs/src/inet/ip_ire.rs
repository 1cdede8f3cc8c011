// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `inet/ip_ire.h`: look-ups of routes.

use super::ip::{ip_stack_t, ire_t, ts_label_t};
use super::ip_ill::ill_t;
use crate::netinet::in_::in6_addr_t;
use crate::sys::types::{c_int, c_uint, zoneid_t};

/// Nothing but the destination has to match.
pub const MATCH_IRE_DSTONLY: c_int = 0;
/// The interface has to match, too.
pub const MATCH_IRE_ILL: c_int = 0x10;

unsafe extern "C" {
    /// The best IPv6 route to `address`, held, or null. `flags` say which other arguments have to
    /// match; those that need not are null or 0. With [`MATCH_IRE_ILL`] `interface` is not null.
    /// `hint` chooses among equals. A route found may be one that refuses: look at `ire_type` and
    /// `ire_flags`.
    ///
    /// Context: user, kernel, interrupt below lock level. Source: `inet/ip_ire.h`; no manual page.
    pub fn ire_ftable_lookup_v6(
        address: *const in6_addr_t,
        mask: *const in6_addr_t,
        gateway: *const in6_addr_t,
        kind: c_int,
        interface: *const ill_t,
        zone: zoneid_t,
        label: *const ts_label_t,
        flags: c_int,
        hint: u32,
        stack: *mut ip_stack_t,
        generation: *mut c_uint,
    ) -> *mut ire_t;

    /// The same by destination alone.
    ///
    /// Context: as for [`ire_ftable_lookup_v6`]. Source: `inet/ip_ire.h`; no manual page.
    pub fn ire_ftable_lookup_simple_v6(
        address: *const in6_addr_t,
        hint: u32,
        stack: *mut ip_stack_t,
        generation: *mut c_uint,
    ) -> *mut ire_t;

    /// Lets go of a route.
    ///
    /// Context: user, kernel, interrupt below lock level. Source: `inet/ip_ire.h`; no manual page.
    pub fn ire_refrele(route: *mut ire_t);
}
