// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Requests to a boundary.

use super::build::*;
use super::*;
use opte_api::frame::{API_VERSION, Header};
use oxide_vpc_api::request::{
    DumpCounters, ListBoundaryNat, ListPorts, RemBoundaryNat, Removal, ShowUnderlay,
};

#[test]
fn entries_come_and_go() {
    let boundary = boundary();
    let new = entry("203.0.113.9", 1024, 2047);
    request(&boundary, &AddBoundaryNat { entry: new }).unwrap();
    let again = request(&boundary, &AddBoundaryNat { entry: new });
    assert!(matches!(again, Err(OpteError::Exists { .. })), "{again:?}");
    assert!(request(&boundary, &ListBoundaryNat {}).unwrap().contains(&new));

    let mut frame = outside(&ip(PEER[0], "203.0.113.9", 17, 64, &ports(1, 1500)));
    let verdict = boundary.from_outside(&mut frame.clone(), now());
    assert!(matches!(verdict, Verdict::Encapsulate { .. }), "{verdict:?}");
    assert_eq!(request(&boundary, &RemBoundaryNat { entry: new }), Ok(Removal::Removed));
    assert_eq!(request(&boundary, &RemBoundaryNat { entry: new }), Ok(Removal::Absent));
    assert_eq!(boundary.from_outside(&mut frame, now()), Verdict::Ignore);
}

#[test]
fn what_cannot_work_is_refused() {
    let boundary = boundary();
    let before = boundary.list();
    for bad in [
        entry(OWN[0], 0, 65535),
        entry("203.0.113.9", 7, 6),
        entry("::1", 0, 65535),
        entry("224.0.0.1", 0, 65535),
    ] {
        let refused = request(&boundary, &AddBoundaryNat { entry: bad });
        assert!(matches!(refused, Err(OpteError::Invalid { .. })), "{refused:?}");
    }
    assert_eq!(boundary.list(), before);
    assert!(matches!(request(&boundary, &ListPorts {}), Err(OpteError::BadState(_))));
    assert!(matches!(request(&boundary, &ShowUnderlay {}), Err(OpteError::BadState(_))));
    let port = DumpCounters { port: "opte0".parse().ok() };
    assert!(matches!(request(&boundary, &port), Err(OpteError::NotFound { .. })));
}

#[test]
fn counters_are_shown() {
    let boundary = boundary();
    let mut frame = outside(&ip(PEER[0], SHARED[0], 17, 64, &ports(1, 1)));
    boundary.from_outside(&mut frame, now());
    let sets = request(&boundary, &DumpCounters { port: None }).unwrap();
    let [set] = &sets[..] else { panic!("{sets:?}") };
    let value = |name| set.counters.iter().find(|counter| counter.name == name).unwrap().value;
    let values = ["drop_no_entry", "to_underlay_packets", "host"].map(value);
    assert_eq!(values, [1, 0, 7]);
}

#[test]
fn any_bytes_get_an_answer() {
    let boundary = boundary();
    let before = boundary.list();
    for code in 0..100 {
        for body in [&[][..], &[0xff; 9], &[0; 60]] {
            let header = Header { version: API_VERSION, code, len: body.len() as u32 };
            assert!(boundary.control(header, body, &[]).len() >= frame::HEADER_LEN);
        }
    }
    let old = Header { version: API_VERSION + 1, code: 62, len: 0 };
    let answer = boundary.control(old, &[], &[]);
    let (head, body) = answer.split_first_chunk().unwrap();
    let head = Header::from_bytes(*head, MAX_RESPONSE).unwrap();
    let error = frame::decode_answer::<()>(head, body).unwrap_err();
    assert!(matches!(error, OpteError::BadApiVersion { .. }), "{error}");
    assert_eq!(boundary.list(), before);
}
