// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Pools, and what is on loan.

use crate::management::Managed;
use alloc::vec::Vec;
use opte::host::Host;
use opte::nat::{Mapping, Usage};
use opte_api::OpteError;
use oxide_vpc_api::dump::Counter;
use oxide_vpc_api::pools::{
    LeasePlace, MAX_LEASE_PAGE, NatGuestInfo, NatLeaseInfo, NatLeasePage, NatPoolInfo,
    NatRangeInfo, NatUsage,
};

pub(crate) fn pool<H: Host>(managed: &Managed<H>) -> Result<NatPoolInfo, OpteError> {
    let pool = managed.vpc.nat_plan()?.all_shared();
    let holder = managed.vpc.holder();
    let (mappings, high_water) = holder.mapped();
    let ranges = pool.ranges().map(|range| {
        let [tcp, udp, query] = pool.usage(range).map(usage);
        let (first_port, last_port) = (*range.ports.start(), *range.ports.end());
        NatRangeInfo { prefix: range.prefix, first_port, last_port, tcp, udp, query }
    });
    let failures = holder.failures();
    let guests = holder.guests().into_iter().map(|guest| {
        let [tcp, udp, query] = guest.mappings;
        NatGuestInfo { ip: guest.ip, tcp, udp, query, external_ip: guest.paired }
    });
    Ok(NatPoolInfo {
        port: managed.device.name.clone(),
        mappings,
        high_water,
        failures: failures
            .map(|(failure, value)| Counter { name: failure.name().into(), value })
            .collect(),
        ranges: ranges.collect(),
        guests: guests.collect(),
    })
}

const fn usage(usage: Usage) -> NatUsage {
    NatUsage {
        used: usage.used,
        free: usage.free,
        quarantined: usage.quarantined,
        claimed: usage.claimed,
        high_water: usage.peak,
    }
}

fn lease(mapping: &Mapping) -> NatLeaseInfo {
    let ((ip, port), (external_ip, external_port)) = (mapping.inside(), mapping.external());
    let protocol = mapping.protocol();
    NatLeaseInfo {
        place: LeasePlace { protocol, external_ip, external_port, ip, port },
        connections: mapping.uses(),
        shared: mapping.is_shared(),
    }
}

/// The leases behind `after`, in order, and at most `limit` of them.
pub(crate) fn leases<H: Host>(
    managed: &Managed<H>,
    after: Option<LeasePlace>,
    limit: u32,
) -> NatLeasePage {
    let mappings = managed.vpc.holder().mappings();
    let mut leases: Vec<NatLeaseInfo> = mappings.iter().map(|mapping| lease(mapping)).collect();
    leases.retain(|lease| after.is_none_or(|after| lease.place > after));
    leases.sort_unstable_by_key(|lease| lease.place);
    let limit = limit.clamp(1, MAX_LEASE_PAGE) as usize;
    let more = leases.len() > limit;
    leases.truncate(limit);
    NatLeasePage { leases, more }
}
