// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Raw declarations of the illumos kernel's interfaces, header by header.
//!
//! What a kernel module of this project calls, and nothing else: the device driver interface (minor
//! nodes, ioctls, memory, locks, periodic callbacks, counters), STREAMS messages, both sides of the
//! MAC layer, data links, look-ups in the routing table, and static probes. Names are those of
//! illumos; each file is one header and says which. A header too long for one file has a second one
//! that says so.
//!
//! * [`sys`], [`inet`], [`net`], [`netinet`]: mainline illumos, the AMD64 kernel.
//! * [`oxide`]: what the Oxide tree has besides or in another shape, and how a module finds out, at
//!   run time, on which kernel it is. Nothing is chosen when this crate is built.
//!
//! # What this crate must not know
//!
//! It has no logic, allocates nothing, and knows nothing of packets, ports or OPTE. Safe types over
//! these declarations, and the proofs that calls are sound, belong to the kernel module. The only
//! functions with a body read bit-fields or put two names side by side.
//!
//! # How to read a declaration
//!
//! Each function says what it does, what it answers when it fails, in which **context** it may be
//! called, and the **source** of that: a manual page, or the header for interfaces that are private
//! to the kernel and may change. Contexts are those of the manual: *user* (on behalf of a process),
//! *kernel* (a thread of the kernel), *interrupt* (may not wait for memory), *any* (even with
//! spinning locks held). Function pointers are `Option` wherever C allows null. A structure whose
//! fields are not public is the kernel's to make. `opaque` types are known by address alone.
//!
//! `memcpy`, `memmove`, `memset`, `memcmp` and `bcmp` are not declared: the compiler makes calls to
//! them, and the kernel has them.
//!
//! # How numbers are checked
//!
//! `tests/data/layout.tsv` and `tests/data/constants.tsv` hold sizes, alignments, offsets and
//! values that a C compiler printed from illumos headers. The tests of this crate compare every
//! line with what `rustc` makes of the declarations, on the 64-bit host, whose C layout is that of
//! the kernel. A line that no declaration answers to fails, unless `tests/data/not-needed.tsv` says
//! why there is none; a declared structure or constant that no line answers for fails, unless
//! `tests/data/not-held.tsv` says where its numbers come from.

#![no_std]
#![allow(non_camel_case_types, non_snake_case, reason = "names are those of illumos")]
#![allow(dead_code, reason = "private fields hold the place of what a driver must not touch")]

/// Declares types that are known by address alone.
macro_rules! opaque {
    ($($(#[$meta:meta])* $name:ident;)*) => {$(
        $(#[$meta])*
        #[repr(C)]
        pub struct $name {
            _private: [u8; 0],
            _pinned: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,
        }
    )*};
}

pub mod inet;
pub mod net;
pub mod netinet;
pub mod oxide;
pub mod sys;

#[cfg(test)]
extern crate std;
#[cfg(test)]
mod held;
