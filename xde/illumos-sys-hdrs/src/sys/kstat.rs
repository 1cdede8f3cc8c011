// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/kstat.h`: counters that kstat(8) shows.

use super::mutex::kmutex_t;
use super::types::{c_char, c_int, c_long, c_uchar, c_uint, c_ulong, c_void, hrtime_t, size_t};

/// Number of a [`kstat_t`].
pub type kid_t = c_int;
/// Longest name with its closing NUL, in bytes.
pub const KSTAT_STRLEN: usize = 31;
/// Bytes without meaning to kstat(8).
pub const KSTAT_TYPE_RAW: c_uchar = 0;
/// An array of [`kstat_named_t`].
pub const KSTAT_TYPE_NAMED: c_uchar = 1;
/// The driver brings the memory of the data.
pub const KSTAT_FLAG_VIRTUAL: c_uchar = 0x1;

/// Up to 16 bytes.
pub const KSTAT_DATA_CHAR: c_uchar = 0;
/// A number of 32 bits with sign.
pub const KSTAT_DATA_INT32: c_uchar = 1;
/// A number of 32 bits.
pub const KSTAT_DATA_UINT32: c_uchar = 2;
/// A number of 64 bits with sign.
pub const KSTAT_DATA_INT64: c_uchar = 3;
/// A number of 64 bits.
pub const KSTAT_DATA_UINT64: c_uchar = 4;
/// A text.
pub const KSTAT_DATA_STRING: c_uchar = 9;

/// `ks_update` is asked for values to show.
pub const KSTAT_READ: c_int = 0;
/// `ks_update` is given values from outside.
pub const KSTAT_WRITE: c_int = 1;

/// Brings the data up to date: [`KSTAT_READ`] or [`KSTAT_WRITE`]. Error number. Context: user,
/// `ks_lock` held. See ks_update(9E).
pub type ks_update_t = unsafe extern "C" fn(*mut kstat_t, c_int) -> c_int;
/// Copies the data: where to, [`KSTAT_READ`] or [`KSTAT_WRITE`]. Context: as for [`ks_update_t`].
/// See ks_snapshot(9E).
pub type ks_snapshot_t = unsafe extern "C" fn(*mut kstat_t, *mut c_void, c_int) -> c_int;

/// Counters under one name. Made by [`kstat_create`] alone. See kstat(9S).
#[repr(C)]
pub struct kstat_t {
    pub(crate) ks_crtime: hrtime_t,
    pub(crate) ks_next: *mut kstat_t,
    pub(crate) ks_kid: kid_t,
    pub(crate) ks_module: [c_char; KSTAT_STRLEN],
    pub(crate) ks_resv: c_uchar,
    pub(crate) ks_instance: c_int,
    pub(crate) ks_name: [c_char; KSTAT_STRLEN],
    pub(crate) ks_type: c_uchar,
    pub(crate) ks_class: [c_char; KSTAT_STRLEN],
    pub(crate) ks_flags: c_uchar,
    /// Data; the driver sets it with [`KSTAT_FLAG_VIRTUAL`].
    pub ks_data: *mut c_void,
    /// How many there are.
    pub ks_ndata: c_uint,
    /// Their size in bytes.
    pub ks_data_size: size_t,
    pub(crate) ks_snaptime: hrtime_t,
    /// Brings the data up to date.
    pub ks_update: Option<ks_update_t>,
    /// The driver's own.
    pub ks_private: *mut c_void,
    /// Copies the data.
    pub ks_snapshot: Option<ks_snapshot_t>,
    /// Mutex held while data are read; null for none.
    pub ks_lock: *mut kmutex_t,
}

/// Address of a text, as wide in every program.
#[repr(C)]
#[derive(Clone, Copy)]
pub union kstat_string_addr {
    /// In the kernel and 64-bit programs.
    pub ptr: *mut c_char,
    /// In 32-bit programs.
    pub ptr32: u32,
    pub(crate) __pad: [c_char; 8],
}

/// A text.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kstat_string {
    /// Where it is.
    pub addr: kstat_string_addr,
    /// Its length with the closing NUL, in bytes.
    pub len: u32,
}

/// A value; `data_type` says which.
#[repr(C)]
#[derive(Clone, Copy)]
pub union kstat_value {
    /// Bytes.
    pub c: [c_char; 16],
    /// 32 bits with sign.
    pub i32: i32,
    /// 32 bits.
    pub ui32: u32,
    /// A text.
    pub str: kstat_string,
    /// 64 bits with sign.
    pub i64: i64,
    /// 64 bits.
    pub ui64: u64,
    /// Old name of 64 bits with sign.
    pub l: c_long,
    /// Old name of 64 bits.
    pub ul: c_ulong,
    /// Old name of 64 bits with sign.
    pub ll: i64,
    /// Old name of 64 bits.
    pub ull: u64,
    pub(crate) f: f32,
    pub(crate) d: f64,
}

/// A value with a name. See kstat_named(9S).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kstat_named_t {
    /// Its name, closed by NUL.
    pub name: [c_char; KSTAT_STRLEN],
    /// `KSTAT_DATA_` kind.
    pub data_type: c_uchar,
    /// The value.
    pub value: kstat_value,
}

unsafe extern "C" {
    /// Makes counters that nobody sees yet; null when that failed, such as for a name in use.
    ///
    /// Context: user, kernel. Source: kstat_create(9F).
    pub fn kstat_create(
        module: *const c_char,
        instance: c_int,
        name: *const c_char,
        class: *const c_char,
        kind: c_uchar,
        count: c_uint,
        flags: c_uchar,
    ) -> *mut kstat_t;

    /// Shows counters; their data must be ready.
    ///
    /// Context: user, kernel. Source: kstat_install(9F).
    pub fn kstat_install(counters: *mut kstat_t);

    /// Ends counters; waits for readers. The caller must not hold `ks_lock`. Data of
    /// [`KSTAT_FLAG_VIRTUAL`] stay the driver's.
    ///
    /// Context: user, kernel. Source: kstat_delete(9F).
    pub fn kstat_delete(counters: *mut kstat_t);

    /// Gives a value its name and kind. The value itself is the caller's to set.
    ///
    /// Context: user, kernel. Source: kstat_named_init(9F).
    pub fn kstat_named_init(value: *mut kstat_named_t, name: *const c_char, kind: c_uchar);
}
