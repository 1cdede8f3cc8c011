// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The wire form of every message: examples of each, and the record that holds them.
//!
//! `tests/data/wire/NAME.hex` says for each version in which a message got another form what
//! these examples look like in it. The forms of released versions stay for ever; that of a version
//! that is not released may be recorded anew ([`record`]).

mod changes;
mod examples;
mod flows;
mod moving;
mod nat;
mod ports;
pub mod record;
mod routes;

pub use examples::{Example, all};
