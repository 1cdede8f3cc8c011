// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/dld_ioc.h`: ioctls through `/dev/dld`, which does the copying and asks for the privilege.

use super::cred::cred_t;
use super::types::{c_int, c_uint, c_void, intptr_t, size_t};

/// Number of `dld` itself: the upper half of its commands.
pub const DLD_IOC: u16 = 0x0d1d;
/// Copy the argument in.
pub const DLDCOPYIN: c_uint = 0x1;
/// Copy the argument out.
pub const DLDCOPYOUT: c_uint = 0x2;
/// Copy the argument in and out.
pub const DLDCOPYINOUT: c_uint = DLDCOPYIN | DLDCOPYOUT;

/// Does a command: copied argument, address of the caller's, mode, who, value to return. Error
/// number. Context: user.
pub type dld_ioc_func_t =
    unsafe extern "C" fn(*mut c_void, intptr_t, c_int, *mut cred_t, *mut c_int) -> c_int;
/// Whether these credentials may: 0, or an error number.
pub type dld_ioc_priv_func_t = unsafe extern "C" fn(*const cred_t) -> c_int;

/// A command.
#[repr(C)]
pub struct dld_ioc_info_t {
    /// Number: the module's in the upper half.
    pub di_cmd: c_uint,
    /// `DLDCOPY` flags.
    pub di_flags: c_uint,
    /// Size of the argument in bytes.
    pub di_argsize: size_t,
    /// Does it.
    pub di_func: Option<dld_ioc_func_t>,
    /// Who may; null for all.
    pub di_priv_func: Option<dld_ioc_priv_func_t>,
}
