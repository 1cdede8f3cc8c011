// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Counts UDP packets of a run, and tells who asks.

use crate::load::udp::{Kind, PAYLOAD, answer};
use anyhow::Result;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt, sockopt};
use std::io::IoSliceMut;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread::sleep;
use std::time::Duration;

/// Packets of one system call, at most.
const BATCH: usize = 64;
/// Room for what comes while this program does not run; the kernel counts some 800 bytes each.
const BUFFER: usize = 32 << 20;

/// Between two looks at what has come. Being woken for each packet would cost its sender more than
/// the packet does, and the measurement is not about that.
const NAP: Duration = Duration::from_micros(50);

/// Counts until the process ends.
pub fn run(socket: &UdpSocket) -> Result<()> {
    setsockopt(socket, sockopt::RcvBufForce, &BUFFER)?;
    nix::sys::prctl::set_timerslack(1000)?;
    let mut tally = Tally { run: 0, count: 0 };
    let mut bytes = [0; BATCH * PAYLOAD];
    loop {
        let froms = receive(socket, &mut bytes)?;
        if froms.len() < BATCH {
            sleep(NAP);
        }
        for (packet, from) in bytes.chunks_exact(PAYLOAD).zip(froms) {
            if let (Some(answer), Some(from)) = (tally.take(packet), from) {
                // Who does not get the answer asks again.
                let _ = socket.send_to(&answer, from);
            }
        }
    }
}

/// Waits for a packet, and takes those that came with it; answers who sent each.
fn receive(socket: &UdpSocket, bytes: &mut [u8]) -> Result<Vec<Option<SocketAddrV4>>> {
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut slices: Vec<[IoSliceMut<'_>; 1]> =
        bytes.chunks_exact_mut(PAYLOAD).map(|chunk| [IoSliceMut::new(chunk)]).collect();
    let flags = MsgFlags::MSG_WAITFORONE;
    let got = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None)?;
    Ok(got.map(|message| message.address.map(SocketAddrV4::from)).collect())
}

/// Packets of the run that is on.
struct Tally {
    run: u64,
    count: u64,
}

impl Tally {
    /// Takes a packet; answers what to say if it asks.
    fn take(&mut self, packet: &[u8]) -> Option<[u8; 16]> {
        let (run, rest) = packet.split_first_chunk::<8>()?;
        let run = u64::from_be_bytes(*run);
        if run != self.run {
            *self = Self { run, count: 0 };
        }
        if rest.first() == Some(&(Kind::Question as u8)) {
            return Some(answer(run, self.count));
        }
        self.count += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::udp::packet;

    #[test]
    fn a_run_is_counted_and_asked_for() {
        let mut tally = Tally { run: 0, count: 0 };
        for _ in 0..3 {
            assert_eq!(tally.take(&packet(5, Kind::Data)), None);
        }
        assert_eq!(tally.take(&packet(5, Kind::Question)), Some(answer(5, 3)));
        assert_eq!(tally.take(&packet(6, Kind::Question)), Some(answer(6, 0)));
    }
}
