// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Frames of any bytes, in both directions, into a host whose configuration changes meanwhile.

use super::take;
use crate::hypervisor::{Hypervisor, Left};
use crate::setting::{Guest, add_boundary, add_guest, add_peer};
use opte::frame::{ChecksumState, FlatFrame, Offload};
use opte::geneve::{Mark, OuterFacts};
use opte::headers::Headers;
use opte_api::Direction;
use oxide_vpc::overlay::DIALECT;
use oxide_vpc_api::request::{ClearUft, SetExternalIps, SetFwRules};
use oxide_vpc_api::{FirewallRule, GatewayMap};
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);
/// Small, so that eviction is reached.
const FLOW_LIMIT: u32 = 64;

/// A host with two guests, a peer on another host, and a boundary.
fn host() -> Hypervisor {
    let options = DriverOptions { flow_limit: FLOW_LIMIT, ..DriverOptions::new(7) };
    let mut host = Hypervisor::new(options);
    add_guest(&mut host, GUEST, 0);
    add_guest(&mut host, Guest(6), 0);
    add_peer(&mut host, Guest(7), 1);
    add_boundary(&mut host);
    host
}

/// Plays `data` as steps: a byte that says what, a length of two bytes where it is a frame, and
/// the frame.
pub fn frames(mut data: &[u8]) {
    let mut host = host();
    while let [what, rest @ ..] = data {
        data = rest;
        match what & 0x0f {
            0 => host.advance(1 << (what >> 4)),
            1 => host.expire(),
            2 => set_rules(&mut host, what >> 4),
            3 => set_addresses(&mut host, what >> 4),
            4 => drop(host.request(&ClearUft { port: GUEST.port() })),
            low => frame(&mut host, low, what >> 4, &mut data),
        }
    }
    host.expire();
}

fn frame(host: &mut Hypervisor, low: u8, high: u8, data: &mut &[u8]) {
    let len = take(data, 2).iter().fold(0usize, |len, byte| len << 8 | usize::from(*byte)) & 0x7ff;
    let bytes = take(data, len);
    let left = if low.is_multiple_of(2) {
        host.from_underlay(FlatFrame::new(bytes))
    } else {
        let mut frame = FlatFrame::new(bytes);
        if high & 8 != 0 {
            let checksum = ChecksumState::Partial { start: 34, offset: u16::from(high) };
            frame.offload = Offload { checksum, segments: None };
        }
        host.from_guest(PortId(u32::from(high & 3)), frame)
    };
    left.iter().for_each(must_parse);
    // Fragments may have waited for it.
    let most = 1 + opte::fragments::PIECES;
    assert!(left.len() <= most, "one frame came in, {} went out", left.len());
}

/// What leaves the engine must be a packet that the engine itself would take.
fn must_parse(left: &Left) {
    match left {
        Left::Underlay(bytes) | Left::Answer(bytes) => {
            let outer =
                OuterFacts::parse(bytes, bytes.len(), &DIALECT).expect("good outer headers");
            Headers::parse(bytes, bytes.len(), outer.inner, outer.mark()).expect("a good packet");
        }
        Left::Guest(_, bytes) | Left::Reply(_, bytes) => {
            Headers::parse(bytes, bytes.len(), 0, Mark::GUEST).expect("a good packet");
        }
    }
}

fn set_rules(host: &mut Hypervisor, variant: u8) {
    let texts: &[&str] = match variant % 4 {
        0 => &[],
        1 => &["dir=in action=allow priority=10"],
        2 => &[
            "dir=in action=allow priority=10 protocol=tcp",
            "dir=out action=deny priority=1 protocol=udp",
        ],
        _ => &[
            "dir=in action=allow priority=10 hosts=vni=100",
            "dir=in action=deny priority=10 port=1-99",
        ],
    };
    let rule = |text: &&str| text.parse::<FirewallRule>().expect("a good rule");
    let rules = texts.iter().map(rule).collect();
    host.request(&SetFwRules { port: GUEST.port(), rules }).expect("good rules");
}

fn set_addresses(host: &mut Hypervisor, variant: u8) {
    let external = |ipv4: bool| {
        let mut external = GUEST.external(ipv4);
        if variant & 1 != 0 {
            external.floating.push(GUEST.floating(ipv4));
        }
        if variant & 2 != 0 {
            external.snat.clear();
        }
        Some(external)
    };
    let request = SetExternalIps {
        port: GUEST.port(),
        ipv4: external(true),
        ipv6: external(false),
        gateways: GatewayMap::new(),
    };
    host.request(&request).expect("good addresses");
}

/// Frames of the kinds that the host knows, as steps for [`frames`].
pub(super) fn seeds() -> Vec<Vec<u8>> {
    use crate::packets::{Body, Packet};
    use crate::setting::{FAMILIES, HOSTS, outside};
    let step = |what: u8, frame: &[u8]| {
        let mut step = vec![what];
        step.extend((frame.len() as u16).to_be_bytes());
        step.extend(frame);
        step
    };
    let mut seeds = Vec::new();
    for ipv4 in FAMILIES {
        for dst in [Guest(6).ip(ipv4), Guest(7).ip(ipv4), outside(ipv4)] {
            let ips = [GUEST.ip(ipv4), dst];
            let out = Packet::echo(GUEST.macs(), ips, 77);
            let udp =
                Packet::new(GUEST.macs(), ips, Body::Udp { ports: [1000, 53], checksum: true });
            for packet in [out, udp] {
                let frame = packet.bytes();
                let mut both = step(5, &frame);
                let tunnel = crate::packets::Tunnel::new("fd00:b::1", &HOSTS[0].to_string(), 100);
                let macs = [Guest(7).mac(), GUEST.mac()];
                let back = Packet { macs, ..packet.reply() };
                both.extend(step(6, &tunnel.around(&back.bytes())));
                seeds.push(both);
                seeds.extend(fragments(&frame, ipv4).map(|piece| step(5, &piece)));
            }
        }
    }
    seeds.extend((0..=4u8).map(|what| vec![what | 0x10]));
    seeds
}

/// The frame as if it were fragments of one packet: the first, one that follows, one far behind.
fn fragments(frame: &[u8], ipv4: bool) -> [Vec<u8>; 3] {
    [(0u16, true), (3, true), (99, false)].map(|(at, more)| {
        let mut piece = frame.to_vec();
        if ipv4 {
            let field = at | u16::from(more) << 13;
            piece[20..22].copy_from_slice(&field.to_be_bytes());
        } else {
            let next = std::mem::replace(&mut piece[20], 44);
            let [a, b] = (at << 3 | u16::from(more)).to_be_bytes();
            piece.splice(54..54, [next, 0, a, b, 0, 0, 0, 7]);
            let len = (piece.len() - 54) as u16;
            piece[18..20].copy_from_slice(&len.to_be_bytes());
        }
        piece
    })
}

/// A step of each direction around a frame from elsewhere.
pub(super) fn steps_of(direction: Direction, frame: &[u8]) -> Vec<u8> {
    let what = if direction == Direction::Out { 5 } else { 6 };
    let mut step = vec![what];
    step.extend((frame.len().min(0x7ff) as u16).to_be_bytes());
    step.extend(&frame[..frame.len().min(0x7ff)]);
    step
}
