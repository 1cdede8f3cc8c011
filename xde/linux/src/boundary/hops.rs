// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Which device is next on the way to a destination outside, as the kernel's routes and neighbours
//! have it.
//!
//! To send a packet by its destination address alone costs a look-up each time, and takes no
//! super-frames. So for destinations that get more than a few packets the kernel is asked once a
//! second. Whatever it is not sure of goes the other way, which is also what makes it find out.

use crate::netlink::{Netlink, Request, attributes};
use opte::host::Moment;
use opte_api::MacAddr;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

/// Packets to a destination before the kernel is asked.
const PACKETS_BEFORE: u32 = 8;
/// How long an answer is believed, in milliseconds.
const FRESH: u64 = 1_000;
/// Destinations that are remembered; then all are forgotten.
const MAX_DESTINATIONS: usize = 16_384;

/// States in which a neighbour's address holds: it was confirmed a moment ago, or is being so, or
/// is not to be asked for.
const SURE: u16 =
    libc::NUD_REACHABLE | libc::NUD_DELAY | libc::NUD_PROBE | libc::NUD_NOARP | libc::NUD_PERMANENT;

const RTA_DST: u16 = libc::RTA_DST;
const RTA_OIF: u16 = libc::RTA_OIF;
const RTA_GATEWAY: u16 = libc::RTA_GATEWAY;
const RTA_METRICS: u16 = libc::RTA_METRICS;
const RTA_VIA: u16 = 18;
const RTAX_MTU: u16 = 2;
const NDA_DST: u16 = libc::NDA_DST;
const NDA_LLADDR: u16 = libc::NDA_LLADDR;
/// Length of the fixed part of messages about routes and about neighbours.
const FIXED_LEN: usize = 12;
/// Type of a route that leads to a host.
const UNICAST: u8 = libc::RTN_UNICAST;

/// The next device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hop {
    /// Its address on the link.
    pub mac: MacAddr,
    /// Largest packet on the path, if it is known to be smaller than the link's.
    pub mtu: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    packets: u32,
    asked: Option<Moment>,
    hop: Option<Hop>,
}

/// The next devices over one link.
#[derive(Debug)]
pub struct Hops {
    netlink: Netlink,
    link: u32,
    known: HashMap<IpAddr, Known>,
}

impl Hops {
    /// Of the link of that index.
    pub fn open(link: u32) -> io::Result<Self> {
        Ok(Self { netlink: Netlink::open()?, link, known: HashMap::new() })
    }

    /// Forgets all: something has changed.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// The next device on the way to `destination`; `None` if the packet is to go by its address.
    pub fn next(&mut self, destination: IpAddr, now: Moment) -> Option<Hop> {
        if self.known.len() >= MAX_DESTINATIONS && !self.known.contains_key(&destination) {
            self.known.clear();
        }
        let known = self.known.entry(destination).or_default();
        known.packets = known.packets.saturating_add(1);
        if known.packets <= PACKETS_BEFORE {
            return None;
        }
        if known.asked.is_none_or(|asked| now.since(asked) >= FRESH) {
            known.asked = Some(now);
            known.hop = ask(&self.netlink, self.link, destination);
        }
        known.hop
    }
}

fn ask(netlink: &Netlink, link: u32, destination: IpAddr) -> Option<Hop> {
    let bytes = octets(destination);
    let family = family(destination);
    let bits = (bytes.len() * 8) as u8;
    let fixed = [family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let request = Request::new(libc::RTM_GETROUTE, &fixed)
        .with(RTA_DST, &bytes)
        .with(RTA_OIF, &link.to_ne_bytes());
    let route = netlink.ask(request).ok()?;
    let (gateway, mtu) = read_route(&route, link)?;
    let neighbour = gateway.unwrap_or(bytes);
    let fixed = [&[family, 0, 0, 0][..], &link.to_ne_bytes(), &[0; 4]].concat();
    let request = Request::new(libc::RTM_GETNEIGH, &fixed).with(NDA_DST, &neighbour);
    let mac = read_neighbour(&netlink.ask(request).ok()?)?;
    Some(Hop { mac, mtu })
}

/// The gateway, if there is one, and the path's MTU, if that is known; `None` if the route is not
/// a plain one over the link.
fn read_route(answer: &[u8], link: u32) -> Option<(Option<Vec<u8>>, Option<u32>)> {
    let (fixed, rest) = answer.split_first_chunk::<FIXED_LEN>()?;
    let (mut gateway, mut mtu, mut over) = (None, None, None);
    for (kind, value) in attributes(rest) {
        match kind {
            RTA_GATEWAY => gateway = Some(value.to_vec()),
            RTA_OIF => over = number(value),
            RTA_METRICS => {
                mtu = attributes(value).find(|(k, _)| *k == RTAX_MTU).and_then(|(_, v)| number(v));
            }
            // A gateway of another family.
            RTA_VIA => return None,
            _ => {}
        }
    }
    (fixed.get(7) == Some(&UNICAST) && over == Some(link)).then_some((gateway, mtu))
}

/// A neighbour's address, if the kernel is sure of it.
fn read_neighbour(answer: &[u8]) -> Option<MacAddr> {
    let (fixed, rest) = answer.split_first_chunk::<FIXED_LEN>()?;
    let state = fixed.get(8..10)?.first_chunk().map(|b| u16::from_ne_bytes(*b))?;
    let (_, mac) = attributes(rest).find(|(kind, _)| *kind == NDA_LLADDR)?;
    let mac = MacAddr(<[u8; 6]>::try_from(mac).ok()?);
    (state & SURE != 0).then_some(mac)
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn family(ip: IpAddr) -> u8 {
    let family = if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    family as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn few_packets_ask_nothing_and_memory_is_bounded() {
        let mut hops = Hops::open(1).unwrap();
        let now = Moment::from_millis(5);
        for number in 0..2 * MAX_DESTINATIONS as u32 {
            let destination = IpAddr::from(number.to_be_bytes());
            assert_eq!(hops.next(destination, now), None);
            assert!(hops.known.len() <= MAX_DESTINATIONS);
        }
        assert!(hops.known.values().all(|known| known.asked.is_none()));
    }

    #[test]
    fn a_neighbour_is_believed_only_when_the_kernel_is_sure() {
        let answer = |state: u16| {
            let mut bytes = vec![0; 8];
            bytes.extend(state.to_ne_bytes());
            bytes.extend([0, 0, 10, 0, 2, 0, 1, 2, 3, 4, 5, 6, 0, 0]);
            bytes
        };
        let mac = MacAddr([1, 2, 3, 4, 5, 6]);
        assert_eq!(read_neighbour(&answer(libc::NUD_REACHABLE)), Some(mac));
        for unsure in [libc::NUD_STALE, libc::NUD_FAILED, libc::NUD_INCOMPLETE] {
            assert_eq!(read_neighbour(&answer(unsure)), None);
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_safe(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (read_route(&bytes, 1), read_neighbour(&bytes));
        }
    }
}
