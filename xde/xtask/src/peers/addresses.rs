// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Who has which address, alike for all peers.

/// The client: a guest of the first hypervisor.
pub const CLIENT: Guest = Guest { ip: "10.0.0.11", mac: "a8:40:25:f0:00:01" };
/// The server inside: a guest of the second.
pub const INSIDE: Guest = Guest { ip: "10.0.0.13", mac: "a8:40:25:f0:00:03" };
/// The server outside.
pub const OUTSIDE: Guest = Guest { ip: "203.0.113.254", mac: "a8:40:25:f0:00:fe" };

/// The guests' subnet.
pub const SUBNET: &str = "10.0.0.0/24";
/// Their router.
pub const GATEWAY: &str = "10.0.0.1";
/// How the client is known outside.
pub const EXTERNAL: &str = "203.0.113.10";
/// Ports of that address.
pub const EXTERNAL_PORTS: &str = "1024-65535";
/// MAC address of the router, on either side.
pub const GATEWAY_MAC: &str = "a8:40:25:ff:77:77";

/// Hypervisors on the underlay.
pub const HOSTS: [&str; 2] = ["fd00:1::1", "fd00:1::2"];
/// The boundary on the underlay.
pub const BOUNDARY: &str = "fd00:2::99";

/// An end of the traffic.
pub struct Guest {
    /// Its address.
    pub ip: &'static str,
    /// Its MAC address.
    pub mac: &'static str,
}

impl Guest {
    /// Its interface with its address and the router, as `ip` commands.
    pub fn interface(&self, link: &str) -> String {
        let (ip, mac) = (self.ip, self.mac);
        format!("link set {link} address {mac}\naddr add {ip}/24 dev {link}\n")
    }
}
