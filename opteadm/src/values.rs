// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Text forms that only the command line has.

use opte_api::{IpCidr, Protocol, Vni};
use oxide_vpc_api::mapping::BOUNDARY_VNI;
use oxide_vpc_api::{BoundaryEndpoint, PortRange, SnatRange};
use std::net::{IpAddr, Ipv6Addr};
use uuid::Uuid;

const TUPLE: &str = "write IP:FIRST-LAST, as in 203.0.113.7:1024-2047 or [2001:db8::7]:1024-2047";

/// Reads `IP`, `IP:FIRST-LAST` or `[IP]:FIRST-LAST`.
pub fn address_and_ports(text: &str) -> Result<(IpAddr, Option<PortRange>), String> {
    if let Ok(ip) = text.parse() {
        return Ok((ip, None));
    }
    let (ip, ports) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, ports) = rest.split_once("]:").ok_or(TUPLE)?;
            (IpAddr::V6(ip.parse().map_err(|_| TUPLE)?), ports)
        }
        None => {
            let (ip, ports) = text.split_once(':').ok_or(TUPLE)?;
            (IpAddr::V4(ip.parse().map_err(|_| TUPLE)?), ports)
        }
    };
    let (first, last) = ports.split_once('-').ok_or(TUPLE)?;
    Ok((ip, Some(PortRange { first: port(first)?, last: port(last)? })))
}

/// Reads `NUMBER` or `FIRST-LAST`.
pub fn ports(text: &str) -> Result<PortRange, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Ok(PortRange { first: port(first)?, last: port(last)? })
}

/// Reads an address or a prefix.
pub fn prefix(text: &str) -> Result<IpCidr, String> {
    let whole = |ip: IpAddr| IpCidr::new(ip, if ip.is_ipv4() { 32 } else { 128 });
    match text.parse() {
        Ok(ip) => whole(ip).map_err(|error| error.to_string()),
        Err(_) => text.parse().map_err(|error| format!("{error}")),
    }
}

/// Reads `tcp`, `udp`, `icmp`, `icmp6` or a number.
pub fn protocol(text: &str) -> Result<Protocol, String> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::TCP,
        "udp" => Protocol::UDP,
        "icmp" => Protocol::ICMP,
        "icmp6" => Protocol::ICMPV6,
        number => {
            let form = || format!("'{text}' is none of tcp, udp, icmp, icmp6 and 0 to 255");
            Protocol(number.parse().map_err(|_| form())?)
        }
    })
}

fn port(text: &str) -> Result<u16, String> {
    // The standard library would take "+1" too.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or_else(|| format!("'{text}' is no port from 0 to 65535"))
}

/// Reads `IP:FIRST-LAST`.
pub fn snat(text: &str) -> Result<SnatRange, String> {
    let (ip, ports) = address_and_ports(text)?;
    let ports = ports.ok_or(TUPLE)?;
    Ok(SnatRange { ip, first_port: ports.first, last_port: ports.last })
}

/// Reads `IPV6` or `IPV6,vni=N`.
pub fn endpoint(text: &str) -> Result<BoundaryEndpoint, String> {
    let form = "write an IPv6 address, as in fd00:b::1 or fd00:b::1,vni=77";
    let (ip, vni) = match text.split_once(",vni=") {
        Some((ip, vni)) => (ip, vni.parse().map_err(|error| format!("{error}"))?),
        None => (text, Vni::new(BOUNDARY_VNI).map_err(|error| error.to_string())?),
    };
    let underlay_ip: Ipv6Addr = ip.parse().map_err(|_| form)?;
    Ok(BoundaryEndpoint { underlay_ip, vni })
}

/// Reads `ADDRESS=UUID`, or `ADDRESS=none` for an address that serves nothing.
pub fn gateway(text: &str) -> Result<(IpAddr, Option<Uuid>), String> {
    let form = "write ADDRESS=UUID, as in 203.0.113.8=6ba7b810-9dad-11d1-80b4-00c04fd430c8, or \
                ADDRESS=none";
    let (ip, uuid) = text.split_once('=').ok_or(form)?;
    let uuid = if uuid == "none" { None } else { Some(uuid.parse().map_err(|_| form)?) };
    Ok((ip.parse().map_err(|_| form)?, uuid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_ports() {
        let range = |first, last| Some(PortRange { first, last });
        for (text, ip, ports) in [
            ("10.0.0.1", "10.0.0.1", None),
            ("fd00::1", "fd00::1", None),
            ("10.0.0.1:0-65535", "10.0.0.1", range(0, 65535)),
            ("[fd00::1]:7-9", "fd00::1", range(7, 9)),
        ] {
            assert_eq!(address_and_ports(text), Ok((ip.parse().unwrap(), ports)), "{text}");
        }
        for bad in [
            "",
            "10.0.0.1:",
            "10.0.0.1:5",
            "10.0.0.1:1-65536",
            "10.0.0.1:+1-2",
            "10.0.0.1:-",
            "[fd00::1]",
            "fd00::1:7-9",
            "[10.0.0.1]:7-9",
            "[fd00::1]7-9",
            "10.0.0:1-2",
        ] {
            assert!(address_and_ports(bad).is_err(), "{bad}");
        }
        assert!(snat("10.0.0.1").unwrap_err().contains("IP:FIRST-LAST"));
    }

    #[test]
    fn endpoints_have_the_boundary_vni_by_default() {
        assert_eq!(endpoint("fd00::1").map(|e| e.vni.get()), Ok(99));
        assert_eq!(endpoint("fd00::1,vni=7").map(|e| e.vni.get()), Ok(7));
        for bad in ["", "10.0.0.1", "fd00::1,7", "fd00::1,vni=", "fd00::1,vni=16777216"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_filters_take() {
        assert_eq!(ports("443"), Ok(PortRange { first: 443, last: 443 }));
        assert_eq!(ports("1-2"), Ok(PortRange { first: 1, last: 2 }));
        assert!(ports("1-").is_err() && ports("1-2-3").is_err() && ports("70000").is_err());
        for (text, expected) in
            [("10.0.0.1", "10.0.0.1/32"), ("fd00::1", "fd00::1/128"), ("10.0.0.0/8", "10.0.0.0/8")]
        {
            assert_eq!(prefix(text).map(|prefix| prefix.to_string()), Ok(expected.into()));
        }
        assert!(prefix("10.0.0").is_err());
        assert_eq!(protocol("TCP"), Ok(Protocol::TCP));
        assert_eq!(protocol("132"), Ok(Protocol(132)));
        assert!(protocol("tcpx").unwrap_err().contains("none of tcp"));
    }

    #[test]
    fn gateways_name_an_address_and_a_uuid() {
        let uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        for ip in ["10.0.0.1", "fd00::1"] {
            let address = ip.parse().unwrap();
            let expected = (address, Some(uuid.parse().unwrap()));
            assert_eq!(gateway(&format!("{ip}={uuid}")), Ok(expected));
            assert_eq!(gateway(&format!("{ip}=none")), Ok((address, None)));
        }
        for bad in ["", "10.0.0.1", "10.0.0.1=", "=6ba7b810-9dad-11d1-80b4-00c04fd430c8"] {
            assert!(gateway(bad).is_err(), "{bad}");
        }
    }
}
