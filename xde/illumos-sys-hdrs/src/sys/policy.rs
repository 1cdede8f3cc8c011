// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/policy.h`: who may do what.

use super::cred::cred_t;
use super::types::c_int;

unsafe extern "C" {
    /// 0 if these credentials may configure data links (privilege `sys_dl_config`), else `EPERM`.
    ///
    /// Context: user, kernel. Source: `sys/policy.h`; no manual page.
    pub fn secpolicy_dl_config(credentials: *const cred_t) -> c_int;
}
