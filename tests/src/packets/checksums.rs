// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Checks every checksum of a frame, the inner frame of a tunnel included.

use super::Tunnel;
use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
use opte::outer::GENEVE_PORT;

/// Every checksum is right. Zero over UDP says that there is none, which IPv6 allows for tunnels
/// only (RFC 8200, section 8.1; RFC 6935).
pub fn verify(frame: &[u8]) -> Result<(), String> {
    let headers = PacketHeaders::from_ethernet_slice(frame).map_err(|e| format!("{e}"))?;
    let Some(net) = &headers.net else { return Ok(()) };
    let payload = headers.payload.slice();
    if let NetHeaders::Ipv4(ip, _) = net {
        compare("IPv4 header", ip.header_checksum, ip.calc_header_checksum())?;
    }
    let Some(found) = &headers.transport else { return Ok(()) };
    let mut right = found.clone();
    match net {
        NetHeaders::Ipv4(ip, _) => {
            right.update_checksum_ipv4(ip, payload).map_err(|e| format!("{e}"))?;
        }
        NetHeaders::Ipv6(ip, _) => {
            right.update_checksum_ipv6(ip, payload).map_err(|e| format!("{e}"))?;
        }
        NetHeaders::Arp(_) => return Ok(()),
    }
    if let (TransportHeader::Udp(udp), Some(inner)) = (found, tunnelled(frame, found)) {
        if udp.checksum != 0 {
            compare("outer UDP", udp.checksum, checksum(&right))?;
        }
        return verify(&inner).map_err(|error| format!("inner {error}"));
    }
    let zero = matches!(found, TransportHeader::Udp(udp) if udp.checksum == 0);
    if zero && matches!(net, NetHeaders::Ipv4(..)) {
        return Ok(());
    }
    compare("transport", checksum(found), checksum(&right))
}

/// The same of an IPv4 header that an ICMP error in `frame` quotes.
pub fn verify_quote(frame: &[u8]) -> Result<(), String> {
    let headers = PacketHeaders::from_ethernet_slice(frame).map_err(|e| format!("{e}"))?;
    match &headers.transport {
        Some(found @ TransportHeader::Udp(_)) => {
            tunnelled(frame, found).map_or(Ok(()), |inner| verify_quote(&inner))
        }
        Some(TransportHeader::Icmpv4(icmp)) if is_error(icmp.to_bytes()[0]) => {
            match etherparse::Ipv4Header::from_slice(headers.payload.slice()) {
                Ok((quoted, _)) => {
                    let right = quoted.calc_header_checksum();
                    compare("quoted IPv4 header", quoted.header_checksum, right)
                }
                Err(_) => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// RFC 792: these quote the packet that they are about.
fn is_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

fn tunnelled(frame: &[u8], header: &TransportHeader) -> Option<Vec<u8>> {
    match header {
        TransportHeader::Udp(udp) if udp.destination_port == GENEVE_PORT => {
            Tunnel::open(frame).map(|(_, inner)| inner)
        }
        _ => None,
    }
}

fn checksum(header: &TransportHeader) -> u16 {
    match header {
        TransportHeader::Tcp(tcp) => tcp.checksum,
        TransportHeader::Udp(udp) => udp.checksum,
        TransportHeader::Icmpv4(icmp) => icmp.checksum,
        TransportHeader::Icmpv6(icmp) => icmp.checksum,
        TransportHeader::Igmp(igmp) => igmp.checksum,
    }
}

fn compare(what: &str, found: u16, right: u16) -> Result<(), String> {
    if found == right { Ok(()) } else { Err(format!("{what}: {found:04x}, right is {right:04x}")) }
}

#[cfg(test)]
mod tests {
    use super::super::{Body, Packet};
    use super::*;
    use opte_api::MacAddr;

    #[test]
    fn a_wrong_bit_is_found() {
        let macs = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];
        let ips = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        let body = Body::Udp { ports: [1, 2], checksum: true };
        let packet = Packet::new(macs, ips, body);
        let tunnel = Tunnel::new("fd00::1", "fd00::2", 7);
        for frame in [packet.bytes(), tunnel.around(&packet.bytes())] {
            assert_eq!(verify(&frame), Ok(()));
            let mut wrong = frame.clone();
            *wrong.last_mut().unwrap() ^= 1;
            assert!(verify(&wrong).is_err());
        }
        let error = Packet::unreachable(macs, ips, &packet.bytes());
        assert_eq!(verify(&error.bytes()), Ok(()));
        assert_eq!(verify_quote(&error.bytes()), Ok(()));
        let mut quote = packet.bytes();
        quote[14 + 10] ^= 1;
        let error = Packet::unreachable(macs, ips, &quote).bytes();
        assert_eq!(verify(&error), Ok(()));
        assert!(verify_quote(&error).is_err());
        assert!(verify_quote(&tunnel.around(&error)).is_err());
    }
}
