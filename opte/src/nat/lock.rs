// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A host's lock for what does not know the host.
//!
//! Rules and what they do are the same for all hosts, so they cannot name a host's lock. The
//! reservation space is made with the host's lock once, and hides it here.

use crate::host::{Host, Lock};
use alloc::boxed::Box;

trait Guard<T>: Send + Sync {
    fn run(&self, f: &mut dyn FnMut(&mut T));
}

struct HostGuard<H: Host, T: Send + 'static>(H::Lock<T>);

impl<H: Host, T: Send + 'static> Guard<T> for HostGuard<H, T> {
    fn run(&self, f: &mut dyn FnMut(&mut T)) {
        self.0.with(|value| f(value));
    }
}

/// The lock of some host around a value.
pub(super) struct AnyLock<T>(Box<dyn Guard<T>>);

impl<T: Send + 'static> AnyLock<T> {
    /// Wraps `value` in a lock of this host.
    pub fn new<H: Host>(value: T) -> Self {
        Self(Box::new(HostGuard::<H, T>(H::Lock::new(value))))
    }

    /// Runs `f` alone with the value.
    pub fn with<R: Default>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let (mut f, mut result) = (Some(f), None);
        self.0.run(&mut |value| result = f.take().map(|f| f(value)));
        // A lock runs what it is given, once.
        result.unwrap_or_default()
    }
}
