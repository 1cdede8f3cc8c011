// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/types.h`: basic types of the 64-bit kernel.

pub use core::ffi::{c_char, c_int, c_long, c_short, c_uchar, c_uint, c_ulong, c_ushort, c_void};

/// Unsigned integer of 32 bits.
pub type uint_t = c_uint;
/// Small unsigned integer of 8 bits.
pub type uchar_t = c_uchar;
/// Truth value: [`B_FALSE`] or [`B_TRUE`], 32 bits wide.
pub type boolean_t = c_uint;
/// Not so.
pub const B_FALSE: boolean_t = 0;
/// So.
pub const B_TRUE: boolean_t = 1;

/// Length in bytes.
pub type size_t = usize;
/// Integer as wide as an address.
pub type intptr_t = isize;
/// Unsigned integer as wide as an address.
pub type uintptr_t = usize;
/// Address of bytes.
pub type caddr_t = *mut c_char;
/// Place in a file, in bytes.
pub type off_t = c_long;

/// Number of a device: major and minor number in one word.
pub type dev_t = c_ulong;
/// Number of a driver.
pub type major_t = c_uint;
/// Number of a minor node of one driver.
pub type minor_t = c_uint;

/// Number of anything.
pub type id_t = c_int;
/// Number of a user.
pub type uid_t = c_uint;
/// Number of a process.
pub type pid_t = c_int;
/// Number of a zone.
pub type zoneid_t = id_t;
/// Number of a processor.
pub type processorid_t = c_int;
/// Scheduling priority.
pub type pri_t = c_short;

/// Ticks of the system clock.
pub type clock_t = c_long;
/// Seconds since 1970.
pub type time_t = c_long;
/// Nanoseconds since some moment in the past.
pub type hrtime_t = i64;

/// Number of a data link; [`crate::sys::mac::DATALINK_INVALID_LINKID`] is none.
pub type datalink_id_t = u32;
/// 32-bit word of the transport and data-link interfaces.
pub type t_uscalar_t = c_uint;
