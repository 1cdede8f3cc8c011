// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A hypervisor host with one guest, dual-stack, that reaches the outside by source NAT and
//! another guest on another host.

use crate::packet::Family;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use opte::host::{Blind, Host, Lock};
use opte::policy::PolicyRules;
use opte_api::frame::{HEADER_LEN, Header, MAX_RESPONSE, Request, decode_answer, encode_request};
use opte_api::{MacAddr, OpteError, Vni};
use oxide_vpc_api::config::{BOUNDARY_MAC, GATEWAY_MAC};
use oxide_vpc_api::mapping::BOUNDARY_VNI;
use oxide_vpc_api::request::{AddRoute, CreatePort, SetFwRules, SetUnderlay, SetV2b, SetV2p};
use oxide_vpc_api::{
    BoundaryEndpoint, DhcpConfig, ExternalIps, FirewallRule, GuestLocation, IpConfig, PortConfig,
    PortName, RouteEntry, SnatRange, V2bEntry, V2pEntry,
};
use parking_lot::Mutex;
use std::sync::Arc;
use xde::driver::DriverOptions;
use xde::host::{Moment, Platform, PortId};
use xde::{Device, Driver};

/// MAC address of the guest.
pub const GUEST_MAC: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, 1]);
/// MAC address of the guest on the other host.
pub const PEER_MAC: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, 2]);
/// This host on the underlay.
pub const HOST_IP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 1);
/// The other host.
pub const PEER_HOST_IP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 2, 0, 0, 0, 1);
/// The boundary.
pub const BOUNDARY_IP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 99, 0, 0, 0, 1);
/// The guest's port.
pub const GUEST: PortId = PortId(0);
/// External addresses of each family. Each has 64 512 ports.
pub const EXTERNAL_ADDRESSES: u8 = 32;

/// A host with locks of the operating system, whom nobody watches.
pub enum BenchHost {}

impl Host for BenchHost {
    type Lock<T: Send> = SystemLock<T>;
    type Observer = Blind;
}

/// A lock of the operating system.
pub struct SystemLock<T>(Mutex<T>);

impl<T: Send> Lock<T> for SystemLock<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock())
    }

    #[inline]
    fn glance(&self) {
        std::hint::black_box(self.0.is_locked());
    }
}

struct NoDevices;

impl Platform for NoDevices {
    fn create_device(
        &mut self,
        _port: PortId,
        _name: &PortName,
        _mac: MacAddr,
        _mtu: u16,
    ) -> Result<(), OpteError> {
        Ok(())
    }

    fn delete_device(&mut self, _port: PortId, _name: &PortName) -> Result<(), OpteError> {
        Ok(())
    }

    fn set_underlay(&mut self, _links: &[String]) -> Result<(), OpteError> {
        Ok(())
    }

    fn clear_underlay(&mut self) -> Result<(), OpteError> {
        Ok(())
    }
}

/// The host and its guest.
pub struct World {
    /// The driver.
    pub driver: Driver<BenchHost>,
    /// The guest's device.
    pub device: Arc<Device<BenchHost>>,
    /// The time, which stands still.
    pub now: Moment,
}

/// The VPC.
pub fn vni() -> Vni {
    parse("4711")
}

/// Address of the guest.
pub fn guest_ip(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(172, 30, 0, 5).into(),
        Family::V6 => Ipv6Addr::new(0xfd11, 0, 0, 0, 0, 0, 0, 5).into(),
    }
}

/// Address of the guest on the other host.
pub fn peer_ip(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(172, 30, 0, 6).into(),
        Family::V6 => Ipv6Addr::new(0xfd11, 0, 0, 0, 0, 0, 0, 6).into(),
    }
}

impl World {
    /// A host whose ports take at most `flow_limit` flows each.
    pub fn new(flow_limit: u32) -> Self {
        let options = DriverOptions { flow_limit, ..DriverOptions::new(0x0123_4567_89ab_cdef) };
        let driver = Driver::with_options(options, Blind);
        request(&driver, &SetUnderlay { links: vec!["bench0".into()] });
        request(&driver, &CreatePort { name: port_name(), config: port_config() });
        for family in [Family::V4, Family::V6] {
            for route in routes(family) {
                request(&driver, &AddRoute { port: port_name(), route });
            }
            let prefix = everything(family);
            let vni = Vni::new(BOUNDARY_VNI).expect("a small number");
            let endpoints = vec![BoundaryEndpoint { underlay_ip: BOUNDARY_IP, vni }];
            request(&driver, &SetV2b { entry: V2bEntry { prefix, endpoints } });
            let location = GuestLocation { mac: PEER_MAC, underlay_ip: PEER_HOST_IP };
            let entry = V2pEntry { vni: self::vni(), ip: peer_ip(family), location };
            request(&driver, &SetV2p { entry });
        }
        let device = driver.device(GUEST).expect("it was just made");
        Self { driver, device, now: Moment::from_millis(1_000_000) }
    }

    /// Gives the guest's port `count` firewall rules outbound, none of which is about the packets
    /// that are measured: deny rules for other hosts, ports and protocols.
    pub fn set_firewall(&self, count: usize) {
        let rules = (0..count).map(unrelated_rule).collect();
        request(&self.driver, &SetFwRules { port: port_name(), rules });
    }

    /// Gives the guest's port `count` more routes for other destinations. This goes past the
    /// requests, which take one route each and make the table anew for each.
    pub fn set_routes(&self, count: usize) {
        let all = [Family::V4, Family::V6].into_iter().flat_map(routes);
        let all = all.chain((0..count).map(unrelated_route));
        let compiled: Vec<_> = (0..)
            .zip(all)
            .map(|(id, route)| {
                let rule = oxide_vpc::router::compile(opte::rule::RuleId(id), &route);
                (route, Arc::new(rule))
            })
            .collect();
        let policy = self.device.port.policy();
        let mut layers = policy.rules.layers.clone();
        for layer in &mut layers {
            if layer.name == oxide_vpc::router::NAME {
                *layer = Arc::new(oxide_vpc::router::with_routes(layer, &compiled));
            }
        }
        self.device.port.publish(PolicyRules { layers, ..policy.rules.clone() });
    }
}

/// Sends a request as bytes. The measured host refuses none.
fn request<R: Request>(driver: &Driver<BenchHost>, request: &R) -> R::Response {
    let frame = encode_request(request).expect("a small request");
    let (header, body) = frame.split_first_chunk::<HEADER_LEN>().expect("a frame has a header");
    let header = Header::from_bytes(*header, u32::MAX).expect("our own header");
    let answer = driver.control(&mut NoDevices, Moment::default(), header, body);
    let (header, body) = answer.split_first_chunk().expect("an answer has a header");
    let header = Header::from_bytes(*header, MAX_RESPONSE).expect("the driver's header");
    decode_answer(header, body).expect("a request that is right")
}

fn port_name() -> PortName {
    parse("bench0")
}

fn port_config() -> PortConfig {
    PortConfig {
        mac: GUEST_MAC,
        gateway_mac: GATEWAY_MAC,
        boundary_mac: BOUNDARY_MAC,
        vni: vni(),
        underlay_ip: HOST_IP,
        mtu: 1500,
        ipv4: Some(ip_config(Family::V4)),
        ipv6: Some(ip_config(Family::V6)),
        dhcp: DhcpConfig::default(),
    }
}

fn ip_config(family: Family) -> IpConfig {
    let external = |last: u8| -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(192, 0, 2, last).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
        }
    };
    let snat = (1..=EXTERNAL_ADDRESSES).map(|last| SnatRange {
        ip: external(last),
        first_port: 1024,
        last_port: u16::MAX,
    });
    let (subnet, gateway_ip) = match family {
        Family::V4 => ("172.30.0.0/22", "172.30.0.1"),
        Family::V6 => ("fd11::/64", "fd11::1"),
    };
    IpConfig {
        private_ip: guest_ip(family),
        subnet: parse(subnet),
        gateway_ip: parse(gateway_ip),
        external: ExternalIps { snat: snat.collect(), ..ExternalIps::default() },
    }
}

fn everything(family: Family) -> opte_api::IpCidr {
    match family {
        Family::V4 => parse("0.0.0.0/0"),
        Family::V6 => parse("::/0"),
    }
}

fn routes(family: Family) -> [RouteEntry; 2] {
    let subnet = match family {
        Family::V4 => "172.30.0.0/22",
        Family::V6 => "fd11::/64",
    };
    let class = parse("system");
    [
        RouteEntry { dest: everything(family), target: parse("ig"), class },
        RouteEntry { dest: parse(subnet), target: parse(&format!("subnet={subnet}")), class },
    ]
}

/// Hosts, prefixes and ports that no measured packet has, of all kinds that rules can name.
fn unrelated_rule(index: usize) -> FirewallRule {
    let (high, low) = (index / 256, index % 256);
    let what = match index % 4 {
        0 => format!("hosts=ip=10.{high}.{low}.1"),
        1 => format!("hosts=subnet=10.{high}.{low}.0/24 protocol=tcp"),
        2 => format!("protocol=udp port={}", 10_000 + index),
        _ => format!("protocol=tcp port={}-{}", 10_000 + index, 10_004 + index),
    };
    parse(&format!("dir=out action=deny priority={} {what}", 100 + index % 1000))
}

fn unrelated_route(index: usize) -> RouteEntry {
    let (high, mid, low) = (index >> 16, index >> 8 & 255, index & 255);
    let dest = parse(&format!("{}.{mid}.{low}.0/24", 20 + high));
    RouteEntry { dest, target: parse("drop"), class: parse("custom") }
}

fn parse<T: FromStr<Err: core::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"))
}
