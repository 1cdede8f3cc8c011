// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Multicast: who gets a copy.
//!
//! A packet to a group leaves its guest's port like any other, with the group of the underlay as
//! its outer destination ([`oxide_vpc::overlay`]). From there on it has several receivers: ports
//! of this host that hear the group, except the one that sent it, and next hops, which pass it on.
//! What comes from the underlay goes to ports of this host and never on: a host is a leaf.
//!
//! * `control` answers requests and keeps what was told.
//! * [`Groups`] is what follows from that for packets: a part of the snapshot that they load, of
//!   which a change makes another one that shares what it does not touch.
//! * `deliver` makes the copies.
//!
//! Packets to one receiver never look at any of this.

mod control;
mod deliver;

use crate::host::PortId;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::sync::atomic::{AtomicU64, Ordering};
use opte::outer::GeneveOptions;
use opte_api::Vni;
use oxide_vpc::overlay;
use oxide_vpc_api::multicast::{NextHop, Replication, SourceFilter};
use rpds::RedBlackTreeMapSync;

pub(crate) use control::Told;

/// A port that hears a group.
#[derive(Clone)]
struct Member {
    port: PortId,
    vni: Vni,
    filter: SourceFilter,
}

/// A next hop, ready to be sent to.
struct Hop {
    addr: Ipv6Addr,
    replication: Replication,
    options: GeneveOptions,
    filter: SourceFilter,
}

impl Hop {
    fn new(hop: &NextHop) -> Self {
        Self {
            addr: hop.addr,
            replication: hop.replication,
            options: overlay::multicast_option(hop.replication),
            filter: hop.filter.clone(),
        }
    }
}

/// A group that somebody hears or that is sent on.
struct Group {
    underlay: Ipv6Addr,
    members: Vec<Member>,
    hops: Vec<Hop>,
}

/// All such groups, by the address that guests know.
#[derive(Clone, Default)]
pub(crate) struct Groups(RedBlackTreeMapSync<IpAddr, Arc<Group>>);

impl Groups {
    fn get(&self, group: IpAddr) -> Option<&Group> {
        self.0.get(&group).map(|group| &**group)
    }

    /// These groups with another one in the place of one of them, or none.
    fn with(&self, ip: IpAddr, group: Option<Group>) -> Self {
        Self(match group {
            Some(group) => self.0.insert(ip, Arc::new(group)),
            None => self.0.remove(&ip),
        })
    }
}

/// A receiver of a copy.
enum Receiver<'a> {
    Guest(PortId),
    Hop(&'a Hop),
}

impl Group {
    /// Who gets what the guest of `sender` sends from `source`.
    fn receivers(&self, sender: PortId, source: IpAddr) -> impl Iterator<Item = Receiver<'_>> {
        let members = self.members.iter().filter(move |m| m.port != sender);
        let members = members.filter(move |member| member.filter.allows(source));
        let hops = self.hops.iter().filter(move |hop| hop.filter.allows(source));
        members.map(|member| Receiver::Guest(member.port)).chain(hops.map(Receiver::Hop))
    }
}

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident),* $(,)?) => {
        /// What became of copies, since the host was made.
        #[derive(Default)]
        pub(crate) struct Counts { $($(#[doc = $doc])+ $name: AtomicU64),* }

        impl Counts {
            /// Names and values.
            pub fn list(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((concat!("multicast_", stringify!($name)), &self.$name)),*]
                    .into_iter()
                    .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
            }
        }
    };
}

counts! {
    /// Copies for guests of this host.
    to_guests,
    /// Copies for next hops that serve the outside.
    to_external,
    /// Copies for next hops that serve other hosts.
    to_underlay,
    /// Copies for next hops that serve both.
    to_both,
    /// Copies that a source filter kept back.
    filtered,
    /// Copies for which the host had no buffer.
    not_copied,
}

fn add(count: &AtomicU64, amount: usize) {
    if amount != 0 {
        count.fetch_add(amount as u64, Ordering::Relaxed);
    }
}
