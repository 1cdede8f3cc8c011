// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/kmem.h`: kernel memory.

use super::types::{c_char, c_int, c_void, size_t};

/// Wait for memory; the answer is never null.
pub const KM_SLEEP: c_int = 0x0;
/// Do not wait; the answer may be null.
pub const KM_NOSLEEP: c_int = 0x1;
/// With `KM_NOSLEEP`: try no harder than usual.
pub const KM_NORMALPRI: c_int = 0x8;
/// Do not wait and try no harder than usual.
pub const KM_NOSLEEP_LAZY: c_int = KM_NOSLEEP | KM_NORMALPRI;

opaque! {
    /// A cache of equal objects.
    kmem_cache_t;
    /// A source of address ranges.
    vmem_t;
}

/// Makes an object of a cache fit for use: object, the cache's private pointer, `KM_` flag. 0 or
/// -1.
pub type kmem_constructor_t = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int) -> c_int;
/// Undoes what the constructor did: object, the cache's private pointer.
pub type kmem_destructor_t = unsafe extern "C" fn(*mut c_void, *mut c_void);
/// Gives back memory when the system is short of it: the cache's private pointer.
pub type kmem_reclaim_t = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" {
    /// Memory of `size` bytes, aligned to 8 at least, filled with anything. Null only with
    /// `KM_NOSLEEP`, or for a size of 0.
    ///
    /// Context: user, kernel; interrupt only with `KM_NOSLEEP`. Source: kmem_alloc(9F).
    pub fn kmem_alloc(size: size_t, flag: c_int) -> *mut c_void;

    /// Like [`kmem_alloc`], filled with zeros.
    ///
    /// Context: user, kernel; interrupt only with `KM_NOSLEEP`. Source: kmem_alloc(9F).
    pub fn kmem_zalloc(size: size_t, flag: c_int) -> *mut c_void;

    /// Gives back memory of [`kmem_alloc`] or [`kmem_zalloc`]; `size` must be what was asked for.
    ///
    /// Context: user, kernel, interrupt. Source: kmem_alloc(9F).
    pub fn kmem_free(memory: *mut c_void, size: size_t);

    /// Makes a cache of objects of `size` bytes with this alignment (0: 8). `source` is null and
    /// `flags` is 0 in drivers. Never null.
    ///
    /// Context: user, kernel. Source: kmem_cache_create(9F).
    pub fn kmem_cache_create(
        name: *const c_char,
        size: size_t,
        align: size_t,
        constructor: Option<kmem_constructor_t>,
        destructor: Option<kmem_destructor_t>,
        reclaim: Option<kmem_reclaim_t>,
        private: *mut c_void,
        source: *mut vmem_t,
        flags: c_int,
    ) -> *mut kmem_cache_t;

    /// Ends a cache of which no object is in use.
    ///
    /// Context: user, kernel. Source: kmem_cache_create(9F).
    pub fn kmem_cache_destroy(cache: *mut kmem_cache_t);

    /// An object in the state in which the constructor or the last user left it. Null only with
    /// `KM_NOSLEEP`.
    ///
    /// Context: user, kernel; interrupt only with `KM_NOSLEEP`. Source: kmem_cache_create(9F).
    pub fn kmem_cache_alloc(cache: *mut kmem_cache_t, flag: c_int) -> *mut c_void;

    /// Gives an object back to its cache, in constructed state.
    ///
    /// Context: user, kernel, interrupt. Source: kmem_cache_create(9F).
    pub fn kmem_cache_free(cache: *mut kmem_cache_t, object: *mut c_void);
}
