// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Lines that send a packet.

use super::world::{Arrival, address, guest_by_name};
use super::{Stage, expect};
use crate::hypervisor::Played;
use crate::packets::{Body, Packet};
use etherparse::{PacketHeaders, TcpOptionElement};
use opte::tcp::TcpFlags;
use opte_api::MacAddr;
use std::net::IpAddr;

/// Letters of TCP flags in the order of their bits.
const FLAGS: &str = "FSRPAU";
/// Sequence number of every SYN; what follows begins one later.
const START: u32 = 1000;

impl<H: Played> Stage<'_, H> {
    /// `sent` is `WHO -> WHOM WHAT [NUMBERS] [ack=NUMBER] [ttl=NUMBER] [class=NUMBER] [len=NUMBER]`.
    pub(super) fn send(&mut self, sent: &str, expected: &str) -> Result<(), String> {
        let words: Vec<&str> = sent.split_whitespace().collect();
        let [who, "->", whom, what, rest @ ..] = words.as_slice() else {
            return Err("a packet is WHO -> WHOM WHAT".into());
        };
        let (mut packet, receiver) = self.packet(who, whom, what, rest)?;
        adorn(&mut packet, rest)?;
        let sender = address(who, true).and_then(|(_, guest)| guest);
        let arrival = match sender {
            Some(guest) => self.world.from_guest(guest, &packet),
            None => {
                let by = rest.iter().find_map(|word| word.strip_prefix("by="));
                let by = by.map(|name| guest_by_name(name).ok_or(format!("who is '{name}'?")));
                let receiver = by.transpose()?.or(receiver).ok_or("for whom?")?;
                self.world.from_outside(receiver, &packet)
            }
        };
        self.compare(&arrival, expected, packet.src.is_ipv4())
    }

    fn packet(
        &self,
        who: &str,
        whom: &str,
        what: &str,
        rest: &[&str],
    ) -> Result<(Packet, Option<crate::setting::Guest>), String> {
        let (name, detail) = what.split_once(':').unwrap_or((what, ""));
        let ipv4 = !name.ends_with('6');
        let name = name.trim_end_matches('6');
        let lookup = |name: &str| address(name, ipv4).ok_or(format!("who is '{name}'?"));
        let ((src, _), (dst, receiver)) = (lookup(who)?, lookup(whom)?);
        let (macs, ips) = ([MacAddr::default(); 2], [src, dst]);
        let packet = match name {
            "udp" => {
                let body = Body::Udp { ports: self.ports(rest)?, checksum: true };
                Packet::new(macs, ips, body)
            }
            "tcp" => {
                let body = self.tcp(detail, rest)?;
                Packet { payload: Vec::new(), ..Packet::new(macs, ips, body) }
            }
            "ping" => Packet::echo(macs, ips, self.id(rest)?),
            "pong" => {
                let ping = Packet::echo(macs, [dst, src], self.id(rest)?);
                Packet { macs, ..ping.reply() }
            }
            "stamp" => Packet::timestamp(macs, ips, self.id(rest)?, false),
            "stamped" => Packet::timestamp(macs, ips, self.id(rest)?, true),
            "gre" => Packet::new(macs, ips, Body::Other(47)),
            "error" => {
                // Whoever is outside sees what gets there.
                let place = if guest_by_name(who).is_some() { who } else { "out" };
                let frame = self.received.get(place).ok_or("about what?")?;
                Packet::unreachable(macs, ips, frame)
            }
            _ => return Err(format!("what is '{what}'?")),
        };
        Ok((packet, receiver))
    }

    fn id(&self, rest: &[&str]) -> Result<u16, String> {
        self.number(rest.first().ok_or("the identifier is missing")?)
    }

    fn ports(&self, rest: &[&str]) -> Result<[u16; 2], String> {
        let ports = rest.first().and_then(|word| word.split_once(':'));
        let (src, dst) = ports.ok_or("ports are SOURCE:DESTINATION")?;
        Ok([self.number(src)?, self.number(dst)?])
    }

    fn tcp(&self, letters: &str, rest: &[&str]) -> Result<Body, String> {
        let mut flags = 0;
        for letter in letters.chars() {
            flags |= 1 << FLAGS.find(letter).ok_or(format!("no flag {letter}"))?;
        }
        let flags = TcpFlags(flags);
        let seq = if flags.is_syn() { START } else { START + 1 };
        let given = |name| rest.iter().find_map(|word| word.strip_prefix(name));
        let seq = match given("seq=") {
            Some(number) => number.parse().map_err(|_| "seq takes a number")?,
            None => seq,
        };
        let ack = match given("ack=") {
            Some(number) => number.parse().map_err(|_| "ack takes a number")?,
            None if flags.is_ack() => START + 1,
            None => 0,
        };
        Ok(Body::Tcp { ports: self.ports(rest)?, flags, numbers: [seq, ack] })
    }

    /// `expected` is `PLACE`, `reply`, `drop REASON` or `refuse REASON PLACE`, and then any of
    /// `from`, `to` and `about` with `ADDRESS[:PORT]`, and those of [`is_so`].
    fn compare(&mut self, arrival: &Arrival, expected: &str, ipv4: bool) -> Result<(), String> {
        let mut words: Vec<&str> = expected.split_whitespace().collect();
        let count = match words.first() {
            Some(&"drop") => 2,
            Some(&"refuse") => 3,
            _ => 1,
        };
        let conditions = words.split_off(count.min(words.len()));
        let (seen, bytes) = seen(arrival);
        let names: Vec<&str> = seen.iter().map(String::as_str).collect();
        if names != words {
            return Err(format!("seen {names:?}, expected {words:?}"));
        }
        let Some(bytes) = bytes else { return Ok(()) };
        self.received.insert(seen[seen.len() - 1].clone(), bytes.clone());
        let packet = Packet::read(bytes).ok_or("no IP packet")?;
        for condition in conditions.chunks(2) {
            let [kind, place] = condition else { return Err("half a condition".into()) };
            if is_so(kind, place, &packet, bytes)? {
                continue;
            }
            let [src_port, dst_port] = packet.ports();
            let (ip, port) = match *kind {
                "from" => (packet.src, src_port),
                "to" => (packet.dst, dst_port),
                "about" => quoted_end(&packet, 0).ok_or("it quotes nothing")?,
                "towards" => quoted_end(&packet, 1).ok_or("it quotes nothing")?,
                _ => return Err(format!("what is '{kind}'?")),
            };
            self.place(place, ipv4, ip, port)?;
        }
        Ok(())
    }

    fn place(&mut self, place: &str, ipv4: bool, ip: IpAddr, port: u16) -> Result<(), String> {
        let (name, number) = place.split_once(':').map_or((place, None), |(a, b)| (a, Some(b)));
        let (expected, _) = address(name, ipv4).ok_or(format!("who is '{name}'?"))?;
        expect("address", ip, expected)?;
        number.map_or(Ok(()), |number| self.agree(number, port))
    }
}

/// What is unusual of a packet. `len` is that of the IP packet.
fn adorn(packet: &mut Packet, rest: &[&str]) -> Result<(), String> {
    let given = rest.iter().filter_map(|word| word.split_once('='));
    for (name, value) in given.filter(|(name, _)| *name != "by") {
        let value: usize = value.parse().map_err(|_| format!("{name} takes a number"))?;
        match name {
            "ttl" => packet.ttl = value as u8,
            "class" => packet.class = value as u8,
            "len" => {
                packet.payload.clear();
                let headers = packet.bytes().len() - 14;
                packet.payload = vec![7; value.checked_sub(headers).ok_or("that is too short")?];
            }
            "seq" | "ack" => {}
            _ => return Err(format!("what is '{name}'?")),
        }
    }
    Ok(())
}

fn segment_size(bytes: &[u8]) -> Option<u16> {
    let headers = PacketHeaders::from_ethernet_slice(bytes).ok()?;
    let options = headers.transport?.tcp()?;
    let mut options = options.options_iterator();
    options.find_map(|option| match option {
        Ok(TcpOptionElement::MaximumSegmentSize(size)) => Some(size),
        _ => None,
    })
}

/// Where a packet has got to, in words, and what came there.
fn seen(arrival: &Arrival) -> (Vec<String>, Option<&Vec<u8>>) {
    match arrival {
        Arrival::Guest(guest, bytes) => (vec![format!("g{}", guest.0)], Some(bytes)),
        Arrival::Outside(bytes) => (vec!["out".into()], Some(bytes)),
        Arrival::Reply(bytes) => (vec!["reply".into()], Some(bytes)),
        Arrival::Dropped(reason) => (vec!["drop".into(), (*reason).into()], None),
        Arrival::Refused(reason, told) => {
            let (place, bytes) = seen(told);
            let words = ["refuse".into(), (*reason).into()].into_iter().chain(place);
            (words.collect(), bytes)
        }
    }
}

/// Conditions on what is carried: `is rst` with `seq` and `ack` of it, `is TYPE.CODE`, the `mtu`
/// that an ICMP error tells, the `mss` that a SYN tells, `ttl`, and traffic `class`. False: it is no such condition.
fn is_so(kind: &str, value: &str, packet: &Packet, bytes: &[u8]) -> Result<bool, String> {
    let seen = match (kind, packet.body) {
        ("is", Body::Tcp { flags, .. }) if flags.is_rst() => "rst".into(),
        ("is", Body::Icmp { kind: [kind, code], .. }) => format!("{kind}.{code}"),
        ("is", body) => format!("{body:?}"),
        ("seq", Body::Tcp { numbers: [seq, _], .. }) => seq.to_string(),
        ("ack", Body::Tcp { numbers: [_, ack], .. }) => ack.to_string(),
        ("ttl", _) => packet.ttl.to_string(),
        ("class", _) => packet.class.to_string(),
        ("mss", Body::Tcp { .. }) => segment_size(bytes).ok_or("it tells none")?.to_string(),
        ("mtu", Body::Icmp { rest, .. }) => u32::from_be_bytes(rest).to_string(),
        _ => return Ok(false),
    };
    expect(kind, seen.as_str(), value).map(|()| true)
}

/// Source (0) or destination (1) address and port of the packet that an ICMP error quotes, which may
/// be cut.
fn quoted_end(error: &Packet, end: usize) -> Option<(IpAddr, u16)> {
    let mut frame = vec![0; 12];
    frame.extend_from_slice(if error.src.is_ipv4() { &[0x08, 0x00] } else { &[0x86, 0xdd] });
    frame.extend_from_slice(&error.payload);
    Packet::read(&frame).map(|packet| ([packet.src, packet.dst][end], packet.ports()[end]))
}
