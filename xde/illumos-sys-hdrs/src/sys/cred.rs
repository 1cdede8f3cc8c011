// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/cred.h`: who asks.

use super::types::{uid_t, zoneid_t};

opaque! {
    /// Credentials of a process. Their shape depends on the list of privileges, which each build of
    /// the kernel generates, so nothing may look inside.
    cred_t;
}

unsafe extern "C" {
    /// Effective user.
    ///
    /// Context: user, kernel, interrupt. Source: ddi_cred(9F).
    pub fn crgetuid(credentials: *const cred_t) -> uid_t;

    /// Zone of the process.
    ///
    /// Context: user, kernel, interrupt. Source: ddi_cred(9F).
    pub fn crgetzoneid(credentials: *const cred_t) -> zoneid_t;
}
