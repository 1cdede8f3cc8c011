// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The link of a port: what its guest opens, and bursts deliver to.
//!
//! [`Owned`] is all that has to be undone, made and removed by the thread that serves a request.
//! [`Guest`] is what bursts and the link's entry points use: the MAC layer has its address from
//! before it is registered until after it is not, and [`Owned`] keeps it as long.

mod callbacks;
mod numbers;

use crate::counters::Counter;
use crate::lock::{Rundown, checked};
use crate::message::Chain;
use crate::state::State;
use crate::statistics::Statistics;
use alloc::ffi::CString;
use alloc::format;
use alloc::sync::Arc;
use core::ffi::c_int;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use illumos_sys_hdrs::sys::dls::{dls_devnet_create, dls_devnet_destroy, dls_mgmt_get_linkid};
use illumos_sys_hdrs::sys::errno::{EBUSY, EEXIST, ENOENT, ENOMEM};
use illumos_sys_hdrs::sys::mac::{__mac_handle, LINK_STATE_UP};
use illumos_sys_hdrs::sys::mac_ether::MAC_PLUGIN_IDENT_ETHER;
use illumos_sys_hdrs::sys::mac_provider::{
    MAC_VERSION, mac_alloc, mac_free, mac_link_update, mac_maxsdu_update, mac_register, mac_rx,
    mac_unregister,
};
use illumos_sys_hdrs::sys::types::{B_TRUE, datalink_id_t};
use illumos_sys_hdrs::sys::vlan::VLAN_TAGSZ;
use illumos_sys_hdrs::sys::zone::GLOBAL_ZONEID;
use opte_api::{MacAddr, OpteError};
use oxide_vpc_api::PortName;
use xde::host::PortId;

/// The kernel chooses the number of the link.
const ANY_INSTANCE: u32 = u32::MAX;

/// The link of a port, for bursts and entry points.
pub struct Guest {
    /// Which port.
    pub id: PortId,
    mac: MacAddr,
    mtu: AtomicU32,
    state: Arc<State>,
    link: AtomicPtr<__mac_handle>,
    /// Somebody has opened the link.
    started: AtomicBool,
    users: Rundown,
}

impl Guest {
    /// Longest packet, in bytes.
    fn mtu(&self) -> u32 {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Hands a chain to whoever has opened the link.
    pub fn deliver(&self, chain: Chain) -> Result<(), Counter> {
        if !self.started.load(Ordering::Relaxed) {
            return Err(Counter::NotStarted);
        }
        let delivered = self.users.while_open(|| {
            let link = self.link.load(Ordering::Acquire);
            // SAFETY: registered as long as there are users; no lock is held; the chain is given
            // away.
            unsafe { mac_rx(link, null_mut(), chain.into_raw()) };
        });
        delivered.ok_or(Counter::NoSuchPort)
    }
}

/// A port's link, registered and named.
pub struct Owned {
    /// For bursts.
    pub guest: Arc<Guest>,
    /// Of the port, and of its data link.
    pub name: PortName,
    number: datalink_id_t,
    _statistics: Statistics,
}

/// Steps that were done, to be undone in reverse order unless all of them are.
struct Undo<'a> {
    guest: &'a Guest,
    named: bool,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let link = self.guest.link.load(Ordering::Acquire);
        let mut number = 0;
        if self.named {
            // SAFETY: registered and named by the steps before; in no perimeter. Nobody knows the
            // link yet, so that it is in use can be by accident alone, and then the registration
            // stays, too.
            unsafe { dls_devnet_destroy(link, &mut number, B_TRUE) };
        }
        // SAFETY: registered, and never published.
        unsafe { mac_unregister(link) };
    }
}

impl Owned {
    /// Makes the link of a port: registers it, gives it the data link of its name and shows its
    /// counters. All of it, or nothing.
    pub fn create(
        state: &Arc<State>,
        id: PortId,
        name: &PortName,
        mac: MacAddr,
        mtu: u16,
    ) -> Result<Self, OpteError> {
        let number = data_link(name)?;
        let guest = Arc::new(Guest {
            id,
            mac,
            mtu: AtomicU32::new(mtu.into()),
            state: state.clone(),
            link: AtomicPtr::new(null_mut()),
            started: AtomicBool::new(false),
            users: Rundown::new(),
        });
        register(&guest).map_err(|error| refused("registering the link of", name, error))?;
        let mut undo = Undo { guest: &guest, named: false };
        let link = guest.link.load(Ordering::Acquire);
        // SAFETY: registered, and in no perimeter.
        checked(unsafe { dls_devnet_create(link, number, GLOBAL_ZONEID) }).map_err(|error| {
            if error == EEXIST {
                OpteError::exists("data link", name)
            } else {
                refused("naming the link of", name, error)
            }
        })?;
        undo.named = true;
        let statistics = Statistics::of_port(state, id, name)
            .ok_or_else(|| refused("making statistics of", name, ENOMEM))?;
        // SAFETY: registered.
        unsafe { mac_link_update(link, LINK_STATE_UP) };
        core::mem::forget(undo);
        Ok(Self { guest, name: name.clone(), number, _statistics: statistics })
    }

    /// Changes the longest packet of the link.
    pub fn set_mtu(guest: &Guest, name: &PortName, mtu: u16) -> Result<(), OpteError> {
        let link = guest.link.load(Ordering::Acquire);
        // SAFETY: registered; in no perimeter.
        checked(unsafe { mac_maxsdu_update(link, mtu.into()) })
            .map_err(|error| refused("changing the MTU of", name, error))?;
        guest.mtu.store(mtu.into(), Ordering::Relaxed);
        Ok(())
    }

    /// Removes the link; nobody finds it any more. On failure it is as it was, and `self` comes
    /// back.
    pub fn remove(self, name: &PortName) -> Result<(), (Self, OpteError)> {
        let guest = self.guest.clone();
        guest.users.close();
        let removed = unname_and_unregister(&guest, self.number);
        removed.map_err(|error| {
            guest.users.open();
            let error = if error == EBUSY {
                OpteError::BadState(format!(
                    "data link '{name}' is in use: remove what uses it first"
                ))
            } else {
                refused("removing the link of", name, error)
            };
            (self, error)
        })
    }
}

/// The data link of a port, which whoever asks for the port has made.
fn data_link(name: &PortName) -> Result<datalink_id_t, OpteError> {
    let text = CString::new(name.as_str()).map_err(|_| OpteError::not_found("data link", name))?;
    let mut number = 0;
    // SAFETY: a name that ends with NUL; user context, no lock held, in no perimeter.
    match unsafe { dls_mgmt_get_linkid(text.as_ptr(), &mut number) } {
        0 => Ok(number),
        ENOENT => Err(OpteError::not_found("data link", name)),
        error => Err(refused("looking for the data link of", name, error)),
    }
}

fn register(guest: &Arc<Guest>) -> Result<(), c_int> {
    // SAFETY: user context.
    let registration = unsafe { mac_alloc(MAC_VERSION) };
    let mut link = null_mut();
    // SAFETY: made by the kernel and freed below. The address is copied; the entry points are
    // static; `guest` is kept by `Owned` until the link is unregistered, and by the caller until
    // then.
    let registered = unsafe {
        let Some(it) = registration.as_mut() else { return Err(ENOMEM) };
        it.m_type_ident = MAC_PLUGIN_IDENT_ETHER.as_ptr();
        it.m_driver = Arc::as_ptr(guest).cast_mut().cast();
        it.m_dip = guest.state.node;
        it.m_instance = ANY_INSTANCE;
        let mut address = guest.mac.0;
        it.m_src_addr = address.as_mut_ptr();
        it.m_callbacks = callbacks::TABLE.as_ptr();
        it.m_min_sdu = 1;
        it.m_max_sdu = guest.mtu();
        it.m_margin = VLAN_TAGSZ;
        let registered = checked(mac_register(registration, &mut link));
        mac_free(registration);
        registered
    };
    guest.link.store(link, Ordering::Release);
    registered
}

/// Both, or neither.
fn unname_and_unregister(guest: &Guest, number: datalink_id_t) -> Result<(), c_int> {
    let link = guest.link.load(Ordering::Acquire);
    let mut same = number;
    // SAFETY: registered and named; in no perimeter; no user is in `mac_rx`.
    unsafe {
        // Waits for dlmgmtd(8), which reads the properties of a link that has just been named.
        checked(dls_devnet_destroy(link, &mut same, B_TRUE))?;
        checked(mac_unregister(link)).inspect_err(|_| {
            // The name was ours a moment ago, and its number still is.
            dls_devnet_create(link, number, GLOBAL_ZONEID);
        })
    }
}

fn refused(what: &str, name: &PortName, error: c_int) -> OpteError {
    OpteError::System(format!("{what} port '{name}': error {error}"))
}
