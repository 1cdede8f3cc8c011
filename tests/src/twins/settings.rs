// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Settings of a port, as random histories choose them: each of them usual more often than not, so
//! that flows last and what is unusual meets.

use super::changes::GUESTS;
use crate::setting::{Guest, outside};
use opte_api::{IpCidr, Protocol};
use oxide_vpc_api::settings::AddressGone;
use oxide_vpc_api::{
    NatDependence, NatDependences, NatPooling, NatRange, NatSettings, PortForward, PortRange,
    PortSettings, Untranslated,
};
use proptest::prelude::*;

/// Any settings.
pub fn settings() -> impl Strategy<Value = PortSettings> {
    let way = (rarely(), rarely(), rarely(), rarely(), rarely());
    let more = (idle(), gone(), rarely(), rarely());
    (nat(), way, more).prop_map(|(nat, way, more)| {
        let mut settings = PortSettings { nat, ..PortSettings::default() };
        let (narrow, clamp, hop, unreachable, mid_stream) = way;
        settings.way.outside_mtu = narrow.then_some(1280);
        settings.way.clamp_mss = clamp;
        settings.way.visible_hop = hop;
        settings.answers.unreachable = unreachable;
        settings.tcp.pick_up = !mid_stream;
        let (idle, gone, silent, few) = more;
        settings.idle.udp = idle;
        settings.continuity.address_gone = gone;
        settings.continuity.tell = !silent;
        settings.flows.limit = few.then_some(2);
        settings
    })
}

fn rarely() -> impl Strategy<Value = bool> {
    prop_oneof![5 => Just(false), 1 => Just(true)]
}

fn idle() -> impl Strategy<Value = u32> {
    prop_oneof![4 => Just(300u32), 1 => Just(120), 1 => Just(600)]
}

fn gone() -> impl Strategy<Value = AddressGone> {
    prop_oneof![
        2 => Just(AddressGone::Cut),
        1 => Just(AddressGone::Drain(60)),
        1 => Just(AddressGone::Keep),
    ]
}

fn dependences() -> impl Strategy<Value = NatDependences> {
    let one = || {
        prop_oneof![
            3 => Just(NatDependence::EndpointIndependent),
            1 => Just(NatDependence::AddressDependent),
            1 => Just(NatDependence::AddressAndPortDependent),
        ]
    };
    (one(), one(), one()).prop_map(|(tcp, udp, query)| NatDependences { tcp, udp, query })
}

/// Ranges of the first ports that the guests have, for both to draw from, or of others.
fn ranges() -> impl Strategy<Value = Vec<NatRange>> {
    let range = |guest: Guest, ipv4: bool, first_port: u16, last_port: u16| NatRange {
        prefix: IpCidr::host(guest.floating(ipv4)),
        first_port,
        last_port,
    };
    let other = Guest(30);
    prop_oneof![
        4 => Just(vec![]),
        1 => Just(vec![range(other, true, 1024, 1027), range(other, false, 1024, 1027)]),
        1 => Just(vec![range(other, true, 1026, 2047)]),
        1 => Just(vec![range(other, true, 1024, 1025), range(Guest(31), true, 1, 9)]),
    ]
}

fn forwards() -> impl Strategy<Value = Vec<PortForward>> {
    let forward = |guest: usize, protocol, first| PortForward {
        protocol,
        external_ip: GUESTS[guest].snat(true).ip,
        external_ports: PortRange { first, last: first + 3 },
        first_port: 1000,
    };
    let first = |guest: usize| GUESTS[guest].snat(true).first_port;
    prop_oneof![
        4 => Just(vec![]),
        1 => Just(vec![forward(0, Protocol::UDP, first(0))]),
        1 => Just(vec![forward(0, Protocol::TCP, first(0) + 2)]),
        1 => Just(vec![forward(1, Protocol::UDP, first(1))]),
    ]
}

fn untranslated() -> impl Strategy<Value = Vec<Untranslated>> {
    let towards = |ipv4, protocol| Untranslated {
        prefix: IpCidr::host(outside(ipv4)),
        protocol,
        ports: None,
    };
    prop_oneof![
        5 => Just(vec![]),
        1 => Just(vec![towards(true, None)]),
        1 => Just(vec![towards(true, Some(Protocol::UDP)), towards(false, None)]),
    ]
}

fn nat() -> impl Strategy<Value = NatSettings> {
    let pooling = prop_oneof![
        3 => Just(NatPooling::Paired),
        1 => Just(NatPooling::PairedOnly),
        1 => Just(NatPooling::Arbitrary),
    ];
    let flags = (rarely(), rarely(), any::<bool>(), rarely(), rarely());
    let numbers = (rarely(), rarely(), rarely());
    let extents = (ranges(), forwards(), untranslated());
    (dependences(), dependences(), pooling, flags, numbers, extents).prop_map(
        |(mapping, filtering, pooling, flags, numbers, extents)| {
            let (parity, mix_port_classes, sequential, share_ports, outbound_refresh_only) = flags;
            let (ranges, forwards, untranslated) = extents;
            let mut nat = NatSettings {
                mapping,
                filtering,
                pooling,
                parity,
                mix_port_classes,
                sequential,
                share_ports,
                outbound_refresh_only,
                ranges,
                forwards,
                untranslated,
                ..NatSettings::default()
            };
            let (limited, slow, at_once) = numbers;
            if limited {
                nat.limits.guest = 2;
            }
            if slow {
                nat.rates.guest.burst = 2;
                nat.rates.guest.per_second = 1;
            }
            if at_once {
                nat.quarantine.seconds = 0;
            }
            nat
        },
    )
}
