// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the kernel offers and no library wraps safely: the only `unsafe` of this crate.
//!
//! | file | what |
//! |---|---|
//! | `tun.rs` | TAP devices: make one, choose its header and its offloads |
//! | `link.rs` | network links by name: MTU |
//! | `udp.rs` | options of UDP sockets, many datagrams in one call |
//! | `raw.rs` | packet sockets and raw sockets |
//! | `probes.rs` | what happens in the engine, for tracers |
//! | `wide.rs` | loops for processors with wide registers |
//!
//! Guarantee: every function is sound for any argument. A pointer is handed to the kernel only for
//! the length of one call, and only to memory that is borrowed for longer than that call.

pub mod link;
pub mod probes;
pub mod raw;
pub mod tun;
pub mod udp;
pub mod wide;
