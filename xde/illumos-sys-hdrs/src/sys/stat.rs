// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/stat.h`: kinds of device nodes.

use super::types::c_int;

/// A character device.
pub const S_IFCHR: c_int = 0x2000;
