// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/errno.h`: error numbers that a driver of this kind returns or meets.

use super::types::c_int;

/// No such thing.
pub const ENOENT: c_int = 2;
/// No such device, or none any more.
pub const ENXIO: c_int = 6;
/// No memory.
pub const ENOMEM: c_int = 12;
/// An address that the caller may not use.
pub const EFAULT: c_int = 14;
/// In use.
pub const EBUSY: c_int = 16;
/// There already.
pub const EEXIST: c_int = 17;
/// An argument that makes no sense.
pub const EINVAL: c_int = 22;
/// No such ioctl command.
pub const ENOTTY: c_int = 25;
/// No room left.
pub const ENOSPC: c_int = 28;
/// Not supported.
pub const ENOTSUP: c_int = 48;
/// The other side does not keep to the protocol.
pub const EPROTO: c_int = 71;
/// No buffer.
pub const ENOBUFS: c_int = 132;
