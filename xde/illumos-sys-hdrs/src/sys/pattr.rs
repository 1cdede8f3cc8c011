// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/pattr.h`: offload facts of one message, as
//! [`mac_hcksum_get`](super::mac_provider::mac_hcksum_get) and
//! [`mac_lso_get`](super::mac_provider::mac_lso_get) have them.

/// Out: fill in the checksum of the IPv4 header.
pub const HCK_IPV4_HDRCKSUM: u32 = 0x1;
/// In: the checksum of the IPv4 header was found right.
pub const HCK_IPV4_HDRCKSUM_OK: u32 = 0x1;
/// Out: fill in the transport checksum from `start` to `end`, which holds the sum of the
/// pseudo-header. In: such a sum is attached.
pub const HCK_PARTIALCKSUM: u32 = 0x2;
/// Out: fill in the transport checksum, pseudo-header included. In: such a sum is attached.
pub const HCK_FULLCKSUM: u32 = 0x4;
/// In: the transport checksum was found right.
pub const HCK_FULLCKSUM_OK: u32 = 0x8;
/// All of them. On a kernel of the Oxide tree it is
/// [`oxide::pattr::HCK_FLAGS`](crate::oxide::pattr::HCK_FLAGS).
pub const HCK_FLAGS: u32 = HCK_IPV4_HDRCKSUM | HCK_PARTIALCKSUM | HCK_FULLCKSUM | HCK_FULLCKSUM_OK;
/// Out: cut into segments.
pub const HW_LSO: u32 = 0x10;
/// All flags of segmentation.
pub const HW_LSO_FLAGS: u32 = HW_LSO;
