// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a user of links calls: `sys/mac_client.h`, and siphons of the Oxide tree.

use super::{Ear, NO_MEMORY, pointer, provider};
use crate::context::{May, begin, enter};
use crate::modules::Kernel;
use crate::world::{World, wait_until, with};
use alloc::format;
use core::ffi::{c_char, c_int, c_uint, c_void};
use core::ptr::null;
use illumos_sys_hdrs::oxide::mac_client::mac_siphon_t;
use illumos_sys_hdrs::oxide::mac_provider::{
    LSO_TX_TUNNEL_TCP, MAC_CAPAB_TUN_TYPE_GENEVE, MAC_CSO_TUN_INNER_IPHDR,
    MAC_CSO_TUN_INNER_TCP_PARTIAL, MAC_CSO_TUN_INNER_UDP_PARTIAL, mac_capab_cso_t, mac_capab_lso_t,
};
use illumos_sys_hdrs::sys::errno::ENOENT;
use illumos_sys_hdrs::sys::mac::{
    LINK_STATE_UNKNOWN, link_state_t, mac_handle_t, mac_info_t, mac_rx_t,
};
use illumos_sys_hdrs::sys::mac_client::{
    MAC_CLIENT_PROMISC_ALL, MAC_DROP_ON_NO_DESC, MAC_OPEN_FLAGS_NO_UNICAST_ADDR,
    mac_client_handle_t, mac_promisc_handle_t, mac_tx_cookie_t,
};
use illumos_sys_hdrs::sys::mac_offload::{MAC_CAPAB_HCKSUM, MAC_CAPAB_LSO};
use illumos_sys_hdrs::sys::stream::mblk_t;
use illumos_sys_hdrs::sys::types::{B_FALSE, B_TRUE, boolean_t, datalink_id_t};

exports! {
    mac_open_by_linkid, mac_close, mac_client_open, mac_client_close, mac_unicast_primary_get,
    mac_capab_get, mac_info, mac_link_get, mac_tx, mac_promisc_add, mac_promisc_remove, mac_rx_barrier,
}

/// `sys/mac.h`: error number; outside of the perimeter.
extern "C" fn mac_open_by_linkid(link: datalink_id_t, handle: *mut mac_handle_t) -> c_int {
    let fails = enter("mac_open_by_linkid", May::SleepUnlocked);
    with(|world| {
        world.want_outside("mac_open_by_linkid");
        let Some(mac) = world.dls.mac_of(link).filter(|_| !fails) else { return ENOENT };
        if let Some(it) = world.macs.all.get_mut(&mac) {
            it.opens += 1;
        }
        // SAFETY: a place of the caller's.
        unsafe { *handle = pointer(mac) };
        0
    })
}

/// `sys/mac_client.h`: once for each time that it was opened.
extern "C" fn mac_close(handle: mac_handle_t) {
    enter("mac_close", May::SleepUnlocked);
    with(|world| {
        let Some(mac) = world.mac("mac_close", handle.addr()) else { return };
        match mac.opens.checked_sub(1) {
            Some(left) => mac.opens = left,
            None => world.blame("mac_close of a link that nobody has open".into()),
        }
    });
}

/// `sys/mac_client.h`: error number. This driver has no address of its own.
extern "C" fn mac_client_open(
    handle: mac_handle_t,
    client: *mut mac_client_handle_t,
    _name: *mut c_char,
    flags: u16,
) -> c_int {
    let fails = enter("mac_client_open", May::SleepUnlocked);
    with(|world| {
        if flags != MAC_OPEN_FLAGS_NO_UNICAST_ADDR {
            world.blame(format!("mac_client_open with flags {flags:#x}"));
        }
        let open = world.mac("mac_client_open", handle.addr()).is_some_and(|mac| mac.opens > 0);
        if fails || !open {
            return NO_MEMORY;
        }
        let new = world.join(handle.addr());
        // SAFETY: a place of the caller's.
        unsafe { *client = pointer(new) };
        0
    })
}

/// `sys/mac_client.h`: without ears.
extern "C" fn mac_client_close(client: mac_client_handle_t, _flags: u16) {
    enter("mac_client_close", May::SleepUnlocked);
    with(|world| world.leave("mac_client_close", client.addr()));
}

/// `sys/mac_client.h`: 6 bytes for Ethernet.
extern "C" fn mac_unicast_primary_get(handle: mac_handle_t, address: *mut u8) {
    enter("mac_unicast_primary_get", May::SleepUnlocked);
    with(|world| {
        let Some(mac) = world.mac("mac_unicast_primary_get", handle.addr()) else { return };
        // SAFETY: the caller has room for an address of the link.
        unsafe { address.cast::<[u8; 6]>().write(mac.address) };
    });
}

/// `sys/mac_client_priv.h`: the structure has the shape that this kernel knows.
extern "C" fn mac_capab_get(handle: mac_handle_t, kind: c_uint, data: *mut c_void) -> boolean_t {
    let fails = enter("mac_capab_get", May::SleepUnlocked);
    let known = with(|world| {
        let kernel = world.modules.kernel;
        let mac = world.mac("mac_capab_get", handle.addr())?;
        Some((mac.provider.is_some(), mac.abilities, kernel))
    });
    let Some((driven, abilities, kernel)) = known.filter(|_| !fails) else { return B_FALSE };
    if driven {
        let Some(told) = provider::capability(handle.addr(), kind) else { return B_FALSE };
        // SAFETY: the caller has room for the longest shape.
        unsafe { data.cast::<[u32; 4]>().write([told[0], told[1], told[2], told[3]]) };
        return B_TRUE;
    }
    let (cuts, geneve) = (abilities.cuts, MAC_CAPAB_TUN_TYPE_GENEVE);
    match (kind, kernel) {
        // SAFETY: a word of flags on mainline.
        (MAC_CAPAB_HCKSUM, Kernel::Mainline) => unsafe { data.cast::<u32>().write(0x2) },
        (MAC_CAPAB_HCKSUM, Kernel::Oxide) => {
            let mut sums = mac_capab_cso_t { cso_flags: 0x2, ..Default::default() };
            if cuts {
                sums.cso_tunnel.ct_flags = MAC_CSO_TUN_INNER_IPHDR
                    | MAC_CSO_TUN_INNER_TCP_PARTIAL
                    | MAC_CSO_TUN_INNER_UDP_PARTIAL;
                sums.cso_tunnel.ct_types = geneve;
            }
            // SAFETY: the caller has room for the shape of this kernel.
            unsafe { data.cast::<mac_capab_cso_t>().write(sums) };
        }
        (MAC_CAPAB_LSO, Kernel::Oxide) if cuts => {
            let mut lso = mac_capab_lso_t { lso_flags: LSO_TX_TUNNEL_TCP, ..Default::default() };
            lso.lso_tunnel_tcp.tun_types = geneve;
            lso.lso_tunnel_tcp.tun_pay_max = u16::MAX.into();
            // SAFETY: as above.
            unsafe { data.cast::<mac_capab_lso_t>().write(lso) };
        }
        _ => return B_FALSE,
    }
    B_TRUE
}

/// `sys/mac_client_priv.h`: valid as long as the link is open.
extern "C" fn mac_info(handle: mac_handle_t) -> *const mac_info_t {
    enter("mac_info", May::SleepUnlocked);
    with(|world| world.mac("mac_info", handle.addr()).map_or(null(), |mac| mac.info.cast_const()))
}

/// `sys/mac_client_priv.h`: whether the link is up.
extern "C" fn mac_link_get(handle: mac_handle_t) -> link_state_t {
    enter("mac_link_get", May::SleepUnlocked);
    with(|world| {
        let mac = world.mac("mac_link_get", handle.addr());
        mac.and_then(|mac| mac.state).unwrap_or(LINK_STATE_UNKNOWN)
    })
}

impl World {
    /// Sends packets of a client over its wire.
    pub(crate) fn transmit(
        &mut self,
        who: &str,
        client: usize,
        chain: *mut mblk_t,
        hint: usize,
        flags: u16,
    ) {
        let messages = self.take_packets(who, chain);
        if messages.is_empty() || flags != MAC_DROP_ON_NO_DESC {
            self.blame(format!("{who} of {} packets with flags {flags:#x}", messages.len()));
        }
        let mac = self.client(who, client).map(|client| client.mac);
        let largest = mac.and_then(|mac| self.macs.all.get(&mac)).map_or(0, |mac| mac.sdu[1]);
        for message in &messages {
            let facts = self.messages.facts(*message).copied().unwrap_or_default();
            let len = self.bytes_of(who, *message).len();
            if len > largest as usize + 14 && facts.mss == 0 {
                self.blame(format!("{who} of {len} bytes, where {largest} and a header fit"));
            }
        }
        match mac.and_then(|mac| self.macs.all.get_mut(&mac)).filter(|it| it.provider.is_none()) {
            Some(wire) => {
                wire.sent.extend(messages.iter().map(|it| (it.expose_provenance(), hint)))
            }
            None => messages.into_iter().for_each(|message| self.freemsg(who, message)),
        }
    }
}

/// `sys/mac_client.h`: any context, no lock held; with `MAC_DROP_ON_NO_DESC` nothing comes back.
extern "C" fn mac_tx(
    client: mac_client_handle_t,
    chain: *mut mblk_t,
    hint: usize,
    flags: u16,
    rest: *mut *mut mblk_t,
) -> mac_tx_cookie_t {
    enter("mac_tx", May::Unlocked);
    with(|world| {
        if !rest.is_null() {
            world.blame("mac_tx with a place for a rest that there will not be".into());
        }
        world.transmit("mac_tx", client.addr(), chain, hint, flags);
    });
    0
}

/// `sys/mac_client.h`: error number.
extern "C" fn mac_promisc_add(
    client: mac_client_handle_t,
    kind: c_uint,
    callback: mac_rx_t,
    argument: *mut c_void,
    added: *mut mac_promisc_handle_t,
    _flags: u16,
) -> c_int {
    let fails = enter("mac_promisc_add", May::SleepUnlocked);
    with(|world| {
        if kind != MAC_CLIENT_PROMISC_ALL {
            world.blame(format!("mac_promisc_add of kind {kind}"));
        }
        let Some(it) = world.client("mac_promisc_add", client.addr()).filter(|_| !fails) else {
            return NO_MEMORY;
        };
        it.ears += 1;
        let handle = world.macs.handle();
        let argument = argument.expose_provenance();
        let ear = Ear { client: client.addr(), callback, argument, running: 0 };
        world.macs.ears.insert(handle, ear);
        // SAFETY: a place of the caller's.
        unsafe { *added = pointer(handle) };
        0
    })
}

/// `sys/mac_client.h`: waits for callbacks that run.
extern "C" fn mac_promisc_remove(added: mac_promisc_handle_t) {
    enter("mac_promisc_remove", May::SleepUnlocked);
    let handle = added.addr();
    wait_until(|world| {
        if world.thread().callbacks.contains(&handle) {
            world.blame("mac_promisc_remove in its own callback".into());
            return Some(());
        }
        match world.macs.ears.get(&handle) {
            None => world.blame(format!("mac_promisc_remove of {handle:#x}, which is none")),
            Some(ear) if ear.running > 0 => return None,
            Some(ear) => {
                let client = ear.client;
                world.macs.ears.remove(&handle);
                if let Some(client) = world.macs.clients.get_mut(&client) {
                    client.ears -= 1;
                }
            }
        }
        Some(())
    });
}

/// `sys/mac_client.h`: waits for callbacks of packets that run.
extern "C" fn mac_rx_barrier(client: mac_client_handle_t) {
    enter("mac_rx_barrier", May::SleepUnlocked);
    let handle = client.addr();
    wait_until(|world| {
        if world.thread().callbacks.contains(&handle) {
            world.blame("mac_rx_barrier in a callback that it waits for".into());
            return Some(());
        }
        let client = world.client("mac_rx_barrier", handle);
        client.is_none_or(|client| client.running == 0).then_some(())
    });
}

/// `sys/mac_client.h` of the Oxide tree: one for each client.
pub(crate) extern "C" fn mac_siphon_set(
    client: mac_client_handle_t,
    siphon: mac_siphon_t,
    argument: *mut c_void,
) {
    with(|world| {
        begin(world, "mac_siphon_set", May::SleepUnlocked);
        let Some(it) = world.client("mac_siphon_set", client.addr()) else { return };
        if it.siphon.replace((siphon, argument.expose_provenance())).is_some() {
            world.blame("mac_siphon_set where a siphon is already".into());
        }
    });
}

/// `sys/mac_client.h` of the Oxide tree: does not wait for siphons that run.
pub(crate) extern "C" fn mac_siphon_clear(client: mac_client_handle_t) {
    with(|world| {
        begin(world, "mac_siphon_clear", May::SleepUnlocked);
        let Some(it) = world.client("mac_siphon_clear", client.addr()) else { return };
        if it.siphon.take().is_none() {
            world.blame("mac_siphon_clear where no siphon is".into());
        }
    });
}
