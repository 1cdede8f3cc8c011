// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/mac_ether.h`: the Ethernet plug-in of the MAC layer.

use core::ffi::CStr;

/// Name of the plug-in: `m_type_ident` of [`mac_register_t`](super::mac_provider::mac_register_t).
pub const MAC_PLUGIN_IDENT_ETHER: &CStr = c"mac_ether";
