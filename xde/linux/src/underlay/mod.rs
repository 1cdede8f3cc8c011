// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The network between hosts: ways to send and receive Geneve packets.
//!
//! [`Underlay`] is what the loop needs of one. [`udp`] is the one that works everywhere: UDP
//! sockets of the kernel, with its routes, neighbours and path MTUs.

mod lane;
mod run;
pub mod udp;

use crate::counters::Counters;
use crate::outbox::Outbox;
use crate::packet::{Landings, Packet};
use std::os::fd::BorrowedFd;
use xde::host::UnderlayShape;

/// Takes frames from the underlay: all of one shape, in the order in which they came.
pub type Deliver<'a> = dyn FnMut(UnderlayShape, &mut Vec<Packet>) + 'a;

/// A way to the other hosts. None of its calls waits.
pub trait Underlay: Send {
    /// What to wait for: readable when packets have come.
    fn readable(&self) -> BorrowedFd<'_>;

    /// Takes packets from these links only, by index.
    fn set_links(&mut self, links: Vec<u32>);

    /// Bytes of the largest datagram that every path takes, from the Geneve header on, as far as
    /// that is known; else zero.
    fn largest(&self) -> usize {
        0
    }

    /// Receives a burst and delivers it. Answers whether there may be more.
    fn receive(
        &mut self,
        landings: &mut Landings,
        counters: &Counters,
        deliver: &mut Deliver<'_>,
    ) -> bool;

    /// Sends all that is in `outbox` and clears it; what is not taken is counted.
    fn send(&mut self, outbox: &mut Outbox, counters: &Counters);
}
