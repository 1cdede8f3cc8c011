// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! IP of the global zone, `inet/ip_ire.h`, `inet/ip_ndp.h`: routes and neighbours that a test sets.
//!
//! Every look-up answers a structure of its own, which is gone when it is let go of: so whoever
//! still reads it is found.

use crate::context::{May, enter};
use crate::world::{World, with};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{c_int, c_uint};
use core::net::Ipv6Addr;
use core::ptr::{null_mut, with_exposed_provenance_mut, without_provenance_mut};
use illumos_sys_hdrs::inet::ip::{IRE_IF_RESOLVER, ip_stack_t, ire_t, ts_label_t};
use illumos_sys_hdrs::inet::ip_ill::ill_t;
use illumos_sys_hdrs::inet::ip_ire::MATCH_IRE_DSTONLY;
use illumos_sys_hdrs::inet::ip_ndp::{nce_t, ncec_t};
use illumos_sys_hdrs::netinet::in_::in6_addr_t;
use illumos_sys_hdrs::sys::netstack::netstack_t;
use illumos_sys_hdrs::sys::types::zoneid_t;
use illumos_sys_hdrs::sys::zone::GLOBAL_ZONEID;

/// State of IP; no address of anything.
const STACK: usize = 0x4950_0000_0000_0010;

/// A route.
#[derive(Clone, Debug)]
pub struct Route {
    /// To addresses that begin with so many bits of this one.
    pub prefix: (Ipv6Addr, u8),
    /// By way of somebody, or to the link itself.
    pub gateway: Option<Ipv6Addr>,
    /// By this interface; without, the gateway's own route tells.
    pub interface: Option<&'static str>,
    /// `IRE_` kind.
    pub kind: u16,
    /// `RTF_` flags.
    pub flags: u32,
}

impl Route {
    /// A route to the link of an interface.
    pub fn on_link(prefix: Ipv6Addr, len: u8, interface: &'static str) -> Self {
        let kind = IRE_IF_RESOLVER;
        Self { prefix: (prefix, len), gateway: None, interface: Some(interface), kind, flags: 0 }
    }

    fn covers(&self, address: Ipv6Addr) -> bool {
        let (prefix, len) = self.prefix;
        let differs = prefix.to_bits() ^ address.to_bits();
        len == 0 || differs >> (128 - u32::from(len)) == 0
    }
}

/// A neighbour.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour {
    /// At which interface.
    pub interface: &'static str,
    /// Its address.
    pub address: Ipv6Addr,
    /// Its link address, if it is known.
    pub mac: Option<[u8; 6]>,
    /// `ND_` state.
    pub state: u16,
}

pub(crate) struct Ip {
    stack: Option<usize>,
    holds: u32,
    absent: bool,
    interfaces: BTreeMap<&'static str, usize>,
    routes: Vec<Route>,
    neighbours: Vec<Neighbour>,
    /// Routes and neighbours that are held.
    held: BTreeMap<usize, &'static str>,
}

impl Ip {
    pub(crate) const fn new() -> Self {
        Self {
            stack: None,
            holds: 0,
            absent: false,
            interfaces: BTreeMap::new(),
            routes: Vec::new(),
            neighbours: Vec::new(),
            held: BTreeMap::new(),
        }
    }

    pub(crate) fn left_over(&self, found: &mut Vec<String>) {
        found.extend((self.holds > 0).then(|| format!("{} holds of the IP stack", self.holds)));
        found.extend(self.held.iter().map(|(at, what)| format!("{what} {at:#x}")));
    }
}

exports! {
    netstack_find_by_zoneid, netstack_rele, ire_ftable_lookup_v6, ire_refrele, nce_lookup_v6,
    nce_refrele,
}

/// `sys/netstack.h`: null for a zone that comes up.
extern "C" fn netstack_find_by_zoneid(zone: zoneid_t) -> *mut netstack_t {
    let fails = enter("netstack_find_by_zoneid", May::SleepUnlocked);
    with(|world| {
        if zone != GLOBAL_ZONEID || world.ip.absent || fails {
            return null_mut();
        }
        world.ip.holds += 1;
        let at = match world.ip.stack {
            Some(at) => at,
            None => {
                let stack = world.make::<netstack_t>();
                // SAFETY: a fresh structure.
                unsafe { (*stack).netstack_u.nu_s.nu_ip = without_provenance_mut(STACK) };
                *world.ip.stack.insert(stack.expose_provenance())
            }
        };
        with_exposed_provenance_mut(at)
    })
}

/// `sys/netstack.h`.
extern "C" fn netstack_rele(stack: *mut netstack_t) {
    enter("netstack_rele", May::SleepUnlocked);
    with(|world| {
        if world.ip.stack != Some(stack.addr()) || world.ip.holds == 0 {
            return world.blame("netstack_rele of what is not held".into());
        }
        world.ip.holds -= 1;
    });
}

fn address_of(address: *const in6_addr_t) -> Ipv6Addr {
    // SAFETY: the caller's argument, 16 bytes, whichever way they are seen.
    Ipv6Addr::from(unsafe { (*address)._S6_u8 })
}

/// `inet/ip_ire.h`: below lock level, no lock held; the longest prefix, by `hint` among equals;
/// held.
extern "C" fn ire_ftable_lookup_v6(
    address: *const in6_addr_t,
    mask: *const in6_addr_t,
    gateway: *const in6_addr_t,
    kind: c_int,
    interface: *const ill_t,
    zone: zoneid_t,
    _label: *const ts_label_t,
    flags: c_int,
    hint: u32,
    stack: *mut ip_stack_t,
    _generation: *mut c_uint,
) -> *mut ire_t {
    let fails = enter("ire_ftable_lookup_v6", May::Unlocked);
    let address = address_of(address);
    with(|world| {
        let others = !mask.is_null() || !gateway.is_null() || !interface.is_null() || kind != 0;
        if stack.addr() != STACK || flags != MATCH_IRE_DSTONLY || others || zone != GLOBAL_ZONEID {
            world.blame("ire_ftable_lookup_v6 for more than a destination".into());
            return null_mut();
        }
        if world.ip.holds == 0 {
            world.blame("ire_ftable_lookup_v6 in a stack that is not held".into());
        }
        let covering = || world.ip.routes.iter().filter(|route| route.covers(address));
        let Some(longest) = covering().map(|route| route.prefix.1).max().filter(|_| !fails) else {
            return null_mut();
        };
        let equals: Vec<Route> =
            covering().filter(|route| route.prefix.1 == longest).cloned().collect();
        let route = &equals[hint as usize % equals.len()];
        world.hold_route(route)
    })
}

impl World {
    fn hold_route(&mut self, route: &Route) -> *mut ire_t {
        let it = self.make::<ire_t>();
        let interface = route.interface.and_then(|name| self.ip.interfaces.get(name));
        let gateway = route.gateway.unwrap_or(Ipv6Addr::UNSPECIFIED);
        // SAFETY: a fresh structure.
        unsafe {
            (*it).ire_ill = interface.map_or(null_mut(), |at| with_exposed_provenance_mut(*at));
            (*it).ire_ipversion = 6;
            (*it).ire_type = route.kind;
            (*it).ire_flags = route.flags;
            (*it).ire_u.ire6_u.ire6_addr = in6_addr_t { _S6_u8: route.prefix.0.octets() };
            (*it).ire_u.ire6_u.ire6_gateway_addr = in6_addr_t { _S6_u8: gateway.octets() };
        }
        self.ip.held.insert(it.expose_provenance(), "route");
        it
    }

    fn let_go<T>(&mut self, who: &str, it: *mut T, what: &'static str) -> bool {
        if self.ip.held.get(&it.addr()) != Some(&what) {
            self.blame(format!("{who} of {:#x}, which is not held", it.addr()));
            return false;
        }
        self.ip.held.remove(&it.addr());
        true
    }
}

/// `inet/ip_ire.h`.
extern "C" fn ire_refrele(route: *mut ire_t) {
    enter("ire_refrele", May::Unlocked);
    with(|world| {
        if world.let_go("ire_refrele", route, "route") {
            world.unmake("ire_refrele", route);
        }
    });
}

/// `inet/ip_ndp.h`: held; null for nobody. Sends nothing.
extern "C" fn nce_lookup_v6(interface: *mut ill_t, address: *const in6_addr_t) -> *mut nce_t {
    let fails = enter("nce_lookup_v6", May::Unlocked);
    let address = address_of(address);
    with(|world| {
        let at = interface.addr();
        let name = world.ip.interfaces.iter().find(|(_, it)| **it == at).map(|(name, _)| *name);
        if name.is_none() {
            world.blame("nce_lookup_v6 at no interface".into());
        }
        let is = |it: &&Neighbour| Some(it.interface) == name && it.address == address;
        let Some(found) = world.ip.neighbours.iter().find(is).copied().filter(|_| !fails) else {
            return null_mut();
        };
        let (it, common) = (world.make::<nce_t>(), world.make::<ncec_t>());
        let place = found.mac.map(|mac| {
            let place = world.make::<[u8; 6]>();
            // SAFETY: fresh memory of 6 bytes.
            unsafe { place.write(mac) };
            place
        });
        // SAFETY: fresh structures.
        unsafe {
            (*it).nce_common = common;
            (*common).ncec_state = found.state;
            (*common).ncec_lladdr = place.map_or(null_mut(), |place| place.cast());
            (*common).ncec_lladdr_length = 6;
        }
        world.ip.held.insert(it.expose_provenance(), "neighbour");
        it
    })
}

/// `inet/ip_ndp.h`.
extern "C" fn nce_refrele(neighbour: *mut nce_t) {
    enter("nce_refrele", May::Unlocked);
    with(|world| {
        if !world.let_go("nce_refrele", neighbour, "neighbour") {
            return;
        }
        // SAFETY: held until now.
        let (common, place) =
            unsafe { ((*neighbour).nce_common, (*(*neighbour).nce_common).ncec_lladdr) };
        if !place.is_null() {
            world.unmake("nce_refrele", place.cast::<[u8; 6]>());
        }
        world.unmake("nce_refrele", common);
        world.unmake("nce_refrele", neighbour);
    });
}

/// An interface with this link address; `None` for one that is not known yet.
pub fn interface(name: &'static str, mac: Option<[u8; 6]>) {
    with(|world| {
        let it = world.make::<ill_t>();
        let place = mac.map(|mac| {
            let place = world.make::<[u8; 6]>();
            // SAFETY: fresh memory of 6 bytes.
            unsafe { place.write(mac) };
            place
        });
        // SAFETY: a fresh structure.
        unsafe {
            (*it).ill_phys_addr = place.map_or(null_mut(), |place| place.cast());
            (*it).ill_phys_addr_length = 6;
        }
        world.ip.interfaces.insert(name, it.expose_provenance());
    });
}

/// Adds a route.
pub fn add_route(route: Route) {
    with(|world| world.ip.routes.push(route));
}

/// Adds a neighbour, or changes what is known of it.
pub fn set_neighbour(neighbour: Neighbour) {
    with(|world| {
        let same =
            |it: &Neighbour| it.interface == neighbour.interface && it.address == neighbour.address;
        world.ip.neighbours.retain(|it| !same(it));
        world.ip.neighbours.push(neighbour);
    });
}

/// There are no routes and neighbours.
pub fn forget() {
    with(|world| {
        world.ip.routes.clear();
        world.ip.neighbours.clear();
    });
}

/// The stack of the global zone comes up, and cannot be found, or can.
pub fn come_up(absent: bool) {
    with(|world| world.ip.absent = absent);
}
