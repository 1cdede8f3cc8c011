// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Fragments to and from addresses that several hosts share: what follows what
//! ([`crate::follow`]), as a boundary sees it.

use super::counters::{BoundaryDrop, BoundaryEvent, Counters};
use super::packet::Selector;
use crate::follow::{Account, Follow, Waits};
pub use crate::follow::{FOLLOWED_MS, MAX_FOLLOWED, WAITING_BYTES, WAITING_MS};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use opte_api::Protocol;

/// Which datagram a fragment is of. Whoever sends fragments, other senders' do not follow them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Datagram {
    pub addrs: [IpAddr; 2],
    pub protocol: Protocol,
    pub id: u32,
    /// The hypervisor host that it comes from; `None`: from outside.
    pub host: Option<Ipv6Addr>,
}

/// A fragment that has waited for the first one of its datagram. It is to be taken anew.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waited {
    /// As they came: a frame of the outside link, or a datagram of the underlay.
    pub bytes: Vec<u8>,
    /// The hypervisor host and the outer traffic class; `None`: from outside.
    pub from: Option<(Ipv6Addr, u8)>,
}

impl Waits for Waited {
    fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl Account for Counters {
    fn forgotten(&self) {
        self.add(BoundaryEvent::FragmentsForgotten, 1);
    }

    fn waits(&self) {
        self.add(BoundaryEvent::FragmentsHeld, 1);
    }

    fn given_up(&self) {
        self.dropped(BoundaryDrop::Fragment);
    }
}

/// What first fragments have shown of both ends of their datagrams, and fragments that wait.
pub(super) type Fragments = Follow<Datagram, [Selector; 2], Waited>;
