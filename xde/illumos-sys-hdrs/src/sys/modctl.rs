// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/modctl.h`: loadable modules.
//!
//! A module exports three functions by name: `_init() -> c_int`, `_fini() -> c_int` and `_info(*mut
//! modinfo) -> c_int`. See _init(9E).

use super::devops::dev_ops;
use super::types::{c_char, c_int, c_void};

opaque! {
    /// How the kernel installs a kind of module.
    mod_ops;
    /// What modinfo(8) shows of a module; passed on to [`mod_info`].
    modinfo;
    /// An open module.
    __ddi_modhandle;
}

/// Version of [`modlinkage`].
pub const MODREV_1: c_int = 1;
/// Longest name of a module with its closing NUL, in bytes.
pub const MODMAXNAMELEN: usize = 32;

/// What a module consists of. See modlinkage(9S).
#[repr(C)]
pub struct modlinkage {
    /// [`MODREV_1`].
    pub ml_rev: c_int,
    /// Addresses of [`modldrv`] or [`modlmisc`], closed by null.
    pub ml_linkage: [*mut c_void; 7],
}

/// A driver in a module. See modldrv(9S).
#[repr(C)]
pub struct modldrv {
    /// Address of [`mod_driverops`].
    pub drv_modops: *mut mod_ops,
    /// Text for modinfo(8), closed by NUL.
    pub drv_linkinfo: *mut c_char,
    /// Entry points.
    pub drv_dev_ops: *mut dev_ops,
}

/// A module that other modules use. See modlmisc(9S).
#[repr(C)]
pub struct modlmisc {
    /// Address of [`mod_miscops`].
    pub misc_modops: *mut mod_ops,
    /// Text for modinfo(8), closed by NUL.
    pub misc_linkinfo: *mut c_char,
}

/// A module held by [`ddi_modopen`]; null is none.
pub type ddi_modhandle_t = *mut __ddi_modhandle;
/// The only mode of [`ddi_modopen`].
pub const KRTLD_MODE_FIRST: c_int = 1;

unsafe extern "C" {
    /// How drivers are installed.
    pub static mut mod_driverops: mod_ops;
    /// How modules that other modules use are installed.
    pub static mut mod_miscops: mod_ops;

    /// Installs what the module consists of; error number. From 0 on, entry points may be called,
    /// even before it comes back.
    ///
    /// Context: `_init`. Source: mod_install(9F).
    pub fn mod_install(linkage: *mut modlinkage) -> c_int;

    /// Removes what the module consists of; not 0 when it is in use. At 0 no entry point will be
    /// called.
    ///
    /// Context: `_fini`, and `_init` after [`mod_install`]. Source: mod_install(9F).
    pub fn mod_remove(linkage: *mut modlinkage) -> c_int;

    /// Fills in what modinfo(8) shows; 0 when it failed.
    ///
    /// Context: `_info`. Source: mod_install(9F).
    pub fn mod_info(linkage: *mut modlinkage, info: *mut modinfo) -> c_int;

    /// Loads and holds the module `name`, such as `misc/mac`; null with an error number in `error`.
    ///
    /// The kernel tells the caller by the return address, so the call must not be the last thing
    /// that a function does: a tail call would be taken for another module's.
    ///
    /// Context: user. Source: ddi_modopen(9F).
    pub fn ddi_modopen(name: *const c_char, mode: c_int, error: *mut c_int) -> ddi_modhandle_t;

    /// Address of what the module itself (not one that it depends on) has as `symbol`; null with an
    /// error number in `error`. No tail call, as for [`ddi_modopen`].
    ///
    /// Context: user. Source: ddi_modopen(9F).
    pub fn ddi_modsym(
        module: ddi_modhandle_t,
        symbol: *const c_char,
        error: *mut c_int,
    ) -> *mut c_void;

    /// Lets go of the module; addresses of [`ddi_modsym`] are void then. No tail call, as for
    /// [`ddi_modopen`].
    ///
    /// Context: user. Source: ddi_modopen(9F).
    pub fn ddi_modclose(module: ddi_modhandle_t) -> c_int;
}
