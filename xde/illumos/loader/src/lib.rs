// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The loader of kernel modules, as illumos's `krtld` does it, for places that are not illumos.
//!
//! The file that is shipped is what is tested: a harness in a process, or a small kernel of its own,
//! loads it with this crate and calls its entry points. From the bottom up:
//!
//! * [`error`] says which rule a file breaks;
//! * [`file`](mod@file) reads a file, and holds it to the rules for files and sections;
//! * [`place`] is memory that the caller gives, and where each section lies in it;
//! * [`names`] finds what the module takes from the kernel, and what it has itself;
//! * [`relocate`] writes addresses into code and data;
//! * [`probes`] are places that a tracer can be told about;
//! * [`loaded`] is what comes out.
//!
//! # What it guarantees
//!
//! What is loaded is what `krtld` would have made of it, byte for byte, but for one thing: calls of
//! functions that are too far away go by way of a trampoline behind the code. In a kernel none is.
//!
//! Where `krtld` refuses a file, so does this. Where `krtld` takes one and makes something else of it
//! than it means (relocations that want a table, which there is none of; constructors, which nobody
//! runs; a probe that is not called but looked at), this refuses it, because a test that crashes says
//! less.
//!
//! # What it must not know
//!
//! No operating system, and no function of the kernel: names are resolved by the caller, and memory
//! is the caller's.
//!
//! ```
//! use xde_illumos_loader::{Loaded, Module, Region};
//!
//! # fn memory(_: usize, _: usize) -> Region { unimplemented() }
//! # fn unimplemented() -> Region { std::process::exit(0) }
//! # let file: &[u8] = &[];
//! # fn of_the_kernel(_: &str) -> Option<usize> { None }
//! # fn go(file: &[u8]) -> Result<(), xde_illumos_loader::Error> {
//! let module = Module::parse(file)?;
//! let room = module.room();
//! let text = memory(room.text.size, room.text.align);
//! let data = memory(room.data.size, room.data.align);
//! let loaded: Loaded = module.load(text, data, of_the_kernel)?;
//! let init = loaded.entries().init;
//! # let _ = init;
//! # Ok(())
//! # }
//! ```

#![no_std]

extern crate alloc;

pub mod error;
pub mod file;
pub mod loaded;
pub mod names;
pub mod place;
pub mod probes;
pub mod relocate;

pub use error::Error;
pub use file::Module;
pub use loaded::{Entries, Loaded};
pub use place::{Part, Region, Room};
pub use probes::{Site, Trap};
