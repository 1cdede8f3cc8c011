// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Lines that change or look at something.

use super::world::{World, behind, ephemeral, guest_by_name};
use super::{Stage, expect};
use crate::hypervisor::Played;
use crate::setting::{FAMILIES, Guest, everywhere, outside, subnet};
use crate::twins::gateway_id;
use opte_api::{Direction, IpCidr, OpteError};
use oxide_vpc_api::pools::MAX_LEASE_PAGE;
use oxide_vpc_api::request::{
    AddRoute, AllowCidr, AttachSubnet, DelRoute, DeletePort, DetachSubnet, DumpCounters,
    DumpNatLeases, DumpTcpFlows, DumpUft, ListPorts, Removal, RemoveCidr, SetExternalIps,
    SetFwRules, SetPortSettings, ShowPortSettings,
};
use oxide_vpc_api::{
    Attachment, ExternalIps, FirewallRule, GatewayMap, PortSettings, RouteEntry, RouterClass,
    RouterTarget, SnatRange,
};
use std::net::IpAddr;

impl<H: Played> Stage<'_, H> {
    pub(super) fn control(&mut self, line: &str) -> Result<(), String> {
        let (verb, rest) = line.split_once(' ').ok_or("a verb and more")?;
        match verb {
            "limit" => {
                let limit = rest.parse().map_err(|_| "no number")?;
                self.world = World::on(limit, self.make);
            }
            "wait" => {
                let seconds = rest.strip_suffix('s').and_then(|number| number.parse::<u64>().ok());
                self.world.wait(seconds.ok_or("wait takes seconds, as in 61s")? * 1000);
            }
            "create" => self.world.add(guest(rest)?),
            "delete" => {
                let guest = guest(rest)?;
                let delete = DeletePort { name: guest.port() };
                self.world.host(guest).request(&delete).map_err(told)?;
            }
            "route" => self.route(rest)?,
            "generation" => self.generation(rest)?,
            "refused" => self.refused(rest)?,
            _ => {
                let (subject, value) = rest.split_once('=').ok_or("SUBJECT = VALUE")?;
                let words: Vec<&str> = subject.split_whitespace().collect();
                let guest = guest(words.first().ok_or("of which guest?")?)?;
                self.set_or_look(verb, guest, &words[1..], value.trim())?;
            }
        }
        Ok(())
    }

    /// `WORD LINE`: the line is refused, with this word in the reason.
    fn refused(&mut self, rest: &str) -> Result<(), String> {
        let (word, line) = rest.split_once(' ').ok_or("WORD LINE")?;
        match self.control(line) {
            Ok(()) => Err("it is not refused".into()),
            Err(why) if why.contains(word) => Ok(()),
            Err(why) => Err(format!("no '{word}' in: {why}")),
        }
    }

    /// `GUEST = $NAME`.
    fn generation(&mut self, rest: &str) -> Result<(), String> {
        let (name, variable) = rest.split_once('=').ok_or("GUEST = $NAME")?;
        let guest = guest(name)?;
        let list = self.world.host(guest).request(&ListPorts {}).map_err(told)?;
        let info = list.iter().find(|info| info.name == guest.port()).ok_or("no such port")?;
        let seen = u16::try_from(info.generation).map_err(|_| "a large number")?;
        let known = *self.variables.entry(variable.trim().to_owned()).or_insert(seen);
        expect("generation", seen, known)
    }

    fn set_or_look(
        &mut self,
        verb: &str,
        guest: Guest,
        words: &[&str],
        value: &str,
    ) -> Result<(), String> {
        let port = guest.port();
        let host = self.world.host(guest);
        match verb {
            "rules" => {
                let texts = value.split(';').map(str::trim).filter(|text| !text.is_empty());
                let rules: Result<Vec<FirewallRule>, _> = texts.map(str::parse).collect();
                host.request(&SetFwRules { port, rules: rules.map_err(told)? }).map_err(told)
            }
            "attach" | "detach" | "allow" | "remove" => {
                let direction = words.first().map(|word| word.parse::<Direction>());
                let direction = direction.transpose().map_err(|e| e.to_string())?;
                prefix(host, verb, guest, direction, value)
            }
            "set" => {
                let settings = host.request(&ShowPortSettings { port: port.clone() });
                let settings = changed(&settings.map_err(told)?, value)?;
                host.request(&SetPortSettings { port, settings }).map_err(told)
            }
            "external" => host.request(&external(guest, value)?).map_err(told),
            "flows" => {
                let flows = host.request(&DumpUft::of(port)).map_err(told)?.flows;
                expect("flows", flows.len().to_string().as_str(), value)
                    .map_err(|why| format!("{why}: {flows:#?}"))
            }
            "leases" => {
                let ask = DumpNatLeases { port, after: None, limit: MAX_LEASE_PAGE };
                let leases = host.request(&ask).map_err(told)?.leases;
                expect("leases", leases.len().to_string().as_str(), value)
                    .map_err(|why| format!("{why}: {leases:#?}"))
            }
            "tcp" => {
                let flows = host.request(&DumpTcpFlows::of(port)).map_err(told)?.flows;
                let mut states: Vec<_> = flows.into_iter().map(|flow| flow.state).collect();
                states.sort();
                expect("states", states.join(" ").as_str(), value)
            }
            "count" => {
                let sets = host.request(&DumpCounters { port: Some(port) }).map_err(told)?;
                let name = words.first().ok_or("which counter?")?;
                let mut all = sets.iter().flat_map(|set| &set.counters);
                let counter = all.find(|counter| counter.name == **name);
                let seen = counter.ok_or(format!("there is no counter {name}"))?.value;
                expect("counter", seen.to_string().as_str(), value)
            }
            _ => Err(format!("what is '{verb}'?")),
        }
    }

    /// `GUEST +|- PREFIX TARGET`, for both families.
    fn route(&mut self, rest: &str) -> Result<(), String> {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [name, sign, prefix, target] = words.as_slice() else {
            return Err("route GUEST + PREFIX TARGET".into());
        };
        let guest = guest(name)?;
        let port = || guest.port();
        for ipv4 in FAMILIES {
            let dest = match *prefix {
                "all" => everywhere(ipv4),
                "vpc" => subnet(ipv4),
                "out" => IpCidr::new(outside(ipv4), 24).map_err(|e| e.to_string())?,
                name => {
                    let (of, part) = name.split_once('.').unwrap_or((name, ""));
                    let found = behind(self::guest(of)?, ipv4, part);
                    found.ok_or(format!("what is '{name}'?"))?.1
                }
            };
            let target = route_target(target, ipv4)?;
            let route = RouteEntry { dest, target, class: RouterClass::Custom };
            let host = self.world.host(guest);
            match *sign {
                "+" => host.request(&AddRoute { port: port(), route }).map_err(told)?,
                "-" => {
                    let removal = host.request(&DelRoute { port: port(), route }).map_err(told)?;
                    expect("removal", removal, Removal::Removed)?;
                }
                _ => return Err("+ or -".into()),
            }
        }
        Ok(())
    }
}

/// A change of what a guest may use besides its own addresses, in both families.
fn prefix(
    host: &mut impl Played,
    verb: &str,
    guest: Guest,
    direction: Option<Direction>,
    part: &str,
) -> Result<(), String> {
    for ipv4 in FAMILIES {
        let port = guest.port();
        let (_, subnet) = behind(guest, ipv4, part).ok_or(format!("what is '{part}'?"))?;
        let attachment = if part == "known" { Attachment::External } else { Attachment::Internal };
        let removal = match verb {
            "attach" => {
                host.request(&AttachSubnet { port, subnet, attachment }).map(|()| Removal::Removed)
            }
            "detach" => host.request(&DetachSubnet { port, subnet }),
            "allow" => {
                let allow = AllowCidr { port, cidr: subnet, direction };
                host.request(&allow).map(|()| Removal::Removed)
            }
            _ => host.request(&RemoveCidr { port, cidr: subnet, direction }),
        };
        expect("removal", removal.map_err(told)?, Removal::Removed)?;
    }
    Ok(())
}

fn route_target(word: &str, ipv4: bool) -> Result<RouterTarget, String> {
    let (name, number) = with_gateway(word)?;
    Ok(match name {
        "ig" => RouterTarget::InternetGateway(number.map(gateway_id)),
        "drop" => RouterTarget::Drop,
        "vpc" => RouterTarget::Subnet(subnet(ipv4)),
        name => RouterTarget::Ip(guest(name)?.ip(ipv4)),
    })
}

/// Settings with the changes that words like `idle.udp=180` name.
fn changed(settings: &PortSettings, words: &str) -> Result<PortSettings, String> {
    let mut tree = serde_json::to_value(settings).map_err(|e| e.to_string())?;
    for word in words.split_whitespace() {
        let (name, value) = word.split_once('=').ok_or("NAME=VALUE")?;
        let place = tree.pointer_mut(&format!("/{}", name.replace('.', "/")));
        *place.ok_or(format!("there is no setting {name}"))? =
            serde_json::from_str(value).unwrap_or_else(|_| value.into());
    }
    serde_json::from_value(tree).map_err(|e| e.to_string())
}

/// Words with the external addresses that a guest is to have, for both families.
fn external(guest: Guest, words: &str) -> Result<SetExternalIps, String> {
    let mut gateways = GatewayMap::new();
    let mut families = [ExternalIps::default(), ExternalIps::default()];
    for (ips, ipv4) in families.iter_mut().zip(FAMILIES) {
        for word in words.split_whitespace() {
            let (name, gateway) = with_gateway(word)?;
            let ip = one_external(guest, ipv4, name, ips)?;
            if let Some(number) = gateway {
                gateways.entry(ip).or_default().insert(gateway_id(number));
            }
        }
    }
    let [ipv4, ipv6] = families.map(Some);
    Ok(SetExternalIps { port: guest.port(), ipv4, ipv6, gateways })
}

/// `floating`, `ephemeral`, `snat`, `snat/COUNT` for the first ports of that range, `snat.GUEST` for
/// the range of another guest, or `shared` for the address of that range as the guest's own.
fn one_external(
    guest: Guest,
    ipv4: bool,
    word: &str,
    ips: &mut ExternalIps,
) -> Result<IpAddr, String> {
    let (name, count) = word.split_once('/').map_or((word, None), |(a, b)| (a, Some(b)));
    let (name, of) = name.split_once('.').map_or((name, None), |(a, b)| (a, Some(b)));
    let of = of.map(self::guest).transpose()?.unwrap_or(guest);
    let whole = of.snat(ipv4);
    Ok(match (name, count) {
        ("floating", None) => {
            ips.floating.push(guest.floating(ipv4));
            guest.floating(ipv4)
        }
        ("shared", None) => {
            ips.floating.push(whole.ip);
            whole.ip
        }
        ("ephemeral", None) => *ips.ephemeral.insert(ephemeral(guest, ipv4)),
        ("snat", None) => {
            ips.snat.push(whole);
            whole.ip
        }
        ("snat", Some(count)) => {
            let count: u16 = count.parse().map_err(|_| "how many ports?")?;
            let last_port = whole.first_port + count - 1;
            ips.snat.push(SnatRange { last_port, ..whole });
            whole.ip
        }
        _ => return Err(format!("what is '{word}'?")),
    })
}

fn with_gateway(word: &str) -> Result<(&str, Option<u8>), String> {
    match word.split_once('@') {
        None => Ok((word, None)),
        Some((name, number)) => {
            number.parse().map(|number| (name, Some(number))).map_err(|_| "@ takes a number".into())
        }
    }
}

fn guest(name: &str) -> Result<Guest, String> {
    guest_by_name(name.trim()).ok_or(format!("who is '{name}'?"))
}

fn told(error: OpteError) -> String {
    error.to_string()
}
