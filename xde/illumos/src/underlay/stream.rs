// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A link as kernels of the Oxide tree share it: an opener without a stream, and a siphon on the
//! client that all openers of the link use.

use super::receive;
use crate::exports::Streams;
use crate::lock::checked;
use crate::message::Chain;
use crate::state::State;
use alloc::sync::Arc;
use core::ffi::c_int;
use core::ptr::{NonNull, null_mut};
use illumos_sys_hdrs::oxide::dld_impl::dld_str_destroy_detached_t;
use illumos_sys_hdrs::oxide::mac_client::mac_siphon_clear_t;
use illumos_sys_hdrs::sys::dld_impl::{dld_str_t, str_mdata_fastpath_put};
use illumos_sys_hdrs::sys::dls::{
    dls_close, dls_devnet_hold, dls_devnet_mac, dls_devnet_rele, dls_open,
};
use illumos_sys_hdrs::sys::dls_impl::{dls_link_hold, dls_link_rele};
use illumos_sys_hdrs::sys::errno::ENOMEM;
use illumos_sys_hdrs::sys::mac_client::{
    MAC_DROP_ON_NO_DESC, mac_client_handle_t, mac_perim_handle_t, mac_rx_barrier,
};
use illumos_sys_hdrs::sys::mac_client_priv::{mac_perim_enter_by_linkid, mac_perim_exit};
use illumos_sys_hdrs::sys::types::datalink_id_t;

/// This thread is in a link's perimeter.
struct Perimeter(mac_perim_handle_t);

impl Perimeter {
    fn enter(link: datalink_id_t) -> Result<Self, c_int> {
        let mut entered = null_mut();
        // SAFETY: user context, no lock held.
        checked(unsafe { mac_perim_enter_by_linkid(link, &mut entered) })?;
        Ok(Self(entered))
    }
}

impl Drop for Perimeter {
    fn drop(&mut self) {
        // SAFETY: entered by this thread: the type is not `Send`, being a pointer.
        unsafe { mac_perim_exit(self.0) };
    }
}

/// An opener, for those who send.
pub struct Opener(NonNull<dld_str_t>);

// SAFETY: many threads may send at a time; the owner of the link closes the opener after the last.
unsafe impl Send for Opener {}
// SAFETY: as above.
unsafe impl Sync for Opener {}

impl Opener {
    /// Sends a chain whose headers are complete.
    pub fn send(&self, chain: Chain, hint: usize) {
        // SAFETY: open as long as the link has users, of whom the caller is one. The chain is given
        // away, and with this flag nothing comes back.
        unsafe {
            let flags = MAC_DROP_ON_NO_DESC;
            str_mdata_fastpath_put(self.0.as_ptr(), chain.into_raw(), hint, flags);
        }
    }
}

/// An open opener. Closed when it is dropped.
pub struct Stream {
    link: datalink_id_t,
    opener: NonNull<dld_str_t>,
    client: mac_client_handle_t,
    destroy: dld_str_destroy_detached_t,
}

// SAFETY: handles have no tie to a thread.
unsafe impl Send for Stream {}

impl Stream {
    /// Opens a link that somebody has named.
    pub fn open(link: datalink_id_t, calls: &Streams) -> Result<Self, c_int> {
        // SAFETY: user context.
        let opener = NonNull::new(unsafe { (calls.create)() }).ok_or(ENOMEM)?;
        let opened = Self::join(link, opener);
        if let Err(error) = opened {
            // SAFETY: made above, and not open.
            unsafe { (calls.destroy)(opener.as_ptr()) };
            return Err(error);
        }
        // SAFETY: open.
        let client = unsafe { (calls.client)(opener.as_ptr()) };
        Ok(Self { link, opener, client, destroy: calls.destroy })
    }

    /// Makes `opener` one of the link. On success it owns the holds that were taken.
    fn join(link: datalink_id_t, opener: NonNull<dld_str_t>) -> Result<(), c_int> {
        let _perimeter = Perimeter::enter(link)?;
        let (mut held, mut shared) = (null_mut(), null_mut());
        // SAFETY: in the perimeter, as all of these want it; what was held is let go of in reverse
        // order when a later step fails.
        unsafe {
            checked(dls_devnet_hold(link, &mut held))?;
            if let Err(error) = checked(dls_link_hold(dls_devnet_mac(held), &mut shared)) {
                dls_devnet_rele(held);
                return Err(error);
            }
            if let Err(error) = checked(dls_open(shared, held, opener.as_ptr())) {
                dls_link_rele(shared);
                dls_devnet_rele(held);
                return Err(error);
            }
        }
        Ok(())
    }

    /// For those who send.
    pub fn opener(&self) -> Opener {
        Opener(self.opener)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The perimeter of an open link can be entered: its name does not go away while it is held.
        let perimeter = Perimeter::enter(self.link);
        // SAFETY: open, and nobody sends any more: the link's users were run down before.
        unsafe { dls_close(self.opener.as_ptr()) };
        drop(perimeter);
        // SAFETY: closed.
        unsafe { (self.destroy)(self.opener.as_ptr()) };
    }
}

/// A siphon, set. Taken off when it is dropped, which waits for those that run.
pub struct Siphon {
    client: mac_client_handle_t,
    clear: mac_siphon_clear_t,
    /// The siphon's argument.
    _state: Arc<State>,
}

// SAFETY: handles have no tie to a thread.
unsafe impl Send for Siphon {}

impl Siphon {
    /// Sets it: packets come in from now on.
    pub fn set(stream: &Stream, calls: &Streams, state: Arc<State>) -> Self {
        // SAFETY: the client is open as long as the stream; the state lives until after the siphon
        // is taken off and the last one has come back.
        unsafe {
            let argument = Arc::as_ptr(&state).cast_mut().cast();
            (calls.siphon_set)(stream.client, receive::siphon, argument);
        }
        Self { client: stream.client, clear: calls.siphon_clear, _state: state }
    }
}

impl Drop for Siphon {
    fn drop(&mut self) {
        // SAFETY: set, and the client is open. No lock is held that a siphon takes.
        unsafe {
            (self.clear)(self.client);
            mac_rx_barrier(self.client);
        }
    }
}
