// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One guest on one host, a boundary, and a peer elsewhere: for tests that look at what leaves.

use crate::hypervisor::{Hypervisor, Left};
use crate::packets::{Body, Packet, Tunnel, checksums};
use crate::setting::{BOUNDARY, Guest, HOSTS, VPC, add_boundary, add_guest, add_peer, vni};
use opte::drop_reason::DropReason;
use opte::frame::FlatFrame;
use opte_api::frame::Request;
use oxide_vpc_api::request::DumpCounters;
use std::net::IpAddr;
use xde::driver::DriverOptions;
use xde::host::PortId;

/// The guest.
pub const GUEST: Guest = Guest(5);
/// Its peer on the other host.
pub const PEER: Guest = Guest(7);

/// What left the host: the outer headers, and what is inside.
pub type Sent = (Tunnel, Packet);

/// The host with its guest.
pub struct Alone {
    /// The host.
    pub host: Hypervisor,
}

impl Default for Alone {
    fn default() -> Self {
        let mut host = Hypervisor::new(DriverOptions::new(0xa10e));
        add_guest(&mut host, GUEST, 0);
        add_peer(&mut host, PEER, 1);
        add_boundary(&mut host);
        Self { host }
    }
}

impl Alone {
    /// Asks the host; it must agree.
    #[track_caller]
    pub fn ask<R: Request>(&mut self, request: &R) -> R::Response {
        self.host.request(request).expect("a request that is right")
    }

    /// The guest sends a packet to `dst`.
    #[track_caller]
    pub fn send(&mut self, dst: IpAddr, body: Body) -> Result<Sent, DropReason> {
        let packet = Packet::new(GUEST.macs(), [GUEST.ip(dst.is_ipv4()), dst], body);
        let left = self.host.from_guest(PortId(0), FlatFrame::new(packet.bytes()));
        match left.as_slice() {
            [Left::Underlay(bytes)] => {
                checksums::verify(bytes).expect("right checksums");
                let (tunnel, inner) = Tunnel::open(bytes).expect("a tunnel packet");
                Ok((tunnel, Packet::read(&inner).expect("an IP packet")))
            }
            // The guest may be told why.
            [] | [Left::Reply(..)] => Err(*self.host.drops().first().expect("a reason")),
            other => panic!("one packet made {other:?}"),
        }
    }

    /// A datagram from this port to port 80 of `dst`.
    #[track_caller]
    pub fn datagram(&mut self, dst: IpAddr, from: u16) -> Result<Sent, DropReason> {
        self.send(dst, Body::Udp { ports: [from, 80], checksum: true })
    }

    /// Somebody outside sends to an address of the guest's; what the guest sees of it.
    #[track_caller]
    pub fn from_outside(
        &mut self,
        [src, dst]: [IpAddr; 2],
        body: Body,
    ) -> Result<Packet, DropReason> {
        let packet = Packet::new([PEER.mac(), GUEST.mac()], [src, dst], body);
        let tunnel = Tunnel {
            src: BOUNDARY,
            dst: HOSTS[0],
            source_port: 0xc001,
            vni: vni(VPC),
            options: Vec::new(),
        };
        let frame = tunnel.external().around(&packet.bytes());
        match self.host.from_underlay(FlatFrame::new(frame)).as_slice() {
            [Left::Guest(_, bytes)] => Ok(Packet::read(bytes).expect("an IP packet")),
            // Its sender may be told why.
            [] | [Left::Answer(_)] => Err(*self.host.drops().first().expect("a reason")),
            other => panic!("one packet made {other:?}"),
        }
    }

    /// A counter of the guest's port.
    pub fn count(&mut self, name: &str) -> u64 {
        let sets = self.ask(&DumpCounters { port: Some(GUEST.port()) });
        let mut all = sets.into_iter().flat_map(|set| set.counters);
        all.find(|counter| counter.name == name).expect("a counter of this name").value
    }
}
