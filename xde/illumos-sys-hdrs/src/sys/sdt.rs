// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/sdt.h`: static probes for DTrace.
//!
//! A probe is a call to a function that does not exist, named `__dtrace_probe_` and the name of the
//! probe with each `-` written `__`. When the module is loaded the call is overwritten with
//! instructions that do nothing; switching the probe on puts a trap there. So a call is always
//! sound and costs next to nothing, but its arguments are computed even when nobody watches: they
//! must be at hand.
//!
//! DTrace takes `arg0` to `arg4` from registers and later ones from the stack, each as one 64-bit
//! word. The name is the only thing that ties a probe to a script, hence this macro and nothing
//! more:
//!
//! ```
//! illumos_sys_hdrs::sdt_probes! {
//!     /// A packet that nobody understood: its message, its length in bytes.
//!     fn __dtrace_probe_bad__packet(message, length);
//! }
//! ```
//!
//! The address of a probe must never be taken: the loader overwrites the place that refers to it.

/// Declares probes; see the [module](self).
#[macro_export]
macro_rules! sdt_probes {
    ($($(#[$meta:meta])* fn $name:ident($($argument:ident),* $(,)?);)*) => {
        unsafe extern "C" {
            $($(#[$meta])* pub safe fn $name($($argument: usize),*);)*
        }
    };
}
