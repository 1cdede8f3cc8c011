// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the engine takes from this host: exclusion, eyes, time and a secret.

use crate::sys::probes;
use opte::event::{Event, Traced};
use opte::host::{Host, Lock, Moment, Observer};
use parking_lot::Mutex;
use std::io::{self, Read};
use std::time::Instant;

/// The engine's host on Linux.
#[derive(Debug)]
pub struct LinuxHost;

impl Host for LinuxHost {
    type Lock<T: Send> = MutexLock<T>;
    type Token<T: Send> = MutexLock<T>;
    type Observer = Log;
}

/// A lock that spins for a moment, then sleeps.
#[derive(Debug)]
pub struct MutexLock<T>(Mutex<T>);

impl<T: Send> Lock<T> for MutexLock<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock())
    }

    fn glance(&self) {
        std::hint::black_box(self.0.is_locked());
    }
}

/// Shows the engine's events to tracers, and writes them to the log at level TRACE.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl Observer for Log {
    fn tell<E: Traced>(&self, event: impl FnOnce() -> E) {
        if tracing::enabled!(target: "xde::event", tracing::Level::TRACE) {
            let event = event();
            tracing::trace!(target: "xde::event", event = ?Into::<Event>::into(event));
            probes::fire(|| event);
        } else {
            probes::fire(event);
        }
    }
}

/// Time since the process began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins to count.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time now.
    pub fn now(self) -> Moment {
        self.at(Instant::now())
    }

    /// The time at an instant since the beginning.
    pub fn at(self, instant: Instant) -> Moment {
        Moment::from_millis(instant.saturating_duration_since(self.0).as_millis() as u64)
    }
}

/// A secret for hashes and choices, from the system's random source.
pub fn secret() -> io::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}
