// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The guest's side of a port: ways to take its frames and to hand it others.
//!
//! [`PortQueue`] is what the loop needs of one; a port has one queue for each worker. [`tap`] makes
//! devices of its own and is the usual way. [`link`] attaches to a link that is there, and works
//! where no devices can be made.

pub mod link;
pub mod tap;

use crate::counters::{Counter, Counters};
use crate::inner::ETHER_LEN;
use crate::packet::{Landings, Packet};
use crate::vnet::{self, Header};
use opte::frame::Frame;
use std::io;
use std::os::fd::BorrowedFd;

/// Bytes after which a burst ends, so that super-frames do not fill the processor's caches.
const BURST_BYTES: usize = 256 * 1024;

/// What a port is for the guest's side.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortKind {
    /// A TAP device, which xde makes
    #[default]
    Tap,
    /// A link with the port's name that is there already, such as one end of a veth pair
    Link,
}

/// Which work a guest may leave to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GuestOffloads {
    /// Checksums and segmentation, as far as the kernel has them.
    All,
    /// Nothing: each frame is a packet, complete.
    None,
}

/// One of a port's queues. None of its calls waits.
pub trait PortQueue: Send {
    /// What to wait for: readable when the guest has sent.
    fn readable(&self) -> BorrowedFd<'_>;

    /// Takes at most `burst` frames, each with its facts. An error means that the port is dead.
    fn read(
        &mut self,
        burst: usize,
        landings: &mut Landings,
        frames: &mut Vec<Packet>,
        counters: &Counters,
    ) -> io::Result<()>;

    /// Hands frames to the guest, in order; leaves `frames` empty. What is not taken is counted.
    fn write(&mut self, frames: &mut Vec<Packet>, counters: &Counters);
}

/// Turns what was read into a frame with its facts; `header` is what stood in front of it.
fn accept(
    header: Option<Header>,
    mut packet: Packet,
    frames: &mut Vec<Packet>,
    counters: &Counters,
) {
    let Some(header) = header.filter(|_| packet.len() >= ETHER_LEN) else {
        return counters.count(Counter::GuestFrameShort);
    };
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

/// Takes the first `N` bytes of the virtio-net header off the front of a packet; what is not
/// there is zero.
fn take_header<const N: usize>(packet: &mut Packet) -> Option<Header> {
    let mut bytes = [0; vnet::HEADER_LEN];
    let front: &[u8; N] = packet.bytes().first_chunk()?;
    bytes.get_mut(..N)?.copy_from_slice(front);
    packet.strip(N).then(|| Header::from_bytes(bytes))
}

fn count_written(packet: &Packet, header_len: usize, counters: &Counters) {
    counters.count(Counter::GuestTxFrames);
    counters.add(Counter::GuestTxBytes, packet.len().saturating_sub(header_len));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Pool;

    /// What `accept` makes of the bytes: the frame, or the counter.
    fn check(bytes: &[u8]) -> Result<Vec<u8>, Vec<(&'static str, u64)>> {
        let (pool, counters) = (Pool::default(), Counters::default());
        let mut frames = Vec::new();
        let mut packet = pool.packet_of(bytes);
        let header = take_header::<12>(&mut packet);
        accept(header, packet, &mut frames, &counters);
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
