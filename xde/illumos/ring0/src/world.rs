// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The little world of the run: two guests here, one on another host, all of one network; and how it is
//! told to the module.

use crate::frames::{End, Host};
use crate::run::Wrong;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use illumos_sys_hdrs::net::if_::ND_REACHABLE;
use opte_api::frame::{HEADER_LEN, Header, MAX_RESPONSE, Request, decode_answer, encode_request};
use opte_api::{Direction, IpCidr, MacAddr, Protocol, Vni};
use oxide_vpc_api::config::{BOUNDARY_MAC, DEFAULT_MTU, GATEWAY_MAC};
use oxide_vpc_api::request::{
    AddRoute, ClearUnderlay, CreatePort, DeletePort, SetFwRules, SetUnderlay, SetV2p,
};
use oxide_vpc_api::{
    DhcpConfig, ExternalIps, FirewallAction, FirewallRule, GuestLocation, Hosts, IpConfig,
    PortConfig, PortName, PortRange, ProtocolFilter, RouteEntry, RouterClass, RouterTarget,
    V2pEntry,
};
use xde_illumos_shim::dls;
use xde_illumos_shim::ip::{self, Neighbour, Route};
use xde_illumos_shim::mac::{self, Abilities};

/// The network of all guests.
pub const NETWORK: u32 = 100;
/// The link between hosts.
pub const UNDERLAY: &str = "net0";
/// This host and the other one, as they are between hosts.
pub const HOSTS: [Host; 2] = [host(1), host(2)];
/// Names of the ports of the guests that are here.
pub const PORTS: [&str; 2] = ["guest0", "guest1"];
/// Number of the guest that is on the other host.
pub const FAR: usize = 2;
/// UDP ports at which guests may be called.
pub const OPEN: [u16; 2] = [1000, 60_000];

const fn host(number: u8) -> Host {
    let ip = Ipv6Addr::new(0xfd00, number as u16, 0, 0, 0, 0, 0, 1);
    Host { mac: [2, 8, 0x20, 0, 0, number], ip }
}

/// A guest by its number, at one of its UDP ports.
pub const fn guest(number: usize, port: u16) -> End {
    let last = number as u8 + 10;
    End { mac: [0xa8, 0x40, 0x25, 0xf0, 0, last], ip: Ipv4Addr::new(10, 0, 0, last), port }
}

/// A guest as other guests see it: by its gateway's link address.
pub const fn seen(mut guest: End) -> End {
    guest.mac = GATEWAY_MAC.0;
    guest
}

/// How requests reach the module: a whole frame there, a whole frame back.
pub type Exchange<'a> = &'a dyn Fn(&[u8]) -> Result<Vec<u8>, Wrong>;

/// Makes a request.
pub fn ask<R: Request>(exchange: Exchange<'_>, request: &R) -> Result<R::Response, Wrong> {
    let wrong = |error| format!("{}: {error}", R::NAME);
    let frame = encode_request(request).map_err(wrong)?;
    let answer = exchange(&frame)?;
    let (head, body) = answer.split_first_chunk::<HEADER_LEN>().ok_or("a short answer")?;
    let header = Header::from_bytes(*head, MAX_RESPONSE).map_err(wrong)?;
    decode_answer(header, body).map_err(wrong)
}

/// A port's name as requests have it.
pub fn name(port: &str) -> Result<PortName, Wrong> {
    port.parse().map_err(|error| format!("{port}: {error}"))
}

fn subnet() -> Result<IpCidr, Wrong> {
    let any = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0));
    IpCidr::new(any, 24).map_err(|error| format!("{error}"))
}

fn vni() -> Result<Vni, Wrong> {
    Vni::new(NETWORK).map_err(|error| format!("{error}"))
}

fn config(number: usize) -> Result<PortConfig, Wrong> {
    let guest = guest(number, 0);
    let ipv4 = IpConfig {
        private_ip: guest.ip.into(),
        subnet: subnet()?,
        gateway_ip: Ipv4Addr::new(10, 0, 0, 1).into(),
        external: ExternalIps::default(),
    };
    Ok(PortConfig {
        mac: MacAddr(guest.mac),
        gateway_mac: GATEWAY_MAC,
        boundary_mac: BOUNDARY_MAC,
        vni: vni()?,
        underlay_ip: HOSTS[0].ip,
        mtu: DEFAULT_MTU,
        ipv4: Some(ipv4),
        ipv6: None,
        dhcp: DhcpConfig::default(),
        settings: oxide_vpc_api::PortSettings::default(),
    })
}

/// Makes the links and routes of the host, which the module finds.
pub fn lay_wires() {
    mac::wire(UNDERLAY, HOSTS[0].mac, 9000, Abilities::default());
    for port in PORTS {
        dls::name(port);
    }
    ip::interface(UNDERLAY, Some(HOSTS[0].mac));
    ip::add_route(Route::on_link(HOSTS[1].ip, 64, UNDERLAY));
    ip::set_neighbour(Neighbour {
        interface: UNDERLAY,
        address: HOSTS[1].ip,
        mac: Some(HOSTS[1].mac),
        state: ND_REACHABLE,
    });
}

/// Changes something that every flow has to be judged by.
pub fn change(exchange: Exchange<'_>) -> Result<(), Wrong> {
    let port = name(PORTS[0])?;
    let mut rules = rules()?;
    ask(exchange, &SetFwRules { port: port.clone(), rules: rules.clone() })?;
    let other = rules.first().cloned().map(|rule| FirewallRule { priority: 7, ..rule });
    rules.extend(other);
    ask(exchange, &SetFwRules { port, rules })
}

/// Guests of the network may call at [`OPEN`] ports.
fn rules() -> Result<Vec<FirewallRule>, Wrong> {
    let [first, last] = OPEN;
    Ok(vec![FirewallRule {
        direction: Direction::In,
        action: FirewallAction::Allow,
        priority: 100,
        hosts: Hosts::Vni(vni()?),
        protocol: ProtocolFilter::Number(Protocol::UDP),
        ports: vec![PortRange { first, last }],
        uuid: None,
        comment: None,
    }])
}

/// Makes the underlay, the ports, their routes and rules, and says where everybody is.
pub fn set_up(exchange: Exchange<'_>) -> Result<(), Wrong> {
    ask(exchange, &SetUnderlay { links: vec![String::from(UNDERLAY)] })?;
    for (number, port) in PORTS.into_iter().enumerate() {
        let port = name(port)?;
        ask(exchange, &CreatePort { name: port.clone(), config: config(number)? })?;
        let (dest, target) = (subnet()?, RouterTarget::Subnet(subnet()?));
        let route = RouteEntry { dest, target, class: RouterClass::System };
        ask(exchange, &AddRoute { port: port.clone(), route })?;
        ask(exchange, &SetFwRules { port, rules: rules()? })?;
    }
    for (number, host) in [(0, HOSTS[0]), (1, HOSTS[0]), (FAR, HOSTS[1])] {
        let guest = guest(number, 0);
        let location = GuestLocation { mac: MacAddr(guest.mac), underlay_ip: host.ip };
        let entry = V2pEntry { vni: vni()?, ip: guest.ip.into(), location };
        ask(exchange, &SetV2p { entry })?;
    }
    Ok(())
}

/// Removes the ports and the underlay.
pub fn tear_down(exchange: Exchange<'_>) -> Result<(), Wrong> {
    for port in PORTS {
        ask(exchange, &DeletePort { name: name(port)? })?;
    }
    ask(exchange, &ClearUnderlay {})
}
