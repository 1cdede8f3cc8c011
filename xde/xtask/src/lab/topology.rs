// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the lab looks like: who is there, under which addresses, and how they are linked.
//!
//! All of it lives in network namespaces of one run, so any number of runs may be on one machine
//! at once: names of namespaces begin with the run's name, all other names are local to them.

/// VNI of the guests' VPC.
pub const VNI: &str = "100";
/// VNI of boundary traffic.
pub const BOUNDARY_VNI: &str = "99";
/// MTU of the underlay; guests have 1500.
pub const UNDERLAY_MTU: u32 = 9000;
/// Interface of a host towards the underlay.
pub const UNDERLAY_LINK: &str = "ul0";
/// Interface of the boundary towards the outside, and its twin.
pub const OUTSIDE_LINK: &str = "ext0";

/// IPv4 subnet of the VPC.
pub const SUBNET4: &str = "10.0.0.0/24";
/// Where the gateway answers.
pub const GATEWAY4: &str = "10.0.0.1";
/// IPv6 subnet of the VPC.
pub const SUBNET6: &str = "fd00:100::/64";
/// Where the gateway answers: the link-local address of its MAC.
pub const GATEWAY6: &str = "fe80::aa40:25ff:feff:7777";
/// Name servers that DHCP tells of.
pub const DNS: [&str; 2] = ["198.51.100.53", "2001:db8:51::53"];
/// MTU of the guests' links.
pub const GUEST_MTU: &str = "1500";

/// The gateway with floating addresses of `g1`.
pub const TAGGED_GATEWAY: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
/// A gateway for which no guest has an address.
pub const EMPTY_GATEWAY: &str = "7d444840-9dc0-11d1-b245-5ffdce74fad2";

/// A machine with a datapath process: a hypervisor, or the boundary.
pub struct Host {
    /// Its name and that of its namespace.
    pub name: &'static str,
    /// Its address on the underlay.
    pub underlay: &'static str,
}

/// The hypervisors.
pub const HYPERVISORS: [Host; 2] =
    [Host { name: "h1", underlay: "fd00:1::1" }, Host { name: "h2", underlay: "fd00:1::2" }];
/// The boundary.
pub const BOUNDARY: Host = Host { name: "bnd", underlay: "fd00:1::99" };

/// Every machine on the underlay.
pub fn underlay_hosts() -> impl Iterator<Item = &'static Host> {
    HYPERVISORS.iter().chain([&BOUNDARY])
}

/// A guest. Its port has its name.
pub struct Guest {
    /// Name of the guest, its port, its interface and its namespace.
    pub name: &'static str,
    /// The hypervisor it is on.
    pub host: &'static Host,
    /// Its MAC address.
    pub mac: &'static str,
    /// Its IPv4 address inside the VPC.
    pub ip4: &'static str,
    /// Its IPv6 address inside the VPC.
    pub ip6: &'static str,
    /// IPv6 link-local address of its MAC.
    pub link_local: &'static str,
    /// How it is known outside.
    pub external: External,
}

/// External addresses, IPv4 first.
#[derive(Default)]
pub struct External {
    /// Shared addresses with a range of ports, for all routes that name no gateway.
    pub snat: Option<[&'static str; 2]>,
    /// Addresses of its own.
    pub floating: Option<[&'static str; 2]>,
    /// The only gateway that the floating addresses serve.
    pub gateway: Option<&'static str>,
}

/// First and last port of every shared address.
pub const SNAT_PORTS: [u16; 2] = [1024, 5119];

/// The guests: two on the first hypervisor, one on the second.
pub const GUESTS: [Guest; 3] = [
    Guest {
        name: "g1",
        host: &HYPERVISORS[0],
        mac: "a8:40:25:f0:00:01",
        ip4: "10.0.0.11",
        ip6: "fd00:100::11",
        link_local: "fe80::aa40:25ff:fef0:1",
        external: External {
            snat: Some(["203.0.113.10", "2001:db8:10::10"]),
            floating: Some(["203.0.113.20", "2001:db8:10::20"]),
            gateway: Some(TAGGED_GATEWAY),
        },
    },
    Guest {
        name: "g2",
        host: &HYPERVISORS[0],
        mac: "a8:40:25:f0:00:02",
        ip4: "10.0.0.12",
        ip6: "fd00:100::12",
        link_local: "fe80::aa40:25ff:fef0:2",
        external: External { snat: None, floating: None, gateway: None },
    },
    Guest {
        name: "g3",
        host: &HYPERVISORS[1],
        mac: "a8:40:25:f0:00:03",
        ip4: "10.0.0.13",
        ip6: "fd00:100::13",
        link_local: "fe80::aa40:25ff:fef0:3",
        external: External {
            snat: None,
            floating: Some(["203.0.113.30", "2001:db8:10::30"]),
            gateway: None,
        },
    },
];

/// A guest that only one check has: a virtual machine.
pub const MACHINE: Guest = Guest {
    name: "vm1",
    host: &HYPERVISORS[0],
    mac: "a8:40:25:f0:00:04",
    ip4: "10.0.0.14",
    ip6: "fd00:100::14",
    link_local: "fe80::aa40:25ff:fef0:4",
    external: External {
        snat: None,
        floating: Some(["203.0.113.40", "2001:db8:10::40"]),
        gateway: None,
    },
};

/// The guest with that name.
pub fn guest(name: &str) -> &'static Guest {
    let found = GUESTS.iter().find(|guest| guest.name == name);
    found.unwrap_or_else(|| panic!("the lab has no guest {name}"))
}

/// The router of the outside network, on the boundary's outside link.
pub struct Router {
    /// Name of its namespace.
    pub name: &'static str,
    /// Addresses on the link to the boundary, IPv4 first.
    pub addresses: [&'static str; 2],
}

/// The only router outside.
pub const ROUTER: Router =
    Router { name: "out", addresses: ["203.0.113.254", "2001:db8:10::fffe"] };
/// Addresses of the boundary itself on its outside link.
pub const BOUNDARY_OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:10::1"];

/// A web server outside.
pub struct Web {
    /// Its name and that of its namespace.
    pub name: &'static str,
    /// Its addresses, IPv4 first.
    pub addresses: [&'static str; 2],
    /// The router's addresses on the link to it.
    pub router: [&'static str; 2],
}

/// The web servers.
pub const WEBS: [Web; 2] = [
    Web {
        name: "web1",
        addresses: ["198.51.100.10", "2001:db8:51:1::10"],
        router: ["198.51.100.9", "2001:db8:51:1::9"],
    },
    Web {
        name: "web2",
        addresses: ["198.51.100.20", "2001:db8:51:2::20"],
        router: ["198.51.100.19", "2001:db8:51:2::19"],
    },
];

/// The web server with that name.
pub fn web(name: &str) -> &'static Web {
    let found = WEBS.iter().find(|web| web.name == name);
    found.unwrap_or_else(|| panic!("the lab has no web server {name}"))
}

/// Namespace with the switch of the underlay.
pub const SWITCH: &str = "net";

/// Every namespace of the lab.
pub fn namespaces() -> impl Iterator<Item = &'static str> {
    [SWITCH, ROUTER.name]
        .into_iter()
        .chain(underlay_hosts().map(|host| host.name))
        .chain(GUESTS.iter().map(|guest| guest.name))
        .chain(WEBS.iter().map(|web| web.name))
}

/// A link on which packets are captured.
pub struct Tap {
    /// Name of the capture and of its file.
    pub name: String,
    /// Namespace.
    pub netns: &'static str,
    /// Interface.
    pub link: &'static str,
}

/// Every link, seen at one of its ends.
pub fn taps() -> Vec<Tap> {
    let guests = GUESTS.iter().map(|g| Tap { name: g.name.into(), netns: g.name, link: g.name });
    let underlay = underlay_hosts().map(|host| Tap {
        name: format!("underlay-{}", host.name),
        netns: host.name,
        link: UNDERLAY_LINK,
    });
    let webs =
        WEBS.iter().map(|web| Tap { name: web.name.into(), netns: ROUTER.name, link: web.name });
    let outside = Tap { name: "outside".into(), netns: ROUTER.name, link: OUTSIDE_LINK };
    guests.chain(underlay).chain([outside]).chain(webs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv6Addr};

    fn guests() -> impl Iterator<Item = &'static Guest> {
        GUESTS.iter().chain([&MACHINE])
    }

    #[test]
    fn names_and_addresses_are_unique() {
        let names: BTreeSet<&str> = namespaces().collect();
        assert_eq!(names.len(), namespaces().count());

        let mut addresses: Vec<&str> = underlay_hosts().map(|host| host.underlay).collect();
        addresses.extend(guests().flat_map(|g| [g.ip4, g.ip6]));
        addresses.extend(guests().flat_map(|g| g.external.snat.into_iter().flatten()));
        addresses.extend(guests().flat_map(|g| g.external.floating.into_iter().flatten()));
        addresses.extend(WEBS.iter().flat_map(|web| [web.addresses, web.router]).flatten());
        addresses.extend([ROUTER.addresses, BOUNDARY_OUTSIDE].into_iter().flatten());
        let parsed: BTreeSet<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(parsed.len(), addresses.len());
    }

    #[test]
    fn link_local_addresses_follow_from_the_macs() {
        let link_local = |mac: &str| {
            let octets: Vec<u16> =
                mac.split(':').map(|octet| u16::from_str_radix(octet, 16).unwrap()).collect();
            let [a, b, c, d, e, f] = octets[..] else { panic!("{mac}") };
            // RFC 4291, appendix A: ff:fe in the middle, the universal bit inverted.
            let id = [(a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f];
            Ipv6Addr::new(0xfe80, 0, 0, 0, id[0], id[1], id[2], id[3])
        };
        for guest in guests() {
            assert_eq!(guest.link_local.parse::<Ipv6Addr>().unwrap(), link_local(guest.mac));
        }
        assert_eq!(GATEWAY6.parse::<Ipv6Addr>().unwrap(), link_local("a8:40:25:ff:77:77"));
    }
}
