// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A port's TAP device: one side is a network interface for the guest, the other is ours.
//!
//! The device is made down, with an address of the kernel's choosing. A network namespace takes
//! it over (`ip link set PORT netns GUEST`) and gives it the guest's address; a virtual machine's
//! own TAP device is joined to it by a bridge or by `tc`. It vanishes with the last of its queues.
//! The kernel keeps a flow on the queue by which we last wrote to it.

use super::{BURST_BYTES, GuestOffloads, PortQueue, accept, count_written, take_header};
use crate::counters::{Counter, Counters};
use crate::packet::{Landings, Packet};
use crate::sys::link::{self, SuperFrames};
use crate::sys::tun::{self, Offloads, Queues};
use crate::vnet::{HEADER_LEN, Header};
use opte::frame::Frame;
use rustix::io::Errno;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Frames that may wait to be read. The kernel drops what comes beyond, and a guest's TCP does not
/// feel that its queue fills: so there is room for a whole receive window.
const QUEUE_LEN: u32 = 4096;

/// A queue of a TAP device.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
}

impl Tap {
    /// Makes a device of that name, with so many queues (at least one).
    pub fn create(
        name: &str,
        mtu: u16,
        offloads: GuestOffloads,
        queues: usize,
    ) -> io::Result<Vec<Self>> {
        let first = tun::open()?;
        let kind = if queues > 1 { Queues::Several } else { Queues::One };
        tun::create(&first, name, kind)?;
        let mut all = vec![first];
        for _ in 1..queues {
            let fd = tun::open()?;
            tun::join(&fd, name)?;
            all.push(fd);
        }
        for fd in &all {
            prepare(fd, offloads)?;
        }
        link::set_mtu(name, mtu)?;
        // Without it, some super-frames leave in two pieces, and more frames are lost in bursts.
        if let Err(error) = link::set_limits(name, QUEUE_LEN, SuperFrames::FOR_ONE_SEND) {
            tracing::warn!("{name}: cannot set the length of super-frames and queues: {error}");
        }
        Ok(all.into_iter().map(|fd| Self { fd }).collect())
    }
}

fn prepare(fd: &OwnedFd, offloads: GuestOffloads) -> io::Result<()> {
    tun::set_header_len(fd, HEADER_LEN)?;
    match offloads {
        GuestOffloads::None => tun::set_offloads(fd, Offloads::NONE),
        // Kernels before 6.2 do not know UDP segmentation.
        GuestOffloads::All => tun::set_offloads(fd, Offloads::TCP_AND_UDP)
            .or_else(|_| tun::set_offloads(fd, Offloads::TCP)),
    }
}

impl PortQueue for Tap {
    fn readable(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// An error means that the device is gone: who removes a network namespace removes the devices
    /// in it.
    fn read(
        &mut self,
        burst: usize,
        landings: &mut Landings,
        frames: &mut Vec<Packet>,
        counters: &Counters,
    ) -> io::Result<()> {
        let [place, ..] = landings.places() else { return Ok(()) };
        let mut total = 0;
        for _ in 0..burst {
            let mut pieces = place.pieces().map(IoSliceMut::new);
            match rustix::io::readv(&self.fd, &mut pieces) {
                Ok(len) => {
                    let mut packet = place.take(len);
                    total += len;
                    let header = take_header::<HEADER_LEN>(&mut packet);
                    accept(header, packet, frames, counters);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => {
                    counters.count(Counter::TapReadError);
                    return Err(error.into());
                }
            }
            if total >= BURST_BYTES {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, frames: &mut Vec<Packet>, counters: &Counters) {
        for frame in frames.drain(..) {
            self.write_one(frame, counters);
        }
    }
}

impl Tap {
    fn write_one(&self, mut packet: Packet, counters: &Counters) {
        let header = Header::for_guest(packet.offload(), packet.bytes()).to_bytes();
        if !packet.push(&header) {
            return counters.count(Counter::BadRewrite);
        }
        match rustix::io::write(&self.fd, packet.bytes()) {
            Ok(written) if written == packet.len() => count_written(&packet, HEADER_LEN, counters),
            Ok(_) => counters.count(Counter::TapShortWrite),
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => counters.count(Counter::TapFull),
            Err(Errno::IO) => counters.count(Counter::TapDown),
            Err(_) => counters.count(Counter::TapRefused),
        }
    }
}
