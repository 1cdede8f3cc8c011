// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Requests to a hypervisor host.
//!
//! Each request is checked, then carried out, then published; one that is refused has changed
//! nothing. What is told of many ports (mappings) becomes one snapshot that all their policies
//! share.

use crate::dispatch::serve;
use crate::driver::Driver;
use crate::host::{Moment, Platform, PortId};
use crate::multicast::{Groups, Told};
use crate::port_life::{CHANGE, CLEAR, LOOK};
use crate::publication::rules;
use crate::snapshot::Published;
use crate::switch::Device;
use crate::trace;
use crate::{dump, dump_nat, flow_dump};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte::host::{Host, Lock};
use opte::nat::ReservationSpace;
use opte::policy::Policy;
use opte::port::{Port, PortOptions};
use opte::rule::RuleId;
use opte_api::OpteError;
use opte_api::frame::{Header, Request, encode_answer};
use oxide_vpc::{Mappings, VpcPort};
use oxide_vpc_api::dump::UnderlayInfo;
use oxide_vpc_api::request::*;
use oxide_vpc_api::{
    GuestLocation, IpConfig, PortConfig, PortName, PortSettings, PortState, V2pEntry,
};

/// Most ports of one host.
pub const MAX_PORTS: usize = 4096;
/// Last code of the requests about the life of a port.
const LAST_OF_LIFE: u16 = 119;
/// Most links of the underlay.
pub const MAX_LINKS: usize = 8;

/// A port with all that it has been told.
pub(crate) struct Managed<H: Host> {
    pub device: Arc<Device<H>>,
    pub vpc: Box<VpcPort>,
    pub state: PortState,
    /// When it came into that state.
    pub since: Moment,
}

/// A port that is not in use yet, and the mappings that its host has when it is. What is large is
/// elsewhere, since a kernel's stack is short.
pub(crate) struct Prepared<H: Host> {
    pub vpc: Box<VpcPort>,
    pub device: Arc<Device<H>>,
    pub maps: Arc<Mappings>,
}

/// All that a host has been told.
pub(crate) struct Management<H: Host> {
    pub ports: BTreeMap<PortName, Managed<H>>,
    pub maps: Arc<Mappings>,
    pub published: Arc<Published<H>>,
    pub multicast: Told,
    pub groups: Arc<Groups>,
    pub space: Arc<ReservationSpace>,
    pub seed: u64,
    underlay: Vec<String>,
    next_id: u32,
    /// What was handed over of a saved port.
    pub staged: Vec<u8>,
}

impl<H: Host> Management<H> {
    /// Nothing has been told yet.
    pub fn new(published: Arc<Published<H>>, space: Arc<ReservationSpace>, seed: u64) -> Self {
        Self {
            ports: BTreeMap::new(),
            maps: Arc::default(),
            published,
            seed,
            multicast: Told::default(),
            groups: Arc::default(),
            underlay: Vec::new(),
            space,
            next_id: 0,
            staged: Vec::new(),
        }
    }

    /// Serves one request.
    pub fn serve(
        &mut self,
        driver: &Driver<H>,
        platform: &mut dyn Platform,
        now: Moment,
        header: Header,
        body: &[u8],
    ) -> Vec<u8> {
        match header.code {
            CreatePort::CODE => self.serve_create(driver, platform, now, body),
            DeletePort::CODE => serve(body, |r| self.delete(platform, r)),
            SetUnderlay::CODE => serve(body, |r| self.set_underlay(platform, r)),
            ClearUnderlay::CODE => serve(body, |ClearUnderlay {}| self.clear_underlay(platform)),
            ShowUnderlay::CODE => {
                serve(body, |ShowUnderlay {}| Ok(UnderlayInfo { links: self.underlay.clone() }))
            }
            DumpCounters::CODE => serve(body, |r| dump::counters(self, driver, platform, r)),
            code @ Plan::CODE..=Drain::CODE => self.serve_change(driver, now, code, body),
            code @ SetPortSettings::CODE..=LAST_OF_LIFE => {
                self.serve_life(driver, platform, now, code, body)
            }
            SetV2p::CODE..=DumpV2b::CODE => self.serve_mapping(header.code, body),
            SetM2p::CODE..=DumpMulticastSubscriptions::CODE => {
                self.serve_multicast(header.code, body)
            }
            _ => self.serve_port(header.code, now, body),
        }
    }

    /// The one request that is large itself: its frame is apart, since a kernel's stack is short.
    #[inline(never)]
    fn serve_create(
        &mut self,
        driver: &Driver<H>,
        platform: &mut dyn Platform,
        now: Moment,
        body: &[u8],
    ) -> Vec<u8> {
        serve(body, |request| self.create(driver, platform, now, request))
    }

    /// Requests about the mappings of the host.
    #[inline(never)]
    fn serve_mapping(&mut self, code: u16, body: &[u8]) -> Vec<u8> {
        match code {
            SetV2p::CODE => serve(body, |SetV2p { entry }| {
                let known = self.maps.knows_guest(&entry);
                self.maps.with_guest(&entry).map(|maps| self.set_maps(!known, maps))
            }),
            ClearV2p::CODE => serve(body, |ClearV2p { entry }| {
                let (maps, removal) = self.maps.without_guest(&entry);
                self.set_maps(removal == Removal::Removed, maps);
                Ok(removal)
            }),
            DumpV2p::CODE => serve(body, |request| Ok(dump::guests(&self.maps, request))),
            SetV2b::CODE => serve(body, |SetV2b { entry }| {
                let known = self.maps.knows_boundary(&entry);
                self.maps.with_boundary(&entry).map(|maps| self.set_maps(!known, maps))
            }),
            ClearV2b::CODE => serve(body, |ClearV2b { entry }| {
                let (maps, removal) = self.maps.without_boundary(&entry);
                self.set_maps(removal == Removal::Removed, maps);
                Ok(removal)
            }),
            DumpV2b::CODE => serve(body, |request| Ok(dump::boundaries(&self.maps, request))),
            code => unknown(code),
        }
    }

    /// Requests about one port, or the list of them.
    #[inline(never)]
    fn serve_port(&mut self, code: u16, now: Moment, body: &[u8]) -> Vec<u8> {
        match code {
            ListPorts::CODE => {
                serve(body, |ListPorts {}| Ok(self.ports.values().map(dump::port).collect()))
            }
            ListLayers::CODE => serve(body, |r: ListLayers| self.look(&r.port, dump::layers)),
            DumpLayer::CODE => serve(body, |r: DumpLayer| {
                self.port(&r.port).and_then(|managed| dump::layer(managed, &r))
            }),
            DumpUft::CODE => serve(body, |r: DumpUft| {
                self.permit(&r.port, "show its flows", LOOK)?;
                flow_dump::flows(self.port(&r.port)?, &r.filter, r.page, now)
            }),
            DumpTcpFlows::CODE => serve(body, |r: DumpTcpFlows| {
                self.permit(&r.port, "show its flows", LOOK)?;
                flow_dump::tcp_flows(self.port(&r.port)?, &r.filter, r.page)
            }),
            TracePacket::CODE => serve(body, |r: TracePacket| {
                self.permit(&r.port, "show what it would do", LOOK)?;
                trace::packet(self.port(&r.port)?, r, now)
            }),
            ClearLft::CODE => serve(body, |r: ClearLft| {
                self.permit(&r.port, "remove its flows", CLEAR)?;
                flow_dump::clear_layer(self.port(&r.port)?, &r.layer)
            }),
            KillFlows::CODE => serve(body, |r: KillFlows| {
                self.permit(&r.port, "remove its flows", CLEAR)?;
                flow_dump::kill(self.port(&r.port)?, &r.filter, r.list)
            }),
            ClearUft::CODE => serve(body, |r: ClearUft| {
                self.permit(&r.port, "clear its flows", CLEAR)?;
                self.look(&r.port, |managed| managed.device.port.clear_flows())
            }),
            AddFwRule::CODE => serve(body, |r: AddFwRule| {
                self.change(&r.port, |vpc| vpc.add_firewall_rule(r.rule).map(|id| id.0))
            }),
            RemFwRule::CODE => serve(body, |r: RemFwRule| {
                let id = RuleId(r.id);
                self.change(&r.port, |vpc| Ok(vpc.remove_firewall_rule(r.direction, id)))
            }),
            SetFwRules::CODE => serve(body, |r: SetFwRules| {
                self.change(&r.port, |vpc| vpc.set_firewall_rules(r.rules))
            }),
            AddRoute::CODE..=DelRoute::CODE
            | SetExternalIps::CODE
            | AddWeightedRoute::CODE..=DumpGateways::CODE => self.serve_routing(now, code, body),
            DumpNatPools::CODE => serve(body, |DumpNatPools { port }| match port {
                Some(port) => self.port(&port).and_then(dump_nat::pool).map(|pool| [pool].into()),
                None => self.ports.values().map(dump_nat::pool).collect(),
            }),
            DumpNatLeases::CODE => serve(body, |r: DumpNatLeases| {
                self.look(&r.port, |managed| dump_nat::leases(managed, r.after, r.limit))
            }),
            AttachSubnet::CODE..=ListPrefixes::CODE => self.serve_prefixes(code, body),
            code => unknown(code),
        }
    }

    /// Requests about what a guest may use besides its own addresses.
    #[inline(never)]
    fn serve_prefixes(&mut self, code: u16, body: &[u8]) -> Vec<u8> {
        match code {
            AttachSubnet::CODE => serve(body, |r: AttachSubnet| {
                self.change(&r.port, |vpc| vpc.attach_subnet(r.subnet, r.attachment))
            }),
            DetachSubnet::CODE => serve(body, |r: DetachSubnet| {
                self.change(&r.port, |vpc| vpc.detach_subnet(r.subnet))
            }),
            AllowCidr::CODE => serve(body, |r: AllowCidr| {
                self.change(&r.port, |vpc| vpc.allow_cidr(r.cidr, r.direction))
            }),
            RemoveCidr::CODE => serve(body, |r: RemoveCidr| {
                self.change(&r.port, |vpc| vpc.remove_cidr(r.cidr, r.direction))
            }),
            ListPrefixes::CODE => serve(body, |r: ListPrefixes| {
                self.look(&r.port, |managed| managed.vpc.prefixes().clone())
            }),
            code => unknown(code),
        }
    }

    pub fn port(&self, name: &PortName) -> Result<&Managed<H>, OpteError> {
        self.ports.get(name).ok_or_else(|| OpteError::not_found("port", name))
    }

    pub fn look<T>(
        &self,
        name: &PortName,
        f: impl FnOnce(&Managed<H>) -> T,
    ) -> Result<T, OpteError> {
        self.port(name).map(f)
    }

    /// Changes what a port has been told, and publishes it.
    pub fn change<T>(
        &mut self,
        name: &PortName,
        change: impl FnOnce(&mut VpcPort) -> Result<T, OpteError>,
    ) -> Result<T, OpteError> {
        self.permit(name, "change it", CHANGE)?;
        let managed = self.ports.get_mut(name).ok_or_else(|| OpteError::not_found("port", name))?;
        let answer = change(&mut managed.vpc)?;
        self.publish_port(name);
        Ok(answer)
    }

    /// Puts other mappings in force, if they say something new.
    pub fn set_maps(&mut self, new: bool, maps: Mappings) {
        if new {
            self.maps = Arc::new(maps);
            self.publish_all();
        }
    }

    #[inline(never)]
    fn create(
        &mut self,
        driver: &Driver<H>,
        platform: &mut dyn Platform,
        now: Moment,
        CreatePort { name, config }: CreatePort,
    ) -> Result<(), OpteError> {
        self.may_add(&name, &config)?;
        let vpc = Box::new(VpcPort::new(config, self.space.holder(name.as_str()))?);
        let prepared = self.prepare(driver, &name, vpc)?;
        self.add(platform, prepared, (PortState::Running, now))
    }

    /// A port of this name and configuration has a place on this host.
    pub fn may_add(&self, name: &PortName, config: &PortConfig) -> Result<(), OpteError> {
        if self.underlay.is_empty() {
            let why = "no underlay is set: use 'opteadm set-xde-underlay' first";
            return Err(OpteError::BadState(why.into()));
        }
        if self.ports.contains_key(name) {
            return Err(OpteError::exists("port", name));
        }
        let same = |m: &&Managed<H>| (m.device.vni, m.device.mac) == (config.vni, config.mac);
        if let Some(other) = self.ports.values().find(same) {
            let what = format!("MAC address {} in VNI {}", config.mac, config.vni);
            return Err(OpteError::exists(what, &other.device.name));
        }
        let ours = |m: &&Managed<H>| {
            let known = m.vpc.config();
            let same = |a: &IpConfig| known.families().any(|b| a.private_ip == b.private_ip);
            known.vni == config.vni && config.families().any(same)
        };
        if let Some(other) = self.ports.values().find(ours) {
            let what = format!("a private address of this port in VNI {}", config.vni);
            return Err(OpteError::exists(what, &other.device.name));
        }
        if self.ports.len() >= MAX_PORTS {
            return Err(OpteError::Limit { what: "ports".into(), limit: MAX_PORTS as u64 });
        }
        let external = config.families().map(|family| &family.external);
        self.check_external((None, config.vni), external, None)?;
        Ok(())
    }

    /// Prepares a port, which is not in use yet.
    #[inline(never)]
    pub fn prepare(
        &self,
        driver: &Driver<H>,
        name: &PortName,
        vpc: Box<VpcPort>,
    ) -> Result<Prepared<H>, OpteError> {
        let limit = flow_limit(driver, &vpc.config().settings)?;
        let maps = self_mappings(vpc.config())
            .try_fold(Mappings::clone(&self.maps), |maps, e| maps.with_guest(&e))?;
        let maps = Arc::new(maps);
        let generation = self.published.load().generation.next();
        let policy = Arc::new(Policy::first(generation, rules(&vpc, &maps)));
        let device = self.device(driver, name, vpc.config(), policy);
        device.port.flows().set_limit(limit);
        Ok(Prepared { vpc, device, maps })
    }

    #[inline(never)]
    fn device(
        &self,
        driver: &Driver<H>,
        name: &PortName,
        config: &PortConfig,
        policy: Arc<Policy>,
    ) -> Arc<Device<H>> {
        let id = self.next_id;
        let options = PortOptions {
            id,
            flow_limit: driver.options.flow_limit,
            seed: driver.options.seed ^ u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            caching: driver.options.caching,
        };
        Arc::new(Device {
            id: PortId(id),
            name: name.clone(),
            vni: config.vni,
            mac: config.mac,
            boundary_mac: config.boundary_mac,
            underlay_ip: H::Lock::new(config.underlay_ip),
            port: Port::new(options, policy, driver.observer.clone()),
        })
    }

    /// Makes the device of a port, and puts the port into use.
    #[inline(never)]
    pub fn add(
        &mut self,
        platform: &mut dyn Platform,
        Prepared { vpc, device, maps }: Prepared<H>,
        (state, since): (PortState, Moment),
    ) -> Result<(), OpteError> {
        platform.create_device(device.id, &device.name, device.mac, vpc.config().mtu)?;
        self.next_id += 1;
        device.port.set_running(state == PortState::Running);
        vpc.came_into_force();
        self.maps = maps;
        self.ports.insert(device.name.clone(), Managed { device, vpc, state, since });
        self.publish_switch();
        Ok(())
    }

    fn delete(
        &mut self,
        platform: &mut dyn Platform,
        DeletePort { name }: DeletePort,
    ) -> Result<(), OpteError> {
        let device = self.port(&name)?.device.clone();
        platform.delete_device(device.id, &name)?;
        let Some(managed) = self.ports.remove(&name) else { return Ok(()) };
        self.forget_listener(&name);
        let maps = self_mappings(managed.vpc.config())
            .fold(Mappings::clone(&self.maps), |maps, entry| maps.without_guest(&entry).0);
        self.maps = Arc::new(maps);
        self.publish_switch();
        device.port.close();
        self.set_deadline();
        drop((managed, device));
        self.space.tidy();
        Ok(())
    }

    fn set_underlay(
        &mut self,
        platform: &mut dyn Platform,
        SetUnderlay { links }: SetUnderlay,
    ) -> Result<(), OpteError> {
        if links.is_empty() || links.len() > MAX_LINKS {
            return Err(OpteError::invalid("underlay", format!("name 1 to {MAX_LINKS} links")));
        }
        if !self.underlay.is_empty() {
            return Err(OpteError::exists("underlay", self.underlay.join(" ")));
        }
        platform.set_underlay(&links)?;
        self.underlay = links;
        Ok(())
    }

    fn clear_underlay(&mut self, platform: &mut dyn Platform) -> Result<(), OpteError> {
        if self.underlay.is_empty() {
            return Err(OpteError::not_found("underlay", "(none is set)"));
        }
        if !self.ports.is_empty() {
            let why = format!("{} ports use the underlay: delete them first", self.ports.len());
            return Err(OpteError::BadState(why));
        }
        platform.clear_underlay()?;
        self.underlay.clear();
        Ok(())
    }
}

pub(crate) fn unknown(code: u16) -> Vec<u8> {
    let boundary = [AddBoundaryNat::CODE, RemBoundaryNat::CODE, ListBoundaryNat::CODE];
    let error = if boundary.contains(&code) {
        OpteError::BadState("this host is no boundary: ask an 'xde boundary'".into())
    } else {
        OpteError::UnknownCommand(code)
    };
    encode_answer::<()>(&Err(error))
}

/// Most flows of a port with these settings.
pub(crate) fn flow_limit<H: Host>(
    driver: &Driver<H>,
    settings: &PortSettings,
) -> Result<u32, OpteError> {
    let host = driver.options.flow_limit;
    match settings.flows.limit {
        Some(limit) if limit > host => Err(OpteError::Limit {
            what: "flows of a port of this host".into(),
            limit: host.into(),
        }),
        limit => Ok(limit.unwrap_or(host)),
    }
}

/// Where the guest of a port is: on this host.
pub(crate) fn self_mappings(config: &oxide_vpc_api::PortConfig) -> impl Iterator<Item = V2pEntry> {
    let location = GuestLocation { mac: config.mac, underlay_ip: config.underlay_ip };
    config.families().map(move |family| V2pEntry {
        vni: config.vni,
        ip: family.private_ip,
        location,
    })
}
