// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A link that is there already, such as one end of a veth pair, as a guest's port: what comes in
//! over it, the guest has sent, and what we send over it goes to the guest.
//!
//! Packet sockets need no device of our own, so this works where no TAP device can be made, also
//! without any right in a user namespace (`unshare -Urn`). Frames have the virtio-net header here,
//! too. The link itself stays when the port goes.
//!
//! The host's kernel sees the guest's frames as well. It is told to leave them alone: no IPv6 over
//! the link, no answers to ARP, and no IPv4 packet from where the host has no route over the link.
//! VLAN tags and other protocols than ARP, IPv4 and IPv6 are not seen.

use super::{BURST_BYTES, PortQueue, accept, count_written, take_header};
use crate::appetite::Appetite;
use crate::counters::{Counter, Counters};
use crate::packet::{Landing, Landings, Packet};
use crate::sys::link;
use crate::sys::raw::{self, BATCH, FEW, Received, VNET_LEN};
use crate::sys::udp::{SocketOption, set_option};
use crate::vnet::Header;
use opte::frame::Frame;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Room for bursts, in bytes of the kernel's own counting.
const BUFFER: i32 = 8 << 20;
/// What keeps the host's kernel from acting on a guest's frames (ip-sysctl.rst of the kernel).
const HANDS_OFF: [(&str, &str, &str); 3] =
    [("ipv6", "disable_ipv6", "1"), ("ipv4", "arp_ignore", "8"), ("ipv4", "rp_filter", "1")];

/// A queue of a link.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    received: Vec<Received>,
    appetite: Appetite,
}

impl Link {
    /// Opens the link of that name, by so many queues (at least one).
    pub fn open(name: &str, mtu: u16, queues: usize) -> io::Result<Vec<Self>> {
        let index = link::index(name)?;
        for (family, key, value) in HANDS_OFF {
            let path = format!("/proc/sys/net/{family}/conf/{name}/{key}");
            match fs::write(&path, value) {
                // A kernel without IPv6 does nothing over IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound && family == "ipv6" => {}
                other => other?,
            }
        }
        link::set_mtu(name, mtu)?;
        let open = |_| -> io::Result<Self> {
            let socket = raw::packet_socket(index)?;
            if queues > 1 {
                // The index tells groups of one namespace apart, as far as it fits.
                raw::join_fanout(&socket, index as u16)?;
            }
            for option in [SocketOption::RECEIVE_BUFFER_FORCE, SocketOption::SEND_BUFFER_FORCE] {
                // Without the right to more, buffers stay as large as others' are.
                let _ = set_option(&socket, option, BUFFER);
            }
            let appetite = Appetite::new(FEW, BATCH);
            Ok(Self { socket, received: Vec::new(), appetite })
        };
        (0..queues.max(1)).map(open).collect()
    }

    fn receive(&mut self, burst: usize, landings: &mut Landings) -> io::Result<()> {
        self.received.clear();
        let places = landings.places().iter_mut().map(Landing::pieces);
        match raw::receive(&self.socket, burst, places, &mut self.received) {
            // While the link is down, there is nothing to receive (packet(7)).
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
            Err(error) if is_nothing(&error) => {}
            other => other?,
        }
        Ok(())
    }
}

impl PortQueue for Link {
    fn readable(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn read(
        &mut self,
        burst: usize,
        landings: &mut Landings,
        frames: &mut Vec<Packet>,
        counters: &Counters,
    ) -> io::Result<()> {
        let (mut left, mut total) = (burst, 0);
        while left > 0 && total < BURST_BYTES {
            let wanted = left.min(self.appetite.now());
            self.receive(wanted, landings)
                .inspect_err(|_| counters.count(Counter::TapReadError))?;
            for (place, received) in landings.places().iter_mut().zip(&self.received) {
                if received.truncated {
                    counters.count(Counter::GuestFrameLong);
                    continue;
                }
                let mut packet = place.take(received.len);
                total += received.len;
                let header = take_header::<VNET_LEN>(&mut packet);
                accept(header, packet, frames, counters);
            }
            self.appetite.got(self.received.len());
            if self.received.len() < wanted {
                break;
            }
            // Only a full burst can have left others behind.
            counters.add(Counter::LinkOverrun, raw::lost(&self.socket).unwrap_or(0));
            left -= wanted;
        }
        Ok(())
    }

    fn write(&mut self, frames: &mut Vec<Packet>, counters: &Counters) {
        send_frames(&self.socket, frames, |sent| match sent {
            Sent::Whole(packet) => count_written(packet, VNET_LEN, counters),
            Sent::NoRoom => counters.count(Counter::BadRewrite),
            Sent::Refused(_, error) => counters.count(reason(error)),
        });
    }
}

/// What became of a frame.
pub enum Sent<'a> {
    /// The kernel has it.
    Whole(&'a Packet),
    /// There was no room for its header.
    NoRoom,
    /// The kernel did not take it. The frame has its virtio-net header in front.
    Refused(&'a Packet, &'a io::Error),
}

/// Sends frames over the link of a packet socket, in as few calls as possible, and says what became
/// of each; leaves `frames` empty.
pub fn send_frames(socket: &OwnedFd, frames: &mut Vec<Packet>, mut tell: impl FnMut(Sent<'_>)) {
    frames.retain_mut(|packet| {
        let header = Header::for_guest(packet.offload(), packet.bytes()).to_bytes();
        let fits = header.first_chunk::<VNET_LEN>().is_some_and(|header| packet.push(header));
        if !fits {
            tell(Sent::NoRoom);
        }
        fits
    });
    let mut rest = frames.as_slice();
    while let [first, ..] = rest {
        let done = match raw::send(socket, rest.iter().map(Packet::bytes)) {
            Ok(sent) => {
                let sent = sent.max(1);
                rest.iter().take(sent).for_each(|packet| tell(Sent::Whole(packet)));
                sent
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => {
                tell(Sent::Refused(first, &error));
                1
            }
        };
        rest = rest.get(done..).unwrap_or_default();
    }
    frames.clear();
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Why the kernel did not send.
fn reason(error: &io::Error) -> Counter {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Counter::TapFull,
        Some(libc::ENETDOWN | libc::ENXIO) => Counter::TapDown,
        _ => Counter::TapRefused,
    }
}
