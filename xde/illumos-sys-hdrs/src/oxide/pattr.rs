// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/pattr.h` of the Oxide tree: offload facts of a tunnelled packet. Flags of mainline then
//! speak of the outer headers.

use crate::sys::pattr;

/// Out: fill in the checksum of the inner IPv4 header.
pub const HCK_INNER_V4CKSUM: u32 = 0x20;
/// In: the checksum of the inner IPv4 header was found right.
pub const HCK_INNER_V4CKSUM_OK: u32 = 0x40;
/// Out: fill in the inner transport checksum, which holds the sum of the pseudo-header.
pub const HCK_INNER_PARTIAL: u32 = 0x80;
/// Out: fill in the inner transport checksum, pseudo-header included.
pub const HCK_INNER_FULL: u32 = 0x100;
/// In: the inner transport checksum was found right.
pub const HCK_INNER_FULL_OK: u32 = 0x200;
/// All of them. The mainline one is [`pattr::HCK_FLAGS`].
pub const HCK_FLAGS: u32 = pattr::HCK_FLAGS
    | HCK_INNER_V4CKSUM
    | HCK_INNER_V4CKSUM_OK
    | HCK_INNER_PARTIAL
    | HCK_INNER_FULL
    | HCK_INNER_FULL_OK;
