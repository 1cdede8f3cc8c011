// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/netstack.h`: instances of the IP stack.

use super::types::{c_void, zoneid_t};
use crate::inet::ip::ip_stack_t;

/// State of the modules of one stack, in the order of their numbers. Only the first are declared.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct netstack_modules {
    pub(crate) nu_dls: *mut c_void,
    pub(crate) nu_iptun: *mut c_void,
    pub(crate) nu_str: *mut c_void,
    pub(crate) nu_hook: *mut c_void,
    pub(crate) nu_neti: *mut c_void,
    pub(crate) nu_arp: *mut c_void,
    /// IP: what look-ups of routes want.
    pub nu_ip: *mut ip_stack_t,
    pub(crate) nu_icmp: *mut c_void,
    pub(crate) nu_udp: *mut c_void,
    pub(crate) nu_tcp: *mut c_void,
    pub(crate) nu_sctp: *mut c_void,
    pub(crate) nu_rts: *mut c_void,
    pub(crate) nu_ipsec: *mut c_void,
    pub(crate) nu_keysock: *mut c_void,
    pub(crate) nu_spdsock: *mut c_void,
    pub(crate) nu_ipsecah: *mut c_void,
    pub(crate) nu_ipsecesp: *mut c_void,
    pub(crate) _rest: [*mut c_void; 2],
}

/// State of the modules by number or by name.
#[repr(C)]
#[derive(Clone, Copy)]
pub union netstack_u {
    pub(crate) nu_modules: [*mut c_void; 19],
    /// By name.
    pub nu_s: netstack_modules,
}

/// An instance of the IP stack. Only the first field is declared; the kernel makes all there are.
#[repr(C)]
pub struct netstack_t {
    /// State of its modules.
    pub netstack_u: netstack_u,
    pub(crate) _rest: [u64; 15],
}

unsafe extern "C" {
    /// The stack of a zone, held; null when the zone is not, or comes up or goes down.
    ///
    /// Context: user, kernel. Source: `sys/netstack.h`; no manual page.
    pub fn netstack_find_by_zoneid(zone: zoneid_t) -> *mut netstack_t;

    /// Lets go of a stack.
    ///
    /// Context: user, kernel. Source: `sys/netstack.h`; no manual page.
    pub fn netstack_rele(stack: *mut netstack_t);
}
