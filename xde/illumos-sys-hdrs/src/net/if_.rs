// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `net/if.h`: reachability of neighbours, RFC 4861 section 7.3.2, as
//! [`ncec_state`](crate::inet::ip_ndp::ncec_t::ncec_state) has it.

/// The link address is being asked for.
pub const ND_INCOMPLETE: u16 = 1;
/// Reached a short time ago.
pub const ND_REACHABLE: u16 = 2;
/// Not heard of for some time; the link address is good to try.
pub const ND_STALE: u16 = 3;
/// The same, and a packet was just sent.
pub const ND_DELAY: u16 = 4;
/// The same, and is being asked.
pub const ND_PROBE: u16 = 5;
/// Did not answer.
pub const ND_UNREACHABLE: u16 = 6;
