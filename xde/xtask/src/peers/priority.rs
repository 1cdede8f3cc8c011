// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A place in front of what else runs on the machine.

use std::fs;

/// Of the session's group of processes (sched(7), autogroup).
const FILE: &str = "/proc/self/autogroup";
/// Weight of a group, as nice(2) counts.
const BEFORE_OTHERS: &str = "-12";

/// While this value lives, the programs of this session go first. Without it, a compiler that runs
/// beside would decide about the figures.
pub struct Priority(());

impl Priority {
    /// Takes the place, if the kernel has such groups.
    pub fn take() -> Option<Self> {
        fs::write(FILE, BEFORE_OTHERS).ok().map(|()| Self(()))
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        // The session goes on as any other.
        let _ = fs::write(FILE, "0");
    }
}
