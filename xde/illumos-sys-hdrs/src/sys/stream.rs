// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/stream.h`: messages.
//!
//! A packet is a message: one or more [`mblk_t`] linked by `b_cont`, each a window onto a
//! [`dblk_t`]. A chain is messages linked by `b_next`. Data blocks are shared: only who finds
//! `db_ref` at 1 may write.

use super::cred::cred_t;
use super::types::{c_int, c_uchar, c_uint, c_ushort, c_void, caddr_t, intptr_t, pid_t, size_t};

opaque! {
    /// One direction of a stream.
    queue_t;
    /// Entry points of a STREAMS driver.
    streamtab;
    /// Trace of where a message went.
    fthdr;
}

/// Data.
pub const M_DATA: c_uchar = 0;
/// A request of the protocol between modules.
pub const M_PROTO: c_uchar = 1;
/// An ioctl.
pub const M_IOCTL: c_uchar = 14;
/// An ioctl was done.
pub const M_IOCACK: c_uchar = 129;
/// An ioctl was refused.
pub const M_IOCNAK: c_uchar = 130;

/// Less urgent memory for a message; the kernel ignores it.
pub const BPRI_LO: c_uint = 1;
/// Memory for a message.
pub const BPRI_MED: c_uint = 2;
/// More urgent memory for a message; the kernel ignores it.
pub const BPRI_HI: c_uint = 3;

/// A window onto data. See msgb(9S).
#[repr(C)]
pub struct mblk_t {
    /// Next message of a chain or queue.
    pub b_next: *mut mblk_t,
    /// Message before it. Null outside of queues.
    pub b_prev: *mut mblk_t,
    /// Next block of this message.
    pub b_cont: *mut mblk_t,
    /// First byte to read.
    pub b_rptr: *mut c_uchar,
    /// Byte after the last one written.
    pub b_wptr: *mut c_uchar,
    /// Where the bytes are.
    pub b_datap: *mut dblk_t,
    pub(crate) b_band: c_uchar,
    pub(crate) b_tag: c_uchar,
    pub(crate) b_flag: c_ushort,
    pub(crate) b_queue: *mut queue_t,
}

/// Frees data of [`desballoc`].
#[repr(C)]
pub struct frtn_t {
    /// Called with `free_arg`, in any context; must not wait.
    pub free_func: Option<unsafe extern "C" fn(caddr_t)>,
    /// Its argument.
    pub free_arg: caddr_t,
}

/// A checksum of 16 or 32 bits.
#[repr(C)]
#[derive(Clone, Copy)]
pub union dblk_checksum_value {
    pub(crate) u32: u32,
    pub(crate) u16: u16,
}

/// Offload facts of a message: see [`mac_hcksum_get`](super::mac_provider::mac_hcksum_get).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dblk_checksum {
    pub(crate) cksum_val: dblk_checksum_value,
    pub(crate) flags: u16,
    pub(crate) pad: u16,
}

/// Eight bytes of a data block that modules share.
#[repr(C)]
#[derive(Clone, Copy)]
pub union dblk_shared {
    pub(crate) enforce_alignment: f64,
    pub(crate) data: [c_uchar; 8],
    pub(crate) cksum: dblk_checksum,
}

/// Data. Only the public fields are for drivers; the rest goes through functions. See datab(9S).
///
/// On a kernel of the Oxide tree this is the beginning of
/// [`oxide::sys::stream::dblk_t`](crate::oxide::stream::dblk_t). The kernel alone makes data
/// blocks, so a driver that reads the public fields needs no other shape.
#[repr(C)]
pub struct dblk_t {
    pub(crate) db_frtnp: *mut frtn_t,
    /// First byte of the memory.
    pub db_base: *mut c_uchar,
    /// Byte after the last one.
    pub db_lim: *mut c_uchar,
    /// How many windows look at it.
    pub db_ref: c_uchar,
    /// `M_` kind of the message.
    pub db_type: c_uchar,
    pub(crate) db_flags: c_uchar,
    pub(crate) db_struioflag: c_uchar,
    pub(crate) db_cpid: pid_t,
    pub(crate) db_cache: *mut c_void,
    pub(crate) db_mblk: *mut mblk_t,
    pub(crate) db_free: Option<unsafe extern "C" fn(*mut mblk_t, *mut dblk_t)>,
    pub(crate) db_lastfree: Option<unsafe extern "C" fn(*mut mblk_t, *mut dblk_t)>,
    pub(crate) db_cksumstart: intptr_t,
    pub(crate) db_cksumend: intptr_t,
    pub(crate) db_cksumstuff: intptr_t,
    pub(crate) db_struioun: dblk_shared,
    pub(crate) db_fthdr: *mut fthdr,
    pub(crate) db_credp: *mut cred_t,
}

unsafe extern "C" {
    /// An empty message with room for `size` bytes, `db_ref` 1; null when there is no memory.
    /// `priority` is ignored.
    ///
    /// Context: user, kernel, interrupt. Source: allocb(9F).
    pub fn allocb(size: size_t, priority: c_uint) -> *mut mblk_t;

    /// A message over memory of the driver's own; null when there is no memory, and then `free` is
    /// not called.
    ///
    /// Context: user, kernel, interrupt. Source: esballoc(9F).
    pub fn desballoc(
        base: *mut c_uchar,
        size: size_t,
        priority: c_uint,
        free: *mut frtn_t,
    ) -> *mut mblk_t;

    /// Frees one block; `b_cont` is the caller's to keep.
    ///
    /// Context: user, kernel, interrupt. Source: freeb(9F).
    pub fn freeb(block: *mut mblk_t);

    /// Frees one message, all of its blocks; `b_next` must be null.
    ///
    /// Context: user, kernel, interrupt. Source: freemsg(9F).
    pub fn freemsg(message: *mut mblk_t);

    /// Another window onto the data of each block: `db_ref` grows. Null when there is no memory.
    ///
    /// Context: user, kernel, interrupt. Source: dupmsg(9F).
    pub fn dupmsg(message: *mut mblk_t) -> *mut mblk_t;

    /// A copy of one block and its data, `db_ref` 1; null when there is no memory.
    ///
    /// Context: user, kernel, interrupt. Source: copyb(9F).
    pub fn copyb(block: *mut mblk_t) -> *mut mblk_t;

    /// A copy of a message and its data; null when there is no memory.
    ///
    /// Context: user, kernel, interrupt. Source: copymsg(9F).
    pub fn copymsg(message: *mut mblk_t) -> *mut mblk_t;

    /// A new message whose first block holds the first `length` bytes, all of them for -1; later
    /// blocks are windows onto the same data. The old message stays. Null when there is no memory
    /// or not so much data. Offload facts are not copied.
    ///
    /// Context: user, kernel, interrupt. Source: msgpullup(9F).
    pub fn msgpullup(message: *mut mblk_t, length: isize) -> *mut mblk_t;

    /// Cuts `length` bytes off the front, or off the end when negative. 1, or 0 when the message is
    /// shorter.
    ///
    /// Context: user, kernel, interrupt. Source: adjmsg(9F).
    pub fn adjmsg(message: *mut mblk_t, length: isize) -> c_int;

    /// Bytes of data in a message: blocks of kind `M_DATA`.
    ///
    /// Context: user, kernel, interrupt. Source: msgdsize(9F).
    pub fn msgdsize(message: *const mblk_t) -> size_t;
}
