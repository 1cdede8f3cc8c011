// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the layers of a VPC tell one another about a packet.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use opte::meta::{Meta, MetaKey, MetaValue, SLOTS, Slot};
use opte_api::Vni;
use uuid::Uuid;

/// The VPC that the remote side is a guest of. Unset for the outside.
pub const PEER_VNI: MetaKey<Vni> = MetaKey::new(0, "peer_vni");
/// Kind of the route's target.
pub const TARGET: MetaKey<Target> = MetaKey::new(1, "target");
/// The gateway of a route to the outside.
pub const GATEWAY: MetaKey<GatewayId> = MetaKey::new(2, "gateway");
/// The guest that a route leads to.
pub const TARGET_IP: MetaKey<IpAddr> = MetaKey::new(3, "target_ip");

/// Set (to 1) if the source lies in a subnet that is known outside as it is.
pub const EXTERNAL_SOURCE: MetaKey<u8> = MetaKey::new(6, "external_source");

/// What a layer has told about a packet, as `name=value`.
pub fn notes(before: &Meta, after: &Meta) -> Vec<String> {
    let changed = |slot: usize| before.bits_at(slot) != after.bits_at(slot);
    (0..SLOTS).filter(|slot| changed(*slot)).filter_map(|slot| note(after, slot)).collect()
}

fn note(meta: &Meta, slot: usize) -> Option<String> {
    let bits = meta.bits_at(slot)?;
    let is = |known: Slot| known.index() == slot;
    let (name, value) = if is(PEER_VNI.slot()) {
        (PEER_VNI.name(), meta.get(PEER_VNI)?.to_string())
    } else if is(TARGET.slot()) {
        (TARGET.name(), meta.get(TARGET)?.name().into())
    } else if is(GATEWAY.slot()) {
        let uuid = meta.get(GATEWAY)?.0;
        (GATEWAY.name(), uuid.map_or("default".into(), |uuid| uuid.to_string()))
    } else if is(TARGET_IP.slot()) {
        (TARGET_IP.name(), meta.get(TARGET_IP)?.to_string())
    } else {
        return Some(format!("slot{slot}={bits:#x}"));
    };
    Some(format!("{name}={value}"))
}

/// Kind of a route's target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// To the outside.
    Gateway,
    /// To one guest.
    Ip,
    /// To the guest that has the destination address.
    Subnet,
}

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Ip => "ip",
            Self::Subnet => "subnet",
        }
    }
}

impl MetaValue for Target {
    fn to_bits(self) -> u128 {
        self as u128
    }

    fn from_bits(bits: u128) -> Self {
        match bits {
            0 => Self::Gateway,
            1 => Self::Ip,
            _ => Self::Subnet,
        }
    }
}

/// An internet gateway; `None` is the one without a name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct GatewayId(pub Option<Uuid>);

impl MetaValue for GatewayId {
    fn to_bits(self) -> u128 {
        self.0.unwrap_or(Uuid::nil()).as_u128()
    }

    fn from_bits(bits: u128) -> Self {
        Self((bits != 0).then(|| Uuid::from_u128(bits)))
    }
}
