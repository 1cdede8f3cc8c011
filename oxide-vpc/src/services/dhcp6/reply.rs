// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What an answer holds (RFC 8415, section 18.3).

use super::super::packet;
use super::message::{Message, Options, Status, Writer, code, kind, push_option};
use super::{named_addresses, server_id};
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use oxide_vpc_api::PortConfig;

/// Leases never end (RFC 8415, section 7.7).
const FOR_EVER: [u8; 4] = [0xff; 4];
/// No lifetime: the client must not use the address.
const NO_MORE: [u8; 4] = [0; 4];
/// Identity associations of one message that get an answer.
const MAX_ASSOCIATIONS: usize = 8;
/// Foreign addresses of one identity association that are withdrawn.
const MAX_WITHDRAWN: usize = 8;
/// IAID, T1 and T2 (RFC 8415, section 21.4); IAID alone (section 21.5).
const IA_NA_HEAD: usize = 12;
const IA_TA_HEAD: usize = 4;
/// S: we keep the name's AAAA record. O: the client did not ask us to (RFC 4704, section 4.1).
const FQDN_SERVER_UPDATES: u8 = 1;
const FQDN_OVERRIDE: u8 = 2;

/// Writes the answer to a message that has the identifiers it needs.
pub(super) fn write(
    config: &PortConfig,
    lease: Ipv6Addr,
    message: &Message<'_>,
    limit: usize,
) -> Result<Vec<u8>, &'static str> {
    let options = message.options;
    let commits = options.has(code::RAPID_COMMIT);
    let reply_kind = match message.kind {
        kind::SOLICIT if !commits => kind::ADVERTISE,
        _ => kind::REPLY,
    };
    let mut reply = Writer::new(reply_kind, message.transaction, limit);
    reply.push(code::SERVER_ID, &server_id(config));
    if let Some(id) = options.get(code::CLIENT_ID) {
        reply.push(code::CLIENT_ID, id);
    }
    match message.kind {
        kind::CONFIRM => reply.push(code::STATUS, &confirm(lease, options)?.encode()),
        kind::RELEASE | kind::DECLINE => {
            reply.push(code::STATUS, &Status::Success.encode());
            push_unknown(lease, options, &mut reply)?;
        }
        kind::INFORMATION_REQUEST => push_names(config, options, &mut reply),
        _ => {
            if message.kind == kind::SOLICIT {
                push_solicit(commits, &mut reply);
            }
            push_associations(lease, message, &mut reply)?;
            push_names(config, options, &mut reply);
        }
    }
    Ok(reply.finish())
}

/// Tells a client that asked by unicast to ask by multicast (RFC 8415, section 18.4). Messages
/// that are never sent to one server are not answered (section 16).
pub(super) fn refuse_unicast(
    config: &PortConfig,
    message: &Message<'_>,
    limit: usize,
) -> Result<Vec<u8>, &'static str> {
    if !matches!(message.kind, kind::REQUEST | kind::RENEW | kind::RELEASE | kind::DECLINE) {
        return Err("DHCPv6 message by unicast");
    }
    let mut reply = Writer::new(kind::REPLY, message.transaction, limit);
    reply.push(code::SERVER_ID, &server_id(config));
    if let Some(id) = message.options.get(code::CLIENT_ID) {
        reply.push(code::CLIENT_ID, id);
    }
    reply.push(code::STATUS, &Status::UseMulticast.encode());
    Ok(reply.finish())
}

/// Names each identity association that gives back what the client never had (RFC 8415,
/// sections 18.3.7 and 18.3.8).
fn push_unknown(
    lease: Ipv6Addr,
    options: Options<'_>,
    reply: &mut Writer,
) -> Result<(), &'static str> {
    for (code, value) in associations(options) {
        let (id, _) = value.split_first_chunk::<4>().ok_or(MALFORMED)?;
        let named = match code {
            code::IA_NA => named_addresses(value, IA_NA_HEAD).ok_or(MALFORMED)?,
            _ => Vec::new(),
        };
        if !named.contains(&lease) {
            push_refused(code, *id, Status::NoBinding, reply);
        }
    }
    Ok(())
}

/// Those that get an answer.
fn associations(options: Options<'_>) -> impl Iterator<Item = (u16, &[u8])> {
    let is_association = |c: u16| matches!(c, code::IA_NA | code::IA_TA | code::IA_PD);
    options.iter().filter(move |(code, _)| is_association(*code)).take(MAX_ASSOCIATIONS)
}

/// An identity association with nothing in it but the reason.
fn push_refused(code: u16, id: [u8; 4], status: Status, reply: &mut Writer) {
    let mut refused = id.to_vec();
    if code != code::IA_TA {
        refused.extend([0; 8]); // T1 and T2 are the client's choice.
    }
    push_option(&mut refused, code::STATUS, &status.encode());
    reply.push(code, &refused);
}

fn push_solicit(commits: bool, reply: &mut Writer) {
    if commits {
        reply.push(code::RAPID_COMMIT, &[]);
    } else {
        // There is no other server to wait for (RFC 8415, section 18.2.1).
        reply.push(code::PREFERENCE, &[u8::MAX]);
    }
}

/// Whether all the client's addresses are right here (RFC 8415, section 18.3.3).
fn confirm(lease: Ipv6Addr, options: Options<'_>) -> Result<Status, &'static str> {
    let mut named = Vec::new();
    for (code, value) in options.iter() {
        let head = match code {
            code::IA_NA => IA_NA_HEAD,
            code::IA_TA => IA_TA_HEAD,
            _ => continue,
        };
        named.extend(named_addresses(value, head).ok_or(MALFORMED)?);
    }
    if named.is_empty() {
        return Err("DHCPv6 confirm without an address");
    }
    let right = named.iter().all(|address| *address == lease);
    Ok(if right { Status::Success } else { Status::NotOnLink })
}

const MALFORMED: &str = "malformed DHCPv6 identity association";

/// Answers each identity association: the first for addresses gets the lease, the others hear
/// that we have nothing for them, or nothing of them.
fn push_associations(
    lease: Ipv6Addr,
    message: &Message<'_>,
    reply: &mut Writer,
) -> Result<(), &'static str> {
    let extends = matches!(message.kind, kind::RENEW | kind::REBIND);
    let mut given = false;
    for (code, value) in associations(message.options) {
        let (id, _) = value.split_first_chunk::<4>().ok_or(MALFORMED)?;
        if code == code::IA_NA && !given {
            given = true;
            let named = named_addresses(value, IA_NA_HEAD).ok_or(MALFORMED)?;
            let foreign = named.into_iter().filter(|address| extends && *address != lease);
            reply.push(code, &leased(*id, lease, foreign));
            continue;
        }
        let status = match code {
            _ if extends => Status::NoBinding,
            code::IA_PD => Status::NoPrefixes,
            _ => Status::NoAddresses,
        };
        push_refused(code, *id, status, reply);
    }
    Ok(())
}

/// The value of an identity association with the lease. Addresses that are not the guest's get
/// no lifetime (RFC 8415, section 18.3.4).
fn leased(id: [u8; 4], lease: Ipv6Addr, foreign: impl Iterator<Item = Ipv6Addr>) -> Vec<u8> {
    let mut value = [id, FOR_EVER, FOR_EVER].concat();
    let address = |address: Ipv6Addr, lifetime: [u8; 4]| {
        [address.octets().as_slice(), &lifetime, &lifetime].concat()
    };
    push_option(&mut value, code::IA_ADDRESS, &address(lease, FOR_EVER));
    for foreign in foreign.take(MAX_WITHDRAWN) {
        push_option(&mut value, code::IA_ADDRESS, &address(foreign, NO_MORE));
    }
    value
}

/// Servers and names, each if the client wants to know it (RFC 3646; RFC 4704).
fn push_names(config: &PortConfig, options: Options<'_>, reply: &mut Writer) {
    let list = options.get(code::OPTION_REQUEST).unwrap_or_default();
    let wants = |code: u16| list.chunks_exact(2).any(|pair| pair == code.to_be_bytes());
    let dhcp = &config.dhcp;
    if wants(code::NAME_SERVERS) {
        let servers = dhcp.dns6.iter().take(reply.room() / 16);
        let servers: Vec<u8> = servers.flat_map(Ipv6Addr::octets).collect();
        reply.push(code::NAME_SERVERS, &servers);
    }
    if wants(code::CLIENT_FQDN) || options.has(code::CLIENT_FQDN) {
        push_full_name(config, options, reply);
    }
    if wants(code::DOMAIN_LIST) || options.has(code::DOMAIN_LIST) {
        let names = packet::names_that_fit(&dhcp.domain_search, reply.room());
        if !names.is_empty() {
            reply.push(code::DOMAIN_LIST, &names);
        }
    }
}

/// The guest's own name. Without a domain it is not fully qualified and has no final zero byte
/// (RFC 4704, section 4.2).
fn push_full_name(config: &PortConfig, options: Options<'_>, reply: &mut Writer) {
    let Some(hostname) = &config.dhcp.hostname else { return };
    let asked = options.get(code::CLIENT_FQDN).and_then(|value| value.first().copied());
    let agrees = asked.is_some_and(|flags| flags & FQDN_SERVER_UPDATES != 0);
    let mut value = Vec::new();
    value.push(if agrees { FQDN_SERVER_UPDATES } else { FQDN_SERVER_UPDATES | FQDN_OVERRIDE });
    let mut name = hostname.encode();
    name.pop(); // The domain follows.
    value.extend(name);
    if let Some(domain) = &config.dhcp.host_domain {
        value.extend(domain.encode());
    }
    // One byte of flags, then a name of at most 255 bytes (RFC 1035, section 2.3.4).
    if value.len() <= 1 + 255 {
        reply.push(code::CLIENT_FQDN, &value);
    }
}
