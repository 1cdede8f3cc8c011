// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What this kernel has besides mainline's: looked up by name at attach, never linked, because one
//! name that a kernel lacks would keep the whole module from loading.

use core::ffi::{CStr, c_int, c_void};
use core::hint::black_box;
use core::mem::transmute;
use core::ptr::NonNull;
use illumos_sys_hdrs::oxide::Export;
use illumos_sys_hdrs::oxide::dld_impl::{
    DLD_STR_CREATE_DETACHED, DLD_STR_DESTROY_DETACHED, DLD_STR_MAC_CLIENT_HANDLE,
    dld_str_create_detached_t, dld_str_destroy_detached_t, dld_str_mac_client_handle_t,
};
use illumos_sys_hdrs::oxide::mac_client::{
    MAC_SIPHON_CLEAR, MAC_SIPHON_SET, mac_siphon_clear_t, mac_siphon_set_t,
};
use illumos_sys_hdrs::oxide::mac_provider::{MAC_ETHER_SET_PKTINFO, mac_ether_set_pktinfo_t};
use illumos_sys_hdrs::sys::modctl::{
    __ddi_modhandle, KRTLD_MODE_FIRST, ddi_modclose, ddi_modopen, ddi_modsym,
};

/// Receiving before IP does, and sending as the holder of a link's own address.
#[derive(Clone, Copy)]
pub struct Streams {
    /// Puts a siphon on a client.
    pub siphon_set: mac_siphon_set_t,
    /// Takes it off.
    pub siphon_clear: mac_siphon_clear_t,
    /// Makes an opener of a link.
    pub create: dld_str_create_detached_t,
    /// Ends it.
    pub destroy: dld_str_destroy_detached_t,
    /// Its client.
    pub client: dld_str_mac_client_handle_t,
}

/// What was found, and the modules that have it, held for as long as this lives.
pub struct Exports {
    streams: Option<Streams>,
    packet_facts: Option<mac_ether_set_pktinfo_t>,
    _modules: [Option<Module>; 2],
}

/// A loaded module, held.
struct Module(NonNull<__ddi_modhandle>);

// SAFETY: a handle has no tie to a thread.
unsafe impl Send for Module {}
// SAFETY: looking up names through it is the kernel's to make safe.
unsafe impl Sync for Module {}

impl Module {
    /// Not inlined, and no tail call: the kernel tells the caller by the return address.
    #[inline(never)]
    fn open(name: &CStr) -> Option<Self> {
        let mut error: c_int = 0;
        // SAFETY: a name that ends with NUL, in user context.
        let handle = unsafe { ddi_modopen(name.as_ptr(), KRTLD_MODE_FIRST, &mut error) };
        black_box(NonNull::new(handle).map(Self))
    }

    #[inline(never)]
    fn symbol(&self, export: &Export) -> Option<NonNull<c_void>> {
        let mut error: c_int = 0;
        // SAFETY: the module is open, and the name ends with NUL.
        let found = unsafe { ddi_modsym(self.0.as_ptr(), export.symbol.as_ptr(), &mut error) };
        black_box(NonNull::new(found))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once; a module that is held otherwise stays.
        black_box(unsafe { ddi_modclose(self.0.as_ptr()) });
    }
}

impl Exports {
    /// Looks for all of it. In user context.
    pub fn find() -> Self {
        let mac = Module::open(MAC_SIPHON_SET.module);
        let dld = Module::open(DLD_STR_CREATE_DETACHED.module);
        let of = |module: &Option<Module>, export| module.as_ref()?.symbol(export);
        let streams = || {
            let names = [
                of(&mac, &MAC_SIPHON_SET)?,
                of(&mac, &MAC_SIPHON_CLEAR)?,
                of(&dld, &DLD_STR_CREATE_DETACHED)?,
                of(&dld, &DLD_STR_DESTROY_DETACHED)?,
                of(&dld, &DLD_STR_MAC_CLIENT_HANDLE)?,
            ];
            let [set, clear, create, destroy, client] = names.map(NonNull::as_ptr);
            // SAFETY: what the kernel exports under these names has these types.
            Some(unsafe {
                Streams {
                    siphon_set: transmute::<*mut c_void, mac_siphon_set_t>(set),
                    siphon_clear: transmute::<*mut c_void, mac_siphon_clear_t>(clear),
                    create: transmute::<*mut c_void, dld_str_create_detached_t>(create),
                    destroy: transmute::<*mut c_void, dld_str_destroy_detached_t>(destroy),
                    client: transmute::<*mut c_void, dld_str_mac_client_handle_t>(client),
                }
            })
        };
        let streams = streams();
        let facts = of(&mac, &MAC_ETHER_SET_PKTINFO).map(NonNull::as_ptr);
        // SAFETY: as above.
        let packet_facts =
            facts.map(|it| unsafe { transmute::<*mut c_void, mac_ether_set_pktinfo_t>(it) });
        Self { streams, packet_facts, _modules: [mac, dld] }
    }

    /// Detached openers and siphons, if this kernel has all that belongs to them.
    pub fn streams(&self) -> Option<&Streams> {
        self.streams.as_ref()
    }

    /// Keeps facts about tunnelled packets, if this kernel knows tunnels.
    pub fn packet_facts(&self) -> Option<mac_ether_set_pktinfo_t> {
        self.packet_facts
    }

    /// A kernel without any of it, for tests.
    #[cfg(test)]
    pub fn none() -> Self {
        Self { streams: None, packet_facts: None, _modules: [None, None] }
    }
}
