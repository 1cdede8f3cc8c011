// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The NAT layer: which external address stands for the guest.
//!
//! The router has stamped the gateway; only addresses that serve it are eligible, and among these
//! floating goes before ephemeral before source NAT. A connection keeps its address for life: an
//! address that is no longer eligible ends the connection, never moves it.

use crate::choice::choose;
use crate::mappings::Mappings;
use crate::meta::{EXTERNAL_SOURCE, GATEWAY, GatewayId, TARGET, Target};
use crate::standing::{Service, Standing, Until};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use core::net::IpAddr;
use opte::cut::CutReason;
use opte::drop_reason::DropReason;
use opte::flow_key::FlowKey;
use opte::layer::{DefaultAction, Layer, LayerSide, Return};
use opte::meta::MetaValue;
use opte::nat::{NatBinding, NatPool, ReservationSpace};
use opte::rule::{Act, Action, Predicate, Rule, RuleId};
use opte::table::Table;
use opte::walk::Walk;
use opte_api::{Direction, IpCidr, Protocol, Vni};
use oxide_vpc_api::{ExternalIps, GatewayMap, PortConfig, SnatRange};

/// Name of the layer.
pub const NAME: &str = "nat";

/// What is known outside as it is needs no translation.
const EXTERNAL_SOURCES: u16 = 4;
const ONE_TO_ONE: u16 = 5;
const NO_ADDRESS: u16 = 255;

/// The layer without external addresses.
pub fn empty() -> Layer {
    Layer {
        name: NAME,
        sides: [
            LayerSide::new(Table::EMPTY, DefaultAction::Allow),
            LayerSide::new(Table::EMPTY, DefaultAction::Allow),
        ],
        on_return: Return::Translate,
    }
}

/// What the external addresses of a port stand for.
pub fn services<'a>(
    config: &'a PortConfig,
    gateways: &'a GatewayMap,
) -> impl Iterator<Item = Service> + 'a {
    config.families().flat_map(|family| by_gateway(&family.external, gateways)).flat_map(
        |(gateway, external)| {
            let own = external.floating.into_iter().chain(external.ephemeral);
            let own = own.map(|ip| (ip, None)).collect::<Vec<_>>();
            let pools = external.snat.into_iter();
            let pools = pools.map(|range| (range.ip, Some((range.first_port, range.last_port))));
            let all = own.into_iter().chain(pools);
            all.map(move |(ip, ports)| Service { ip, ports, gateway, until: None })
        },
    )
}

/// The layer with the external addresses of a port, and those that were taken away but stand for
/// connections that they have.
pub fn with_addresses(
    layer: &Layer,
    config: &PortConfig,
    gateways: &GatewayMap,
    retired: &[Service],
    space: &mut ReservationSpace,
    mut next_id: impl FnMut() -> RuleId,
) -> Layer {
    let mut out = Vec::new();
    let mut inbound = Vec::new();
    let live = services(config, gateways);
    let standing = Arc::new(Standing::new(live.chain(retired.iter().copied())));
    for family in config.families() {
        let ipv4 = family.private_ip.is_ipv4();
        for (gateway, external) in by_gateway(&family.external, gateways) {
            let predicates = [
                Predicate::Ipv4(ipv4),
                Predicate::Meta(TARGET.slot(), Target::Gateway.to_bits()),
                Predicate::Meta(GATEWAY.slot(), gateway.to_bits()),
            ];
            let outbound = Outbound::new(&external, gateway, &standing, space);
            let act = Action::Act(Arc::new(outbound));
            out.push(Arc::new(Rule::new(next_id(), ONE_TO_ONE, predicates.into(), act)));
        }
        for external_ip in family.external.floating.iter().copied().chain(family.external.ephemeral)
        {
            let predicates = [Predicate::Dst(IpCidr::host(external_ip))];
            let private_ip = family.private_ip;
            let act = Action::Act(Arc::new(Inbound { vni: config.vni, private_ip, external_ip }));
            inbound.push(Arc::new(Rule::new(next_id(), ONE_TO_ONE, predicates.into(), act)));
        }
    }
    let known = [Predicate::Meta(EXTERNAL_SOURCE.slot(), 1)].into();
    out.push(Arc::new(Rule::new(next_id(), EXTERNAL_SOURCES, known, Action::Allow)));
    let rest = || Action::Act(Arc::new(Rest { standing: standing.clone() }));
    let outside = Predicate::Meta(TARGET.slot(), Target::Gateway.to_bits());
    out.push(Arc::new(Rule::new(next_id(), NO_ADDRESS, [outside].into(), rest())));
    inbound.push(Arc::new(Rule::new(next_id(), NO_ADDRESS, [].into(), rest())));
    Layer {
        name: NAME,
        sides: [
            layer.side(Direction::Out).with_table(Table::by_priority(out)),
            layer.side(Direction::In).with_table(Table::by_priority(inbound)),
        ],
        on_return: layer.on_return,
    }
}

/// The addresses that are eligible for each gateway. Addresses without an entry in the map serve
/// the gateway without a name, and only that one.
fn by_gateway(external: &ExternalIps, gateways: &GatewayMap) -> BTreeMap<GatewayId, ExternalIps> {
    let ids = |ip: IpAddr| -> BTreeSet<GatewayId> {
        match gateways.get(&ip) {
            None => [GatewayId(None)].into(),
            Some(served) => served.iter().map(|uuid| GatewayId(Some(*uuid))).collect(),
        }
    };
    let mut sets: BTreeMap<GatewayId, ExternalIps> = BTreeMap::new();
    for ip in &external.floating {
        for id in ids(*ip) {
            sets.entry(id).or_default().floating.push(*ip);
        }
    }
    if let Some(ip) = external.ephemeral {
        for id in ids(ip) {
            sets.entry(id).or_default().ephemeral = Some(ip);
        }
    }
    for range in &external.snat {
        for id in ids(range.ip) {
            sets.entry(id).or_default().snat.push(*range);
        }
    }
    sets
}

/// Translates connections that the guest opens through one gateway.
struct Outbound {
    floating: Vec<IpAddr>,
    ephemeral: Option<IpAddr>,
    pools: Vec<NatPool>,
    gateway: GatewayId,
    standing: Arc<Standing>,
}

impl Outbound {
    fn new(
        external: &ExternalIps,
        gateway: GatewayId,
        standing: &Arc<Standing>,
        space: &mut ReservationSpace,
    ) -> Self {
        let pool =
            |range: &SnatRange| NatPool::new(space, range.ip, range.first_port..=range.last_port);
        Self {
            floating: external.floating.clone(),
            ephemeral: external.ephemeral,
            pools: external.snat.iter().map(pool).collect(),
            gateway,
            standing: standing.clone(),
        }
    }

    /// Takes an address for a new connection.
    fn bind(&self, walk: &mut Walk<'_>) -> Result<NatBinding, DropReason> {
        let key = walk.key().ok_or(DropReason::NatProtocol)?;
        must_translate(&key)?;
        let mut binding = NatBinding {
            private_ip: key.src(),
            external_ip: key.src(),
            private_port: 0,
            external_port: None,
        };
        if let Some(ip) = choose(&self.floating, walk.hash, name).or(self.ephemeral.as_ref()) {
            binding.external_ip = *ip;
            return Ok(binding);
        }
        if !self.pools.iter().any(|pool| pool.serves(&key)) {
            return Err(DropReason::NatProtocol);
        }
        let first = (walk.hash >> 32) as usize % self.pools.len();
        let (before, from) = self.pools.split_at_checked(first).unwrap_or_default();
        for pool in from.iter().chain(before) {
            if let Some(lease) = pool.take(&key, walk.hash) {
                binding.external_ip = pool.ip();
                binding.private_port = if key.is_echo() { key.dst_port() } else { key.src_port() };
                binding.external_port = Some(lease.port());
                walk.lease = Some(lease);
                return Ok(binding);
            }
        }
        Err(DropReason::NatExhausted)
    }
}

/// DCCP and UDP-Lite have checksums over the addresses, which the engine does not rewrite.
fn must_translate(key: &FlowKey) -> Result<(), DropReason> {
    match key.protocol() {
        Protocol(33 | 136) => Err(DropReason::NatProtocol),
        _ => Ok(()),
    }
}

fn name(ip: &IpAddr) -> u64 {
    let bits = ip.to_bits();
    bits as u64 ^ (bits >> 64) as u64
}

impl Act for Outbound {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        match (walk.connection, walk.binding) {
            (None, _) => walk.binding = Some(self.bind(walk)?),
            (Some(_), Some(binding)) => {
                stand(walk, self.standing.of(Some(self.gateway), &binding))?;
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
        for pool in &self.pools {
            let (first, last) = (pool.ports().start(), pool.ports().end());
            let _ = write!(text, " snat={}:{first}-{last}", pool.ip());
        }
        text
    }
}

/// Translates connections that come to a floating or ephemeral address. They are answered from
/// that address, whatever the guest's route says.
struct Inbound {
    vni: Vni,
    private_ip: IpAddr,
    external_ip: IpAddr,
}

impl Act for Inbound {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        let binding = NatBinding {
            private_ip: self.private_ip,
            external_ip: self.external_ip,
            private_port: 0,
            external_port: None,
        };
        if walk.connection.is_none() {
            let key = walk.key().ok_or(DropReason::NatProtocol)?;
            must_translate(&key)?;
            // An address of the VPC does not come from outside: it would pass for that guest in
            // rules, and its flow would keep that guest's own connections out.
            let is_inside = |maps: &Mappings| maps.guest(self.vni, key.src()).is_some();
            if walk.host_tables().is_some_and(is_inside) {
                return Err(DropReason::Spoofed);
            }
            walk.binding = Some(binding);
        } else if walk.binding != Some(binding) {
            walk.cut = Some(CutReason::TranslatedOtherwise);
            return Err(DropReason::NoExternalAddress);
        }
        walk.translate();
        Ok(())
    }

    fn describe(&self) -> String {
        alloc::format!("translate {} to {}", self.external_ip, self.private_ip)
    }
}

/// Where no address serves. Connections that have a translation of old may stand all the same.
struct Rest {
    standing: Arc<Standing>,
}

impl Act for Rest {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        let outbound = walk.direction == Direction::Out;
        let binding = match (walk.connection, walk.binding) {
            (Some(_), Some(binding)) => binding,
            (Some(_), None) if outbound => return Err(DropReason::UntranslatedOutside),
            (None, _) if outbound => return Err(DropReason::NoExternalAddress),
            // From the VPC, or of no meaning here: layers behind see that it is not for the guest.
            _ => return Ok(()),
        };
        let gateway = if outbound { walk.meta.get(GATEWAY) } else { None };
        stand(walk, self.standing.of(gateway, &binding))?;
        walk.translate();
        Ok(())
    }

    fn describe(&self) -> String {
        let mut text = String::from("deny what is not translated yet");
        for service in self.standing.retired() {
            // Writing to a String cannot fail.
            let _ = write!(text, " retired={}", service.ip);
        }
        text
    }
}

/// Goes on with the translation of a connection, if it stands.
fn stand(walk: &mut Walk<'_>, stands: Result<Option<Until>, CutReason>) -> Result<(), DropReason> {
    match stands {
        Ok(None) => {}
        Ok(Some(Until::Time(at))) => walk.drain = Some(Some(at)),
        Ok(Some(Until::Ended | Until::Over)) => walk.drain = Some(None),
        Err(reason) => {
            walk.cut = Some(reason);
            return Err(DropReason::NoExternalAddress);
        }
    }
    Ok(())
}
