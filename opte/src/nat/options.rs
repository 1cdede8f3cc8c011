// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How a pool lends what it has.

use super::quarantine::Hold;
use crate::answer::Rate;
use opte_api::Protocol;

/// What of the remote side a mapping, or a filter, depends on (RFC 4787, sections 4.1 and 5).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Dependence {
    /// Nothing: endpoint-independent.
    #[default]
    Nothing,
    /// Its address.
    Address,
    /// Its address and port.
    AddressAndPort,
}

/// One value for each kind of packet that has ports or an identifier. Each is independent of the
/// others (RFC 7857, sections 5 and 6).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ByProtocol<T> {
    /// TCP.
    pub tcp: T,
    /// UDP.
    pub udp: T,
    /// ICMP queries.
    pub query: T,
}

impl<T: Copy> ByProtocol<T> {
    /// The value for a protocol.
    pub const fn of(&self, protocol: Protocol) -> T {
        match protocol {
            Protocol::TCP => self.tcp,
            Protocol::UDP => self.udp,
            _ => self.query,
        }
    }
}

/// Which external address a guest gets (RFC 4787, REQ-2; RFC 7857, section 4).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Pooling {
    /// The one it has, for all protocols, as long as there is a port left; then another.
    #[default]
    Paired,
    /// The one it has, or none.
    PairedOnly,
    /// Any.
    Arbitrary,
}

/// Most mappings at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Of one owner.
    pub owner: u32,
    /// Of one address inside (RFC 6888, REQ-4).
    pub guest: u32,
    /// Of one address inside and one protocol (RFC 6888, REQ-4b).
    pub protocol: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { owner: 1 << 20, guest: 1 << 20, protocol: 1 << 20 }
    }
}

/// How fast new mappings may come (RFC 6888, REQ-4c). What is mapped already asks for none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rates {
    /// Those of one owner.
    pub owner: Rate,
    /// Those of one address inside.
    pub guest: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        let all = Rate { per_second: 1 << 20, burst: 1 << 20 };
        Self { owner: all, guest: all }
    }
}

/// How a pool lends what it has. The default is what RFC 4787, 5382, 5508, 6888 and 7857 ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NatOptions {
    /// What a mapping depends on.
    pub mapping: ByProtocol<Dependence>,
    /// What lets a packet in that belongs to no connection, but whose destination is mapped. The
    /// rules of later layers have their say all the same.
    pub filtering: ByProtocol<Dependence>,
    /// Which external address a guest gets.
    pub pooling: Pooling,
    /// An even port stays even, and an odd one odd, while there are such (RFC 4787, REQ-4; off as
    /// RFC 7857, section 8, has it).
    pub parity: bool,
    /// Well-known ports (below 1024) stay so, and others too, while there are such (RFC 4787,
    /// REQ-3a).
    pub port_class: bool,
    /// Ports are taken at random (RFC 6056); else the lowest goes first.
    pub random: bool,
    /// When there is no port left, one of the owner's own is used towards another destination
    /// (RFC 7857, section 3).
    pub sharing: bool,
    /// How long ports wait that were given back. Whoever puts a pool in force tells its owner so by
    /// [`super::Holder::set_hold`]: pools that are only planned change nothing.
    pub hold: Hold,
    /// Most mappings at a time.
    pub limits: Limits,
    /// How fast new ones may come.
    pub rates: Rates,
}

impl Default for NatOptions {
    fn default() -> Self {
        Self {
            mapping: ByProtocol::default(),
            filtering: ByProtocol::default(),
            pooling: Pooling::default(),
            parity: false,
            port_class: true,
            random: true,
            sharing: false,
            hold: Hold::default(),
            limits: Limits::default(),
            rates: Rates::default(),
        }
    }
}
