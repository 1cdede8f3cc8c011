// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The overlay layer: into and out of the tunnel.

use crate::choice::choose;
use crate::gateways::Gateways;
use crate::mappings::Mappings;
use crate::meta::{EXTERNAL_SOURCE, GATEWAY, GatewayId, PEER_VNI, TARGET, TARGET_IP, Target};
use crate::settings;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use core::net::{IpAddr, Ipv6Addr};
use opte::care::Care;
use opte::drop_reason::DropReason;
use opte::edit::{HeaderEdit, OuterEdit};
use opte::flow_key::FlowKey;
use opte::geneve::Dialect;
use opte::layer::{DefaultAction, Layer, LayerSide, Return};
use opte::nat::{Holder, Realm};
use opte::outer::{GeneveOptions, Outer};
use opte::rule::{Act, Action, Rule, RuleId};
use opte::table::Table;
use opte::walk::Walk;
use opte_api::{Direction, Gather, MacAddr, Protocol, Vni};
use oxide_vpc_api::multicast::{MULTICAST_VNI, Replication};
use oxide_vpc_api::{BoundaryEndpoint, PortConfig};

/// Name of the layer.
pub const NAME: &str = "overlay";

/// Option class of this network's Geneve options.
pub const OPTION_CLASS: u16 = 0x0129;
/// Marks packets that come from outside; no body.
pub const OPTION_EXTERNAL: u8 = 0;
/// Multicast; four bytes of body.
pub const OPTION_MULTICAST: u8 = 1;
/// Segment size; four bytes of body, zero as a port sends it.
pub const OPTION_SEGMENT_SIZE: u8 = 2;

/// The Geneve options that this network understands.
pub const DIALECT: Dialect = Dialect {
    class: OPTION_CLASS,
    known: &[OPTION_EXTERNAL, OPTION_MULTICAST, OPTION_SEGMENT_SIZE],
    external: OPTION_EXTERNAL,
};

/// The option that packets from outside carry.
pub const EXTERNAL_MARK: [u8; 4] = [0x01, 0x29, OPTION_EXTERNAL, 0];
const MULTICAST: [u8; 8] = [0x01, 0x29, OPTION_MULTICAST, 1, 0, 0, 0, 0];
const SEGMENT_SIZE: [u8; 8] = [0x01, 0x29, OPTION_SEGMENT_SIZE, 1, 0, 0, 0, 0];

/// A packet with these outer headers has been on its way to the outside, and is for a guest of the
/// host that sends it: by an external address.
pub fn is_turned(outer: &Outer) -> bool {
    outer.options.as_slice() == EXTERNAL_MARK
}

/// The option that packets to groups carry: the upper two bits of its body say to whom the next
/// hop passes them on.
pub fn multicast_option(replication: Replication) -> GeneveOptions {
    let mut option = MULTICAST;
    let [_, _, _, _, first, ..] = &mut option;
    *first = replication.bits() << 6;
    GeneveOptions::new(&option).unwrap_or_default()
}

/// The layer of a port whose external addresses are shared out like this, for each of its families.
/// `holder` is the port as an owner of external tuples.
pub fn layer(config: &PortConfig, shares: &[Gateways], holder: &Arc<Holder>) -> Layer {
    let rule = |id, act: Arc<dyn Act>| {
        let rule = Rule::new(RuleId(id), 1, [].into(), Action::Act(act));
        Table::by_priority([Arc::new(rule)].into())
    };
    let encapsulate = Encapsulate {
        vni: config.vni,
        underlay_ip: config.underlay_ip,
        boundary_mac: config.boundary_mac,
        multicast_vni: Vni::new(MULTICAST_VNI).unwrap_or(config.vni),
        segment_size: GeneveOptions::new(&SEGMENT_SIZE).unwrap_or_default(),
        turned: GeneveOptions::new(&EXTERNAL_MARK).unwrap_or_default(),
        turns: !config.settings.nat.hairpin_outside,
        holder: holder.clone(),
        cares: Cares::new(config, Direction::Out),
        clamps: config.settings.gateways.clamp_mss.iter().copied().map(GatewayId).gather(),
    };
    let decapsulate = Decapsulate {
        known_senders: config.settings.way.known_senders,
        cares: Cares::new(config, Direction::In),
        clamps: !config.settings.gateways.clamp_mss.is_empty(),
        passed: passed(config, shares),
    };
    let deny = DefaultAction::Deny(DropReason::NoMapping);
    Layer {
        name: NAME,
        sides: [
            LayerSide::new(rule(0, Arc::new(encapsulate)), deny),
            LayerSide::new(rule(1, Arc::new(decapsulate)), deny),
        ],
        on_return: Return::Rules,
    }
}

struct Encapsulate {
    vni: Vni,
    underlay_ip: Ipv6Addr,
    boundary_mac: MacAddr,
    multicast_vni: Vni,
    segment_size: GeneveOptions,
    turned: GeneveOptions,
    /// What goes to an external tuple of another port of this host does not leave it.
    turns: bool,
    holder: Arc<Holder>,
    cares: Cares,
    /// Gateways that clamp, beside what the port does.
    clamps: BTreeSet<GatewayId>,
}

/// External addresses of the port that serve none of the gateways which clamp.
fn passed(config: &PortConfig, shares: &[Gateways]) -> BTreeSet<IpAddr> {
    let mut passed: BTreeSet<IpAddr> =
        config.families().flat_map(|family| family.external.addresses()).gather();
    for share in shares {
        for id in &config.settings.gateways.clamp_mss {
            let clamped: BTreeSet<IpAddr> = share.of(GatewayId(*id)).addresses().gather();
            passed.retain(|ip| !clamped.contains(ip));
        }
    }
    passed
}

/// What is asked of packets, for each family within the VPC and to or from the outside.
struct Cares {
    common: [[Care; 2]; 2],
    /// The largest segments to ask for where a gateway clamps.
    segments: [u16; 2],
}

impl Cares {
    fn new(config: &PortConfig, direction: Direction) -> Self {
        let common = [false, true].map(|outside| {
            [true, false].map(|ipv4| settings::care(config, direction, ipv4, outside))
        });
        let segments = [true, false].map(|ipv4| settings::outside_segment(config, ipv4));
        Self { common, segments }
    }

    /// For packets that go outside or come from there, or do not; `clamps` says that their gateway
    /// clamps.
    fn of(&self, key: &FlowKey, outside: bool, clamps: bool) -> Care {
        let [[ipv4, ipv6], [outer_ipv4, outer_ipv6]] = self.common;
        let [segment_ipv4, segment_ipv6] = self.segments;
        let (care, segment) = match (outside, key.is_ipv4()) {
            (false, true) => return ipv4,
            (false, false) => return ipv6,
            (true, true) => (outer_ipv4, segment_ipv4),
            (true, false) => (outer_ipv6, segment_ipv6),
        };
        if clamps { Care { segment, ..care } } else { care }
    }
}

impl Encapsulate {
    fn leads_here(&self, walk: &Walk<'_>, key: &FlowKey) -> bool {
        let (holder, dst) = (&self.holder, key.dst());
        holder.space().leads_here(holder, Realm::OUTSIDE, dst, walk.addressed())
    }

    fn to_boundary(
        &self,
        walk: &Walk<'_>,
        maps: &Mappings,
        key: &FlowKey,
    ) -> Result<(MacAddr, Outer), DropReason> {
        let known = walk.meta.get(EXTERNAL_SOURCE).is_some();
        if walk.binding.is_none() && !known {
            return Err(DropReason::UntranslatedOutside);
        }
        if self.turns && self.leads_here(walk, key) {
            // Whose it is by then, packet by packet, is the driver's to say.
            let outer = self.outer(self.underlay_ip, self.vni, walk.hash, self.turned);
            return Ok((MacAddr::default(), outer));
        }
        let endpoints = maps.boundary(key.dst()).ok_or(DropReason::NoBoundary)?;
        let endpoint = choose(endpoints, walk.hash, endpoint_name).ok_or(DropReason::NoBoundary)?;
        let outer = self.outer(endpoint.underlay_ip, endpoint.vni, walk.hash, GeneveOptions::NONE);
        Ok((self.boundary_mac, outer))
    }

    fn to_guest(
        &self,
        walk: &Walk<'_>,
        maps: &Mappings,
        key: &FlowKey,
        ip: IpAddr,
    ) -> Result<(MacAddr, Outer), DropReason> {
        if walk.binding.is_some() {
            return Err(DropReason::TranslatedInside);
        }
        if walk.meta.get(EXTERNAL_SOURCE).is_some() {
            return Err(DropReason::ExternalInside);
        }
        let guest = maps.guest(self.vni, ip).ok_or(DropReason::NoMapping)?;
        let options =
            if key.protocol() == Protocol::TCP { self.segment_size } else { GeneveOptions::NONE };
        Ok((guest.mac, self.outer(guest.underlay_ip, self.vni, walk.hash, options)))
    }

    /// To the underlay group. Who listens, and which next hop passes it on, is the driver's to say.
    fn to_group(
        &self,
        walk: &Walk<'_>,
        maps: &Mappings,
        key: &FlowKey,
    ) -> Result<(MacAddr, Outer), DropReason> {
        // A connection has two ends.
        if key.protocol() == Protocol::TCP {
            return Err(DropReason::Multicast);
        }
        let group = maps.group(key.dst()).ok_or(DropReason::NoGroup)?;
        let options = multicast_option(Replication::External);
        let outer = self.outer(group, self.multicast_vni, walk.hash, options);
        Ok((MacAddr::from_group(key.dst()), outer))
    }

    fn outer(&self, dst: Ipv6Addr, vni: Vni, hash: u64, options: GeneveOptions) -> Outer {
        // A port of the dynamic range (RFC 6335) that is constant for the flow.
        let source_port = 0xc000 | (hash >> 48) as u16;
        Outer { src: self.underlay_ip, dst, source_port, vni, options, traffic_class: 0 }
    }
}

fn endpoint_name(endpoint: &BoundaryEndpoint) -> u64 {
    let bits = endpoint.underlay_ip.to_bits();
    bits as u64 ^ (bits >> 64) as u64 ^ u64::from(endpoint.vni.get()) << 40
}

impl Act for Encapsulate {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        let key = walk.key().ok_or(DropReason::NoMapping)?;
        let maps: &Mappings = walk.host_tables().ok_or(DropReason::NoMapping)?;
        let target = walk.meta.get(TARGET);
        let (dst_mac, outer) = match target {
            _ if key.dst().is_multicast() => self.to_group(walk, maps, &key)?,
            None => return Err(DropReason::NoRoute),
            Some(Target::Gateway) => self.to_boundary(walk, maps, &key)?,
            Some(Target::Subnet) => self.to_guest(walk, maps, &key, key.dst())?,
            Some(Target::Ip) => {
                let ip = walk.meta.get(TARGET_IP).ok_or(DropReason::NoRoute)?;
                self.to_guest(walk, maps, &key, ip)?
            }
        };
        let clamps = walk.meta.get(GATEWAY).is_some_and(|id| self.clamps.contains(&id));
        walk.edit(HeaderEdit {
            dst_mac: Some(dst_mac),
            outer: OuterEdit::Set(outer),
            care: Some(self.cares.of(&key, target == Some(Target::Gateway), clamps)),
            ..HeaderEdit::NONE
        });
        Ok(())
    }

    fn describe(&self) -> String {
        "encapsulate".into()
    }
}

struct Decapsulate {
    known_senders: bool,
    cares: Cares,
    /// There are gateways that clamp, beside what the port does.
    clamps: bool,
    /// Destinations that serve none of them. All others may.
    passed: BTreeSet<IpAddr>,
}

impl Decapsulate {
    /// Packets to groups come from wherever they are copied. What came from a host that was known
    /// does not end a connection when the host is known no more: its packets end, one by one.
    fn may_come(&self, walk: &Walk<'_>) -> Result<(), DropReason> {
        let to_group = || walk.key().is_some_and(|key| key.dst().is_multicast());
        if !self.known_senders || !walk.has_packet() || to_group() {
            return Ok(());
        }
        let maps: Option<&Mappings> = walk.host_tables();
        let known = maps.is_some_and(|maps| maps.knows_sender(walk.mark));
        known.then_some(()).ok_or(DropReason::OuterSource)
    }
}

impl Act for Decapsulate {
    fn act(&self, walk: &mut Walk<'_>) -> Result<(), DropReason> {
        self.may_come(walk)?;
        let sender = walk.mark.sender_vni();
        if let Some(vni) = sender {
            walk.meta.set(PEER_VNI, vni);
        }
        let clamps = |key: &FlowKey| self.clamps && !self.passed.contains(&key.dst());
        let care = walk.key().map(|key| self.cares.of(&key, sender.is_none(), clamps(&key)));
        walk.edit(HeaderEdit { outer: OuterEdit::Strip, care, ..HeaderEdit::NONE });
        Ok(())
    }

    fn describe(&self) -> String {
        "decapsulate".into()
    }
}
