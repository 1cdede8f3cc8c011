// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Echo requests of a kernel, and what comes back.

use crate::lab::PATIENCE;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, sockopt};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// What became of an echo request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IcmpEvent {
    /// It was answered.
    Reply {
        /// By whom.
        from: IpAddr,
    },
    /// Its hops were used up.
    TimeExceeded {
        /// Who said so.
        from: IpAddr,
    },
}

/// A raw ICMP socket of the namespace in which it was opened.
pub struct Icmp {
    socket: OwnedFd,
    ipv4: bool,
    sequence: u16,
}

const ID: u16 = 0x7e57;
/// After this, the request is sent again.
const AGAIN: Duration = Duration::from_millis(500);

impl Icmp {
    /// Opens a socket of the family of `ip`.
    pub fn open(ip: IpAddr) -> Self {
        let ipv4 = ip.is_ipv4();
        let (family, protocol) = if ipv4 {
            (AddressFamily::INET, ipproto::ICMP)
        } else {
            (AddressFamily::INET6, ipproto::ICMPV6)
        };
        let socket = rustix::net::socket(family, SocketType::RAW, Some(protocol)).unwrap();
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(AGAIN)).unwrap();
        Self { socket, ipv4, sequence: 0 }
    }

    /// Sends an echo request with this hop limit and waits for what becomes of it.
    pub fn ping(&mut self, to: IpAddr, hops: u8) -> IcmpEvent {
        self.sequence += 1;
        let (request, reply, exceeded) = if self.ipv4 { (8, 0, 11) } else { (128, 129, 3) };
        if self.ipv4 {
            sockopt::set_ip_ttl(&self.socket, hops.into()).unwrap();
        } else {
            sockopt::set_ipv6_unicast_hops(&self.socket, Some(hops)).unwrap();
        }
        let mark = [ID.to_be_bytes(), self.sequence.to_be_bytes()].concat();
        let mut message = [&[request, 0, 0, 0], &mark[..], &[7; 40]].concat();
        // The kernel fills in the sum of ICMPv6 (RFC 3542, section 3.1).
        if self.ipv4 {
            let sum = opte::checksum::Sum::default().bytes(&message).complement();
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        let deadline = Instant::now() + PATIENCE;
        self.send(&message, to);
        loop {
            let Some((from, answer)) = self.receive() else {
                assert!(Instant::now() < deadline, "{to} with {hops} hops: no answer");
                self.send(&message, to);
                continue;
            };
            if answer.first() == Some(&reply) && answer.get(4..8) == Some(&mark) {
                return IcmpEvent::Reply { from };
            }
            // The quote holds an IP header and the request.
            let quoted = answer.windows(mark.len()).any(|window| window == mark);
            if answer.first() == Some(&exceeded) && quoted {
                return IcmpEvent::TimeExceeded { from };
            }
        }
    }

    fn send(&self, message: &[u8], to: IpAddr) {
        let to = SocketAddr::new(to, 0);
        rustix::net::sendto(&self.socket, message, SendFlags::empty(), &to).unwrap();
    }

    /// The next ICMP message; `None` if there is none for a while.
    fn receive(&self) -> Option<(IpAddr, Vec<u8>)> {
        let mut bytes = [0; 2000];
        let got = rustix::net::recvfrom(&self.socket, &mut bytes[..], RecvFlags::empty());
        if matches!(got, Err(Errno::AGAIN)) {
            return None;
        }
        let (len, _, from) = got.unwrap();
        let from = SocketAddr::try_from(from.unwrap()).unwrap().ip();
        let skip = if self.ipv4 { usize::from(bytes[0] & 0xf) * 4 } else { 0 };
        Some((from, bytes[skip..len].to_vec()))
    }
}
