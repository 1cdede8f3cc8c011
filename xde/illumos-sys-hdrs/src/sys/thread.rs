// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/thread.h`: threads of the kernel.

opaque! {
    /// A thread.
    kthread_t;
}

unsafe extern "C" {
    /// The thread that runs this.
    ///
    /// Context: any. Source: `sys/thread.h`; no manual page.
    pub fn threadp() -> *mut kthread_t;
}
