// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `net/route.h`: flags of routes, as [`ire_flags`](crate::inet::ip::ire_t::ire_flags) has them.

/// By way of a gateway.
pub const RTF_GATEWAY: u32 = 0x2;
/// Packets are refused.
pub const RTF_REJECT: u32 = 0x8;
/// Packets vanish.
pub const RTF_BLACKHOLE: u32 = 0x1000;
