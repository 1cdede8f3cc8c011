// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/dlpi.h`: kinds of links, and checksums that a link can fill in.

use super::types::{c_uint, t_uscalar_t};

/// Ethernet.
pub const DL_ETHER: c_uint = 0x4;

/// Old general wish; always with one of the others.
pub const HCKSUM_ENABLE: t_uscalar_t = 0x1;
/// A transport checksum that holds the sum of the pseudo-header.
pub const HCKSUM_INET_PARTIAL: t_uscalar_t = 0x2;
/// A transport checksum over IPv4, pseudo-header included.
pub const HCKSUM_INET_FULL_V4: t_uscalar_t = 0x4;
/// A transport checksum over IPv6, pseudo-header included.
pub const HCKSUM_INET_FULL_V6: t_uscalar_t = 0x8;
/// The checksum of the IPv4 header.
pub const HCKSUM_IPHDRCKSUM: t_uscalar_t = 0x10;
