// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A hypervisor host with one guest or more, dual-stack, that reach the outside by source NAT and
//! another guest on another host.

use crate::packet::Family;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use opte::host::{Blind, Host, Lock};
use opte::port::Port;
use opte_api::frame::{HEADER_LEN, Header, MAX_RESPONSE, Request, decode_answer, encode_request};
use opte_api::{MacAddr, OpteError, Vni};
use oxide_vpc_api::config::{BOUNDARY_MAC, GATEWAY_MAC};
use oxide_vpc_api::mapping::BOUNDARY_VNI;
use oxide_vpc_api::request::{AddRoute, CreatePort, SetFwRules, SetUnderlay, SetV2b, SetV2p};
use oxide_vpc_api::settings::IdleSettings;
use oxide_vpc_api::{
    BoundaryEndpoint, DhcpConfig, ExternalIps, FirewallRule, GuestLocation, IpConfig, PortConfig,
    PortName, PortSettings, RouteEntry, SnatRange, V2bEntry, V2pEntry,
};
use parking_lot::Mutex;
use std::sync::Arc;
use xde::driver::DriverOptions;
use xde::host::{Moment, Platform, PortId};
use xde::{Device, Driver};

/// MAC address of the guest on the other host.
pub const PEER_MAC: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, 2]);
/// This host on the underlay.
pub const HOST_IP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 1);
/// The other host.
pub const PEER_HOST_IP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 2, 0, 0, 0, 1);
/// The boundary.
pub const BOUNDARY_IP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 99, 0, 0, 0, 1);
/// External addresses of each family that a guest has, where guests are few. Each has 64 512
/// ports.
pub const EXTERNAL_ADDRESSES: usize = 32;
/// More guests than this have one external address of each family.
pub const FEW: usize = 2;
/// How long a flow lives that has had one packet, in milliseconds.
pub const IDLE: u64 = 60_000;

/// A host with locks of the operating system, whom nobody watches.
pub enum BenchHost {}

impl Host for BenchHost {
    type Lock<T: Send> = SystemLock<T>;
    type Token<T: Send> = SystemLock<T>;
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

    fn set_mtu(&mut self, _name: &PortName, _mtu: u16) -> Result<(), OpteError> {
        Ok(())
    }

    fn set_underlay(&mut self, _links: &[String]) -> Result<(), OpteError> {
        Ok(())
    }

    fn clear_underlay(&mut self) -> Result<(), OpteError> {
        Ok(())
    }
}

/// The host and its guests. A clone is the same host.
#[derive(Clone)]
pub struct World {
    /// The driver.
    pub driver: Arc<Driver<BenchHost>>,
    /// The guests' devices.
    pub devices: Vec<Arc<Device<BenchHost>>>,
    /// The time, which stands still unless who measures lets it pass.
    pub now: Moment,
}

/// The VPC.
pub fn vni() -> Vni {
    parse("4711")
}

/// MAC address of a guest.
pub fn guest_mac(guest: usize) -> MacAddr {
    let [high, low] = (guest as u16).to_be_bytes();
    MacAddr([0xa8, 0x40, 0x25, 0xf1, high, low])
}

/// Address of a guest.
pub fn guest_ip(family: Family, guest: usize) -> IpAddr {
    let [high, low] = (guest as u16 + 16).to_be_bytes();
    match family {
        Family::V4 => Ipv4Addr::new(172, 30, high, low).into(),
        Family::V6 => Ipv6Addr::new(0xfd11, 0, 0, 0, 0, 0, 0, guest as u16 + 16).into(),
    }
}

/// External address with this number.
pub fn external_ip(family: Family, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    match family {
        Family::V4 => Ipv4Addr::new(100, 64, high, low).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number).into(),
    }
}

/// The number of an external address, or of any other's last 16 bits.
pub fn external_number(ip: IpAddr) -> u16 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits() as u16,
        IpAddr::V6(ip) => ip.to_bits() as u16,
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
    /// A host with one guest, whose port takes at most `flow_limit` flows.
    pub fn new(flow_limit: u32) -> Self {
        Self::with_guests(flow_limit, 1)
    }

    /// A host with so many guests.
    pub fn with_guests(flow_limit: u32, guests: usize) -> Self {
        let options = DriverOptions { flow_limit, ..DriverOptions::new(0x0123_4567_89ab_cdef) };
        let driver = Driver::with_options(options, Blind);
        request(&driver, &SetUnderlay { links: vec!["bench0".into()] });
        for guest in 0..guests {
            let name = port_name(guest);
            let addresses = if guests > FEW { 1 } else { EXTERNAL_ADDRESSES };
            let config = port_config(guest, addresses);
            request(&driver, &CreatePort { name: name.clone(), config });
            for route in [Family::V4, Family::V6].into_iter().flat_map(routes) {
                request(&driver, &AddRoute { port: name.clone(), route });
            }
        }
        for family in [Family::V4, Family::V6] {
            let prefix = everything(family);
            let vni = Vni::new(BOUNDARY_VNI).expect("a small number");
            let endpoints = vec![BoundaryEndpoint { underlay_ip: BOUNDARY_IP, vni }];
            request(&driver, &SetV2b { entry: V2bEntry { prefix, endpoints } });
            let location = GuestLocation { mac: PEER_MAC, underlay_ip: PEER_HOST_IP };
            let entry = V2pEntry { vni: self::vni(), ip: peer_ip(family), location };
            request(&driver, &SetV2p { entry });
        }
        let device = |id| driver.device(PortId(id)).expect("it was just made");
        let devices = (0..guests as u32).map(device).collect();
        Self { driver: Arc::new(driver), devices, now: Moment::from_millis(1_000_000) }
    }

    /// The first guest's port.
    pub fn port(&self) -> &Port<BenchHost> {
        &self.devices[0].port
    }

    /// Sends a request as bytes. The measured host refuses none.
    pub fn request<R: Request>(&self, what: &R) -> R::Response {
        request(&self.driver, what)
    }

    /// Serves a request that was made into bytes before.
    pub fn control(&self, frame: &[u8]) -> Vec<u8> {
        control(&self.driver, frame)
    }

    /// Gives the guest's port `count` firewall rules outbound, none of which is about the packets
    /// that are measured: deny rules for other hosts, ports and protocols.
    pub fn set_firewall(&self, count: usize) {
        self.request(&unrelated_rules(count, 0));
    }

    /// Gives the guest's port `count` more routes for other destinations.
    pub fn set_routes(&self, count: usize) {
        for route in (0..count).map(unrelated_route) {
            self.request(&AddRoute { port: port_name(0), route });
        }
    }
}

fn request<R: Request>(driver: &Driver<BenchHost>, request: &R) -> R::Response {
    let frame = encode_request(request).expect("a small request");
    let answer = control(driver, &frame);
    let (header, body) = answer.split_first_chunk().expect("an answer has a header");
    let header = Header::from_bytes(*header, MAX_RESPONSE).expect("the driver's header");
    decode_answer(header, body).expect("a request that is right")
}

fn control(driver: &Driver<BenchHost>, frame: &[u8]) -> Vec<u8> {
    let (header, body) = frame.split_first_chunk::<HEADER_LEN>().expect("a frame has a header");
    let header = Header::from_bytes(*header, u32::MAX).expect("our own header");
    driver.control(&mut NoDevices, Moment::default(), header, body)
}

/// Name of a guest's port.
pub fn port_name(guest: usize) -> PortName {
    parse(&format!("bench{guest}"))
}

fn port_config(guest: usize, addresses: usize) -> PortConfig {
    PortConfig {
        mac: guest_mac(guest),
        gateway_mac: GATEWAY_MAC,
        boundary_mac: BOUNDARY_MAC,
        vni: vni(),
        underlay_ip: HOST_IP,
        mtu: 1500,
        ipv4: Some(ip_config(Family::V4, guest, addresses)),
        ipv6: Some(ip_config(Family::V6, guest, addresses)),
        dhcp: DhcpConfig::default(),
        settings: short_lived(),
    }
}

/// The external addresses of the first guest, where guests are few.
pub fn external_ips(family: Family) -> ExternalIps {
    snat(family, 0, EXTERNAL_ADDRESSES)
}

fn snat(family: Family, guest: usize, addresses: usize) -> ExternalIps {
    let range = |n: usize| SnatRange {
        ip: external_ip(family, (guest * addresses + n) as u16),
        first_port: 1024,
        last_port: u16::MAX,
    };
    ExternalIps { snat: (1..=addresses).map(range).collect(), ..ExternalIps::default() }
}

fn ip_config(family: Family, guest: usize, addresses: usize) -> IpConfig {
    let (subnet, gateway_ip) = match family {
        Family::V4 => ("172.30.0.0/16", "172.30.0.1"),
        Family::V6 => ("fd11::/64", "fd11::1"),
    };
    IpConfig {
        private_ip: guest_ip(family, guest),
        subnet: parse(subnet),
        gateway_ip: parse(gateway_ip),
        external: snat(family, guest, addresses),
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
        Family::V4 => "172.30.0.0/16",
        Family::V6 => "fd11::/64",
    };
    let class = parse("system");
    [
        RouteEntry { dest: everything(family), target: parse("ig"), class },
        RouteEntry { dest: parse(subnet), target: parse(&format!("subnet={subnet}")), class },
    ]
}

/// Rules that are not about the packets that are measured; those with another `variant` differ in
/// some way.
pub fn unrelated_rules(count: usize, variant: usize) -> SetFwRules {
    let rules = (0..count).map(|index| unrelated_rule(index + variant)).collect();
    SetFwRules { port: port_name(0), rules }
}

/// A rule for hosts, prefixes and ports that no measured packet has, of all kinds that rules can
/// name.
pub fn unrelated_rule(index: usize) -> FirewallRule {
    let (high, low) = (index / 256, index % 256);
    let what = match index % 4 {
        0 => format!("hosts=ip=10.{high}.{low}.1"),
        1 => format!("hosts=subnet=10.{high}.{low}.0/24 protocol=tcp"),
        2 => format!("protocol=udp port={}", 10_000 + index),
        _ => format!("protocol=tcp port={}-{}", 10_000 + index, 10_004 + index),
    };
    parse(&format!("dir=out action=deny priority={} {what}", 100 + index % 1000))
}

/// A route to where no measured packet goes.
pub fn unrelated_route(index: usize) -> RouteEntry {
    let (high, mid, low) = (index >> 16, index >> 8 & 255, index & 255);
    let dest = parse(&format!("{}.{mid}.{low}.0/24", 20 + high));
    RouteEntry { dest, target: parse("drop"), class: parse("custom") }
}

fn parse<T: FromStr<Err: core::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// Connections end after [`IDLE`], so that measurements need not keep as many of them as the usual
/// times would have them be.
fn short_lived() -> PortSettings {
    let seconds = (IDLE / 1000) as u32;
    let idle =
        IdleSettings { udp: seconds, tcp_opening: seconds, short: true, ..Default::default() };
    PortSettings { idle, ..PortSettings::default() }
}
