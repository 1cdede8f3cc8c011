// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The NAT layer: which external address stands for the guest.
//!
//! The router has stamped the gateway; only addresses that serve it are eligible, and among these
//! floating goes before ephemeral before source NAT. A connection keeps its address for life: an
//! address that is no longer eligible ends the connection, never moves it.

use crate::choice::choose;
use crate::gateways::{Denials, Gateways};
use crate::mappings::Mappings;
use crate::meta::{EXTERNAL_SOURCE, GATEWAY, GatewayId, TARGET, Target};
use crate::standing::{Served, Service, Standing, Until};
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
use oxide_vpc_api::{ExternalIps, PortConfig, SnatRange};

/// Name of the layer.
pub const NAME: &str = "nat";

/// What is known outside as it is needs no translation.
const EXTERNAL_SOURCES: u16 = 4;
const ONE_TO_ONE: u16 = 5;
const ANY_GATEWAY: u16 = 200;
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
pub fn services(shares: &[Gateways]) -> impl Iterator<Item = Service> + '_ {
    let share = |share: &Gateways| {
        let named = share.named().map(|(id, ips)| (Served::One(id), ips.clone()));
        named.chain([(Served::AnyNamed, share.rest().clone())]).collect::<Vec<_>>()
    };
    shares.iter().flat_map(share).flat_map(|(served, external)| {
        let own = external.floating.into_iter().chain(external.ephemeral);
        let own = own.map(|ip| (ip, None)).collect::<Vec<_>>();
        let pools = external.snat.into_iter();
        let pools = pools.map(|range| (range.ip, Some((range.first_port, range.last_port))));
        let all = own.into_iter().chain(pools);
        all.map(move |(ip, ports)| Service { ip, ports, served, until: None })
    })
}

/// What the NAT layer of a port follows from.
#[derive(Clone, Copy)]
pub struct Addresses<'a> {
    /// The configuration with the external addresses.
    pub config: &'a PortConfig,
    /// Which of them serve which gateway, for each family.
    pub shares: &'a [Gateways],
    /// Counts of what a gateway has no address for.
    pub denials: &'a Denials,
    /// Those that were taken away but stand for connections that they have.
    pub retired: &'a [Service],
}

/// The layer with the external addresses of a port.
pub fn with_addresses(
    layer: &Layer,
    addresses: Addresses<'_>,
    space: &mut ReservationSpace,
    mut next_id: impl FnMut() -> RuleId,
) -> Layer {
    let Addresses { config, shares, denials, retired } = addresses;
    let mut out = Vec::new();
    let mut inbound = Vec::new();
    let live = services(shares);
    let standing = Arc::new(Standing::new(live.chain(retired.iter().copied())));
    let outside = || Predicate::Meta(TARGET.slot(), Target::Gateway.to_bits());
    for (family, share) in config.families().zip(shares) {
        let mut rule = |priority, gateway: Predicate, external: &ExternalIps| {
            // Without an address the gateway is one that denies.
            if *external == ExternalIps::default() {
                return;
            }
            let ipv4 = Predicate::Ipv4(family.private_ip.is_ipv4());
            let predicates = [ipv4, outside(), gateway].into();
            let act = Action::Act(Arc::new(Outbound::new(external, &standing, space)));
            out.push(Arc::new(Rule::new(next_id(), priority, predicates, act)));
        };
        let is = |gateway: GatewayId| Predicate::Meta(GATEWAY.slot(), gateway.to_bits());
        for (gateway, external) in share.named() {
            rule(ONE_TO_ONE, is(gateway), external);
        }
        let named = Predicate::Not(Arc::new(is(GatewayId(None))));
        rule(ANY_GATEWAY, named, share.rest());
        for external_ip in family.external.floating.iter().copied().chain(family.external.ephemeral)
        {
            let predicates = [Predicate::Dst(IpCidr::host(external_ip))];
            let private_ip = family.private_ip;
            let action = if share.is_reached_by(external_ip) {
                Action::Act(Arc::new(Inbound { vni: config.vni, private_ip, external_ip }))
            } else {
                Action::Deny(DropReason::NoExternalAddress)
            };
            inbound.push(Arc::new(Rule::new(next_id(), ONE_TO_ONE, predicates.into(), action)));
        }
    }
    let known = [Predicate::Meta(EXTERNAL_SOURCE.slot(), 1)].into();
    out.push(Arc::new(Rule::new(next_id(), EXTERNAL_SOURCES, known, Action::Allow)));
    let rest = || {
        let (standing, denials) = (standing.clone(), denials.clone());
        Action::Act(Arc::new(Rest { standing, denials }))
    };
    out.push(Arc::new(Rule::new(next_id(), NO_ADDRESS, [outside()].into(), rest())));
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

/// Translates connections that the guest opens through one gateway.
struct Outbound {
    floating: Vec<IpAddr>,
    ephemeral: Option<IpAddr>,
    pools: Vec<NatPool>,
    standing: Arc<Standing>,
}

impl Outbound {
    fn new(external: &ExternalIps, standing: &Arc<Standing>, space: &mut ReservationSpace) -> Self {
        let pool =
            |range: &SnatRange| NatPool::new(space, range.ip, range.first_port..=range.last_port);
        Self {
            floating: external.floating.clone(),
            ephemeral: external.ephemeral,
            pools: external.snat.iter().map(pool).collect(),
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
                let gateway = walk.meta.get(GATEWAY);
                stand(walk, self.standing.of(gateway, &binding))?;
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
    denials: Denials,
}

impl Act for Rest {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        let outbound = walk.direction == Direction::Out;
        let binding = match (walk.connection, walk.binding) {
            (Some(_), Some(binding)) => binding,
            (Some(_), None) if outbound => return Err(DropReason::UntranslatedOutside),
            (None, _) if outbound => {
                walk.meta.get(GATEWAY).into_iter().for_each(|gateway| self.denials.count(gateway));
                return Err(DropReason::NoExternalAddress);
            }
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
