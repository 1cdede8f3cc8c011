// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `netinet/in.h`: addresses.

/// An IPv6 address in network byte order.
#[repr(C)]
#[derive(Clone, Copy)]
pub union in6_addr_t {
    /// Bytes.
    pub _S6_u8: [u8; 16],
    /// Words, which set the alignment.
    pub _S6_u32: [u32; 4],
}
