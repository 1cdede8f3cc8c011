// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the kernel of the Oxide tree has and mainline illumos lacks, or has in another shape.
//!
//! One module file runs on both. Which kernel it is cannot be told by a version number; it is told
//! by what the kernel exports. An [`Export`] names a function and the module that has it: a driver
//! asks with [`ddi_modopen`](crate::sys::modctl::ddi_modopen) and
//! [`ddi_modsym`](crate::sys::modctl::ddi_modsym) once, on behalf of a process (loading, or the
//! ioctl that sets the underlay), and keeps the address as long as the module is open. None of
//! these functions is declared `extern`: one name that the kernel lacks would keep the whole module
//! from loading.
//!
//! | if the kernel exports | then | else |
//! |---|---|---|
//! | [`MAC_ETHER_SET_PKTINFO`](mac_provider::MAC_ETHER_SET_PKTINFO) | [`mac_provider::mac_ether_offload_info_t`], [`stream::dblk_t`], [`pattr::HCK_FLAGS`] | [`crate::sys::mac_offload::mac_ether_offload_info_t`] (not used), [`crate::sys::stream::dblk_t`], [`crate::sys::pattr::HCK_FLAGS`] |
//! | the same | [`mac_provider::mac_capab_cso_t`], [`mac_provider::mac_capab_lso_t`] | `u32` of `HCKSUM_` flags, [`crate::sys::mac_offload::mac_capab_lso_t`] |
//! | [`MAC_SIPHON_SET`](mac_client::MAC_SIPHON_SET) and [`MAC_SIPHON_CLEAR`](mac_client::MAC_SIPHON_CLEAR) | packets of the underlay are taken by a siphon | by [`mac_rx_set`](crate::sys::mac_client::mac_rx_set) or [`mac_promisc_add`](crate::sys::mac_client::mac_promisc_add) of a client of our own |
//! | the three of [`dld_impl`] | packets are sent by a detached opener | by [`mac_tx`](crate::sys::mac_client::mac_tx) of a client of our own |
//!
//! The capability structures have no export of their own: they came in the same series of changes
//! as the first line of the table. The long ones begin with the short ones. So a provider that
//! writes the short shape is right on every kernel. Who asks with
//! [`mac_capab_get`](crate::sys::mac_client_priv::mac_capab_get) must always bring zeroed memory
//! for the long shape, since the kernel fills in as much as it knows.

use core::ffi::CStr;

pub mod dld_impl;
pub mod mac_client;
pub mod mac_provider;
pub mod pattr;
pub mod stream;

/// A function that a kernel may or may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export {
    /// Module that has it, as [`ddi_modopen`](crate::sys::modctl::ddi_modopen) wants it.
    pub module: &'static CStr,
    /// Its name.
    pub symbol: &'static CStr,
}

impl Export {
    const fn of(module: &'static CStr, symbol: &'static CStr) -> Self {
        Self { module, symbol }
    }
}
