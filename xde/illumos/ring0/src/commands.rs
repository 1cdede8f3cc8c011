// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Every command there is, on a kernel's stack.
//!
//! The requests are the recorded examples of all commands (`tests/data/wire`), which name one port. Before
//! each of them that port is made anew if it is not there, and has connections, so that there is something
//! to judge, to save and to cut.

use crate::frames::{End, frame};
use crate::run::{Wrong, use_of_stack};
use crate::say;
use crate::seat::Seat;
use crate::world::{Exchange, HOSTS, UNDERLAY, ask, name, seen};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use opte_api::frame::{API_VERSION, Header, is_done};
use opte_api::{IpCidr, Vni};
use oxide_vpc_api::request::{
    AddRoute, COMMANDS, ClearUnderlay, DeletePort, ListPorts, RestorePort, SavePort, SetUnderlay,
    SetV2b, StageRestore, StartPort,
};
use oxide_vpc_api::{BoundaryEndpoint, RouteEntry, RouterClass, RouterTarget, V2bEntry};
use xde_illumos_shim::context::Context;
use xde_illumos_shim::guest::{By, Guest};
use xde_illumos_shim::{dls, mac, message};

/// The port that the examples name, and its guest.
const PORT: &str = "opte0";
const GUEST: End =
    End { mac: [0xa8, 0x40, 0x25, 0xf0, 0, 1], ip: Ipv4Addr::new(172, 30, 0, 5), port: 0 };
/// Names of ports and links that examples use.
const LINKS: [&str; 3] = [PORT, "opte1", "igb0"];
/// Connections of the port, at each request.
const FLOWS: u16 = 16;
/// Commands whose use of the stack is told.
const TOLD: usize = 5;

/// A recorded request.
struct Recorded<'a> {
    name: &'a str,
    frame: Vec<u8>,
}

/// Reads lines of a command's name and the bytes of a request, in hexadecimal.
fn read(line: &str) -> Result<Recorded<'_>, Wrong> {
    let bad = || format!("no recorded request: {line}");
    let (name, digits) = line.split_once(' ').unwrap_or((line, ""));
    let known = COMMANDS.iter().find(|(_, known)| *known == name);
    let code = known.map(|(code, _)| *code).ok_or_else(bad)?;
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        let pair = str::from_utf8(pair).unwrap_or_default();
        u8::from_str_radix(pair, 16).map_err(|_| bad())
    });
    let body = pairs.collect::<Result<Vec<u8>, Wrong>>()?;
    let header = Header { version: API_VERSION, code, len: body.len() as u32 };
    Ok(Recorded { name, frame: [&header.to_bytes()[..], &body].concat() })
}

/// Makes every recorded request, and those that need what another one answers.
pub fn all(seat: &Seat<'_>, exchange: Exchange<'_>, records: &str) -> Result<(), Wrong> {
    for name in LINKS {
        dls::name(name);
    }
    let recorded = records.lines().map(read).collect::<Result<Vec<_>, Wrong>>()?;
    let create = recorded.iter().find(|it| it.name == "CreatePort").ok_or("no port to make")?;
    let mut used = Vec::new();
    let mut done = 0;
    for it in &recorded {
        seat.stack.paint();
        make_port(seat, exchange, create)?;
        used.push((seat.stack.used(), create.name));
        seat.stack.paint();
        let answer = seat.request(&it.frame).map_err(|why| format!("{}: {why}", it.name))?;
        used.push((seat.stack.used(), it.name));
        done += usize::from(is_done(&answer));
    }
    make_port(seat, exchange, create)?;
    seat.stack.paint();
    save_and_restore(exchange)?;
    used.push((seat.stack.used(), "RestorePort"));
    tear_down(exchange)?;
    used.sort_unstable_by(|a, b| b.cmp(a));
    let missing = COMMANDS.iter().find(|(_, name)| used.iter().all(|(_, it)| it != name));
    if let Some((_, name)) = missing {
        return Err(format!("there is no record of {name}"));
    }
    let (number, commands) = (recorded.len(), COMMANDS.len());
    say!("  {number} requests of {commands} commands, {done} carried out");
    let mut told: Vec<&str> = Vec::new();
    for (bytes, name) in &used {
        if told.len() < TOLD && !told.contains(name) {
            told.push(name);
            use_of_stack(name, *bytes)?;
        }
    }
    // Some are refused: they are of a boundary, or want what is not there.
    if done * 2 > number { Ok(()) } else { Err(format!("only {done} were carried out")) }
}

/// Makes the port with its connections. What is there already is refused, as it should be.
fn make_port(seat: &Seat<'_>, exchange: Exchange<'_>, create: &Recorded<'_>) -> Result<(), Wrong> {
    let refused = |_: Wrong| ();
    let _ = ask(exchange, &SetUnderlay { links: vec![String::from(UNDERLAY)] }).map_err(refused);
    let made = is_done(&seat.request(&create.frame)?);
    dls::settle();
    let port = name(PORT)?;
    ask(exchange, &StartPort { port: port.clone() })?;
    let everywhere = IpCidr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let everywhere = everywhere.map_err(|error| format!("{error}"))?;
    let target = RouterTarget::InternetGateway(None);
    let route = RouteEntry { dest: everywhere, target, class: RouterClass::System };
    ask(exchange, &AddRoute { port, route })?;
    let vni = Vni::new(99).map_err(|error| format!("{error}"))?;
    let endpoints = vec![BoundaryEndpoint { underlay_ip: HOSTS[1].ip, vni }];
    ask(exchange, &SetV2b { entry: V2bEntry { prefix: everywhere, endpoints } })?;
    let sent = connect(seat)?;
    if made && sent == 0 {
        return Err(String::from("a new port lets nothing out"));
    }
    Ok(())
}

/// Lets the guest begin connections; answers how many packets left the host.
fn connect(seat: &Seat<'_>) -> Result<usize, Wrong> {
    let guest = seat.stack.run(|| Guest::open(PORT, By::Mac));
    let guest = guest.map_err(|error| format!("opening {PORT}: error {error}"))?;
    let outside = End { mac: [0; 6], ip: Ipv4Addr::new(198, 51, 100, 7), port: 443 };
    for flow in 0..FLOWS {
        let bytes = frame(End { port: 1000 + flow, ..GUEST }, seen(outside), flow.into());
        let message = message::of(&bytes, 0);
        seat.stack.run(|| guest.send(message, Context::Kernel));
    }
    let sent = mac::take_sent(UNDERLAY);
    sent.iter().for_each(|sent| message::free(sent.message));
    seat.stack.run(|| guest.close());
    Ok(sent.len())
}

/// Saves the port, deletes it, and makes it again of what was saved.
fn save_and_restore(exchange: Exchange<'_>) -> Result<(), Wrong> {
    let (mut saved, mut from) = (Vec::new(), None);
    loop {
        let part = ask(exchange, &SavePort { port: name(PORT)?, from })?;
        saved.extend(part.bytes);
        from = part.next;
        if from.is_none() {
            break;
        }
    }
    let bytes = saved.len() as u64;
    ask(exchange, &DeletePort { name: name(PORT)? })?;
    ask(exchange, &StageRestore { offset: 0, bytes: saved })?;
    ask(exchange, &RestorePort { name: None, underlay_ip: None, bytes }).map(drop)
}

/// Removes whatever there is.
fn tear_down(exchange: Exchange<'_>) -> Result<(), Wrong> {
    dls::settle();
    for port in ask(exchange, &ListPorts {})? {
        ask(exchange, &DeletePort { name: port.name })?;
    }
    ask(exchange, &ClearUnderlay {})
}
