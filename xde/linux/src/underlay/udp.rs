// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The underlay as UDP sockets: the kernel finds the route, the neighbour and the path MTU.
//!
//! One socket receives on the Geneve port; several others send, so that the outer source port
//! tells flows apart (RFC 8926, section 3.3): a flow always leaves through the same one. Runs of
//! equal datagrams are sent and received in one piece where the kernel can (`UDP_SEGMENT`,
//! `UDP_GRO`), many pieces in one call. Nothing is fragmented: a frame that is too large for the
//! path is dropped and counted. Datagrams without UDP checksum are taken (RFC 6935); ours have
//! one, which costs nothing where the link fills it in, and runs need it.

use super::lane::Lane;
use super::{Deliver, Underlay};
use crate::coalesce;
use crate::counters::{Counter, Counters};
use crate::outbox::{Datagram, Outbox};
use crate::packet::{MAX_LEN, Packet, Pool};
use crate::sys::udp::{self, BATCH, PATH_MTU_DISCOVERY, Received, SocketOption};
use opte::outer::GENEVE_PORT;
use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use xde::host::UnderlayShape;

/// Sockets that send.
const LANES: usize = 8;
/// Bytes that may wait in the receiving socket and in each sending one.
const SOCKET_BUFFER: i32 = 8 << 20;
/// A sending socket receives nothing; what strays to its port must not pile up.
const NO_BUFFER: i32 = 0;

/// UDP sockets of an underlay.
#[derive(Debug)]
pub struct UdpUnderlay {
    receiver: OwnedFd,
    lanes: Vec<Lane>,
    links: Vec<u32>,
}

impl UdpUnderlay {
    /// Opens the sockets. Only one process of a network namespace can have the Geneve port.
    pub fn open(links: Vec<u32>) -> io::Result<Self> {
        let receiver = socket(GENEVE_PORT)?;
        udp::set_option(&receiver, SocketOption::PACKET_INFO, 1)?;
        udp::set_option(&receiver, SocketOption::ZERO_CHECKSUM_RECEIVE, 1)?;
        set_buffer(
            &receiver,
            [SocketOption::RECEIVE_BUFFER_FORCE, SocketOption::RECEIVE_BUFFER],
            SOCKET_BUFFER,
        )?;
        // Without it, each datagram comes alone: slower, not wrong.
        let _ = udp::set_option(&receiver, SocketOption::RECEIVE_RUNS, 1);
        let lanes = (0..LANES).map(|_| sender().map(Lane::new)).collect::<io::Result<_>>()?;
        Ok(Self { receiver, lanes, links })
    }
}

impl Underlay for UdpUnderlay {
    fn readable(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }

    fn set_links(&mut self, links: Vec<u32>) {
        self.links = links;
    }

    fn receive(&mut self, pool: &Pool, counters: &Counters, deliver: &mut Deliver<'_>) -> bool {
        let mut packets: Vec<Packet> = (0..BATCH).map(|_| pool.packet(MAX_LEN)).collect();
        let mut buffers: Vec<&mut [u8]> = packets.iter_mut().map(Packet::room_mut).collect();
        let mut pieces = Vec::with_capacity(BATCH);
        match udp::receive(&self.receiver, &mut buffers, &mut pieces) {
            Ok(()) => {}
            Err(error) if is_nothing(&error) => return false,
            Err(_) => {
                counters.count(Counter::UnderlayReadError);
                return false;
            }
        }
        let mut burst = Burst { frames: Vec::new(), ends: None, deliver };
        for (packet, piece) in packets.into_iter().zip(&pieces) {
            self.accept(packet, piece, pool, counters, &mut burst);
        }
        burst.flush();
        pieces.len() == BATCH
    }

    fn send(&mut self, outbox: &mut Outbox, counters: &Counters) {
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let ours = |d: &&Datagram| usize::from(d.source_port) % LANES == number;
            let datagrams: Vec<&Datagram> = outbox.datagrams().iter().filter(ours).collect();
            if !datagrams.is_empty() {
                lane.send(&datagrams, outbox, counters);
            }
        }
        outbox.clear();
    }
}

impl UdpUnderlay {
    fn accept(
        &self,
        mut packet: Packet,
        piece: &Received,
        pool: &Pool,
        counters: &Counters,
        burst: &mut Burst<'_, '_>,
    ) {
        if piece.truncated {
            return counters.count(Counter::UnderlayTruncated);
        }
        if !self.links.contains(&piece.link) {
            return counters.count(Counter::UnderlayWrongLink);
        }
        packet.set_len(piece.len);
        let run_of = piece.run_of.unwrap_or(piece.len).max(1);
        counters.add(Counter::UnderlayRxDatagrams, piece.len.div_ceil(run_of));
        counters.add(Counter::UnderlayRxBytes, piece.len);
        burst.begin(piece.src, piece.dst);
        let merged = coalesce::split(packet, run_of, pool, &mut burst.frames);
        counters.add(Counter::UnderlayRxMerged, merged);
    }
}

/// Frames of one sender on their way to the engine.
struct Burst<'a, 'b> {
    frames: Vec<Packet>,
    ends: Option<(Ipv6Addr, Ipv6Addr)>,
    deliver: &'a mut Deliver<'b>,
}

impl Burst<'_, '_> {
    /// What comes now is from `src` to `dst`.
    fn begin(&mut self, src: Ipv6Addr, dst: Ipv6Addr) {
        if self.ends != Some((src, dst)) {
            self.flush();
            self.ends = Some((src, dst));
        }
    }

    fn flush(&mut self) {
        if let Some((src, dst)) = self.ends
            && !self.frames.is_empty()
        {
            (self.deliver)(UnderlayShape::Geneve { src, dst }, &mut self.frames);
            self.frames.clear();
        }
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn sender() -> io::Result<OwnedFd> {
    let fd = socket(0)?;
    let buffer = [SocketOption::SEND_BUFFER_FORCE, SocketOption::SEND_BUFFER];
    set_buffer(&fd, buffer, SOCKET_BUFFER)?;
    udp::set_option(&fd, SocketOption::RECEIVE_BUFFER, NO_BUFFER)?;
    udp::set_option(&fd, SocketOption::DONT_FRAGMENT, 1)?;
    udp::set_option(&fd, SocketOption::MTU_DISCOVER, PATH_MTU_DISCOVERY)?;
    Ok(fd)
}

fn socket(port: u16) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(AddressFamily::INET6, SocketType::DGRAM, flags, None)?;
    sockopt::set_ipv6_v6only(&fd, true)?;
    bind(&fd, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))?;
    Ok(fd)
}

/// Sets a buffer size: by right of an administrator, else as far as the system's limit goes.
fn set_buffer(fd: &OwnedFd, options: [SocketOption; 2], bytes: i32) -> io::Result<()> {
    let [force, limited] = options;
    udp::set_option(fd, force, bytes).or_else(|_| udp::set_option(fd, limited, bytes))
}
