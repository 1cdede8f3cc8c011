// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/file.h`: modes in which a device is opened and an ioctl is made.

use super::types::{c_int, c_uint};

/// For reading.
pub const FREAD: c_int = 0x1;
/// For writing.
pub const FWRITE: c_int = 0x2;
/// Without waiting (older name of the flag).
pub const FNDELAY: c_int = 0x4;
/// Without waiting.
pub const FNONBLOCK: c_int = 0x80;
/// For this opener alone.
pub const FEXCL: c_int = 0x400;
/// The caller has 64-bit addresses, like the kernel.
pub const FNATIVE: c_int = 0x20_0000;
/// Addresses in the request are the kernel's own: the caller is another part of the kernel. The top
/// bit of a mode, so unsigned.
pub const FKIOCTL: c_uint = 0x8000_0000;
