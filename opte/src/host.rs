// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the engine takes from its host instead of asking the world: exclusion, eyes, and time.

use crate::event::Traced;

/// A lock around a value, used through closures so that no guard outlives its purpose.
///
/// The engine nests locks in one place only, in the order that `opte::flow_table` tells, and calls
/// nothing of the host's but [`crate::frame::Frame`] while it holds one.
pub trait Lock<T>: Send + Sync {
    /// Wraps `value`.
    fn new(value: T) -> Self;

    /// Runs `f` alone with the value.
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R;

    /// Reads some of the memory of the lock without taking it, so that it is near when it is
    /// taken. A hint, which a host may ignore.
    fn glance(&self) {}
}

/// Told of events as they happen, on the thread that caused them. Must not block.
pub trait Observer: Send + Sync {
    /// Something happened. `event` says what; nobody need ask if nobody watches.
    fn tell<E: Traced>(&self, event: impl FnOnce() -> E);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blind;

impl Observer for Blind {
    fn tell<E: Traced>(&self, _event: impl FnOnce() -> E) {}
}

/// A host, as one type parameter.
pub trait Host: Send + Sync + 'static {
    /// Its lock.
    type Lock<T: Send>: Lock<T>;
    /// Its lock for what takes long: who holds it makes devices and waits for other programs. No
    /// packet asks for it.
    type Token<T: Send>: Lock<T>;
    /// Its observer.
    type Observer: Observer;
}

/// A point in time, in milliseconds since some fixed moment of the host's choosing. Never goes
/// backwards on one host.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Moment(u64);

impl Moment {
    /// That many milliseconds after the fixed moment.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the fixed moment.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This moment, `millis` milliseconds later.
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this moment; zero if that is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
