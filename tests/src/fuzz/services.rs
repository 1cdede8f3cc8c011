// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Messages of any bytes to what the gateway answers, each behind headers that lead it there.

use crate::hypervisor::{Hypervisor, Left};
use crate::setting::{Guest, add_guest, gateway};
use opte::frame::{ChecksumState, FlatFrame, Offload};
use opte::geneve::Mark;
use opte::headers::Headers;
use opte_api::MacAddr;
use oxide_vpc_api::request::DumpUft;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);
/// Longest reply: Ethernet and the MTU of the port.
const LONGEST: usize = 14 + 1500;
const IP_HEADERS: [usize; 2] = [20, 40];

/// Plays `data` as a message: a byte that says to whom, and the message.
pub fn services(data: &[u8]) {
    let Some((to_whom, message)) = data.split_first() else { return };
    let message = &message[..message.len().min(1400)];
    let mut host = Hypervisor::new(DriverOptions::new(7));
    add_guest(&mut host, GUEST, 0);
    let frame = enveloped(*to_whom, message);
    let ipv4 = frame[12] == 8;
    let mut flat = FlatFrame::new(frame.clone());
    // The device would fill the checksum in, so that changed bytes get past it.
    let start = 14 + IP_HEADERS[usize::from(!ipv4)] as u16;
    let offset = if is_udp(&frame) { start + 6 } else { start + 2 };
    if frame[12..14] != [8, 6] {
        let checksum = ChecksumState::Partial { start, offset };
        flat.offload = Offload { checksum, segments: None };
    }
    let left = host.from_guest(PortId(0), flat);
    assert!(left.len() <= 1, "one frame came in, {} went out", left.len());
    for reply in &left {
        let Left::Reply(_, bytes) = reply else { panic!("it left the host: {frame:x?}") };
        assert!(bytes.len() <= LONGEST.max(frame.len()), "{} bytes", bytes.len());
        Headers::parse(bytes, bytes.len(), 0, Mark::GUEST).expect("a good packet");
        assert_eq!(bytes[6..12], oxide_vpc_api::config::GATEWAY_MAC.0);
    }
    let flows = host.request(&DumpUft::of(GUEST.port())).expect("a port").flows;
    assert!(flows.is_empty(), "an answered packet left a flow: {frame:x?}");
}

fn is_udp(frame: &[u8]) -> bool {
    frame.get(if frame[12] == 8 { 23 } else { 20 }) == Some(&17)
}

/// The message in a frame that leads it to a parser: ARP, DHCP, DHCPv6 or neighbour discovery.
fn enveloped(to_whom: u8, message: &[u8]) -> Vec<u8> {
    let mac = GUEST.mac();
    let v6 = |text: &str| IpAddr::V6(text.parse::<Ipv6Addr>().expect("an address"));
    let own = IpAddr::V6(mac.link_local());
    let gateway_local = IpAddr::V6(oxide_vpc_api::config::GATEWAY_MAC.link_local());
    match to_whom % 6 {
        0 => [&MacAddr::BROADCAST.0, &mac.0, [8, 6].as_slice(), message].concat(),
        1 => {
            let all = IpAddr::V4(Ipv4Addr::BROADCAST);
            ip(MacAddr::BROADCAST, [Ipv4Addr::UNSPECIFIED.into(), all], 17, &udp([68, 67], message))
        }
        2 => {
            let ips = [GUEST.ip(true), gateway(true)];
            ip(oxide_vpc_api::config::GATEWAY_MAC, ips, 17, &udp([68, 67], message))
        }
        3 => {
            let group = v6("ff02::1:2");
            ip(group_mac(group), [own, group], 17, &udp([546, 547], message))
        }
        4 => {
            let group = v6("ff02::2");
            ip(group_mac(group), [own, group], 58, message)
        }
        _ => ip(oxide_vpc_api::config::GATEWAY_MAC, [own, gateway_local], 58, message),
    }
}

fn group_mac(group: IpAddr) -> MacAddr {
    match group {
        IpAddr::V6(group) => MacAddr::from_ipv6_group(group),
        IpAddr::V4(_) => MacAddr::BROADCAST,
    }
}

fn udp([src, dst]: [u16; 2], message: &[u8]) -> Vec<u8> {
    let len = 8 + message.len() as u16;
    let head = [src, dst, len, 0xffff].map(u16::to_be_bytes).concat();
    [head.as_slice(), message].concat()
}

fn ip(to: MacAddr, [src, dst]: [IpAddr; 2], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = [to.0, GUEST.mac().0].concat();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame.extend([8, 0]);
            let mut header = etherparse::Ipv4Header::new(
                payload.len() as u16,
                255,
                etherparse::IpNumber(protocol),
                src.octets(),
                dst.octets(),
            )
            .expect("a short packet");
            header.header_checksum = header.calc_header_checksum();
            frame.extend(header.to_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((payload.len() as u16).to_be_bytes());
            frame.extend([protocol, 255]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
        }
        mixed => panic!("{mixed:?}"),
    }
    frame.extend(payload);
    frame
}

/// A good message to each.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mac = GUEST.mac().0;
    let mut dhcp = vec![1, 1, 6, 0, 1, 2, 3, 4];
    dhcp.resize(28, 0);
    dhcp.extend(mac);
    dhcp.resize(236, 0);
    dhcp.extend([99, 130, 83, 99]);
    let options: [&[u8]; 4] = [
        &[53, 1, 1, 55, 6, 1, 3, 6, 26, 119, 121, 61, 3, 1, 2, 3, 255],
        &[53, 1, 3, 50, 4, 10, 0, 0, 5, 54, 4, 10, 0, 0, 1, 57, 2, 2, 64, 255],
        &[53, 1, 7, 54, 4, 10, 0, 0, 1, 255],
        &[53, 1, 8, 255],
    ];
    let dhcp = options.map(|options| [dhcp.as_slice(), options].concat());
    let association = [0, 3, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 24];
    let address = Ipv6Addr::new(0xfd12, 0, 0, 0, 0, 0, 0, 5).octets();
    let named = [association.as_slice(), &address, &[0; 8]].concat();
    let server = [0, 2, 0, 10, 0, 3, 0, 1, 0xa8, 0x40, 0x25, 0xff, 0x77, 0x77];
    let dhcp6 = |kind: u8, rest: &[u8]| {
        let head = [kind, 1, 2, 3, 0, 1, 0, 3, 9, 9, 9, 0, 8, 0, 2, 0, 0, 0, 6, 0, 2, 0, 23];
        [head.as_slice(), rest].concat()
    };
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
    arp.extend(mac);
    arp.extend([10, 0, 0, 5, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend(oxide_vpc_api::config::GATEWAY_MAC.link_local().octets());
    solicitation.extend([1, 1]);
    solicitation.extend(mac);
    let mut seeds = vec![(0, arp)];
    seeds.extend(dhcp.iter().flat_map(|message| [(1, message.clone()), (2, message.clone())]));
    seeds.extend([1, 4, 5, 6, 8, 9, 11].map(|kind| {
        let from_us: &[u8] = if [5, 8, 9].contains(&kind) { &server } else { &[] };
        let named: &[u8] = if kind == 11 { &[] } else { &named };
        (3, dhcp6(kind, &[named, from_us].concat()))
    }));
    seeds.push((4, vec![133, 0, 0, 0, 0, 0, 0, 0]));
    seeds.push((5, solicitation));
    seeds.push((5, vec![128, 0, 0, 0, 1, 2, 3, 4]));
    seeds.into_iter().map(|(to, message)| [&[to], message.as_slice()].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seeds reach what they are for: all but release and decline of DHCP, to which nobody
    /// answers, and inform without an address.
    #[test]
    fn seeds_are_answered() {
        let mut answered = 0;
        for seed in seeds() {
            services(&seed);
            let mut host = Hypervisor::new(DriverOptions::new(7));
            add_guest(&mut host, GUEST, 0);
            let frame = enveloped(seed[0], &seed[1..]);
            let mut flat = FlatFrame::new(frame.clone());
            let start = if frame[12] == 8 { 34 } else { 54 };
            let checksum = ChecksumState::Partial { start, offset: start + 2 };
            if frame[12..14] != [8, 6] {
                flat.offload = Offload { checksum, segments: None };
            }
            let left = host.from_guest(PortId(0), flat);
            answered += usize::from(matches!(left.as_slice(), [Left::Reply(..)]));
        }
        assert_eq!(answered, seeds().len() - 4);
    }
}
