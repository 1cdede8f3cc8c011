// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A boundary between two scripted sides: packets in, verdicts and bytes out, virtual time.

extern crate std;

mod build;
mod errors;
mod fragments;
mod neighbours;
mod noise;
mod requests;
mod way_in;
mod way_out;

use super::table::NatTable;
use super::*;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte::host::Blind;
use opte_api::frame::{self, MAX_RESPONSE, Request};
use opte_api::{MacAddr, OpteError};
use oxide_vpc_api::request::AddBoundaryNat;

pub(in crate::boundary) const OUTSIDE_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const GUEST_MAC: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, 1]);
const BOUNDARY: &str = "fd00::99";
const HOST: &str = "fd00::1";
const OTHER_HOST: &str = "fd00::2";
/// One guest has all of these.
const FLOATING: [&str; 2] = ["192.0.2.10", "2001:db8::10"];
/// Guests share these: ports 1024 to 2047 are behind [`HOST`], the next thousand behind
/// [`OTHER_HOST`].
const SHARED: [&str; 2] = ["192.0.2.20", "2001:db8::20"];
const PEER: [&str; 2] = ["198.51.100.7", "2001:db8:7::7"];
const OWN: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

struct TestHost;

struct TestLock<T>(std::sync::Mutex<T>);

impl<T: Send> Lock<T> for TestLock<T> {
    fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }
}

impl Host for TestHost {
    type Lock<T: Send> = TestLock<T>;
    type Token<T: Send> = TestLock<T>;
    type Observer = Blind;
}

/// An entry towards [`HOST`].
pub(super) fn entry(ip: &str, first_port: u16, last_port: u16) -> BoundaryNat {
    BoundaryNat {
        ip: ip.parse().unwrap(),
        first_port,
        last_port,
        underlay_ip: HOST.parse().unwrap(),
        vni: Vni::new(1234).unwrap(),
        mac: GUEST_MAC,
    }
}

fn request<R: Request>(
    boundary: &Boundary<TestHost>,
    request: &R,
) -> Result<R::Response, OpteError> {
    let sent = frame::encode_request(request).unwrap();
    let (header, body) = sent.split_first_chunk().unwrap();
    let header = frame::Header::from_bytes(*header, frame::MAX_REQUEST).unwrap();
    let answer = boundary.control(header, body, &[("host", 7)]);
    let (header, body) = answer.split_first_chunk().unwrap();
    frame::decode_answer(frame::Header::from_bytes(*header, MAX_RESPONSE).unwrap(), body)
}

/// The boundary of all scenarios.
fn boundary() -> Boundary<TestHost> {
    let config = Config {
        underlay_ip: BOUNDARY.parse().unwrap(),
        vni: Config::DEFAULT_VNI,
        inner_mac: Config::DEFAULT_INNER_MAC,
    };
    let boundary = Boundary::new(config, 7);
    boundary.set_outside(Outside {
        mac: OUTSIDE_MAC,
        ipv4: OWN[0].parse().ok(),
        ipv6: OWN[1].parse().ok(),
    });
    for family in [0, 1] {
        let other = entry(SHARED[family], 2048, 3071);
        for entry in [
            entry(FLOATING[family], 0, u16::MAX),
            entry(SHARED[family], 1024, 2047),
            BoundaryNat { underlay_ip: OTHER_HOST.parse().unwrap(), ..other },
        ] {
            request(&boundary, &AddBoundaryNat { entry }).unwrap();
        }
    }
    boundary
}

fn now() -> Moment {
    Moment::from_millis(1_000)
}

/// Counts before and after agree with a verdict: exactly its reason was counted, if any.
fn expect_drop(boundary: &Boundary<TestHost>, reason: BoundaryDrop, act: impl FnOnce() -> Verdict) {
    let before: Vec<u64> =
        BoundaryDrop::ALL.iter().map(|reason| boundary.counters().drops(*reason)).collect();
    assert_eq!(act(), Verdict::Drop(reason));
    for (known, count) in BoundaryDrop::ALL.iter().zip(before) {
        let more = u64::from(*known == reason);
        assert_eq!(boundary.counters().drops(*known), count + more, "{known:?}");
    }
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_table_answers_for_every_address_of_the_scenario() {
    let table = boundary().list();
    let mut again = NatTable::default();
    assert_eq!(table.len(), 6);
    table.into_iter().for_each(|entry| again.insert(entry).unwrap());
    assert!(FLOATING.iter().chain(&SHARED).all(|ip| again.has(addr(ip))));
    assert!(OWN.iter().chain(&PEER).all(|ip| !again.has(addr(ip))));
}
