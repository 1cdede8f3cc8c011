// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/open.h`: how a device is opened; second argument of open(9E).

use super::types::c_int;

/// As a character device.
pub const OTYP_CHR: c_int = 2;
