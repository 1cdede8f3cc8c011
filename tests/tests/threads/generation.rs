// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A packet sees one generation of everything, also on its way from one guest to another of the
//! same host.

use opte::frame::{FlatFrame, Rewrite};
use opte::outer::Outer;
use opte_api::Protocol;
use opte_api::frame::{
    HEADER_LEN, Header, MAX_REQUEST, MAX_RESPONSE, decode_answer, encode_request,
};
use opte_tests::hypervisor::{Agreeable, Hypervisor, TestHost};
use opte_tests::packets::{Body, Packet};
use opte_tests::setting::{Guest, add_guest};
use oxide_vpc_api::ChangeReport;
use oxide_vpc_api::request::{Apply, SetFwRules};
use std::sync::atomic::{AtomicBool, Ordering};
use xde::Driver;
use xde::driver::DriverOptions;
use xde::host::{Egress, Moment, PortId};

const GUESTS: [Guest; 2] = [Guest(5), Guest(6)];
const NOW: Moment = Moment::from_millis(1_000_000);
const CHANGES: usize = 400;
/// Where an IPv4 header says what follows, in an Ethernet frame.
const PROTOCOL: usize = 14 + 9;

/// How many frames have got to a guest.
#[derive(Default)]
struct Arrived(usize);

impl Egress<FlatFrame> for Arrived {
    fn to_underlay(&mut self, _frame: FlatFrame, _rewrite: &Rewrite) {
        panic!("both guests are here");
    }

    fn to_guest(&mut self, _port: PortId, _frame: FlatFrame, _rewrite: &Rewrite) {
        self.0 += 1;
    }

    fn answer(&mut self, _bytes: Vec<u8>, _outer: &Outer) {
        panic!("both guests are here");
    }

    fn reply(&mut self, _port: PortId, bytes: Vec<u8>) {
        // Who goes on sending on a connection that a change has ended is told so, and no more.
        assert_eq!(bytes.get(PROTOCOL), Some(&Protocol::ICMP.0), "datagrams are not answered");
    }
}

/// The first guest lets out, and the second takes nothing; or the other way round.
fn change(opens: bool) -> Apply {
    let rules = |guest: Guest, text: &str| {
        let rules = vec![text.parse().expect("a good rule")];
        SetFwRules { port: guest.port(), rules }.into()
    };
    let (out, inbound) = if opens { ("allow", "deny") } else { ("deny", "allow") };
    let change = vec![
        rules(GUESTS[0], &format!("dir=out action={out} priority=1")),
        rules(GUESTS[1], &format!("dir=in action={inbound} priority=1")),
    ];
    Apply { change, expected: None, listed: 0 }
}

fn apply(driver: &Driver<TestHost>, opens: bool) -> ChangeReport {
    let frame = encode_request(&change(opens)).unwrap();
    let (header, body) = frame.split_first_chunk::<HEADER_LEN>().unwrap();
    let header = Header::from_bytes(*header, MAX_REQUEST).unwrap();
    let answer = driver.control(&mut Agreeable, NOW, header, body);
    let (header, body) = answer.split_first_chunk::<HEADER_LEN>().unwrap();
    decode_answer(Header::from_bytes(*header, MAX_RESPONSE).unwrap(), body).unwrap()
}

#[test]
fn a_packet_between_guests_of_a_host_sees_one_generation() {
    let mut host = Hypervisor::new(DriverOptions { flow_limit: 64, ..DriverOptions::new(5) });
    GUESTS.iter().for_each(|guest| add_guest(&mut host, *guest, 0));
    let (driver, done) = (&host.driver, AtomicBool::new(false));
    apply(driver, true);
    let send = |port: u16| {
        let body = Body::Udp { ports: [port, 80], checksum: true };
        let ips = [GUESTS[0].ip(true), GUESTS[1].ip(true)];
        let frame = FlatFrame::new(Packet::new(GUESTS[0].macs(), ips, body).bytes());
        let mut arrived = Arrived::default();
        driver.from_guest(PortId(0), &mut vec![frame], NOW, &mut arrived);
        arrived.0
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..CHANGES {
                apply(driver, number % 2 == 1);
                driver.poll(NOW);
            }
            done.store(true, Ordering::Release);
        });
        let mut port = 0_u16;
        while !done.load(Ordering::Acquire) {
            port = port.wrapping_add(1);
            // Under no generation is it let out and taken in.
            assert_eq!(send(port % 32), 0);
        }
    });
}
