// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/rwlock.h`: locks for many readers or one writer.

use super::types::{c_char, c_int, c_uint, c_void};

/// Kind of a lock; drivers pass [`RW_DRIVER`].
pub type krw_type_t = c_uint;
/// For drivers.
pub const RW_DRIVER: krw_type_t = 2;
/// For the kernel proper.
pub const RW_DEFAULT: krw_type_t = 4;

/// Who asks for a lock.
pub type krw_t = c_uint;
/// One writer.
pub const RW_WRITER: krw_t = 0;
/// One of many readers.
pub const RW_READER: krw_t = 1;

/// A lock for many readers or one writer. It must not move while it is in use.
#[repr(C)]
pub struct krwlock_t {
    pub(crate) _opaque: [*mut c_void; 1],
}

unsafe extern "C" {
    /// Makes a free lock. `name` is null by convention, `argument` is null, or a priority as in
    /// [`mutex_init`](super::mutex::mutex_init).
    ///
    /// Context: user, kernel, interrupt. Source: rwlock(9F).
    pub fn rw_init(
        lock: *mut krwlock_t,
        name: *mut c_char,
        kind: krw_type_t,
        argument: *mut c_void,
    );

    /// Ends a lock that nobody holds or will ask for.
    ///
    /// Context: user, kernel, interrupt. Source: rwlock(9F).
    pub fn rw_destroy(lock: *mut krwlock_t);

    /// Takes the lock; waits for it. A thread must not ask for a lock that it has, not even to read
    /// it twice: a writer that waits in between would never be served.
    ///
    /// Context: user, kernel, interrupt below lock level. Source: rwlock(9F).
    pub fn rw_enter(lock: *mut krwlock_t, by: krw_t);

    /// Takes the lock if that needs no waiting; not 0 when it did.
    ///
    /// Context: user, kernel, interrupt below lock level. Source: rwlock(9F).
    pub fn rw_tryenter(lock: *mut krwlock_t, by: krw_t) -> c_int;

    /// Lets go of a lock that this thread holds either way.
    ///
    /// Context: as for [`rw_enter`]. Source: rwlock(9F).
    pub fn rw_exit(lock: *mut krwlock_t);

    /// Makes a reader of the writer, with nobody in between.
    ///
    /// Context: as for [`rw_enter`]; held for writing. Source: rwlock(9F).
    pub fn rw_downgrade(lock: *mut krwlock_t);

    /// Makes a writer of the only reader, with nobody in between; 0 when there are other readers or
    /// a writer waits. Then it is still held for reading.
    ///
    /// Context: as for [`rw_enter`]; held for reading. Source: rwlock(9F).
    pub fn rw_tryupgrade(lock: *mut krwlock_t) -> c_int;

    /// Not 0 if the caller, who holds the lock, holds it for reading.
    ///
    /// Context: as for [`rw_enter`]; held. Source: rwlock(9F).
    pub fn rw_read_locked(lock: *mut krwlock_t) -> c_int;
}
