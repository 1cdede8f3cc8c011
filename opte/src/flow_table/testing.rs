// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A host for unit tests, whose lock is the standard library's.

extern crate std;

use crate::host::{Blind, Host, Lock};
use std::sync::Mutex;

/// The standard library's lock.
pub struct StdLock<T>(Mutex<T>);

impl<T: Send> Lock<T> for StdLock<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }
}

/// A host with that lock, and nobody who watches.
pub enum StdHost {}

impl Host for StdHost {
    type Lock<T: Send> = StdLock<T>;
    type Token<T: Send> = StdLock<T>;
    type Observer = Blind;
}
