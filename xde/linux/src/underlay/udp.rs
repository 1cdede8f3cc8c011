// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The underlay as UDP sockets: the kernel finds the route, the neighbour and the path MTU.
//!
//! One socket of each worker receives on the Geneve port, where the kernel keeps a flow on one of
//! them; several others send, so that the outer source port
//! tells flows apart (RFC 8926, section 3.3): a flow always leaves through the same one. Runs of
//! equal datagrams are sent and received in one piece where the kernel can (`UDP_SEGMENT`,
//! `UDP_GRO`), many pieces in one call. Nothing is fragmented: a frame that is too large for the
//! path is dropped and counted. Datagrams without UDP checksum are taken (RFC 6935); ours have
//! one, which costs nothing where the link fills it in, and runs need it.

use super::lane::Lane;
use super::{Deliver, Underlay};
use crate::appetite::Appetite;
use crate::coalesce::{self, Joining};
use crate::counters::{Counter, Counters};
use crate::outbox::{Datagram, Outbox};
use crate::packet::{Landing, Landings, Packet, Pool};
use crate::sys::link;
use crate::sys::udp::{self, BATCH, PATH_MTU_DISCOVERY, Received, SocketOption};
use opte::outer::GENEVE_PORT;
use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use xde::host::UnderlayShape;

/// Sockets that send.
const LANES: usize = 8;
/// Bytes that may wait in the receiving socket and in each sending one.
const SOCKET_BUFFER: i32 = 16 << 20;
/// A sending socket receives nothing; what strays to its port must not pile up.
const NO_BUFFER: i32 = 0;

/// UDP sockets of an underlay, for one worker.
#[derive(Debug)]
pub struct UdpUnderlay {
    receiver: OwnedFd,
    lanes: Vec<Lane>,
    links: Vec<u32>,
    joining: Joining,
    pieces: Vec<Received>,
    /// Pieces that the receiver has lost so far.
    lost: u32,
    largest: usize,
    appetite: Appetite,
}

impl UdpUnderlay {
    /// Opens the sockets of so many workers (at least one). Only one process of a network
    /// namespace can have the Geneve port.
    pub fn open(links: &[u32], joining: Joining, workers: usize) -> io::Result<Vec<Self>> {
        let mut receivers = vec![socket(GENEVE_PORT, false)?];
        if let (Some(first), true) = (receivers.first(), workers > 1) {
            udp::set_option(first, SocketOption::SHARE_PORT, 1)?;
        }
        for _ in 1..workers {
            receivers.push(socket(GENEVE_PORT, true)?);
        }
        // All workers send through the same sockets, so that the outer source port of a flow, and
        // with it the worker at the other end, does not depend on which of ours has sent.
        let senders = (0..LANES).map(|_| sender()).collect::<io::Result<Vec<_>>>()?;
        let largest = largest_datagram(links).unwrap_or(0);
        let with_lanes = |receiver| {
            prepare(&receiver)?;
            let lane = |fd: &OwnedFd| fd.try_clone().map(Lane::new);
            let lanes = senders.iter().map(lane).collect::<io::Result<_>>()?;
            let (links, pieces) = (links.to_vec(), Vec::new());
            let appetite = Appetite::new(udp::FEW, BATCH);
            Ok(Self { receiver, lanes, links, joining, pieces, lost: 0, largest, appetite })
        };
        receivers.into_iter().map(with_lanes).collect()
    }

    /// The outer source ports that packets leave with.
    pub fn source_ports(&self) -> io::Result<Vec<u16>> {
        self.lanes.iter().map(Lane::source_port).collect()
    }
}

fn prepare(receiver: &OwnedFd) -> io::Result<()> {
    udp::set_option(receiver, SocketOption::PACKET_INFO, 1)?;
    udp::set_option(receiver, SocketOption::TRAFFIC_CLASS, 1)?;
    udp::set_option(receiver, SocketOption::ZERO_CHECKSUM_RECEIVE, 1)?;
    udp::set_option(receiver, SocketOption::TELL_LOSSES, 1)?;
    let buffer = [SocketOption::RECEIVE_BUFFER_FORCE, SocketOption::RECEIVE_BUFFER];
    set_buffer(receiver, buffer, SOCKET_BUFFER)?;
    // Without it, each datagram comes alone: slower, not wrong.
    let _ = udp::set_option(receiver, SocketOption::RECEIVE_RUNS, 1);
    Ok(())
}

impl Underlay for UdpUnderlay {
    fn readable(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }

    fn set_links(&mut self, links: Vec<u32>) {
        self.links = links;
    }

    fn largest(&self) -> usize {
        self.largest
    }

    fn receive(
        &mut self,
        landings: &mut Landings,
        counters: &Counters,
        deliver: &mut Deliver<'_>,
    ) -> bool {
        self.pieces.clear();
        let places = landings.places().iter_mut().map(Landing::pieces);
        match udp::receive(&self.receiver, self.appetite.now(), places, &mut self.pieces) {
            Ok(()) => {}
            Err(error) if is_nothing(&error) => return false,
            Err(_) => {
                counters.count(Counter::UnderlayReadError);
                return false;
            }
        }
        self.count_losses(counters);
        let mut burst = Burst { frames: Vec::with_capacity(BATCH), shape: None, deliver };
        let pool = landings.pool().clone();
        for (place, piece) in landings.places().iter_mut().zip(&self.pieces) {
            if piece.truncated {
                counters.count(Counter::UnderlayTruncated);
            } else if !self.links.contains(&piece.link) {
                counters.count(Counter::UnderlayWrongLink);
            } else {
                self.accept(place.take(piece.len), piece, &pool, counters, &mut burst);
            }
        }
        burst.flush();
        self.appetite.got(self.pieces.len())
    }

    fn send(&mut self, outbox: &mut Outbox, counters: &Counters) {
        let lane_of = |datagram: &Datagram| usize::from(datagram.source_port) % LANES;
        let used = outbox.datagrams().iter().fold(0u32, |used, d| used | 1 << lane_of(d));
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            if used & 1 << number != 0 {
                let ours = outbox.datagrams().iter().filter(|d| lane_of(d) == number);
                lane.send(&ours.collect::<Vec<_>>(), outbox, counters);
            }
        }
        outbox.clear();
        if self.lanes.iter().any(Lane::met_smaller_path) {
            // Some path is smaller than its first link. Guests' own segments are the safe size.
            self.largest = 0;
        }
    }
}

impl UdpUnderlay {
    fn accept(
        &self,
        packet: Packet,
        piece: &Received,
        pool: &Pool,
        counters: &Counters,
        burst: &mut Burst<'_, '_>,
    ) {
        let run_of = piece.run_of.unwrap_or(piece.len).max(1);
        counters.add(Counter::UnderlayRxDatagrams, piece.len.div_ceil(run_of));
        counters.add(Counter::UnderlayRxBytes, piece.len);
        burst.begin(piece);
        let merged = coalesce::split(packet, run_of, self.joining, pool, &mut burst.frames);
        counters.add(Counter::UnderlayRxMerged, merged);
    }

    /// The kernel tells the sum of what was lost, with the next piece that was not.
    fn count_losses(&mut self, counters: &Counters) {
        if let Some(lost) = self.pieces.iter().rev().find_map(|piece| piece.lost) {
            counters.add(Counter::UnderlayOverrun, lost.wrapping_sub(self.lost) as usize);
            self.lost = lost;
        }
    }
}

/// What all of these links take, without the headers of IPv6 and UDP.
fn largest_datagram(links: &[u32]) -> Option<usize> {
    let smallest = links.iter().map(|index| link::mtu(*index).unwrap_or(0)).min()?;
    (smallest as usize).checked_sub(40 + 8)
}

/// Frames with the same outer headers on their way to the engine.
struct Burst<'a, 'b> {
    frames: Vec<Packet>,
    shape: Option<UnderlayShape>,
    deliver: &'a mut Deliver<'b>,
}

impl Burst<'_, '_> {
    /// What comes now has these outer headers.
    fn begin(&mut self, &Received { src, dst, traffic_class, .. }: &Received) {
        let shape = Some(UnderlayShape::Geneve { src, dst, traffic_class });
        if self.shape != shape {
            self.flush();
            self.shape = shape;
        }
    }

    fn flush(&mut self) {
        if let Some(shape) = self.shape
            && !self.frames.is_empty()
        {
            (self.deliver)(shape, &mut self.frames);
            self.frames.clear();
        }
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn sender() -> io::Result<OwnedFd> {
    let fd = socket(0, false)?;
    let buffer = [SocketOption::SEND_BUFFER_FORCE, SocketOption::SEND_BUFFER];
    set_buffer(&fd, buffer, SOCKET_BUFFER)?;
    udp::set_option(&fd, SocketOption::RECEIVE_BUFFER, NO_BUFFER)?;
    udp::set_option(&fd, SocketOption::DONT_FRAGMENT, 1)?;
    udp::set_option(&fd, SocketOption::MTU_DISCOVER, PATH_MTU_DISCOVERY)?;
    Ok(fd)
}

fn socket(port: u16, shared: bool) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(AddressFamily::INET6, SocketType::DGRAM, flags, None)?;
    sockopt::set_ipv6_v6only(&fd, true)?;
    if shared {
        udp::set_option(&fd, SocketOption::SHARE_PORT, 1)?;
    }
    bind(&fd, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))?;
    Ok(fd)
}

/// Sets a buffer size: by right of an administrator, else as far as the system's limit goes.
fn set_buffer(fd: &OwnedFd, options: [SocketOption; 2], bytes: i32) -> io::Result<()> {
    let [force, limited] = options;
    udp::set_option(fd, force, bytes).or_else(|_| udp::set_option(fd, limited, bytes))
}
