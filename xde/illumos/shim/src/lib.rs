// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Stands for the kernel under the module `xde`: every function that the module imports, as its
//! manual page or header describes it, so that the very file that is shipped runs where there is no
//! illumos: in a process of Linux, and on a bare processor.
//!
//! It is a reading of the manual, not a kernel. What it adds is suspicion: it knows every block of
//! memory, message, lock, perimeter, hold and handle that the module has, and says what is given
//! back twice, with a wrong size, too late or never, what sleeps where nothing may sleep, which
//! mutexes are taken in two orders, and what is called with a mutex held. Handles that a driver must
//! not look into are addresses that no processor accepts.
//!
//! From the bottom up:
//!
//! * [`machine`] is what this crate itself needs: threads, one lock, a console.
//! * [`world`] is all that is known of one kernel; [`fault`] has calls fail, [`context`] says who
//!   calls.
//! * [`kmem`], [`ksync`], [`clock`], [`kstat`] and [`ddi`] are the device driver interface;
//!   [`modules`] loads and finds.
//! * [`message`], [`offload`] and [`emulate`] are STREAMS messages.
//! * [`mac`], [`dls`] and [`guest`] are links, from both of their sides; [`ip`] is routes and
//!   neighbours, as the test sets them.
//!
//! [`resolve`] is all that a loader wants. The rest of what is public is for tests: the side of the
//! kernel that a module does not see.
//!
//! # What this crate must not know
//!
//! No packet engine, no port, nothing of `xde`: whatever it finds, it finds by the manual.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

/// Names of functions of a file, and how a loader finds them.
macro_rules! exports {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn find(name: &str) -> Option<usize> {
            match name {
                $(stringify!($name) => Some(($name as *const ()).expose_provenance()),)*
                _ => None,
            }
        }
    };
}

pub mod clock;
pub mod context;
pub mod ddi;
pub mod dls;
pub mod emulate;
pub mod fault;
pub mod guest;
pub mod ip;
pub mod kmem;
pub mod kstat;
pub mod ksync;
pub mod mac;
pub mod machine;
pub mod message;
pub mod modules;
pub mod offload;
mod order;
#[cfg(test)]
mod tests;
mod text;
pub mod world;

/// Address of the function or datum of this name, for a loader. Every name of
/// `xde/illumos/imports.txt` has one, but for `memcpy`, `memmove`, `memset` and `memcmp`, which
/// whoever links this crate has.
pub fn resolve(name: &str) -> Option<usize> {
    [
        clock::find,
        ddi::find,
        dls::find,
        emulate::find,
        ip::find,
        kmem::find,
        kstat::find,
        ksync::find,
        mac::client::find,
        mac::provider::find,
        mac::perimeter::find,
        message::find,
        modules::find,
        offload::find,
    ]
    .iter()
    .find_map(|find| find(name))
}
