// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Every way in which a connection ends is brought about once, and is then seen in the event and
//! in the counter of its name.

use opte::event::{Event, FlowEnd};
use opte::frame::FlatFrame;
use opte::tcp::TcpFlags;
use opte_tests::hypervisor::Hypervisor;
use opte_tests::packets::{Body, Packet};
use opte_tests::setting::{Guest, add_boundary, add_guest, outside};
use oxide_vpc_api::request::{ClearUft, DumpCounters, SetFwRules};
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);

fn send(host: &mut Hypervisor, body: Body) {
    let packet = Packet::new(GUEST.macs(), [GUEST.ip(true), outside(true)], body);
    host.from_guest(PortId(0), FlatFrame::new(packet.bytes()));
}

fn udp(port: u16) -> Body {
    Body::Udp { ports: [port, 80], checksum: true }
}

fn syn(seq: u32) -> Body {
    Body::Tcp { ports: [1000, 80], flags: TcpFlags::SYN, numbers: [seq, 0] }
}

/// Ends the one connection that there is, which [`syn`] has opened.
fn bring_about(end: FlowEnd, host: &mut Hypervisor) {
    let port = GUEST.port();
    match end {
        FlowEnd::Expired => {
            host.advance(250_000);
            host.expire();
        }
        FlowEnd::Evicted => send(host, udp(1)),
        FlowEnd::Cut => {
            let rules = vec!["dir=out action=deny priority=1".parse().unwrap()];
            host.request(&SetFwRules { port, rules }).unwrap();
            send(host, syn(7));
        }
        FlowEnd::Replaced => send(host, syn(99)),
        FlowEnd::Cleared => host.request(&ClearUft { port }).unwrap(),
    }
}

#[test]
fn every_end_is_named_and_counted() {
    for end in FlowEnd::ALL {
        let mut host = Hypervisor::new(DriverOptions { flow_limit: 1, ..DriverOptions::new(5) });
        add_guest(&mut host, GUEST, 0);
        add_boundary(&mut host);
        send(&mut host, syn(7));
        host.events();
        bring_about(*end, &mut host);
        let ends: Vec<u8> = host
            .events()
            .iter()
            .filter_map(|event| match event {
                Event::FlowEnded(ended) => Some(ended.end),
                _ => None,
            })
            .collect();
        assert_eq!(ends, [*end as u8], "{end:?}");
        let sets = host.request(&DumpCounters { port: Some(GUEST.port()) }).unwrap();
        for counter in &sets[0].counters {
            let is_end = FlowEnd::ALL.iter().any(|end| end.name() == counter.name);
            let expected = u64::from(counter.name == end.name());
            assert!(!is_end || counter.value == expected, "{end:?}: {counter:?}");
        }
    }
}
