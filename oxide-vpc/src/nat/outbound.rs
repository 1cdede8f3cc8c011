// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Connections that the guest opens.

use super::destinations::Destinations;
use super::plan::{Eligible, NatPlan};
use super::{by_inside, cut, must_translate, reason, same_remote, stand, whole};
use crate::choice::choose;
use crate::meta::{EXTERNAL_SOURCE, GATEWAY};
use crate::standing::Standing;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use core::net::IpAddr;
use opte::cut::CutReason;
use opte::drop_reason::DropReason;
use opte::flow_key::FlowKey;
use opte::meta::MetaValue;
use opte::nat::{NatBinding, NatPool};
use opte::rule::Act;
use opte::walk::Walk;
use oxide_vpc_api::{OneToOne, PortForward};

/// Translates connections that the guest opens through one gateway.
pub(super) struct Outbound {
    floating: Vec<IpAddr>,
    ephemeral: Option<IpAddr>,
    one_to_one: Vec<OneToOne>,
    forwards: Vec<PortForward>,
    pool: NatPool,
    destinations: Destinations,
    standing: Arc<Standing>,
}

impl Outbound {
    pub fn new(plan: &NatPlan, eligible: &Eligible, standing: &Arc<Standing>) -> Self {
        Self {
            floating: eligible.floating.clone(),
            ephemeral: eligible.ephemeral,
            one_to_one: eligible.one_to_one.clone(),
            forwards: eligible.forwards.clone(),
            pool: plan.pool(&eligible.ranges),
            destinations: plan.destinations(),
            standing: standing.clone(),
        }
    }

    /// Translates a new connection, at both of its ends where that is so.
    fn bind(&self, walk: &mut Walk<'_>) -> Result<NatBinding, DropReason> {
        let key = walk.key().ok_or(DropReason::NatProtocol)?;
        must_translate(&key)?;
        let remote = self.destinations.remote(&key);
        let outside = remote.map_or(key, |remote| remote.outside(&key));
        Ok(NatBinding { remote, ..self.take(walk, &outside)? })
    }

    /// Takes an address for a new connection, whose key has the destination that it has outside.
    fn take(&self, walk: &mut Walk<'_>, key: &FlowKey) -> Result<NatBinding, DropReason> {
        if let Some(ip) = choose(&self.floating, walk.hash, name).or(self.ephemeral.as_ref()) {
            return Ok(whole(key.src(), *ip));
        }
        if let Some(ip) = self.one_to_one.iter().find_map(|one| outside_of(one, key.src())) {
            return Ok(whole(key.src(), ip));
        }
        // An endpoint to which a forward leads is known outside by that.
        let forwards = self.forwards.iter().filter(|f| f.protocol == key.protocol());
        let mut forwards = forwards.filter_map(|f| by_inside(f, key.src(), key.src_port()));
        if let Some(binding) = forwards.next() {
            return Ok(binding);
        }
        if self.pool.is_empty() {
            return Err(DropReason::NoExternalAddress);
        }
        let lease = self.pool.lease(key, walk.hash).map_err(reason)?;
        let binding = lease.binding();
        walk.lease = Some(lease);
        Ok(binding)
    }
}

/// The address outside that a prefix has for one inside.
fn outside_of(one: &OneToOne, inside: IpAddr) -> Option<IpAddr> {
    let bits = one.inside.contains(inside).then(|| one.inside.host_bits(inside))?;
    Some(one.external.with_host_bits(bits))
}

fn name(ip: &IpAddr) -> u64 {
    let bits = ip.to_bits();
    bits as u64 ^ (bits >> 64) as u64
}

impl Act for Outbound {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        match (walk.connection, walk.binding) {
            (None, _) => walk.binding = Some(self.bind(walk)?),
            (Some(_), Some(_)) => {
                let gateway = walk.meta.get(GATEWAY);
                same_remote(walk, &self.destinations)?;
                stand(walk, &self.standing, gateway)?;
            }
            // Opened without translation, when its route led elsewhere.
            (Some(_), None) => return Err(DropReason::UntranslatedOutside),
        }
        walk.translate();
        Ok(())
    }

    fn describe(&self) -> String {
        let mut text = String::from("translate");
        // Writing to a String cannot fail.
        for ip in &self.floating {
            let _ = write!(text, " floating={ip}");
        }
        if let Some(ip) = self.ephemeral {
            let _ = write!(text, " ephemeral={ip}");
        }
        for one in &self.one_to_one {
            let _ = write!(text, " {}={}", one.inside, one.external);
        }
        for forward in &self.forwards {
            let PortForward { protocol, external_ip, external_ports, first_port } = forward;
            let _ = write!(text, " forward={protocol}:{external_ip}:{external_ports}:{first_port}");
        }
        for range in self.pool.ranges() {
            let (first, last) = (range.ports.start(), range.ports.end());
            match range.prefix.host_len() {
                0 => write!(text, " snat={}:{first}-{last}", range.prefix.addr()),
                _ => write!(text, " snat={}:{first}-{last}", range.prefix),
            }
            .unwrap_or_default();
        }
        self.destinations.describe(&mut text);
        text
    }
}

/// Lets connections out as they are: towards some destinations nothing is translated.
pub(super) struct Unchanged;

impl Act for Unchanged {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        if walk.connection.is_some() && walk.binding.is_some() {
            return cut(walk, CutReason::TranslatedOtherwise);
        }
        walk.meta.set(EXTERNAL_SOURCE, 1);
        Ok(())
    }

    fn describe(&self) -> String {
        "leave as it is".into()
    }
}
