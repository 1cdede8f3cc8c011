// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A port's TAP device: one side is a network interface for the guest, the other is ours.
//!
//! The device is made down, with an address of the kernel's choosing. A network namespace takes
//! it over (`ip link set PORT netns GUEST`) and gives it the guest's address; a virtual machine's
//! own TAP device is joined to it by a bridge or by `tc`. It vanishes with this object.

use crate::counters::{Counter, Counters};
use crate::inner::ETHER_LEN;
use crate::packet::{MAX_LEN, Packet, Pool};
use crate::sys::link;
use crate::sys::tun::{self, Offloads};
use crate::vnet::{HEADER_LEN, Header};
use opte::frame::Frame;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes after which a burst ends, so that super-frames do not fill the processor's caches.
const BURST_BYTES: usize = 256 * 1024;

/// A TAP device.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
}

/// Which work a guest may leave to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GuestOffloads {
    /// Checksums and segmentation, as far as the kernel has them.
    All,
    /// Nothing: each frame is a packet, complete.
    None,
}

impl Tap {
    /// Makes a device of that name.
    pub fn create(name: &str, mtu: u16, offloads: GuestOffloads) -> io::Result<Self> {
        let fd = tun::open()?;
        tun::attach(&fd, name)?;
        tun::set_header_len(&fd, HEADER_LEN)?;
        match offloads {
            GuestOffloads::None => tun::set_offloads(&fd, Offloads::NONE)?,
            // Kernels before 6.2 do not know UDP segmentation.
            GuestOffloads::All => tun::set_offloads(&fd, Offloads::TCP_AND_UDP)
                .or_else(|_| tun::set_offloads(&fd, Offloads::TCP))?,
        }
        link::set_mtu(name, mtu)?;
        Ok(Self { fd })
    }

    /// Reads at most `burst` frames. Never waits. An error means that the device is gone: who
    /// removes a network namespace removes the devices in it.
    pub fn read(
        &self,
        burst: usize,
        pool: &Pool,
        frames: &mut Vec<Packet>,
        counters: &Counters,
    ) -> io::Result<()> {
        let mut total = 0;
        for _ in 0..burst {
            let mut packet = pool.packet(MAX_LEN);
            match rustix::io::read(&self.fd, packet.room_mut()) {
                Ok(len) => {
                    packet.set_len(len);
                    total += len;
                    accept(packet, frames, counters);
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

    /// Hands a frame to the guest. Never waits: what the device does not take is counted.
    pub fn write(&self, mut packet: Packet, counters: &Counters) {
        let header = Header::for_guest(packet.offload(), packet.bytes()).to_bytes();
        let len = packet.len();
        if !packet.push(&header) {
            return counters.count(Counter::BadRewrite);
        }
        match rustix::io::write(&self.fd, packet.bytes()) {
            Ok(written) if written == packet.len() => {
                counters.count(Counter::GuestTxFrames);
                counters.add(Counter::GuestTxBytes, len);
            }
            Ok(_) => counters.count(Counter::TapShortWrite),
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => counters.count(Counter::TapFull),
            Err(Errno::IO) => counters.count(Counter::TapDown),
            Err(_) => counters.count(Counter::TapRefused),
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Turns what was read into a frame with its facts.
fn accept(mut packet: Packet, frames: &mut Vec<Packet>, counters: &Counters) {
    let Some(header) = packet.bytes().first_chunk().copied().map(Header::from_bytes) else {
        return counters.count(Counter::GuestFrameShort);
    };
    if !packet.strip(HEADER_LEN) || packet.len() < ETHER_LEN {
        return counters.count(Counter::GuestFrameShort);
    }
    counters.count(Counter::GuestRxFrames);
    counters.add(Counter::GuestRxBytes, packet.len());
    match header.check(packet.bytes_mut()) {
        Ok(offload) => {
            packet.set_offload(offload);
            frames.push(packet);
        }
        Err(_) => counters.count(Counter::BadVnetHeader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `accept` makes of the bytes: the frame, or the counter.
    fn check(bytes: &[u8]) -> Result<Vec<u8>, Vec<(&'static str, u64)>> {
        let (pool, counters) = (Pool::default(), Counters::default());
        let mut frames = Vec::new();
        accept(pool.packet_of(bytes), &mut frames, &counters);
        let counted = counters.all().into_iter().filter(|(_, value)| *value > 0).collect();
        frames.pop().map(|frame| frame.bytes().to_vec()).ok_or(counted)
    }

    #[test]
    fn short_and_lying_frames_are_counted() {
        assert_eq!(check(&[]), Err(vec![("guest_frame_short", 1)]));
        assert_eq!(check(&[0; 25]), Err(vec![("guest_frame_short", 1)]));
        assert_eq!(check(&[0; 26]), Ok(vec![0; 14]));
        let mut lying = [0; 26];
        lying[1] = 1;
        let rx = [("guest_rx_frames", 1), ("guest_rx_bytes", 14), ("bad_vnet_header", 1)];
        assert_eq!(check(&lying), Err(rx.to_vec()));
    }
}
