// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The outside link: frames come in through a packet socket, packets go out through raw sockets,
//! so that the kernel's routes and neighbours decide where to.

use crate::packet::{Landing, Landings, Packet};
use crate::sys::udp::{SocketOption, set_option};
use crate::sys::{link, raw};
use crate::vnet;
use anyhow::{Context, bail};
use rustix::net::{AddressFamily, SendFlags};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Room for bursts, in bytes of the kernel's own counting.
const RECEIVE_BUFFER: i32 = 16 << 20;

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
}

impl OutsideLink {
    /// Opens the link of that name.
    pub fn open(name: &str) -> anyhow::Result<Self> {
        let index = link::index(name).with_context(|| format!("no interface {name}"))?;
        let rights = || format!("cannot open {name} for packets (this needs CAP_NET_RAW)");
        let frames = raw::packet_socket(index).with_context(rights)?;
        // Without the right to more, the buffer stays as large as others' are.
        let _ = set_option(&frames, SocketOption::RECEIVE_BUFFER_FORCE, RECEIVE_BUFFER);
        let ipv4 = raw::raw_socket(AddressFamily::INET, name).with_context(rights)?;
        let ipv6 = raw::raw_socket(AddressFamily::INET6, name).with_context(rights)?;
        Ok(Self { name: name.into(), index, frames, packets: [ipv4, ipv6] })
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
    pub fn receive(&self, landings: &mut Landings, out: &mut Vec<Arrival>) -> io::Result<usize> {
        let mut received = Vec::with_capacity(raw::BATCH);
        let places = landings.places().iter_mut().map(Landing::pieces);
        raw::receive(&self.frames, places, &mut received)?;
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

fn arrival(mut frame: Packet) -> Option<Arrival> {
    let mut header = [0; vnet::HEADER_LEN];
    // A packet socket's header is the front of the one that devices have.
    header.get_mut(..raw::VNET_LEN)?.copy_from_slice(frame.bytes().get(..raw::VNET_LEN)?);
    let header = vnet::Header::from_bytes(header);
    frame.strip(raw::VNET_LEN).then_some(Arrival { frame, header })
}
