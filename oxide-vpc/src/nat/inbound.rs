// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Connections that come from outside, by what their destination is. They are answered from that
//! address, whatever the guest's route says.

use super::{by_outside, cut, must_translate, stand, whole};
use crate::mappings::Mappings;
use crate::standing::Standing;
use alloc::string::String;
use alloc::sync::Arc;
use core::net::IpAddr;
use opte::cut::CutReason;
use opte::drop_reason::DropReason;
use opte::flow_key::FlowKey;
use opte::nat::{Arrival, NatBinding, NatPool};
use opte::rule::Act;
use opte::walk::Walk;
use opte_api::Vni;
use oxide_vpc_api::{OneToOne, PortForward};

/// An address of the VPC does not come from outside: it would pass for that guest in rules, and its
/// flow would keep that guest's own connections out.
fn is_foreign(walk: &Walk<'_>, vni: Vni, key: &FlowKey) -> Result<(), DropReason> {
    let is_inside = |maps: &Mappings| maps.guest(vni, key.src()).is_some();
    if walk.host_tables().is_some_and(is_inside) {
        return Err(DropReason::Spoofed);
    }
    Ok(())
}

/// Translates by `binding`, for which nothing is on loan. What is translated otherwise has lost that
/// for this reason.
fn bind(
    walk: &mut Walk<'_>,
    vni: Vni,
    binding: NatBinding,
    otherwise: CutReason,
) -> Result<(), DropReason> {
    let leased = walk.connection.is_some_and(|connection| connection.leased);
    if walk.connection.is_none() {
        let key = walk.key().ok_or(DropReason::NatProtocol)?;
        must_translate(&key)?;
        is_foreign(walk, vni, &key)?;
        walk.binding = Some(binding);
    } else if leased || walk.binding.map(NatBinding::alone) != Some(binding) {
        return cut(walk, otherwise);
    }
    walk.translate();
    Ok(())
}

/// To a floating or ephemeral address.
pub(super) struct OneAddress {
    pub vni: Vni,
    pub private_ip: IpAddr,
    pub external_ip: IpAddr,
}

impl Act for OneAddress {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        let binding = whole(self.private_ip, self.external_ip);
        bind(walk, self.vni, binding, CutReason::TranslatedOtherwise)
    }

    fn describe(&self) -> String {
        alloc::format!("translate {} to {}", self.external_ip, self.private_ip)
    }
}

/// To an address of a prefix that is the guest's.
pub(super) struct OnePrefix {
    pub vni: Vni,
    pub one: OneToOne,
}

impl Act for OnePrefix {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        let external_ip = walk.key().ok_or(DropReason::NatProtocol)?.dst();
        let bits = self.one.external.host_bits(external_ip);
        let binding = whole(self.one.inside.with_host_bits(bits), external_ip);
        bind(walk, self.vni, binding, CutReason::TranslatedOtherwise)
    }

    fn describe(&self) -> String {
        alloc::format!("translate {} to {}", self.one.external, self.one.inside)
    }
}

/// To a port that is forwarded.
pub(super) struct Forwarded {
    pub vni: Vni,
    pub private_ip: IpAddr,
    pub forward: PortForward,
}

impl Act for Forwarded {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        let port = walk.key().ok_or(DropReason::NatProtocol)?.dst_port();
        let binding = by_outside(&self.forward, self.private_ip, port);
        let binding = binding.ok_or(DropReason::NatProtocol)?;
        bind(walk, self.vni, binding, CutReason::TranslatedOtherwise)
    }

    fn describe(&self) -> String {
        let PortForward { protocol, external_ip, external_ports, first_port } = self.forward;
        let ip = self.private_ip;
        alloc::format!("forward {protocol} {external_ip}:{external_ports} to {ip}:{first_port}")
    }
}

/// To an address that guests share: by the mapping that has the tuple. Whatever has none is not
/// translated, and so is nobody's.
pub(super) struct Mapped {
    pub vni: Vni,
    pub pool: Arc<NatPool>,
    pub standing: Arc<Standing>,
}

impl Act for Mapped {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        let key = walk.key().ok_or(DropReason::NatProtocol)?;
        match (walk.connection, walk.binding) {
            (None, _) => match self.pool.arrive(&key) {
                Arrival::Mapped(lease) => {
                    is_foreign(walk, self.vni, &key)?;
                    walk.binding = Some(lease.binding());
                    walk.lease = Some(lease);
                }
                Arrival::Filtered => return Err(DropReason::NatFiltered),
                Arrival::Unmapped => {}
            },
            (Some(_), Some(_)) => stand(walk, &self.standing, None)?,
            (Some(_), None) => {}
        }
        walk.translate();
        Ok(())
    }

    fn describe(&self) -> String {
        "translate by mapping".into()
    }
}
