// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The outside link: frames come in through a packet socket. They go out through it, too, many in
//! one call and super-frames whole, if the next device is known; else through raw sockets. In both
//! cases the kernel's routes and neighbours decide where to.

use super::hops::Hops;
use crate::appetite::Appetite;
use crate::packet::{Landing, Landings, Packet};
use crate::port::link::{Sent, send_frames};
use crate::sys::udp::{SocketOption, set_option};
use crate::sys::{link, raw};
use crate::vnet;
use anyhow::{Context, bail};
use opte::host::Moment;
use opte_api::MacAddr;
use rustix::net::{AddressFamily, SendFlags};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Room for bursts, in bytes of the kernel's own counting.
const BUFFER: i32 = 16 << 20;

/// A frame that has come in, with what the kernel left to do.
pub struct Arrival {
    /// The frame.
    pub frame: Packet,
    /// To be checked before anything that it says is done.
    pub header: vnet::Header,
}

/// The outside link.
pub struct OutsideLink {
    name: String,
    index: u32,
    frames: OwnedFd,
    packets: [OwnedFd; 2],
    hops: Hops,
    /// Largest packet that the link takes, as it was a moment ago.
    mtu: u32,
    /// Frames that leave at the end of the burst.
    waiting: Vec<Packet>,
    appetite: Appetite,
}

impl OutsideLink {
    /// Opens the link of that name.
    pub fn open(name: &str) -> anyhow::Result<Self> {
        let index = link::index(name).with_context(|| format!("no interface {name}"))?;
        let rights = || format!("cannot open {name} for packets (this needs CAP_NET_RAW)");
        let frames = raw::packet_socket(index).with_context(rights)?;
        for option in [SocketOption::RECEIVE_BUFFER_FORCE, SocketOption::SEND_BUFFER_FORCE] {
            // Without the right to more, the buffer stays as large as others' are.
            let _ = set_option(&frames, option, BUFFER);
        }
        let ipv4 = raw::raw_socket(AddressFamily::INET, name).with_context(rights)?;
        let ipv6 = raw::raw_socket(AddressFamily::INET6, name).with_context(rights)?;
        let mtu = raw::mtu(&frames, name).context("cannot ask for the MTU")?;
        let hops = Hops::open(index).context("cannot ask for routes")?;
        let (name, packets, waiting) = (name.into(), [ipv4, ipv6], Vec::new());
        let appetite = Appetite::new(raw::FEW, raw::BATCH);
        Ok(Self { name, index, frames, packets, hops, mtu, waiting, appetite })
    }

    /// Links, addresses or routes have changed.
    pub fn changed(&mut self) {
        self.hops.forget();
        self.mtu = self.mtu().unwrap_or(self.mtu);
    }

    /// Takes a frame to be sent at the end of the burst, whole as it is, to the next device on its
    /// way; gives it back if it must go by its destination address. `longest` is the length of the
    /// largest packet that it travels as.
    pub fn put(
        &mut self,
        destination: IpAddr,
        longest: u32,
        source: MacAddr,
        mut frame: Packet,
        now: Moment,
    ) -> Option<Packet> {
        let hop = self.hops.next(destination, now);
        let hop = hop.filter(|hop| longest <= hop.mtu.unwrap_or(self.mtu).min(self.mtu));
        let (Some(hop), false) = (hop, needs_identification(frame.bytes())) else {
            return Some(frame);
        };
        let ends = [hop.mac.0, source.0].concat();
        match frame.bytes_mut().get_mut(..ends.len()) {
            Some(front) => front.copy_from_slice(&ends),
            None => return Some(frame),
        }
        self.waiting.push(frame);
        None
    }

    /// Sends what waits.
    pub fn flush(&mut self, tell: impl FnMut(Sent<'_>)) {
        if !self.waiting.is_empty() {
            send_frames(&self.frames, &mut self.waiting, tell);
        }
    }

    /// Fails once the link is gone. Another link of the same name is not the one that was opened.
    pub fn check(&self) -> anyhow::Result<()> {
        let index = link::index(&self.name);
        if !index.is_ok_and(|index| index == self.index) {
            bail!("the outside interface {} is gone", self.name);
        }
        Ok(())
    }

    /// Takes what has come in, [`raw::BATCH`] frames at most, and answers how many there were. A
    /// frame that is longer than any frame can be is left out.
    pub fn receive(
        &mut self,
        landings: &mut Landings,
        out: &mut Vec<Arrival>,
    ) -> io::Result<usize> {
        let mut received = Vec::with_capacity(raw::FEW);
        let places = landings.places().iter_mut().map(Landing::pieces);
        raw::receive(&self.frames, self.appetite.now(), places, &mut received)?;
        self.appetite.got(received.len());
        let places = landings.places().iter_mut();
        out.extend(places.zip(&received).filter_map(|(place, received)| {
            let whole = !received.truncated;
            whole.then(|| arrival(place.take(received.len))).flatten()
        }));
        Ok(received.len())
    }

    /// Sends a whole frame on the link.
    pub fn send_frame(&self, frame: &[u8]) -> io::Result<()> {
        let bytes = [&[0; raw::VNET_LEN], frame].concat();
        rustix::net::send(&self.frames, &bytes, SendFlags::DONTWAIT)?;
        Ok(())
    }

    /// Sends an IP packet by those routes of the host that leave over the link. It goes as it is,
    /// but for the identification of an IPv4 packet where that is zero (raw(7)).
    pub fn send_packet(&self, destination: IpAddr, packet: &[u8]) -> io::Result<()> {
        let [ipv4, ipv6] = &self.packets;
        let socket = if destination.is_ipv4() { ipv4 } else { ipv6 };
        let to = SocketAddr::new(destination, 0);
        rustix::net::sendto(socket, packet, SendFlags::DONTWAIT, &to)?;
        Ok(())
    }

    /// Largest packet that the link takes.
    pub fn mtu(&self) -> io::Result<u32> {
        raw::mtu(&self.frames, &self.name)
    }
}

impl AsFd for OutsideLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.frames.as_fd()
    }
}

/// An IPv4 packet that may be fragmented and has no identification yet: the kernel gives it one.
fn needs_identification(frame: &[u8]) -> bool {
    let is_ipv4 = frame.get(12..14) == Some(&[0x08, 0x00]);
    is_ipv4 && matches!(frame.get(18..21), Some([0, 0, flags]) if flags & 0x40 == 0)
}

fn arrival(mut frame: Packet) -> Option<Arrival> {
    let mut header = [0; vnet::HEADER_LEN];
    // A packet socket's header is the front of the one that devices have.
    header.get_mut(..raw::VNET_LEN)?.copy_from_slice(frame.bytes().get(..raw::VNET_LEN)?);
    let header = vnet::Header::from_bytes(header);
    frame.strip(raw::VNET_LEN).then_some(Arrival { frame, header })
}
