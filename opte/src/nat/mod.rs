// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! External addresses, ports and query identifiers on loan.
//!
//! Who owns an external (realm, address, protocol, port) is recorded in a [`ReservationSpace`] that
//! no change of configuration rebuilds:
//!
//! * a [`PortMap`] for each address and protocol: a port is taken by one atomic test-and-set, at
//!   random among all that are free, and waits in quarantine when it comes back;
//! * a [`Mapping`] is an external tuple that stands for one endpoint inside. Connections of that
//!   endpoint share it, each by a [`Lease`]; it ends with the last of them;
//! * a [`Holder`] is an owner, with its mappings, and what each of its guests has;
//! * a [`Claim`] gives tuples to one owner for as long as it is configured so: port forwards, and
//!   addresses that are one guest's alone;
//! * where several owners take from one range, a [`Noted`] lets it be noted who has which tuple, and
//!   [`Addressed`] says which one a packet from outside is for.
//!
//! A [`NatPool`] is configuration: which ranges may be lent to an owner, and how. It owns nothing,
//! so pools come, go, grow and shrink while what is on loan stays as it is. Whether a connection
//! still stands is asked when it is judged, by whoever knows the configuration.
//!
//! Locks are nested in this order only: an owner's, the space's records, one of a port map.

mod addressed;
mod holder;
mod identifications;
mod known;
mod lock;
mod options;
mod pool;
mod ports;
mod quarantine;
mod rate;
mod space;
#[cfg(test)]
mod tests;

pub use addressed::Addressed;
pub use holder::{GuestUsage, Holder, Lease, MAX_REMOTES, Mapping};
pub use identifications::Identifications;
pub use options::{ByProtocol, Dependence, Limits, NatOptions, Pooling, Rates};
pub use pool::{Arrival, NatPool, Range};
pub use ports::{Dice, PortMap, Usage, Want};
pub use quarantine::Hold;
pub use rate::MAX_RATED;
pub use space::{Claim, Conflict, MAX_PORT_MAPS, Noted, Realm, ReservationSpace, Tuples};

use crate::edit::HeaderEdit;
use crate::flow_key::FlowKey;
use core::net::IpAddr;
use opte_api::{Direction, Protocol};

/// Why there is no mapping for a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// Its protocol has neither ports nor identifiers, or it is no request.
    Protocol,
    /// Nothing is left to be lent.
    Exhausted,
    /// The guest has as many as it may have.
    GuestLimit,
    /// The owner has as many as it may have.
    OwnerLimit,
    /// New ones of the guest, or of the owner, come faster than they may.
    Rate,
}

impl Failure {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 5] =
        [Self::Protocol, Self::Exhausted, Self::GuestLimit, Self::OwnerLimit, Self::Rate];

    /// The name that counters and dumps use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Exhausted => "exhausted",
            Self::GuestLimit => "guest_limit",
            Self::OwnerLimit => "owner_limit",
            Self::Rate => "rate",
        }
    }
}

/// ICMP, as it goes with this family.
pub const fn query_protocol(ip: IpAddr) -> Protocol {
    if ip.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 }
}

/// How the remote end of a flow is translated, too (twice NAT; RFC 2663, section 4.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Remote {
    /// Address by which the guest knows it.
    pub seen_ip: IpAddr,
    /// Address that it has outside.
    pub real_ip: IpAddr,
    /// TCP or UDP port inside and outside; `None` where it is kept.
    pub ports: Option<[u16; 2]>,
}

impl Remote {
    /// What leads from the destination of `seen` to that of `real`, keys of packets of one protocol.
    /// `None`: they are the same.
    pub fn between(seen: &FlowKey, real: &FlowKey) -> Option<Self> {
        let ports = [seen.dst_port(), real.dst_port()];
        let ports = (!seen.is_icmp() && ports[0] != ports[1]).then_some(ports);
        let (seen_ip, real_ip) = (seen.dst(), real.dst());
        (seen_ip != real_ip || ports.is_some()).then_some(Self { seen_ip, real_ip, ports })
    }

    /// The key of a packet to it, as that is outside.
    pub fn outside(&self, key: &FlowKey) -> FlowKey {
        self.edit(Direction::Out, key).key(*key)
    }

    /// The edit of packets to it, or from it.
    fn edit(&self, direction: Direction, key: &FlowKey) -> HeaderEdit {
        let [seen, real] = self.ports.map_or([None; 2], |ports| ports.map(Some));
        match direction {
            Direction::Out if key.dst() == self.seen_ip => {
                HeaderEdit { dst_ip: Some(self.real_ip), dst_port: real, ..HeaderEdit::NONE }
            }
            // An ICMP error may come from somebody between.
            Direction::In if key.src() == self.real_ip => {
                HeaderEdit { src_ip: Some(self.seen_ip), src_port: seen, ..HeaderEdit::NONE }
            }
            _ => HeaderEdit::NONE,
        }
    }
}

/// How a flow is translated: inside it is `private`, outside it is `external`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NatBinding {
    /// Address inside.
    pub private_ip: IpAddr,
    /// Address outside.
    pub external_ip: IpAddr,
    /// Port or echo identifier inside.
    pub private_port: u16,
    /// Port or echo identifier outside; `None` where it is kept (one address for one).
    pub external_port: Option<u16>,
    /// How its other end is.
    pub remote: Option<Remote>,
}

impl NatBinding {
    /// The edit of packets that go `direction`.
    pub fn edit(&self, direction: Direction, key: &FlowKey) -> HeaderEdit {
        let echo = key.is_query();
        let ports = |port: u16| self.external_port.map(|_| port);
        let remote = self.remote.map_or(HeaderEdit::NONE, |remote| remote.edit(direction, key));
        remote.then(match direction {
            Direction::Out => HeaderEdit {
                src_ip: Some(self.external_ip),
                src_port: self.external_port.filter(|_| !echo),
                echo_id: self.external_port.filter(|_| echo),
                ..HeaderEdit::NONE
            },
            Direction::In => HeaderEdit {
                dst_ip: Some(self.private_ip),
                dst_port: ports(self.private_port).filter(|_| !echo),
                echo_id: ports(self.private_port).filter(|_| echo),
                ..HeaderEdit::NONE
            },
        })
    }

    /// The same without that of the other end.
    #[must_use]
    pub const fn alone(self) -> Self {
        Self { remote: None, ..self }
    }
}

impl core::fmt::Display for NatBinding {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write_end(f, self.external_ip, self.external_port)?;
        let Some(remote) = &self.remote else { return Ok(()) };
        f.write_str(" to ")?;
        write_end(f, remote.real_ip, remote.ports.map(|[_, real]| real))
    }
}

fn write_end(f: &mut core::fmt::Formatter<'_>, ip: IpAddr, port: Option<u16>) -> core::fmt::Result {
    match (port, ip) {
        (None, ip) => write!(f, "{ip}"),
        (Some(port), IpAddr::V4(ip)) => write!(f, "{ip}:{port}"),
        (Some(port), IpAddr::V6(ip)) => write!(f, "[{ip}]:{port}"),
    }
}
