// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A link as mainline illumos shares it: a client of our own, without an address, that hears copies
//! of what comes in and sends what it wants.
//!
//! IP gets the originals. It has no socket for Geneve, so without a filter it answers each with an
//! ICMPv6 error: the notes of the package say how to keep it quiet.

use super::receive;
use crate::lock::checked;
use crate::message::Chain;
use crate::state::State;
use alloc::sync::Arc;
use core::ffi::c_int;
use core::ptr::null_mut;
use illumos_sys_hdrs::sys::mac::mac_handle_t;
use illumos_sys_hdrs::sys::mac_client::{
    MAC_CLIENT_PROMISC_ALL, MAC_DROP_ON_NO_DESC, MAC_OPEN_FLAGS_NO_UNICAST_ADDR,
    MAC_PROMISC_FLAGS_NO_PHYS, MAC_PROMISC_FLAGS_NO_TX_LOOP, mac_client_close, mac_client_handle_t,
    mac_client_open, mac_promisc_add, mac_promisc_handle_t, mac_promisc_remove, mac_tx,
};

/// A client, for those who send.
pub struct Client(mac_client_handle_t);

// SAFETY: many threads may send at a time; the owner of the link closes the client after the last.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Sends a chain whose headers are complete.
    pub fn send(&self, chain: Chain, hint: usize) {
        // SAFETY: open as long as the link has users, of whom the caller is one. The chain is given
        // away, and with this flag nothing comes back.
        unsafe { mac_tx(self.0, chain.into_raw(), hint, MAC_DROP_ON_NO_DESC, null_mut()) };
    }
}

/// A client of our own. Closed when it is dropped.
pub struct OwnClient(mac_client_handle_t);

// SAFETY: handles have no tie to a thread.
unsafe impl Send for OwnClient {}

impl OwnClient {
    /// Becomes a client of an open MAC.
    pub fn open(mac: mac_handle_t) -> Result<Self, c_int> {
        let mut client = null_mut();
        let name = c"xde".as_ptr().cast_mut();
        // SAFETY: the MAC is open, the name ends with NUL and is copied; user context.
        checked(unsafe {
            mac_client_open(mac, &mut client, name, MAC_OPEN_FLAGS_NO_UNICAST_ADDR)
        })?;
        Ok(Self(client))
    }

    /// For those who send.
    pub fn client(&self) -> Client {
        Client(self.0)
    }
}

impl Drop for OwnClient {
    fn drop(&mut self) {
        // SAFETY: open, without ears (dropped before) and addresses, and nobody sends any more.
        unsafe { mac_client_close(self.0, 0) };
    }
}

/// Hears what comes in. Removed when it is dropped, which waits for callbacks that run.
pub struct Ear {
    added: mac_promisc_handle_t,
    /// The callback's argument.
    _state: Arc<State>,
}

// SAFETY: handles have no tie to a thread.
unsafe impl Send for Ear {}

impl Ear {
    /// Begins to listen.
    pub fn add(client: &OwnClient, state: Arc<State>) -> Result<Self, c_int> {
        let mut added = null_mut();
        let argument = Arc::as_ptr(&state).cast_mut().cast();
        // What is for this host comes in without asking the hardware for more.
        let flags = MAC_PROMISC_FLAGS_NO_TX_LOOP | MAC_PROMISC_FLAGS_NO_PHYS;
        let kind = MAC_CLIENT_PROMISC_ALL;
        // SAFETY: the client is open; the state lives until after the callback is removed and has
        // come back.
        checked(unsafe {
            mac_promisc_add(client.0, kind, receive::copies, argument, &mut added, flags)
        })?;
        Ok(Self { added, _state: state })
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        // SAFETY: added once, removed once. No lock is held that the callback takes.
        unsafe { mac_promisc_remove(self.added) };
    }
}
