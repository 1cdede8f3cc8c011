// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/socket.h`: address families.

use super::types::c_int;

/// IPv4.
pub const AF_INET: c_int = 2;
/// IPv6. Not the number that other systems have.
pub const AF_INET6: c_int = 26;
