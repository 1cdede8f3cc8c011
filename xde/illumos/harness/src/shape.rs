// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How a frame lies in a message: in how many blocks, with how much room, whether others look at it.

use xde_illumos_shim::message::{self, Message};
use xde_illumos_shim::offload::Facts;

/// A shape. Where frames are cut counts from their first byte; a cut beyond the end is none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shape {
    /// Where blocks end, in order.
    pub cuts: Vec<usize>,
    /// Somebody else looks at all blocks.
    pub shared: bool,
    /// Room in front of the first block.
    pub room: usize,
}

/// A message in a shape, and the other look at its data, if there is one.
pub struct Shaped {
    /// For the module.
    pub message: Message,
    other: Option<(Message, Vec<u8>)>,
}

impl Shape {
    /// Makes a message, in the kernel that is in force.
    pub fn of(&self, bytes: &[u8], facts: Facts) -> Shaped {
        let (mut pieces, mut rest, mut at) = (Vec::new(), bytes, 0);
        for cut in &self.cuts {
            let (piece, after) = rest.split_at((cut - at).min(rest.len()));
            pieces.push(piece);
            (rest, at) = (after, *cut);
        }
        pieces.push(rest);
        let message = if pieces.len() == 1 {
            let message = message::of(bytes, self.room);
            message::set_facts(message, facts);
            message
        } else {
            message::split(&pieces, facts)
        };
        let other = self.shared.then(|| (message::share(message), bytes.to_vec()));
        Shaped { message, other }
    }
}

impl Shaped {
    /// Whoever else looked at the data still sees what was there.
    pub fn is_kept(self) -> bool {
        self.other.is_none_or(|(message, bytes)| {
            let same = message::bytes(message) == bytes;
            message::free(message);
            same
        })
    }
}
