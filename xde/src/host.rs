// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the driver asks of the host it runs on: devices to make, and ways for frames to leave.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use opte::frame::Rewrite;
pub use opte::host::Moment;
use opte::outer::Outer;
use opte_api::{MacAddr, OpteError};
use oxide_vpc_api::PortName;

/// Number of a port on this host; never used again while the host runs.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PortId(pub u32);

/// Host side of control requests. Each call does all of its work or none.
pub trait Platform {
    /// Makes the network device of a port.
    fn create_device(
        &mut self,
        port: PortId,
        name: &PortName,
        mac: MacAddr,
        mtu: u16,
    ) -> Result<(), OpteError>;

    /// Removes it again.
    fn delete_device(&mut self, port: PortId, name: &PortName) -> Result<(), OpteError>;

    /// Changes the MTU of the network device of a port.
    fn set_mtu(&mut self, name: &PortName, mtu: u16) -> Result<(), OpteError>;

    /// Opens the links of the underlay.
    fn set_underlay(&mut self, links: &[String]) -> Result<(), OpteError>;

    /// Closes them.
    fn clear_underlay(&mut self) -> Result<(), OpteError>;

    /// Names and values of the host's own counters.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// Ways for frames to leave the driver.
pub trait Egress<F> {
    /// The frame leaves for another host; `rewrite.outer` is set.
    fn to_underlay(&mut self, frame: F, rewrite: &Rewrite);

    /// The frame leaves for a multicast group of the underlay, `rewrite.outer.dst`, by way of
    /// `next_hop`. A host that cannot send by way of somebody sends to the next hop itself: who
    /// gets it knows the group from the inner frame.
    fn to_next_hop(&mut self, frame: F, rewrite: &Rewrite, next_hop: Ipv6Addr) {
        let outer = rewrite.outer.map(|outer| Outer { dst: next_hop, ..outer });
        self.to_underlay(frame, &Rewrite { outer, ..*rewrite });
    }

    /// The frame goes to the guest of `port`, without its first `rewrite.strip` bytes.
    fn to_guest(&mut self, port: PortId, frame: F, rewrite: &Rewrite);

    /// A packet that the engine has written or kept leaves for another host.
    fn answer(&mut self, bytes: Vec<u8>, outer: &Outer);

    /// An answer of the gateway goes to the guest of `port`.
    fn reply(&mut self, port: PortId, bytes: Vec<u8>);
}

/// Where a frame from the underlay begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnderlayShape {
    /// With its outer Ethernet header: a link, a kernel's receive hook.
    Ethernet,
    /// With its Geneve header: a UDP socket, which has checked and taken off the rest.
    Geneve {
        /// Outer source address.
        src: Ipv6Addr,
        /// Outer destination address.
        dst: Ipv6Addr,
        /// DSCP and ECN.
        traffic_class: u8,
    },
}
