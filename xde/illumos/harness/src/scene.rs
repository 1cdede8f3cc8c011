// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A host with two guests, a third on another host, and what they say to one another.

use crate::host::{Host, Options, Out};
use anyhow::{Context as _, Result, ensure};
use opte::tcp::TcpFlags;
use opte_api::MacAddr;
use opte_tests::packets::{Body, Packet, Tunnel};
use opte_tests::setting::{Guest, HOSTS, VPC, add_boundary, add_guest, add_peer, vni};
use oxide_vpc_api::config::GATEWAY_MAC;
use oxide_vpc_api::request::SetFwRules;
use xde::host::PortId;
use xde_illumos_loader::Loaded;
use xde_illumos_shim::context::Context;
use xde_illumos_shim::message::{self, Message};
use xde_illumos_shim::offload::Facts;

/// Guests of this host, with their ports; the third is elsewhere.
pub const HERE: [(Guest, PortId); 2] = [(Guest(5), PortId(0)), (Guest(6), PortId(1))];
/// The guest of the other host.
pub const FAR: Guest = Guest(7);

/// A host with everybody set up: all of the VPC may call all.
pub fn host(loaded: &'static Loaded, options: Options) -> Result<Host> {
    let mut host = Host::ready(loaded, options)?;
    add_boundary(&mut host);
    for (guest, _) in HERE {
        host.name(guest.port().as_str());
        add_guest(&mut host, guest, 0);
        let rule = format!("dir=in action=allow priority=1 hosts=vni={VPC}");
        let rules = vec![rule.parse().context("a rule")?];
        host.ask(&SetFwRules { port: guest.port(), rules })?;
    }
    add_peer(&mut host, FAR, 1);
    host.open_all()?;
    Ok(host)
}

/// A datagram from one guest to another, as its sender says it, with this payload.
pub fn datagram(from: Guest, to: Guest, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let body = Body::Udp { ports, checksum: true };
    let packet = Packet::new(from.macs(), [from.ip(true), to.ip(true)], body);
    Packet { payload: payload.to_vec(), ..packet }.bytes()
}

/// A segment of a connection that is open, as its sender says it.
pub fn segment(from: Guest, to: Guest, ipv4: bool, payload: &[u8]) -> Vec<u8> {
    let flags = TcpFlags::ACK | TcpFlags::PSH;
    tcp(from, to, ipv4, flags, payload)
}

/// Opens a connection.
pub fn opening(from: Guest, to: Guest, ipv4: bool) -> Vec<u8> {
    tcp(from, to, ipv4, TcpFlags::SYN, b"")
}

fn tcp(from: Guest, to: Guest, ipv4: bool, flags: TcpFlags, payload: &[u8]) -> Vec<u8> {
    let body = Body::Tcp { ports: [4000, 80], flags, numbers: [1, 1] };
    let packet = Packet::new(from.macs(), [from.ip(ipv4), to.ip(ipv4)], body);
    Packet { payload: payload.to_vec(), ..packet }.bytes()
}

/// The frame as the other guest gets it: from its gateway.
pub fn as_received(frame: &[u8], to: Guest) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[..6].copy_from_slice(&to.mac().0);
    frame[6..12].copy_from_slice(&GATEWAY_MAC.0);
    frame
}

/// What the far guest's host sends for a guest of this one.
pub fn tunnelled(frame: &[u8], to: Guest) -> Vec<u8> {
    let [here, there] = [HOSTS[0], HOSTS[1]];
    let (source_port, vni) = (0xc123, vni(VPC));
    let tunnel = Tunnel { src: there, dst: here, source_port, vni, options: vec![] };
    let mut inner = frame.to_vec();
    inner[..6].copy_from_slice(&to.mac().0);
    let mut outer = tunnel.around(&inner);
    outer[..6].copy_from_slice(&crate::host::MACS[0]);
    outer[6..12].copy_from_slice(&crate::host::MACS[1]);
    outer
}

/// What is inside of a packet for the other host, which is addressed as it must be.
pub fn inside(out: &Out) -> Result<Vec<u8>> {
    let (tunnel, inner) = Tunnel::open(&out.bytes).context("no Geneve packet")?;
    ensure!((tunnel.src, tunnel.dst) == (HOSTS[0], HOSTS[1]), "hosts {tunnel:?}");
    ensure!(tunnel.vni == vni(VPC), "network {tunnel:?}");
    let [own, router] = crate::host::MACS;
    ensure!(out.bytes[..12] == [router, own].concat(), "link addresses");
    Ok(inner)
}

/// A frame as the far guest gets it, before its host has looked at it: addressed to it, from
/// whoever sent.
pub fn as_tunnelled(frame: &[u8], to: Guest) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[..6].copy_from_slice(&to.mac().0);
    frame
}

/// Sends frames, each in one block, as one chain.
pub fn send(host: &mut Host, port: PortId, frames: &[Vec<u8>], context: Context) {
    let chain = host.inside(|| chain_of(frames, Facts::default()));
    host.send(port, chain, context);
}

/// Lets frames arrive from the underlay as one chain.
pub fn arrive(host: &mut Host, frames: &[Vec<u8>], context: Context) {
    let chain = host.inside(|| chain_of(frames, Facts::default()));
    host.arrive(chain, context);
}

fn chain_of(frames: &[Vec<u8>], facts: Facts) -> Message {
    let messages: Vec<Message> = frames
        .iter()
        .map(|frame| {
            let message = message::of(frame, 2);
            message::set_facts(message, facts);
            message
        })
        .collect();
    message::chain(&messages)
}

/// Sends one frame with facts.
pub fn send_with(host: &mut Host, port: PortId, frame: &[u8], facts: Facts) {
    let chain = host.inside(|| chain_of(&[frame.to_vec()], facts));
    host.send(port, chain, Context::Interrupt);
}

/// The bytes that guests got, in order, with their ports.
pub fn got(host: &mut Host) -> Vec<(PortId, Vec<u8>)> {
    host.received().into_iter().map(|(port, out)| (port, out.bytes)).collect()
}

/// A link address that nobody has.
pub const NOBODY: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x77]);
