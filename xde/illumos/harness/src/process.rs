// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A process of Linux as the machine under the shim.

use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;
use xde_illumos_shim::machine::{Machine, install};

/// How long somebody waits for somebody else before it is a deadlock.
const PATIENCE: Duration = Duration::from_secs(30);

/// The one lock of the shim, and whoever waits for a change.
struct Process {
    taken: Mutex<bool>,
    free: Condvar,
    changed: Condvar,
    shows: AtomicBool,
}

static PROCESS: Process = Process {
    taken: Mutex::new(false),
    free: Condvar::new(),
    changed: Condvar::new(),
    shows: AtomicBool::new(false),
};

/// Makes this process the shim's machine; `shows` prints the kernel's console.
pub fn become_machine(shows: bool) {
    PROCESS.shows.store(shows, Ordering::Relaxed);
    install(&PROCESS);
}

impl Process {
    fn word(&self) -> MutexGuard<'_, bool> {
        self.taken.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn take(&self, mut word: MutexGuard<'_, bool>) {
        while *word {
            word = self.free.wait(word).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        *word = true;
    }
}

impl Machine for Process {
    fn thread(&self) -> usize {
        #[repr(align(16))]
        struct Me(u8);
        thread_local!(static ME: Me = const { Me(0) });
        ME.with(|me| core::ptr::from_ref(&me.0).addr())
    }

    fn cpu(&self) -> u32 {
        0
    }

    fn lock(&self) {
        self.take(self.word());
    }

    fn unlock(&self) {
        *self.word() = false;
        self.free.notify_one();
    }

    fn wait(&self) {
        let mut word = self.word();
        *word = false;
        self.free.notify_one();
        let waited = self.changed.wait_timeout(word, PATIENCE);
        let (word, timeout) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        if timeout.timed_out() {
            drop(word);
            self.stop("a thread waits for something that nobody does");
        }
        self.take(word);
    }

    fn wake(&self) {
        self.changed.notify_all();
    }

    fn print(&self, line: &str) {
        if self.shows.load(Ordering::Relaxed) || line.starts_with("WRONG") {
            eprintln!("  kernel: {line}");
        }
    }

    fn stop(&self, why: &str) -> ! {
        eprintln!("the kernel has stopped: {why}");
        exit(70)
    }
}
