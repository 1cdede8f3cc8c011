// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a port is told of NAT beyond its external addresses: how it translates, more that it may
//! translate to, port forwards, prefixes that are mapped one to one, and what is not translated.

use crate::PortRange;
use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte_api::{IpCidr, OpteError, Protocol};
use serde::{Deserialize, Serialize};

/// Most ranges of pools of a port, beside those of its external addresses.
pub const MAX_NAT_RANGES: usize = 256;
/// Most port forwards of a port.
pub const MAX_FORWARDS: usize = 1024;
/// Most prefixes that a port has one to one.
pub const MAX_NAT_PREFIXES: usize = 64;
/// Most destinations towards which a port does not translate.
pub const MAX_UNTRANSLATED: usize = 256;
/// Most destinations of a port that it translates.
pub const MAX_DESTINATIONS: usize = 256;
/// Longest time that a port waits until it is used again, in seconds: a day.
pub const MAX_QUARANTINE: u32 = 86_400;

/// What of the remote side a mapping, or a filter, depends on (RFC 4787, sections 4.1 and 5).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatDependence {
    /// Nothing.
    #[default]
    EndpointIndependent,
    /// Its address.
    AddressDependent,
    /// Its address and port.
    AddressAndPortDependent,
}

/// One value for each of TCP, UDP and ICMP queries.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatDependences {
    /// TCP.
    pub tcp: NatDependence,
    /// UDP.
    pub udp: NatDependence,
    /// ICMP queries.
    pub query: NatDependence,
}

/// Which of several shared external addresses a guest gets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatPooling {
    /// The one it has, for all protocols, as long as there is a port left; then another.
    #[default]
    Paired,
    /// The one it has, or none.
    PairedOnly,
    /// Any.
    Arbitrary,
}

/// Most mappings at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatLimits {
    /// Of the port.
    pub port: u32,
    /// Of one address inside.
    pub guest: u32,
    /// Of one address inside and one protocol.
    pub protocol: u32,
}

impl Default for NatLimits {
    fn default() -> Self {
        Self { port: 1 << 20, guest: 1 << 20, protocol: 1 << 20 }
    }
}

/// How fast something may come.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatRate {
    /// In each second, in the long run.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

impl Default for NatRate {
    fn default() -> Self {
        Self { per_second: 1 << 20, burst: 1 << 20 }
    }
}

/// How fast new mappings may come (RFC 6888, REQ-4c). What is mapped goes on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatRates {
    /// Those of the port.
    pub port: NatRate,
    /// Those of one address inside.
    pub guest: NatRate,
}

/// How long an external port is not used again after it came back (RFC 6888, REQ-8). When nothing
/// else is left, the port that has waited longest is used all the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quarantine {
    /// For so many seconds.
    pub seconds: u32,
    /// At most so many ports of one address and protocol.
    pub ports: u32,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self { seconds: 120, ports: 65_536 }
    }
}

/// A range of ports (and query identifiers) of each address of a prefix.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NatRange {
    /// The addresses.
    pub prefix: IpCidr,
    /// First port, inclusive.
    pub first_port: u16,
    /// Last port, inclusive.
    pub last_port: u16,
}

/// Ports outside that lead to ports of the guest, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PortForward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The external address.
    pub external_ip: IpAddr,
    /// The ports of it.
    pub external_ports: PortRange,
    /// The first of as many ports of the guest.
    pub first_port: u16,
}

/// Addresses outside that stand for as many inside, each for the one with the same host bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OneToOne {
    /// Inside.
    pub inside: IpCidr,
    /// Outside; of the same length.
    pub external: IpCidr,
}

/// A destination towards which the guest keeps its address (RFC 6888, REQ-6).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Untranslated {
    /// Where to.
    pub prefix: IpCidr,
    /// Only this protocol.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// Only these ports of it.
    #[serde(default)]
    pub ports: Option<PortRange>,
}

/// Destinations outside that the guest knows by other addresses, each by the one with the same host
/// bits. Connections that it opens to them have both ends translated.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NatDestination {
    /// As the guest knows them.
    pub seen: IpCidr,
    /// As they are; of the same length.
    pub real: IpCidr,
    /// Only this protocol.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// Only these ports of it, as the guest knows them.
    #[serde(default)]
    pub ports: Option<PortRange>,
    /// The first of as many ports outside; the same if it is not set.
    #[serde(default)]
    pub first_port: Option<u16>,
}

/// All of it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatSettings {
    /// What a mapping depends on.
    pub mapping: NatDependences,
    /// What lets a packet in that belongs to no connection, but whose destination is mapped. The
    /// firewall's inbound rules are asked all the same.
    pub filtering: NatDependences,
    /// Which external address a guest gets.
    pub pooling: NatPooling,
    /// An even port stays even, and an odd one odd, while there are such.
    pub parity: bool,
    /// Ports below 1024 do not stay so, nor others.
    pub mix_port_classes: bool,
    /// The lowest free port is used, not any of them.
    pub sequential: bool,
    /// When no port is left, one that is used is used towards another destination, too.
    pub share_ports: bool,
    /// A mapping (but of TCP) is kept alive only by what goes out, so that nobody outside can keep it
    /// (RFC 4787, REQ-6).
    pub outbound_refresh_only: bool,
    /// What goes to an external tuple of another port of the host leaves it all the same, for the boundary to turn it
    /// round (RFC 4787, REQ-9).
    pub hairpin_outside: bool,
    /// How long ports are not used again.
    pub quarantine: Quarantine,
    /// Most mappings at a time.
    pub limits: NatLimits,
    /// How fast new ones may come.
    pub rates: NatRates,
    /// Shared addresses, beside the ranges of the port's external addresses.
    pub ranges: Vec<NatRange>,
    /// Port forwards.
    pub forwards: Vec<PortForward>,
    /// Prefixes that are mapped one to one.
    pub one_to_one: Vec<OneToOne>,
    /// Destinations towards which nothing is translated.
    pub untranslated: Vec<Untranslated>,
    /// Destinations that are translated, too, where the source is.
    pub destinations: Vec<NatDestination>,
}

impl NatRange {
    fn validate(&self) -> Result<(), OpteError> {
        if self.first_port == 0 || self.first_port > self.last_port {
            let text = format!("{}-{} is no range", self.first_port, self.last_port);
            return Err(OpteError::invalid("NAT port range", text));
        }
        usable("NAT range", self.prefix)
    }

    /// No port of no address is in both, and the prefixes are not one within the other.
    pub fn goes_with(&self, other: &Self) -> Result<(), OpteError> {
        if !self.prefix.overlaps(other.prefix) {
            return Ok(());
        }
        if self.prefix != other.prefix {
            let why = format!("{} and {} overlap", self.prefix, other.prefix);
            return Err(OpteError::invalid("NAT range", why));
        }
        if self.first_port <= other.last_port && other.first_port <= self.last_port {
            let why = format!("two ranges of {} overlap", self.prefix);
            return Err(OpteError::invalid("NAT port range", why));
        }
        Ok(())
    }
}

impl PortForward {
    fn validate(&self) -> Result<(), OpteError> {
        let what = "port forward";
        if !matches!(self.protocol, Protocol::TCP | Protocol::UDP) {
            return Err(OpteError::invalid(what, "its protocol is TCP (6) or UDP (17)"));
        }
        let PortRange { first, last } = self.external_ports;
        if first == 0 || first > last || self.first_port == 0 {
            return Err(OpteError::invalid(what, format!("{first}-{last} is no range of ports")));
        }
        if self.first_port.checked_add(last - first).is_none() {
            let why = format!("there are not {} ports from {} on", last - first, self.first_port);
            return Err(OpteError::invalid(what, why));
        }
        usable(what, IpCidr::host(self.external_ip))
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.external_ip == other.external_ip
            && self.external_ports.first <= other.external_ports.last
            && other.external_ports.first <= self.external_ports.last
    }
}

impl OneToOne {
    fn validate(&self) -> Result<(), OpteError> {
        let Self { inside, external } = self;
        if (inside.is_ipv4(), inside.prefix_len()) != (external.is_ipv4(), external.prefix_len()) {
            let why = format!("{inside} and {external} are not of one size");
            return Err(OpteError::invalid("one-to-one prefix", why));
        }
        usable("one-to-one prefix", *external)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.inside.overlaps(other.inside) || self.external.overlaps(other.external)
    }
}

impl NatDestination {
    fn validate(&self) -> Result<(), OpteError> {
        let (what, Self { seen, real, .. }) = ("translated destination", self);
        if (seen.is_ipv4(), seen.prefix_len()) != (real.is_ipv4(), real.prefix_len()) {
            let why = format!("{seen} and {real} are not of one size");
            return Err(OpteError::invalid(what, why));
        }
        if self.ports.is_some() && !matches!(self.protocol, Some(Protocol::TCP | Protocol::UDP)) {
            let why = "name the protocol of the ports: TCP (6) or UDP (17)";
            return Err(OpteError::invalid(what, why));
        }
        let fits = match (self.ports, self.first_port) {
            (Some(ports), Some(first)) => {
                let more = ports.last.checked_sub(ports.first);
                first > 0 && more.is_some_and(|more| first.checked_add(more).is_some())
            }
            (Some(ports), None) => ports.first <= ports.last,
            (None, first) => first.is_none(),
        };
        if !fits {
            let why = "first_port is the first of as many ports as 'ports' has";
            return Err(OpteError::invalid(what, why));
        }
        usable(what, *seen)?;
        usable(what, *real)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let ports = self.ports.zip(other.ports);
        self.seen.overlaps(other.seen)
            && self.protocol.zip(other.protocol).is_none_or(|(a, b)| a == b)
            && ports.is_none_or(|(a, b)| a.first <= b.last && b.first <= a.last)
    }
}

fn usable(what: &str, prefix: IpCidr) -> Result<(), OpteError> {
    let ip = prefix.addr();
    if prefix.is_multicast() || ip.is_multicast() || ip.is_loopback() || ip.is_unspecified() {
        return Err(OpteError::invalid(what, format!("{prefix} cannot be used outside")));
    }
    Ok(())
}

fn at_most(what: &str, count: usize, limit: usize) -> Result<(), OpteError> {
    if count <= limit {
        return Ok(());
    }
    Err(OpteError::Limit { what: what.into(), limit: limit as u64 })
}

/// The first two that `clash`.
fn pair<T>(all: &[T], clash: impl Fn(&T, &T) -> bool) -> Option<(&T, &T)> {
    all.iter().enumerate().find_map(|(at, a)| {
        let b = all.get(at + 1..)?.iter().find(|b| clash(a, b))?;
        Some((a, b))
    })
}

impl NatSettings {
    /// Checks every rule that it must meet by itself.
    pub fn validate(&self) -> Result<(), OpteError> {
        at_most("NAT ranges of a port", self.ranges.len(), MAX_NAT_RANGES)?;
        at_most("port forwards of a port", self.forwards.len(), MAX_FORWARDS)?;
        at_most("one-to-one prefixes of a port", self.one_to_one.len(), MAX_NAT_PREFIXES)?;
        at_most("untranslated destinations", self.untranslated.len(), MAX_UNTRANSLATED)?;
        at_most("translated destinations", self.destinations.len(), MAX_DESTINATIONS)?;
        if self.quarantine.seconds > MAX_QUARANTINE {
            let why = format!("use at most {MAX_QUARANTINE} seconds");
            return Err(OpteError::invalid("NAT quarantine", why));
        }
        let NatLimits { port, guest, protocol } = self.limits;
        if [port, guest, protocol].contains(&0) {
            return Err(OpteError::invalid("NAT limit", "use at least 1"));
        }
        let NatRates { port, guest } = self.rates;
        if [port.per_second, port.burst, guest.per_second, guest.burst].contains(&0) {
            return Err(OpteError::invalid("NAT rate", "use at least 1"));
        }
        self.ranges.iter().try_for_each(NatRange::validate)?;
        for (at, range) in self.ranges.iter().enumerate() {
            self.ranges.iter().skip(at + 1).try_for_each(|other| range.goes_with(other))?;
        }
        self.forwards.iter().try_for_each(PortForward::validate)?;
        if let Some((forward, _)) = pair(&self.forwards, PortForward::overlaps) {
            let why = format!("two of {} overlap", forward.external_ip);
            return Err(OpteError::invalid("port forward", why));
        }
        self.one_to_one.iter().try_for_each(OneToOne::validate)?;
        if let Some((a, b)) = pair(&self.one_to_one, OneToOne::overlaps) {
            let why = format!("{} and {} overlap, inside or outside", a.external, b.external);
            return Err(OpteError::invalid("one-to-one prefix", why));
        }
        let portless = |u: &&Untranslated| {
            u.ports.is_some() && !matches!(u.protocol, Some(Protocol::TCP | Protocol::UDP))
        };
        if self.untranslated.iter().any(|u| portless(&u)) {
            let why = "name the protocol of the ports: TCP (6) or UDP (17)";
            return Err(OpteError::invalid("untranslated destination", why));
        }
        self.destinations.iter().try_for_each(NatDestination::validate)?;
        if let Some((a, b)) = pair(&self.destinations, NatDestination::overlaps) {
            let why = format!("{} and {} overlap", a.seen, b.seen);
            return Err(OpteError::invalid("translated destination", why));
        }
        Ok(())
    }

    /// Every address outside that is named; of prefixes the first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let ranges = self.ranges.iter().map(|range| range.prefix.addr());
        let forwards = self.forwards.iter().map(|forward| forward.external_ip);
        ranges.chain(forwards).chain(self.one_to_one.iter().map(|one| one.external.addr()))
    }

    /// The families of the addresses outside that are named, IPv4 first.
    pub fn families(&self) -> [bool; 2] {
        let all = || {
            let ranges = self.ranges.iter().map(|range| range.prefix.is_ipv4());
            let forwards = self.forwards.iter().map(|forward| forward.external_ip.is_ipv4());
            let prefixes = self.one_to_one.iter().map(|prefix| prefix.external.is_ipv4());
            ranges.chain(forwards).chain(prefixes)
        };
        [true, false].map(|family| all().any(|ipv4| ipv4 == family))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn cidr(text: &str) -> IpCidr {
        text.parse().unwrap()
    }

    fn told(settings: &NatSettings) -> alloc::string::String {
        settings.validate().map_or_else(|error| error.to_string(), |()| "fine".into())
    }

    #[test]
    fn ranges_do_not_overlap() {
        let range = |prefix, first_port, last_port| NatRange {
            prefix: cidr(prefix),
            first_port,
            last_port,
        };
        for (a, b, expected) in [
            (("192.0.2.0/24", 1, 9), ("192.0.2.0/24", 10, 99), "fine"),
            (
                ("192.0.2.0/24", 1, 9),
                ("192.0.2.0/24", 9, 99),
                "invalid NAT port range: two ranges of 192.0.2.0/24 overlap",
            ),
            (
                ("192.0.2.0/24", 1, 9),
                ("192.0.2.8/32", 10, 99),
                "invalid NAT range: 192.0.2.0/24 and 192.0.2.8/32 overlap",
            ),
            (
                ("192.0.2.0/24", 1, 9),
                ("fd00::/64", 0, 9),
                "invalid NAT port range: 0-9 is no range",
            ),
            (
                ("192.0.2.0/24", 1, 9),
                ("ff00::/8", 1, 9),
                "invalid NAT range: ff00::/8 cannot be used outside",
            ),
        ] {
            let ranges = [a, b].map(|(prefix, first, last)| range(prefix, first, last)).into();
            assert_eq!(told(&NatSettings { ranges, ..NatSettings::default() }), expected);
        }
    }

    #[test]
    fn translated_destinations_are_checked() {
        let of = |seen: &str, real: &str, tcp: bool, ports: Option<(u16, u16)>, first_port| {
            let protocol = tcp.then_some(Protocol::TCP);
            let ports = ports.map(|(first, last)| PortRange { first, last });
            NatDestination { seen: cidr(seen), real: cidr(real), protocol, ports, first_port }
        };
        let (seen, real) = ("10.9.0.0/24", "192.0.2.0/24");
        let plain = of(seen, real, false, None, None);
        let web = of(seen, real, true, Some((80, 89)), Some(8080));
        for (destinations, good) in [
            (alloc::vec![plain], true),
            (alloc::vec![plain, web], false),
            (alloc::vec![web, of(seen, real, true, Some((90, 99)), None)], true),
            (
                alloc::vec![web, of("10.9.0.7/32", "192.0.3.7/32", true, Some((89, 89)), None)],
                false,
            ),
            (alloc::vec![of(seen, "192.0.2.0/25", false, None, None)], false),
            (alloc::vec![of(seen, "2001:db8::/64", false, None, None)], false),
            (alloc::vec![of(seen, real, false, Some((80, 89)), None)], false),
            (alloc::vec![of(seen, real, true, Some((80, 89)), Some(65_530))], false),
            (alloc::vec![of(seen, real, true, Some((89, 80)), Some(8080))], false),
            (alloc::vec![of(seen, real, true, Some((89, 80)), None)], false),
            (alloc::vec![of(seen, real, true, None, Some(8080))], false),
            (alloc::vec![of(seen, "224.0.0.0/24", false, None, None)], false),
        ] {
            let settings = NatSettings { destinations, ..NatSettings::default() };
            assert_eq!(settings.validate().is_ok(), good, "{settings:?}");
        }
    }

    #[test]
    fn forwards_and_prefixes_are_checked() {
        let forward = |protocol, first, last, first_port| PortForward {
            protocol: Protocol(protocol),
            external_ip: "192.0.2.1".parse().unwrap(),
            external_ports: PortRange { first, last },
            first_port,
        };
        for (forwards, good) in [
            ([forward(6, 80, 90, 8080), forward(17, 80, 90, 8080)], true),
            ([forward(6, 80, 90, 8080), forward(6, 90, 91, 1)], false),
            ([forward(6, 80, 90, 65_530), forward(17, 80, 90, 8080)], false),
            ([forward(1, 80, 90, 8080), forward(17, 80, 90, 8080)], false),
            ([forward(6, 0, 90, 8080), forward(17, 80, 90, 8080)], false),
        ] {
            let settings = NatSettings { forwards: forwards.into(), ..NatSettings::default() };
            assert_eq!(settings.validate().is_ok(), good, "{settings:?}");
        }
        let prefix = |inside, external| OneToOne { inside: cidr(inside), external: cidr(external) };
        for (a, b, good) in [
            (("10.0.0.0/28", "192.0.2.0/28"), ("10.0.0.16/28", "192.0.2.16/28"), true),
            (("10.0.0.0/28", "192.0.2.0/28"), ("10.0.0.8/29", "192.0.2.16/29"), false),
            (("10.0.0.0/28", "192.0.2.0/24"), ("fd00::/64", "2001:db8::/64"), false),
            (("10.0.0.0/28", "192.0.2.0/28"), ("fd00::/64", "2001:db8::/64"), true),
        ] {
            let one_to_one = [a, b].map(|(inside, external)| prefix(inside, external)).into();
            let settings = NatSettings { one_to_one, ..NatSettings::default() };
            assert_eq!(settings.validate().is_ok(), good, "{settings:?}");
        }
    }
}
