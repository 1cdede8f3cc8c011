// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Exclusion: a mutex for what takes microseconds, a token for what may take seconds, and a count
//! of users that can be run down.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::mem::zeroed;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use illumos_sys_hdrs::sys::condvar::{
    CV_DRIVER, cv_broadcast, cv_destroy, cv_init, cv_wait, kcondvar_t,
};
use illumos_sys_hdrs::sys::mutex::{
    MUTEX_DRIVER, kmutex_t, mutex_destroy, mutex_enter, mutex_exit, mutex_init,
};
use opte::host::Lock;

/// A value behind an adaptive mutex of one word, which lies beside the value: the flow table has
/// millions of them. It may move as long as nobody holds it, so it is not made by `mutex_init`,
/// which would remember where: an adaptive mutex that is all zeros is free, as those of C modules
/// which lie in zeroed memory. Nor is it ended by `mutex_destroy`, which does nothing to a free
/// one.
#[repr(C)]
pub struct Mutex<T> {
    mutex: UnsafeCell<kmutex_t>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through `with` alone, by one thread at a time, so that sharing the
// mutex is sending the value.
unsafe impl<T: Send> Sync for Mutex<T> {}
// SAFETY: a free mutex has no tie to a thread, and `with` borrows one that is held.
unsafe impl<T: Send> Send for Mutex<T> {}

impl<T> Mutex<T> {
    /// Wraps `value`.
    pub const fn of(value: T) -> Self {
        // SAFETY: a `kmutex_t` is one word of plain data, of which zero is a free adaptive mutex.
        Self { mutex: UnsafeCell::new(unsafe { zeroed() }), value: UnsafeCell::new(value) }
    }
}

impl<T: Send> Lock<T> for Mutex<T> {
    fn new(value: T) -> Self {
        Self::of(value)
    }

    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the mutex is initialised (see the type), `&self` keeps it in its place, and
        // callers are below lock level.
        unsafe { mutex_enter(self.mutex.get()) };
        // SAFETY: this thread holds the mutex, so nobody else has a reference to the value.
        let result = f(unsafe { &mut *self.value.get() });
        // SAFETY: held by this thread since the lines above; a panic ends the kernel, so none gets
        // by.
        unsafe { mutex_exit(self.mutex.get()) };
        result
    }

    #[inline]
    fn glance(&self) {
        // SAFETY: the word is aligned and lives as long as `self`; the kernel writes it as one
        // word, and an atomic read of it races with nothing.
        let word = unsafe { AtomicUsize::from_ptr(self.mutex.get().cast()) };
        core::hint::black_box(word.load(Ordering::Relaxed));
    }
}

/// A mutex and a condition, in a box because neither may move.
struct Monitor {
    mutex: UnsafeCell<kmutex_t>,
    changed: UnsafeCell<kcondvar_t>,
}

impl Monitor {
    fn boxed() -> Box<Self> {
        // SAFETY: both are plain words, which are made what they must be before they are used.
        let monitor = unsafe {
            Self { mutex: UnsafeCell::new(zeroed()), changed: UnsafeCell::new(zeroed()) }
        };
        let monitor = Box::new(monitor);
        // SAFETY: neither is in use yet, and both stay where the box is: nobody moves what is in
        // it.
        unsafe {
            mutex_init(monitor.mutex.get(), null_mut(), MUTEX_DRIVER, null_mut());
            cv_init(monitor.changed.get(), null_mut(), CV_DRIVER, null_mut());
        }
        monitor
    }

    /// Waits until `is_true`, which is asked under the mutex, as is `then` run.
    fn wait_until(&self, mut is_true: impl FnMut() -> bool, then: impl FnOnce()) {
        // SAFETY: both are initialised; the mutex is held from `mutex_enter` to `mutex_exit`,
        // except inside of `cv_wait`. Callers hold no other mutex and are not in an interrupt.
        unsafe {
            mutex_enter(self.mutex.get());
            while !is_true() {
                cv_wait(self.changed.get(), self.mutex.get());
            }
            then();
            mutex_exit(self.mutex.get());
        }
    }

    /// Changes something under the mutex and wakes those who wait for it.
    fn change(&self, change: impl FnOnce()) {
        // SAFETY: as for `wait_until`, without the wait.
        unsafe {
            mutex_enter(self.mutex.get());
            change();
            cv_broadcast(self.changed.get());
            mutex_exit(self.mutex.get());
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // SAFETY: initialised, and nobody holds or waits for either since nobody else can reach it.
        unsafe {
            cv_destroy(self.changed.get());
            mutex_destroy(self.mutex.get());
        }
    }
}

/// A value that one thread at a time has for as long as it needs, while it waits for other programs
/// and enters perimeters: no mutex is held meanwhile.
pub struct Token<T> {
    monitor: Box<Monitor>,
    taken: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through `with` alone, by the one thread that has the token.
unsafe impl<T: Send> Sync for Token<T> {}
// SAFETY: as above; the monitor stays in its box when the token moves.
unsafe impl<T: Send> Send for Token<T> {}

impl<T: Send> Lock<T> for Token<T> {
    fn new(value: T) -> Self {
        let (monitor, taken) = (Monitor::boxed(), AtomicU32::new(0));
        Self { monitor, taken, value: UnsafeCell::new(value) }
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let Self { monitor, taken, value } = self;
        let free = || taken.load(Ordering::Relaxed) == 0;
        monitor.wait_until(free, || taken.store(1, Ordering::Relaxed));
        // SAFETY: this thread turned `taken` from 0 to 1 under the mutex, and only it turns it
        // back.
        let result = f(unsafe { &mut *value.get() });
        monitor.change(|| taken.store(0, Ordering::Relaxed));
        result
    }
}

/// Counts those who use something, until nobody may any more.
pub struct Rundown {
    /// Users, and [`CLOSED`].
    users: AtomicU32,
    monitor: Box<Monitor>,
}

const CLOSED: u32 = 1 << 31;

// SAFETY: the count is atomic, and the monitor is used under its own mutex.
unsafe impl Sync for Rundown {}
// SAFETY: no tie to a thread.
unsafe impl Send for Rundown {}

impl Rundown {
    /// Open, and without users.
    pub fn new() -> Self {
        Self { users: AtomicU32::new(0), monitor: Monitor::boxed() }
    }

    /// Runs `f` unless it is closed. Whoever closes it waits for `f`.
    pub fn while_open<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        let open = self.users.fetch_add(1, Ordering::Acquire) & CLOSED == 0;
        let result = open.then(f);
        if self.users.fetch_sub(1, Ordering::Release) == CLOSED | 1 {
            // The last one. The owner has a reference of its own to us, as our caller has.
            self.monitor.change(|| {});
        }
        result
    }

    /// Nobody may use it from now on, and nobody does when this comes back. The caller is not a
    /// user.
    pub fn close(&self) {
        self.users.fetch_or(CLOSED, Ordering::AcqRel);
        self.monitor.wait_until(|| self.users.load(Ordering::Acquire) == CLOSED, || {});
    }

    /// Undoes [`Rundown::close`].
    pub fn open(&self) {
        self.users.fetch_and(!CLOSED, Ordering::AcqRel);
    }
}

impl Default for Rundown {
    fn default() -> Self {
        Self::new()
    }
}

/// An error number as a result.
pub(crate) fn checked(errno: c_int) -> Result<(), c_int> {
    if errno == 0 { Ok(()) } else { Err(errno) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    #[test]
    fn the_engine_s_mutex_is_one_word() {
        assert_eq!(size_of::<Mutex<()>>(), 8);
        assert_eq!(size_of::<Mutex<[u64; 14]>>(), 120);
    }

    #[test]
    fn mutex_and_token_let_one_in_at_a_time() {
        fn adds<L: Lock<u64> + 'static>() {
            let shared = Arc::new(L::new(0));
            let threads: std::vec::Vec<_> = (0..4)
                .map(|_| {
                    let shared = shared.clone();
                    thread::spawn(move || (0..1000).for_each(|_| shared.with(|sum| *sum += 1)))
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            shared.glance();
            assert_eq!(shared.with(|sum| *sum), 4000);
        }
        adds::<Mutex<u64>>();
        adds::<Token<u64>>();
    }

    #[test]
    fn a_rundown_waits_for_its_users_and_can_be_undone() {
        let rundown = Arc::new(Rundown::new());
        let (ended, inside) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let user = {
            let (rundown, ended, inside) = (rundown.clone(), ended.clone(), inside.clone());
            thread::spawn(move || {
                rundown.while_open(|| {
                    inside.store(true, Ordering::SeqCst);
                    while rundown.users.load(Ordering::SeqCst) & CLOSED == 0 {
                        thread::yield_now();
                    }
                    ended.store(true, Ordering::SeqCst);
                })
            })
        };
        while !inside.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        rundown.close();
        assert!(ended.load(Ordering::SeqCst));
        assert_eq!(rundown.while_open(|| ()), None);
        rundown.open();
        assert_eq!(rundown.while_open(|| 7), Some(7));
        user.join().unwrap();
    }
}
