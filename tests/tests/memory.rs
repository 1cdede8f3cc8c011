// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Memory and changes. Whoever asks for memory gets it: a kernel waits until there is some, and a
//! process ends. So a change cannot fail for want of memory, but it may stand still at any of its
//! allocations, for as long as the host likes. At each of them packets go on, and all of them are
//! decided by what was in force before, or all of them by what is in force behind it.

use opte::frame::{FlatFrame, Rewrite};
use opte::outer::Outer;
use opte_api::OpteError;
use opte_api::frame::{
    HEADER_LEN, Header, MAX_REQUEST, MAX_RESPONSE, Request, decode_answer, encode_request,
};
use opte_tests::hypervisor::{Agreeable, Hypervisor, TestHost, locks_held};
use opte_tests::packets::{Body, Packet};
use opte_tests::setting::{Guest, VPC, add_boundary, add_guest, add_peer, outside, vni};
use oxide_vpc_api::change::Step;
use oxide_vpc_api::request::{Apply, SetExternalIps, SetFwRules, SetPortSettings, SetV2p};
use oxide_vpc_api::{ExternalIps, FirewallRule, GatewayMap, GuestLocation, PortSettings, V2pEntry};
use std::alloc::System;
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv6Addr};
use tracking_allocator::{AllocationGroupId, AllocationRegistry, AllocationTracker, Allocator};
use xde::Driver;
use xde::driver::DriverOptions;
use xde::host::{Egress, Moment, PortId};

#[global_allocator]
static GLOBAL: Allocator<System> = Allocator::system();

const GUESTS: [Guest; 2] = [Guest(5), Guest(6)];
const PEER: Guest = Guest(7);
/// Where the peer moves to.
const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xc, 0, 0, 0, 0, 0, 1);
/// Ports of which one is denied before and the other one behind the change.
const SERVICES: [u16; 2] = [81, 82];

/// Somebody who looks on.
struct Watch {
    driver: &'static Driver<TestHost>,
    now: Moment,
    seen: Vec<Outcome>,
    /// Allocations with a lock held that packets may have to take: nobody can look there.
    behind_locks: u64,
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

struct Tracker;

impl AllocationTracker for Tracker {
    fn allocated(&self, _: usize, _: usize, _: usize, _: AllocationGroupId) {
        if LOOKING.get() {
            return;
        }
        LOOKING.set(true);
        WATCH.with(|watch| {
            let Ok(mut watch) = watch.try_borrow_mut() else { return };
            let Some(watch) = watch.as_mut() else { return };
            // That of the one request that is served at a time.
            if locks_held() > 1 {
                watch.behind_locks += 1;
                return;
            }
            let outcome = outcome(watch.driver, watch.now);
            watch.seen.push(outcome);
        });
        LOOKING.set(false);
    }

    fn deallocated(
        &self,
        _: usize,
        _: usize,
        _: usize,
        _: AllocationGroupId,
        _: AllocationGroupId,
    ) {
    }
}

/// Where to each packet has gone, and as whom; nothing of those that were dropped.
type Outcome = Vec<Option<(Ipv6Addr, IpAddr)>>;

#[derive(Default)]
struct Exit(Vec<Option<(Ipv6Addr, IpAddr)>>);

impl Egress<FlatFrame> for Exit {
    fn to_underlay(&mut self, frame: FlatFrame, rewrite: &Rewrite) {
        let inner = Packet::read(&frame.rewritten(&Rewrite { outer: None, ..*rewrite }));
        let outer = rewrite.outer.map(|outer| outer.dst);
        self.0.push(outer.zip(inner.map(|inner| inner.src)));
    }

    fn to_guest(&mut self, _port: PortId, _frame: FlatFrame, _rewrite: &Rewrite) {
        self.0.push(None);
    }

    fn answer(&mut self, _bytes: Vec<u8>, _outer: &Outer) {}

    fn reply(&mut self, _port: PortId, _bytes: Vec<u8>) {}
}

/// Both guests send to both services and to their peer.
fn outcome(driver: &Driver<TestHost>, now: Moment) -> Outcome {
    let mut outcome = Vec::new();
    for (id, guest) in GUESTS.iter().enumerate() {
        let services = SERVICES.map(|service| (outside(true), service));
        for (dst, port) in services.into_iter().chain([(PEER.ip(true), 83)]) {
            let body = Body::Udp { ports: [1000, port], checksum: true };
            let packet = Packet::new(guest.macs(), [guest.ip(true), dst], body);
            let mut exit = Exit::default();
            let mut frames = vec![FlatFrame::new(packet.bytes())];
            driver.from_guest(PortId(id as u32), &mut frames, now, &mut exit);
            outcome.push(exit.0.first().copied().flatten());
        }
    }
    outcome
}

fn deny(service: u16) -> Vec<FirewallRule> {
    let text = format!("dir=out action=deny priority=1 protocol=udp port={service}");
    vec![text.parse().unwrap()]
}

fn own(guest: Guest, number: u8) -> SetExternalIps {
    let floating = vec![Guest(number).floating(true)];
    let ipv4 = Some(ExternalIps { floating, ..ExternalIps::default() });
    let (port, gateways) = (guest.port(), GatewayMap::new());
    SetExternalIps { port, ipv4, ipv6: None, gateways }
}

/// Rules, addresses and settings of both guests, and where their peer is.
fn change() -> Vec<Step> {
    let mut settings = PortSettings::default();
    settings.idle.udp = 200;
    settings.nat.quarantine.seconds = 9;
    let of_guest = |guest: Guest| -> [Step; 3] {
        let (port, rules) = (guest.port(), deny(SERVICES[1]));
        [
            SetFwRules { port: port.clone(), rules }.into(),
            own(guest, guest.0 + 100).into(),
            SetPortSettings { port, settings: settings.clone() }.into(),
        ]
    };
    let location = GuestLocation { mac: PEER.mac(), underlay_ip: ELSEWHERE };
    let entry = V2pEntry { vni: vni(VPC), ip: PEER.ip(true), location };
    let all = GUESTS.into_iter().flat_map(of_guest);
    all.chain([SetV2p { entry }.into()]).collect()
}

fn ask<R: Request>(
    driver: &Driver<TestHost>,
    now: Moment,
    request: &R,
) -> Result<R::Response, OpteError> {
    let frame = encode_request(request)?;
    let (header, body) = frame.split_first_chunk::<HEADER_LEN>().unwrap();
    let header = Header::from_bytes(*header, MAX_REQUEST)?;
    let answer = driver.control(&mut Agreeable, now, header, body);
    let (header, body) = answer.split_first_chunk().unwrap();
    decode_answer(Header::from_bytes(*header, MAX_RESPONSE)?, body)
}

#[test]
fn a_change_that_waits_for_memory_is_seen_whole_or_not_at_all() {
    let mut host = Hypervisor::new(DriverOptions::new(7));
    add_boundary(&mut host);
    add_peer(&mut host, PEER, 1);
    for guest in GUESTS {
        add_guest(&mut host, guest, 0);
        let rules = deny(SERVICES[0]);
        host.request(&SetFwRules { port: guest.port(), rules }).unwrap();
        host.request(&own(guest, guest.0)).unwrap();
    }
    let host: &'static Hypervisor = Box::leak(Box::new(host));
    let (driver, now) = (&host.driver, host.now);
    let before = outcome(driver, now);
    let passes = |outcome: &Outcome| outcome.iter().map(Option::is_some).collect::<Vec<_>>();
    assert_eq!(passes(&before), [false, true, true, false, true, true]);

    AllocationRegistry::set_global_tracker(Tracker).unwrap();
    WATCH.set(Some(Watch { driver, now, seen: Vec::new(), behind_locks: 0 }));
    AllocationRegistry::enable_tracking();
    let report = ask(driver, now, &Apply { change: change(), expected: None, listed: 20 });
    AllocationRegistry::disable_tracking();
    let watch = WATCH.take().unwrap();
    report.unwrap();

    let behind = outcome(driver, now);
    assert_eq!(passes(&behind), [true, false, true, true, false, true]);
    assert!(before.iter().zip(&behind).all(|(before, behind)| before != behind));
    let mixed = watch.seen.iter().find(|seen| **seen != before && **seen != behind);
    assert_eq!(mixed, None, "of {before:?} and {behind:?}");
    let new = watch.seen.iter().position(|seen| *seen == behind).unwrap();
    assert!(new > 100, "it takes memory before it comes into force: {new}");
    assert!(watch.seen[new..].iter().all(|seen| *seen == behind), "and never goes back");
    // Who owns an external address is noted under a lock, which packets take when they make the
    // first mapping of an address; nothing else is.
    let addresses = change().iter().filter(|step| matches!(step, Step::SetExternalIps(_))).count();
    let (behind_locks, addresses) = (watch.behind_locks, addresses as u64);
    assert!(behind_locks <= 8 * addresses, "{behind_locks} allocations, {addresses} addresses");
}
