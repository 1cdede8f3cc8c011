// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Fuzz targets as plain functions of bytes, and a driver that makes such bytes.
//!
//! A target panics if the engine does, or if it breaks one of these promises: whatever comes out
//! of a host can be parsed again, every request has an answer that decodes, and a request that is
//! refused changes nothing that can be seen.

mod control;
mod frames;
mod mutate;
mod rules;
mod saved;
mod services;

pub use control::control;
pub use frames::frames;
pub use mutate::{Corpus, Rng};
pub use rules::rules;
pub use saved::saved;
pub use services::services;

/// A target by its name.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    match name {
        "frames" => Some(frames),
        "control" => Some(control),
        "rules" => Some(rules),
        "saved" => Some(saved),
        "services" => Some(services),
        _ => None,
    }
}

/// Takes bytes off the front of `data`, as many as there are up to `count`.
fn take<'a>(data: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (front, rest) = data.split_at(count.min(data.len()));
    *data = rest;
    front
}
