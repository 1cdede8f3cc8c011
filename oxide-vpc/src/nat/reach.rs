// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! By which external tuples a port is reached, for whoever has to find the port.

use crate::standing::{Serves, Service, Until};
use alloc::collections::BTreeSet;
use opte_api::{IpCidr, Protocol};

/// Ports (and query identifiers) of each of some addresses, of which some are lent to the guest.
/// Others may borrow from them, too.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Lent {
    /// The addresses.
    pub prefix: IpCidr,
    /// The first port.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

/// Tuples that lead to the guest, and to nobody else.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Own {
    /// The addresses.
    pub prefix: IpCidr,
    /// One protocol and the first and last of its ports, or all there is.
    pub ports: Option<(Protocol, u16, u16)>,
    /// It was taken away, and stands for connections that it has.
    pub retired: bool,
}

/// All external tuples of a port, and those that were taken away and stand for connections.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reach {
    /// What is lent.
    pub lent: BTreeSet<Lent>,
    /// What is the guest's own.
    pub own: BTreeSet<Own>,
}

impl Reach {
    pub(crate) fn new(services: impl IntoIterator<Item = Service>) -> Self {
        let mut reach = Self::default();
        for Service { prefix, serves, until, .. } in services {
            if until == Some(Until::Over) {
                continue;
            }
            let own = |ports| Own { prefix, ports, retired: until.is_some() };
            match serves {
                Serves::Range(first, last) => {
                    reach.lent.insert(Lent { prefix, first, last });
                }
                Serves::Guest | Serves::Prefix(_) => {
                    reach.own.insert(own(None));
                }
                Serves::Forward(forward) => {
                    let ports = forward.external_ports;
                    reach.own.insert(own(Some((forward.protocol, ports.first, ports.last))));
                }
            }
        }
        reach
    }
}
