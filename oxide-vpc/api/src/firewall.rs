// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Firewall rules and their text form.
//!
//! A rule is words `key=value` in any order, in capitals or not:
//!
//! ```text
//! dir=in action=allow priority=100 hosts=subnet=10.0.0.0/8 protocol=tcp port=22,8000-8080
//! ```
//!
//! `dir`, `action` and `priority` must be there. `hosts` (the remote side) is `any`,
//! `ip=ADDRESS`, `subnet=PREFIX` or `vni=NUMBER`; `protocol` is `any`, `tcp`, `udp`,
//! `icmp[:TYPE[-TYPE][,CODE[-CODE]]]`, `icmp6[...]` or a number; `port` (the destination) is `any`
//! or numbers and ranges with commas. `uuid` names the rule for who has made it; `comment`, which
//! comes last, is all the text behind it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use opte_api::{Direction, IpCidr, OpteError, Protocol, Vni};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Most rules of one port.
pub const MAX_RULES: usize = 10_000;
/// Most port ranges of one rule.
pub const MAX_PORT_RANGES: usize = 256;
/// Longest comment of a rule, in bytes.
pub const MAX_COMMENT: usize = 128;

/// What a rule does with a packet that opens a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FirewallAction {
    /// Lets the connection be, both ways.
    Allow,
    /// Drops the packet.
    Deny,
    /// Drops the packet and tells its sender: by a reset if it is TCP, else by an ICMP error.
    Reject,
}

/// The remote side: the source of what comes in, the destination of what goes out.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize,
)]
pub enum Hosts {
    /// Anybody.
    #[default]
    Any,
    /// One address.
    Ip(IpAddr),
    /// A prefix.
    Subnet(IpCidr),
    /// Guests of a VPC. Packets marked as coming from outside never match.
    Vni(Vni),
}

/// Which ICMP messages.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize,
)]
pub struct IcmpFilter {
    /// Message types, first to last inclusive; `None` is any.
    pub kinds: Option<(u8, u8)>,
    /// Codes, first to last inclusive; `None` is any.
    pub codes: Option<(u8, u8)>,
}

/// Which protocols.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize,
)]
pub enum ProtocolFilter {
    /// All.
    #[default]
    Any,
    /// ICMP, all or some messages.
    Icmp(IcmpFilter),
    /// ICMPv6, all or some messages.
    Icmpv6(IcmpFilter),
    /// One protocol by number; TCP and UDP too.
    Number(Protocol),
}

/// Ports from `first` to `last`, both inclusive.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

/// One rule.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub struct FirewallRule {
    /// Which way the connection is opened.
    pub direction: Direction,
    /// What is done.
    pub action: FirewallAction,
    /// Lower goes first; at equal priority deny goes before allow.
    pub priority: u16,
    /// The remote side.
    pub hosts: Hosts,
    /// The protocol.
    pub protocol: ProtocolFilter,
    /// Destination ports; empty is any.
    pub ports: Vec<PortRange>,
    /// What who has made the rule calls it. Neither this nor the comment makes it another rule.
    pub uuid: Option<Uuid>,
    /// What people are to know about it.
    pub comment: Option<String>,
}

impl FirewallRule {
    /// Checks ranges and that ports stand only where a protocol can have them.
    pub fn validate(&self) -> Result<(), OpteError> {
        let bad = |why: String| OpteError::invalid("firewall rule", why);
        if self.ports.len() > MAX_PORT_RANGES {
            return Err(bad(format!("over {MAX_PORT_RANGES} port ranges")));
        }
        if let Some(range) = self.ports.iter().find(|r| r.first > r.last || r.first == 0) {
            return Err(bad(format!("{range} is no port range")));
        }
        let has_ports = matches!(
            self.protocol,
            ProtocolFilter::Any | ProtocolFilter::Number(Protocol::TCP | Protocol::UDP)
        );
        if !self.ports.is_empty() && !has_ports {
            return Err(bad(format!("protocol {} has no ports here", self.protocol)));
        }
        let wrong = |range: Option<(u8, u8)>| range.is_some_and(|(first, last)| first > last);
        if let ProtocolFilter::Icmp(icmp) | ProtocolFilter::Icmpv6(icmp) = self.protocol {
            if wrong(icmp.kinds) || wrong(icmp.codes) {
                return Err(bad("ICMP types and codes go from low to high".into()));
            }
            if icmp.codes.is_some() && icmp.kinds.is_none() {
                return Err(bad("ICMP codes need a type".into()));
            }
        }
        let comment = self.comment.as_deref().unwrap_or("-");
        let shown = |c: char| !c.is_control();
        if comment.is_empty() || comment.len() > MAX_COMMENT || !comment.chars().all(shown) {
            return Err(bad(format!("a comment is 1 to {MAX_COMMENT} bytes of one line")));
        }
        if comment.trim() != comment {
            return Err(bad("a comment neither begins nor ends with a space".into()));
        }
        Ok(())
    }
}

impl FromStr for FirewallRule {
    type Err = OpteError;

    fn from_str(text: &str) -> Result<Self, OpteError> {
        let (text, comment) = split_comment(text);
        let lower = text.to_ascii_lowercase();
        let mut words = Words::default();
        for word in lower.split_ascii_whitespace() {
            let (key, value) =
                word.split_once('=').ok_or_else(|| bad(format!("'{word}' is not key=value")))?;
            let slot = words.slot(key).ok_or_else(|| bad(format!("unknown word '{key}'")))?;
            if slot.replace(value).is_some() {
                return Err(bad(format!("'{key}' stands twice")));
            }
        }
        let rule = FirewallRule { comment, ..words.into_rule()? };
        rule.validate()?;
        Ok(rule)
    }
}

/// Everything behind the word `comment=`.
fn split_comment(text: &str) -> (&str, Option<String>) {
    const WORD: &str = "comment=";
    let begins = |at: &usize| {
        let before = text.get(..*at).and_then(|before| before.chars().next_back());
        let word = text.get(*at..*at + WORD.len());
        before.is_none_or(char::is_whitespace) && word.is_some_and(|w| w.eq_ignore_ascii_case(WORD))
    };
    match (0..text.len()).find(begins) {
        Some(at) => {
            let comment = text.get(at + WORD.len()..).unwrap_or_default().trim();
            (text.get(..at).unwrap_or_default(), Some(comment.into()))
        }
        None => (text, None),
    }
}

fn bad(why: impl fmt::Display) -> OpteError {
    OpteError::invalid("firewall rule", why)
}

#[derive(Default)]
struct Words<'a> {
    direction: Option<&'a str>,
    action: Option<&'a str>,
    priority: Option<&'a str>,
    hosts: Option<&'a str>,
    protocol: Option<&'a str>,
    ports: Option<&'a str>,
    uuid: Option<&'a str>,
}

impl<'a> Words<'a> {
    fn slot(&mut self, key: &str) -> Option<&mut Option<&'a str>> {
        Some(match key {
            "dir" => &mut self.direction,
            "action" => &mut self.action,
            "priority" => &mut self.priority,
            "hosts" => &mut self.hosts,
            "protocol" => &mut self.protocol,
            "port" | "ports" => &mut self.ports,
            "uuid" => &mut self.uuid,
            _ => return None,
        })
    }

    fn into_rule(self) -> Result<FirewallRule, OpteError> {
        let need = |word: Option<&'a str>, key: &str| {
            word.ok_or_else(|| bad(format!("'{key}' is missing")))
        };
        Ok(FirewallRule {
            direction: need(self.direction, "dir")?.parse().map_err(bad)?,
            action: match need(self.action, "action")? {
                "allow" => FirewallAction::Allow,
                "deny" => FirewallAction::Deny,
                "reject" => FirewallAction::Reject,
                other => return Err(bad(format!("action '{other}': use allow, deny or reject"))),
            },
            priority: number(need(self.priority, "priority")?, "priority")?,
            hosts: self.hosts.map_or(Ok(Hosts::Any), str::parse)?,
            protocol: self.protocol.map_or(Ok(ProtocolFilter::Any), str::parse)?,
            ports: self.ports.map_or(Ok(Vec::new()), parse_ports)?,
            uuid: self.uuid.map(|uuid| uuid.parse().map_err(bad)).transpose()?,
            comment: None,
        })
    }
}

fn number<T: FromStr>(text: &str, what: &str) -> Result<T, OpteError> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad(format!("{what} '{text}' is no number")));
    }
    text.parse().map_err(|_| bad(format!("{what} '{text}' is out of range")))
}

/// Reads `any`, or numbers and ranges with commas.
pub fn parse_ports(text: &str) -> Result<Vec<PortRange>, OpteError> {
    if text == "any" {
        return Ok(Vec::new());
    }
    text.split(',').map(str::parse).collect()
}

impl FromStr for PortRange {
    type Err = OpteError;

    fn from_str(text: &str) -> Result<Self, OpteError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Ok(Self { first: number(first, "port")?, last: number(last, "port")? })
    }
}

impl FromStr for Hosts {
    type Err = OpteError;

    fn from_str(text: &str) -> Result<Self, OpteError> {
        match text.split_once('=') {
            None if text == "any" => Ok(Self::Any),
            Some(("ip", ip)) => ip.parse().map(Self::Ip).map_err(bad),
            Some(("subnet", subnet)) => subnet.parse().map(Self::Subnet).map_err(bad),
            Some(("vni", vni)) => vni.parse().map(Self::Vni).map_err(bad),
            _ => Err(bad("hosts: use any, ip=ADDRESS, subnet=PREFIX or vni=NUMBER")),
        }
    }
}

impl FromStr for ProtocolFilter {
    type Err = OpteError;

    fn from_str(text: &str) -> Result<Self, OpteError> {
        let (name, detail) = match text.split_once(':') {
            Some((name, detail)) => (name, Some(detail)),
            None => (text, None),
        };
        match (name, detail) {
            ("icmp", detail) => parse_icmp(detail).map(Self::Icmp),
            ("icmp6" | "icmpv6", detail) => parse_icmp(detail).map(Self::Icmpv6),
            ("any", None) => Ok(Self::Any),
            ("tcp", None) => Ok(Self::Number(Protocol::TCP)),
            ("udp", None) => Ok(Self::Number(Protocol::UDP)),
            (other, None) => Ok(Self::Number(Protocol(number(other, "protocol")?))),
            _ => Err(bad(format!("protocol '{name}' takes no ':'"))),
        }
    }
}

fn parse_icmp(detail: Option<&str>) -> Result<IcmpFilter, OpteError> {
    let Some(detail) = detail else { return Ok(IcmpFilter::default()) };
    let range = |text: &str, what| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Ok::<_, OpteError>((number(first, what)?, number(last, what)?))
    };
    let (kinds, codes) = match detail.split_once(',') {
        Some((kinds, codes)) => (kinds, Some(range(codes, "ICMP code")?)),
        None => (detail, None),
    };
    Ok(IcmpFilter { kinds: Some(range(kinds, "ICMP type")?), codes })
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Ip(ip) => write!(f, "ip={ip}"),
            Self::Subnet(subnet) => write!(f, "subnet={subnet}"),
            Self::Vni(vni) => write!(f, "vni={vni}"),
        }
    }
}

impl fmt::Display for IcmpFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (range, mark) in [(self.kinds, ':'), (self.codes, ',')] {
            match range {
                None => {}
                Some((first, last)) if first == last => write!(f, "{mark}{first}")?,
                Some((first, last)) => write!(f, "{mark}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for ProtocolFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Icmp(icmp) => write!(f, "icmp{icmp}"),
            Self::Icmpv6(icmp) => write!(f, "icmp6{icmp}"),
            Self::Number(Protocol::TCP) => f.write_str("tcp"),
            Self::Number(Protocol::UDP) => f.write_str("udp"),
            Self::Number(Protocol(number)) => number.fmt(f),
        }
    }
}

impl fmt::Display for FirewallAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
        })
    }
}

impl fmt::Display for FirewallRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "dir={} action={} priority={} hosts={} protocol={} port=",
            self.direction, self.action, self.priority, self.hosts, self.protocol
        )?;
        if self.ports.is_empty() {
            f.write_str("any")?;
        }
        for (at, range) in self.ports.iter().enumerate() {
            write!(f, "{}{range}", if at == 0 { "" } else { "," })?;
        }
        if let Some(uuid) = self.uuid {
            write!(f, " uuid={uuid}")?;
        }
        match &self.comment {
            Some(comment) => write!(f, " comment={comment}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn text_round_trips() {
        for text in [
            "dir=in action=allow priority=100 hosts=any protocol=any port=any",
            "dir=out action=deny priority=0 hosts=subnet=10.0.0.0/8 protocol=tcp port=22,8000-8080",
            "dir=in action=allow priority=65535 hosts=vni=99 protocol=icmp:3,0-4 port=any",
            "dir=in action=allow priority=1 hosts=ip=fd00::1 protocol=icmp6:128 port=any",
            "dir=in action=allow priority=1 hosts=any protocol=132 port=any",
            "dir=in action=reject priority=1 hosts=any protocol=icmp:3-5 port=any",
            "dir=in action=deny priority=1 hosts=any protocol=icmp6:1-4,0-7 port=any \
             uuid=f3b1a5ac-6a9a-4b1c-9a3e-0d4f3f7d6a01 comment=Not for dir=out, says Eve",
        ] {
            assert_eq!(text.parse::<FirewallRule>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn order_case_and_defaults_are_free() {
        let rule: FirewallRule = "  Priority=7  ACTION=Deny dir=OUT ".parse().unwrap();
        assert_eq!(
            rule.to_string(),
            "dir=out action=deny priority=7 hosts=any protocol=any port=any"
        );
    }

    #[test]
    fn bad_rules_say_what_is_wrong() {
        for (text, part) in [
            ("", "'dir' is missing"),
            ("dir=in action=allow", "'priority' is missing"),
            ("dir=in action=allow priority=-1", "no number"),
            ("dir=in action=allow priority=65536", "out of range"),
            ("dir=in dir=out action=allow priority=1", "stands twice"),
            ("dir=in action=allow priority=1 colour=red", "unknown word"),
            ("dir=in action=allow priority=1 port=0", "no port range"),
            ("dir=in action=allow priority=1 port=9-3", "no port range"),
            ("dir=in action=allow priority=1 protocol=icmp port=3", "no ports"),
            ("dir=in action=deny priority=1 protocol=132 port=80", "no ports"),
            ("dir=in action=allow priority=1 hosts=subnet=1.2.3.4", "a prefix is"),
            ("dir=in action=refuse priority=1", "use allow, deny or reject"),
            ("dir=in action=deny priority=1 protocol=icmp:5-3", "from low to high"),
            ("dir=in action=deny priority=1 protocol=icmp:5,3-2", "from low to high"),
            ("dir=in action=deny priority=1 uuid=7", "invalid"),
            ("dir=in action=deny priority=1 comment=", "1 to 128 bytes"),
        ] {
            let error = text.parse::<FirewallRule>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
