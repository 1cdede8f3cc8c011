// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The little world in which whole-host tests play: two hypervisor hosts, a boundary, one VPC
//! with numbered guests, and somebody outside.

use crate::hypervisor::Played;
use opte_api::{IpCidr, MacAddr, Vni};
use oxide_vpc_api::config::{BOUNDARY_MAC, DEFAULT_MTU, GATEWAY_MAC};
use oxide_vpc_api::mapping::BOUNDARY_VNI;
use oxide_vpc_api::request::{AddRoute, CreatePort, SetV2b, SetV2p};
use oxide_vpc_api::{
    BoundaryEndpoint, DhcpConfig, ExternalIps, GuestLocation, IpConfig, PortConfig, PortName,
    RouteEntry, RouterClass, RouterTarget, SnatRange, V2bEntry, V2pEntry,
};
use proptest::test_runner::{Config, RngSeed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The VPC.
pub const VPC: u32 = 100;
/// Underlay addresses of the two hosts.
pub const HOSTS: [Ipv6Addr; 2] = [underlay(0xa), underlay(0xb)];
/// Underlay address of the boundary.
pub const BOUNDARY: Ipv6Addr = underlay(0x99);
/// Somebody outside, with an address of each family.
pub const OUTSIDE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7)),
];
/// Both families: IPv4, and not IPv4.
pub const FAMILIES: [bool; 2] = [true, false];

const fn underlay(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, number, 0, 0, 0, 0, 0, 1)
}

/// The VPC's number as a type.
pub fn vni(number: u32) -> Vni {
    Vni::new(number).expect("24 bits")
}

/// Somebody outside.
pub fn outside(ipv4: bool) -> IpAddr {
    OUTSIDE[usize::from(!ipv4)]
}

/// A guest of the VPC, by its number, with which all of its addresses end.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Guest(pub u8);

impl Guest {
    /// Name of its port.
    pub fn port(self) -> PortName {
        format!("guest{}", self.0).parse().expect("a good name")
    }

    /// MAC address.
    pub const fn mac(self) -> MacAddr {
        MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, self.0])
    }

    /// Address inside the VPC.
    pub fn ip(self, ipv4: bool) -> IpAddr {
        address(ipv4, [10, 0, 0], 0xfd12, self.0)
    }

    /// An address outside that may be given to it alone.
    pub fn floating(self, ipv4: bool) -> IpAddr {
        address(ipv4, [203, 0, 113], 0x2001, self.0)
    }

    /// Its part of the address outside that all guests share.
    pub fn snat(self, ipv4: bool) -> SnatRange {
        let first_port = 1024 * (1 + u16::from(self.0 & 31));
        let ip = address(ipv4, [192, 0, 2], 0x2002, 1);
        SnatRange { ip, first_port, last_port: first_port + 1023 }
    }

    /// Source NAT and nothing else.
    pub fn external(self, ipv4: bool) -> ExternalIps {
        ExternalIps { snat: vec![self.snat(ipv4)], ..ExternalIps::default() }
    }

    /// Where it is, if it is on host number `host`.
    pub const fn location(self, host: usize) -> GuestLocation {
        GuestLocation { mac: self.mac(), underlay_ip: HOSTS[host] }
    }

    /// Its port on host number `host`.
    pub fn config(self, host: usize) -> PortConfig {
        let family = |ipv4: bool| IpConfig {
            private_ip: self.ip(ipv4),
            subnet: subnet(ipv4),
            gateway_ip: gateway(ipv4),
            external: self.external(ipv4),
        };
        PortConfig {
            mac: self.mac(),
            gateway_mac: GATEWAY_MAC,
            boundary_mac: BOUNDARY_MAC,
            vni: vni(VPC),
            underlay_ip: HOSTS[host],
            mtu: DEFAULT_MTU,
            ipv4: Some(family(true)),
            ipv6: Some(family(false)),
            dhcp: DhcpConfig::default(),
            settings: oxide_vpc_api::PortSettings::default(),
        }
    }

    /// Its macs when it talks to its gateway.
    pub const fn macs(self) -> [MacAddr; 2] {
        [self.mac(), GATEWAY_MAC]
    }
}

fn address(ipv4: bool, [a, b, c]: [u8; 3], prefix: u16, last: u8) -> IpAddr {
    if ipv4 {
        Ipv4Addr::new(a, b, c, last).into()
    } else {
        Ipv6Addr::new(prefix, 0, 0, 0, 0, 0, 0, last.into()).into()
    }
}

/// The subnet of all guests.
pub fn subnet(ipv4: bool) -> IpCidr {
    let len = if ipv4 { 24 } else { 64 };
    IpCidr::new(Guest(0).ip(ipv4), len).expect("a good length")
}

/// The gateway's address in the subnet.
pub fn gateway(ipv4: bool) -> IpAddr {
    Guest(1).ip(ipv4)
}

/// The prefix of everything.
pub fn everywhere(ipv4: bool) -> IpCidr {
    let ip = address(ipv4, [0; 3], 0, 0);
    IpCidr::new(ip, 0).expect("a good length")
}

/// A route of the system.
pub fn route(dest: IpCidr, target: RouterTarget) -> RouteEntry {
    RouteEntry { dest, target, class: RouterClass::System }
}

/// Gives `host`, which is host number `at`, a port for `guest`, with routes to the subnet and to
/// the outside.
pub fn add_guest(host: &mut impl Played, guest: Guest, at: usize) {
    let create = CreatePort { name: guest.port(), config: guest.config(at) };
    host.request(&create).expect("a fresh port");
    for ipv4 in FAMILIES {
        for route in [
            route(subnet(ipv4), RouterTarget::Subnet(subnet(ipv4))),
            route(everywhere(ipv4), RouterTarget::InternetGateway(None)),
        ] {
            host.request(&AddRoute { port: guest.port(), route }).expect("a good route");
        }
    }
}

/// Tells `host` where a guest of another host is.
pub fn add_peer(host: &mut impl Played, guest: Guest, at: usize) {
    for ipv4 in FAMILIES {
        let location = guest.location(at);
        let entry = V2pEntry { vni: vni(VPC), ip: guest.ip(ipv4), location };
        host.request(&SetV2p { entry }).expect("a good mapping");
    }
}

/// Tells `host` of the boundary.
pub fn add_boundary(host: &mut impl Played) {
    for ipv4 in FAMILIES {
        let entry = V2bEntry { prefix: everywhere(ipv4), endpoints: vec![boundary()] };
        host.request(&SetV2b { entry }).expect("a good mapping");
    }
}

/// The boundary.
pub fn boundary() -> BoundaryEndpoint {
    BoundaryEndpoint { underlay_ip: BOUNDARY, vni: vni(BOUNDARY_VNI) }
}

/// How property tests run: the same cases each time, unless the environment variables
/// `PROPTEST_CASES` and `PROPTEST_RNG_SEED` say otherwise.
pub fn cases(usual: u32) -> Config {
    let set = |name: &str| std::env::var_os(name).is_some();
    let mut config = Config {
        failure_persistence: None,
        max_shrink_iters: 100_000,
        max_shrink_time: 120_000,
        ..Config::default()
    };
    if !set("PROPTEST_CASES") {
        config.cases = usual;
    }
    if !set("PROPTEST_RNG_SEED") {
        config.rng_seed = RngSeed::Fixed(0x6f70_7465);
    }
    config
}
