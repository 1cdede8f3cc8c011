// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Fragments of IP packets. They are never put together here.
//!
//! The first fragment shows ports; it goes the way of all packets, and opens a connection or
//! belongs to one. Later ones show none: they follow the first, found by source, destination,
//! protocol and identification ([`table`]). One that comes before the first is held until the
//! first has passed. Fragments that overlap are dropped, and with them all that are still to come
//! of their packet (RFC 5722, section 4; RFC 8900, section 3.7).
//!
//! Both directions have a table of their own, of fixed size, in which what is oldest gives way: a
//! flood of fragments harms only other fragments of its own direction and port. If the policy
//! changes, packets whose first fragment has passed already are lost.

mod follow;
mod table;

pub(crate) use table::Table;
pub use table::{HELD_BYTES, LIFE_MS, PIECES, TRAINS};

use crate::checksum::Delta;
use crate::drop_reason::DropReason;
use crate::wire::{Ipv4, view_mut};

/// Which part of an IP packet a fragment is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fragment {
    /// Identification: 16 bits over IPv4 (RFC 791), 32 over IPv6 (RFC 8200, section 4.5).
    pub id: u32,
    /// Where its data begins in the data of the packet, in bytes.
    pub offset: u16,
    /// It is not the last.
    pub more: bool,
}

impl Fragment {
    /// It begins with the transport header.
    pub(crate) const fn is_first(&self) -> bool {
        self.offset == 0
    }
}

/// Gives an IPv4 packet another identification.
fn renumber(head: &mut [u8], at: usize, id: u16) -> Result<(), DropReason> {
    let ip: &mut Ipv4 = view_mut(head, at)?;
    let delta = Delta::default().replace(&ip.id.to_bytes(), &id.to_be_bytes());
    ip.id.set(id);
    ip.checksum.set(delta.update(ip.checksum.get()));
    Ok(())
}
