// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Nonsense on the wire: random frames, and good ones cut short or with some bytes changed.
//!
//! A raw socket sends in the namespace of its process, so the lab calls this program again inside
//! of one, with a hidden command.

use crate::shell::{Cmd, this_program};
use anyhow::{Context, Result, bail};
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};
use std::net::{Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;

/// UDP port of Geneve (RFC 8926, section 3.3).
const GENEVE_PORT: u16 = 6081;

/// Nonsense that is the same in every run.
pub struct Noise(fastrand::Rng);

impl Noise {
    /// A sequence for each seed.
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u16) -> u16 {
        self.0.u16(..limit)
    }

    /// Fewer than `limit` bytes.
    pub fn bytes(&mut self, limit: usize) -> Vec<u8> {
        let len = self.0.usize(..limit);
        (0..len).map(|_| self.0.u8(..)).collect()
    }

    /// A good packet made bad: cut short, or with up to four bytes changed.
    fn spoil(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bad = good.to_vec();
        if self.0.bool() {
            bad.truncate(self.0.usize(..good.len()));
        } else {
            for _ in 0..self.0.usize(1..=4) {
                let at = self.0.usize(..bad.len());
                bad[at] = self.0.u8(..);
            }
        }
        bad
    }
}

/// Sends nonsense inside a namespace.
pub fn inside(netns: &str, kind: &str, target: &str, count: u32) -> Result<()> {
    let me = this_program();
    let count = count.to_string();
    Cmd::new("ip").args(["netns", "exec", netns, &me, "inject", kind, target, &count]).run()?;
    Ok(())
}

/// The hidden command.
pub fn run(kind: &str, target: &str, count: u32) -> Result<()> {
    match kind {
        "frames" => frames(target, count),
        "geneve" => geneve(target, count),
        _ => bail!("there is no nonsense of the kind {kind}"),
    }
}

fn frames(link: &str, count: u32) -> Result<()> {
    let address = link_address(link)?;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    let mut noise = Noise::new(u64::from(count));
    let good = [PING, ARP, NEIGHBOUR].map(unhex);
    let mut sent = 0;
    for round in 0..count {
        let mut frame = match round % 3 {
            0 => noise.bytes(1500),
            _ => {
                let at = usize::from(noise.below(3));
                noise.spoil(&good[at])
            }
        };
        // The kernel takes no frame without a whole Ethernet header.
        frame.resize(frame.len().max(14), 0);
        sent += u32::from(sendto(socket.as_raw_fd(), &frame, &address, MsgFlags::empty()).is_ok());
    }
    if sent < count / 2 { bail!("the kernel took {sent} of {count} frames") } else { Ok(()) }
}

fn geneve(target: &str, count: u32) -> Result<()> {
    let target: Ipv6Addr = target.parse().context("an IPv6 address")?;
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    let mut noise = Noise::new(u64::from(count));
    let good = unhex(GENEVE);
    for round in 0..count {
        let packet = match round % 3 {
            0 => noise.bytes(1500),
            _ => noise.spoil(&good),
        };
        socket.send_to(&packet, (target, GENEVE_PORT))?;
    }
    Ok(())
}

fn link_address(link: &str) -> Result<LinkAddr> {
    let found = nix::ifaddrs::getifaddrs()?
        .filter(|entry| entry.interface_name == link)
        .find_map(|entry| entry.address?.as_link_addr().copied());
    found.with_context(|| format!("no interface {link}"))
}

/// Ethernet, IPv4, ICMP echo request of the lab's first guest to its gateway.
const PING: &str = "a84025ff7777a84025f0000108004500002000014000400126d1\
                    0a00000b0a000001080033310007000161626364";
/// ARP request of the lab's first guest for its gateway.
const ARP: &str = "ffffffffffffa84025f00001080600010800060400\
                   01a84025f000010a00000b0000000000000a000001";
/// Neighbour solicitation of the lab's first guest for its gateway.
const NEIGHBOUR: &str = "3333ffff7777a84025f0000186dd6000000000203aff\
                         fe80000000000000aa4025fffef00001ff0200000000000000000001ffff7777\
                         8700200c00000000fe80000000000000aa4025fffeff77770101a84025f00001";
/// Geneve with VNI 100 and an MSS option around an echo request of the third guest to the first.
const GENEVE: &str = "0200655800006400012902010000\
                      05b4a84025f00001a84025f0000308004500002000014000400126c5\
                      0a00000d0a00000b080033310007000161626364";

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_frames_have_their_lengths() {
        let lengths = [PING, ARP, NEIGHBOUR, GENEVE].map(|text| unhex(text).len());
        assert_eq!(lengths, [14 + 32, 14 + 28, 14 + 72, 8 + 8 + 14 + 32]);
    }

    #[test]
    fn noise_repeats_and_spoils() {
        let [mut a, mut b] = [Noise::new(1), Noise::new(1)];
        let good = [7; 60];
        for _ in 0..100 {
            let bad = a.spoil(&good);
            assert_eq!(bad, b.spoil(&good));
            assert!(bad.len() <= good.len());
        }
    }
}
