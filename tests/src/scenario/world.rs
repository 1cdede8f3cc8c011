// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Two hypervisor hosts in one process, a boundary, and the underlay between them.

use crate::hypervisor::{Hypervisor, Left, Played, TestHost};
use crate::packets::{Packet, Tunnel, checksums};
use crate::setting::{
    BOUNDARY, FAMILIES, Guest, HOSTS, VPC, add_boundary, add_guest, add_peer, outside, vni,
};
use opte::drop_reason::DropReason;
use opte::frame::FlatFrame;
use opte_api::frame::{API_VERSION, HEADER_LEN, Header, Request, encode_request};
use opte_api::{IpCidr, MacAddr};
use oxide_vpc_api::config::BOUNDARY_MAC;
use oxide_vpc_api::mapping::BOUNDARY_VNI;
use oxide_vpc_api::request::AddBoundaryNat;
use oxide_vpc_api::{BoundaryNat, GuestLocation, SnatRange};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use xde::boundary::{Boundary, Config, Verdict};
use xde::driver::DriverOptions;
use xde::host::{Moment, PortId};

/// Guests and the number of the host that each is on.
const GUESTS: [(Guest, usize); 3] = [(Guest(5), 0), (Guest(6), 0), (Guest(7), 1)];
/// The boundary's own MAC address, as guests never see it.
const BOUNDARY_PORT: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);

/// Where a packet has got to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// To a guest.
    Guest(Guest, Vec<u8>),
    /// Outside.
    Outside(Vec<u8>),
    /// Back to its sender, as an answer of the gateway.
    Reply(Vec<u8>),
    /// Nowhere, for this reason.
    Dropped(&'static str),
    /// Nowhere, for this reason; and its sender is told, here.
    Refused(&'static str, Box<Arrival>),
}

/// Makes a host.
pub type Make<'a, H> = dyn Fn(DriverOptions) -> H + 'a;

/// All there is.
pub struct World<H = Hypervisor> {
    /// The two hosts.
    pub hosts: [H; 2],
    boundary: Boundary<TestHost>,
    ports: BTreeMap<Guest, PortId>,
    next_port: [u32; 2],
}

impl World {
    /// Two hosts that know one another's guests, each with at most `flow_limit` flows.
    pub fn new(flow_limit: u32) -> Self {
        Self::on(flow_limit, &Hypervisor::new)
    }
}

impl<H: Played> World<H> {
    /// The same on hosts that `make` makes.
    pub fn on(flow_limit: u32, make: &Make<'_, H>) -> Self {
        let options = DriverOptions { flow_limit, ..DriverOptions::new(0x5ce0) };
        let hosts = [(); 2].map(|()| {
            let mut host = make(options);
            add_boundary(&mut host);
            host
        });
        let boundary = boundary_of_all();
        let mut world = Self { hosts, boundary, ports: BTreeMap::new(), next_port: [0; 2] };
        GUESTS.iter().for_each(|(guest, _)| world.add(*guest));
        for (guest, at) in GUESTS {
            add_peer(&mut world.hosts[1 - at], guest, at);
        }
        world
    }

    /// The host that a guest is on.
    pub fn host(&mut self, guest: Guest) -> &mut H {
        &mut self.hosts[home(guest)]
    }

    /// Gives a guest a port.
    pub fn add(&mut self, guest: Guest) {
        let at = home(guest);
        add_guest(&mut self.hosts[at], guest, at);
        self.ports.insert(guest, PortId(self.next_port[at]));
        self.next_port[at] += 1;
    }

    /// Moves the clocks, and lets flows expire.
    pub fn wait(&mut self, millis: u64) {
        for host in &mut self.hosts {
            host.advance(millis);
            host.expire();
        }
    }

    /// A guest sends a packet.
    pub fn from_guest(&mut self, guest: Guest, packet: &Packet) -> Arrival {
        let packet = Packet { macs: guest.macs(), ..packet.clone() };
        let (at, port) = (home(guest), self.ports[&guest]);
        let left = self.hosts[at].guest_sends(port, FlatFrame::new(packet.bytes()));
        self.carry(at, left)
    }

    /// The boundary brings a packet from outside for a guest.
    pub fn from_outside(&mut self, guest: Guest, packet: &Packet) -> Arrival {
        let at = home(guest);
        let packet = Packet { macs: [BOUNDARY_PORT, guest.mac()], ..packet.clone() };
        let source_port = 0xc001;
        let outer =
            Tunnel { src: BOUNDARY, dst: HOSTS[at], source_port, vni: vni(VPC), options: vec![] };
        let frame = outer.external().around(&packet.bytes());
        let left = self.hosts[at].underlay_brings(FlatFrame::new(frame));
        self.carry(at, left)
    }

    /// Follows what left host `at` to where it gets.
    fn carry(&mut self, at: usize, left: Vec<Left>) -> Arrival {
        let mut left = left.into_iter();
        let Some(first) = left.next() else {
            let drops = self.hosts[at].drops();
            assert_eq!(drops.len(), 1, "what does not leave is dropped, and told once");
            return Arrival::Dropped(drops[0].name());
        };
        let rest: Vec<Left> = left.collect();
        let (Left::Underlay(bytes)
        | Left::Answer(bytes)
        | Left::Guest(_, bytes)
        | Left::Reply(_, bytes)) = &first;
        checksums::verify(bytes).expect("right checksums");
        checksums::verify_quote(bytes).expect("right checksums in what is quoted");
        let drops = self.hosts[at].drops();
        assert!(drops.len() <= 1, "one packet is dropped once");
        // Both ends of a connection are told of its end; all else makes one packet.
        let is_cut = drops.first() == Some(&DropReason::ConnectionCut);
        assert!(rest.is_empty() || is_cut, "one packet makes one packet");
        let arrival = match first {
            Left::Reply(_, bytes) => Arrival::Reply(bytes),
            Left::Guest(port, bytes) => {
                let on_host = |guest: &Guest| home(*guest) == at && self.ports[guest] == port;
                let guest = self.ports.keys().copied().find(on_host).expect("a known port");
                Arrival::Guest(guest, bytes)
            }
            Left::Underlay(bytes) | Left::Answer(bytes) => self.cross(&bytes),
        };
        match drops.first() {
            Some(reason) => Arrival::Refused(reason.name(), Box::new(arrival)),
            None => arrival,
        }
    }

    /// What goes to a guest by way of the boundary, because an external address of that guest's is
    /// its destination.
    fn turn_round(&mut self, outer: &Tunnel, bytes: &[u8]) -> Option<Arrival> {
        const GENEVE: usize = 14 + 40 + 8;
        let mut datagram = bytes.get(GENEVE..)?.to_vec();
        let now = Moment::from_millis(0);
        let verdict = self.boundary.from_underlay((outer.src, 0), &mut datagram, now);
        let Verdict::Encapsulate { outer, inner } = verdict else { return None };
        let tunnel = Tunnel {
            src: outer.src,
            dst: outer.dst,
            source_port: outer.source_port,
            vni: outer.vni,
            options: outer.options.as_slice().to_vec(),
        };
        let at = HOSTS.iter().position(|host| *host == outer.dst)?;
        let frame = FlatFrame::new(tunnel.around(&datagram[inner]));
        let left = self.hosts[at].underlay_brings(frame);
        Some(self.carry(at, left))
    }

    /// The underlay brings a frame to the host whose address it has.
    fn cross(&mut self, bytes: &[u8]) -> Arrival {
        let (outer, inner) = Tunnel::open(bytes).expect("a Geneve packet");
        if outer.dst == BOUNDARY {
            assert_eq!(outer.vni.get(), BOUNDARY_VNI);
            return self.turn_round(&outer, bytes).unwrap_or(Arrival::Outside(inner));
        }
        let at = HOSTS.iter().position(|host| *host == outer.dst).expect("a known host");
        let left = self.hosts[at].underlay_brings(FlatFrame::new(bytes));
        self.carry(at, left)
    }
}

/// A boundary that knows the external addresses of all guests.
fn boundary_of_all() -> Boundary<TestHost> {
    let vni = vni(BOUNDARY_VNI);
    let config = Config { underlay_ip: BOUNDARY, vni, inner_mac: BOUNDARY_MAC };
    let boundary = Boundary::new(config, 7);
    for (guest, at) in GUESTS {
        for ipv4 in FAMILIES {
            let whole = |ip| SnatRange { ip, first_port: 0, last_port: u16::MAX };
            let own = [guest.floating(ipv4), ephemeral(guest, ipv4)].map(whole);
            for SnatRange { ip, first_port, last_port } in [own[0], own[1], guest.snat(ipv4)] {
                let GuestLocation { mac, underlay_ip } = guest.location(at);
                let vni = self::vni(VPC);
                let entry = BoundaryNat { ip, first_port, last_port, underlay_ip, vni, mac };
                let frame = encode_request(&AddBoundaryNat { entry }).expect("a small request");
                let body = &frame[HEADER_LEN..];
                let (version, code) = (API_VERSION, AddBoundaryNat::CODE);
                boundary.control(Header { version, code, len: body.len() as u32 }, body, &[]);
            }
        }
    }
    boundary
}

fn home(guest: Guest) -> usize {
    let known = GUESTS.iter().find(|(known, _)| *known == guest);
    known.map(|(_, at)| *at).expect("a guest of this world")
}

/// An address by its name: `g5`, `g5.floating`, `g5.ephemeral`, `g5.snat`, one of those behind the
/// guest (`g5.transit`, `g5.attached`, `g5.known`), `out`, `gw`; and the guest that it belongs to.
pub fn address(name: &str, ipv4: bool) -> Option<(IpAddr, Option<Guest>)> {
    match name {
        "out" => return Some((outside(ipv4), None)),
        "out2" => return Some((outside_too(ipv4), None)),
        "gw" => return Some((crate::setting::gateway(ipv4), None)),
        _ => {}
    }
    let (guest, part) = name.split_once('.').unwrap_or((name, "private"));
    let guest = guest_by_name(guest)?;
    let ip = match part {
        "private" => guest.ip(ipv4),
        "floating" => guest.floating(ipv4),
        "ephemeral" => ephemeral(guest, ipv4),
        "snat" => guest.snat(ipv4).ip,
        part => part.parse().ok().or_else(|| Some(behind(guest, ipv4, part)?.0))?,
    };
    Some((ip, Some(guest)))
}

/// Somebody else outside.
fn outside_too(ipv4: bool) -> IpAddr {
    match outside(ipv4) {
        IpAddr::V4(ip) => IpAddr::from((ip.to_bits() + 1).to_be_bytes()),
        IpAddr::V6(ip) => IpAddr::from((ip.to_bits() + 1).to_be_bytes()),
    }
}

/// A guest by its name.
pub fn guest_by_name(name: &str) -> Option<Guest> {
    name.strip_prefix('g')?.parse().ok().map(Guest)
}

/// Another address outside that may be given to a guest alone.
pub fn ephemeral(guest: Guest, ipv4: bool) -> IpAddr {
    Guest(guest.0 + 100).floating(ipv4)
}

/// An address behind a guest, and the prefix that holds it and its like.
pub fn behind(guest: Guest, ipv4: bool, part: &str) -> Option<(IpAddr, IpCidr)> {
    let (net, prefix) = match part {
        "transit" => (77, 0xfd77),
        "attached" => (88, 0xfd88),
        "known" => (99, 0x2003),
        _ => return None,
    };
    let ip = if ipv4 {
        Ipv4Addr::new(10, net, guest.0, 9).into()
    } else {
        Ipv6Addr::new(prefix, guest.0.into(), 0, 0, 0, 0, 0, 9).into()
    };
    let cidr = IpCidr::new(ip, if ipv4 { 24 } else { 64 }).ok()?;
    Some((ip, cidr))
}
