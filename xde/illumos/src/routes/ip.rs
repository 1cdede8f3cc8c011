// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Routes and neighbours as the IP module of the global zone has them.

use super::Hop;
use crate::counters::Counter;
use crate::underlay::Link;
use alloc::sync::Arc;
use core::net::Ipv6Addr;
use core::ptr::{NonNull, null, null_mut};
use illumos_sys_hdrs::inet::ip::{IRE_MULTICAST, IRE_NOROUTE, ip_stack_t, ire_t};
use illumos_sys_hdrs::inet::ip_ill::ill_t;
use illumos_sys_hdrs::inet::ip_ire::{MATCH_IRE_DSTONLY, ire_ftable_lookup_v6, ire_refrele};
use illumos_sys_hdrs::inet::ip_ndp::{nce_lookup_v6, nce_refrele, nce_t};
use illumos_sys_hdrs::net::if_::{ND_DELAY, ND_PROBE, ND_REACHABLE, ND_STALE};
use illumos_sys_hdrs::net::route::{RTF_BLACKHOLE, RTF_REJECT};
use illumos_sys_hdrs::netinet::in_::in6_addr_t;
use illumos_sys_hdrs::sys::mutex::{mutex_enter, mutex_exit};
use illumos_sys_hdrs::sys::netstack::{netstack_find_by_zoneid, netstack_rele, netstack_t};
use illumos_sys_hdrs::sys::zone::GLOBAL_ZONEID;

const MAC_LEN: usize = 6;

/// The IP stack of the global zone, held.
pub struct Stack(NonNull<netstack_t>);

// SAFETY: the stack is the kernel's, held by us, and what it answers is guarded by the kernel.
unsafe impl Send for Stack {}
// SAFETY: as above.
unsafe impl Sync for Stack {}

impl Stack {
    /// Holds it. In user or kernel context; `None` while it comes up.
    pub fn hold() -> Option<Self> {
        // SAFETY: the context is the caller's promise.
        NonNull::new(unsafe { netstack_find_by_zoneid(GLOBAL_ZONEID) }).map(Self)
    }

    fn ip(&self) -> *mut ip_stack_t {
        // SAFETY: held; the kernel sets the pointer before anybody can find the stack.
        unsafe { self.0.as_ref().netstack_u.nu_s.nu_ip }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: held once, let go of once. Dropped by whoever clears the underlay, in user
        // context.
        unsafe { netstack_rele(self.0.as_ptr()) };
    }
}

/// A route, held.
struct Route(NonNull<ire_t>);

impl Route {
    fn find(stack: &Stack, address: &in6_addr_t, hint: u32) -> Option<Self> {
        // SAFETY: the stack is held; nothing but the destination has to match, so the rest is null
        // or 0. Below lock level, no lock held.
        let found = unsafe {
            let (zone, flags) = (GLOBAL_ZONEID, MATCH_IRE_DSTONLY);
            let (any, nobody) = (null(), null_mut());
            ire_ftable_lookup_v6(
                address,
                any,
                any,
                0,
                null(),
                zone,
                null(),
                flags,
                hint,
                stack.ip(),
                nobody,
            )
        };
        NonNull::new(found).map(Self)
    }

    fn get(&self) -> &ire_t {
        // SAFETY: held. Fields that we read do not change while a route is in use.
        unsafe { self.0.as_ref() }
    }

    fn is_usable(&self) -> bool {
        let route = self.get();
        route.ire_flags & (RTF_REJECT | RTF_BLACKHOLE) == 0
            && route.ire_type & (IRE_NOROUTE | IRE_MULTICAST) == 0
    }

    /// `None` for a route to the link itself.
    fn gateway(&self) -> Option<in6_addr_t> {
        // SAFETY: a route that was looked up by an IPv6 address has IPv6 addresses, which are plain
        // bytes.
        let gateway = unsafe { self.get().ire_u.ire6_u.ire6_gateway_addr };
        // SAFETY: as above.
        let bytes = unsafe { gateway._S6_u8 };
        (bytes != [0; 16]).then_some(gateway)
    }

    fn interface(&self) -> Option<NonNull<ill_t>> {
        NonNull::new(self.get().ire_ill)
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        // SAFETY: held once, let go of once.
        unsafe { ire_refrele(self.0.as_ptr()) };
    }
}

/// A neighbour, held.
struct Neighbour(NonNull<nce_t>);

impl Neighbour {
    /// # Safety
    ///
    /// The interface is held, by a route of it.
    unsafe fn find(interface: NonNull<ill_t>, address: &in6_addr_t) -> Option<Self> {
        // SAFETY: the caller's promise; below lock level, no lock held.
        NonNull::new(unsafe { nce_lookup_v6(interface.as_ptr(), address) }).map(Self)
    }

    fn mac(&self) -> Option<[u8; MAC_LEN]> {
        // SAFETY: held, and `nce_common` is never null. The link address is read under the lock
        // that guards it, in the state and of the length that the entry says.
        unsafe {
            let entry = self.0.as_ref().nce_common;
            let lock = (&raw const (*entry).ncec_lock).cast_mut();
            mutex_enter(lock);
            let known = [ND_REACHABLE, ND_STALE, ND_DELAY, ND_PROBE].contains(&(*entry).ncec_state);
            let long_enough = (*entry).ncec_lladdr_length as usize == MAC_LEN;
            let address = (*entry).ncec_lladdr;
            let mac = (known && long_enough && !address.is_null())
                .then(|| address.cast::<[u8; MAC_LEN]>().read());
            mutex_exit(lock);
            mac
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // SAFETY: held once, let go of once.
        unsafe { nce_refrele(self.0.as_ptr()) };
    }
}

/// # Safety
///
/// The interface is held, by a route of it.
unsafe fn link_address(interface: NonNull<ill_t>) -> Option<[u8; MAC_LEN]> {
    // SAFETY: held, so the address, once there, stays as long as the length says.
    unsafe {
        let interface = interface.as_ref();
        let known = !interface.ill_phys_addr.is_null()
            && interface.ill_phys_addr_length as usize == MAC_LEN;
        known.then(|| interface.ill_phys_addr.cast::<[u8; MAC_LEN]>().read())
    }
}

/// Asks IP for the next hop to `dst`. No lock is held.
pub fn look_up(
    stack: &Stack,
    links: &[Arc<Link>],
    dst: Ipv6Addr,
    hint: u32,
) -> Result<Hop, Counter> {
    let dst = in6_addr_t { _S6_u8: dst.octets() };
    let route = Route::find(stack, &dst, hint).filter(Route::is_usable).ok_or(Counter::NoRoute)?;
    let next = route.gateway().unwrap_or(dst);
    // A route by way of a gateway may leave it to the gateway's own route which interface that is.
    let to_gateway = match route.interface() {
        Some(_) => None,
        None => Some(Route::find(stack, &next, hint).ok_or(Counter::NoRoute)?),
    };
    let route = to_gateway.as_ref().unwrap_or(&route);
    let interface = route.interface().ok_or(Counter::NoRoute)?;
    // SAFETY: `route` holds the interface until the end of this function.
    let (src, neighbour) = unsafe { (link_address(interface), Neighbour::find(interface, &next)) };
    let src = src.ok_or(Counter::OtherLink)?;
    let link = links.iter().position(|link| link.mac == src).ok_or(Counter::OtherLink)?;
    let dst = neighbour.and_then(|neighbour| neighbour.mac()).ok_or(Counter::NoNeighbour)?;
    let mut macs = [0; 2 * MAC_LEN];
    macs.iter_mut().zip(dst.iter().chain(&src)).for_each(|(to, from)| *to = *from);
    Ok(Hop { link: link as u8, macs })
}
