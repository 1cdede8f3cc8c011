// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Fragments to and from addresses that hosts share.

use super::build::*;
use super::way_in::arrives;
use super::way_out::{leaves, send};
use super::*;
use crate::boundary::fragments::{FOLLOWED_MS, MAX_FOLLOWED, WAITING_BYTES, WAITING_MS};

/// The same fragment of another datagram.
fn numbered(mut packet: Vec<u8>, id: u16) -> Vec<u8> {
    if packet[0] >> 4 == 6 {
        packet[46..48].copy_from_slice(&id.to_be_bytes());
        return packet;
    }
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[10..12].fill(0);
    let sum = sum(&[&packet[..20]]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet
}

fn first(family: usize, port: u16, id: u16) -> Vec<u8> {
    numbered(fragment(PEER[family], SHARED[family], 0, true, &ports(53, port)), id)
}

fn later(family: usize, id: u16) -> Vec<u8> {
    numbered(fragment(PEER[family], SHARED[family], 185, false, &[7; 40]), id)
}

#[test]
fn later_ones_come_to_the_host_of_the_first() {
    let boundary = boundary();
    for family in [0, 1] {
        // Two datagrams between the same addresses, to two hosts.
        arrives(&boundary, &first(family, 1500, 1), HOST);
        arrives(&boundary, &first(family, 2500, 2), OTHER_HOST);
        for _ in 0..2 {
            arrives(&boundary, &later(family, 1), HOST);
            arrives(&boundary, &later(family, 2), OTHER_HOST);
        }
        // The identification is used again.
        arrives(&boundary, &first(family, 2500, 1), OTHER_HOST);
        arrives(&boundary, &later(family, 1), OTHER_HOST);
    }
}

#[test]
fn later_ones_leave_behind_the_first_of_their_own_host() {
    let boundary = boundary();
    for family in [0, 1] {
        let (shared, peer) = (SHARED[family], PEER[family]);
        let later = fragment(shared, peer, 9, false, &[1; 9]);
        leaves(&boundary, HOST, &[], &fragment(shared, peer, 0, true, &ports(1024, 53)));
        leaves(&boundary, HOST, &[], &later);
        // Another host does not profit from it.
        let verdict = send(&boundary, OTHER_HOST, &mut geneve(&[], &later));
        assert_eq!(verdict, Verdict::Held);
        assert_eq!(boundary.waited(), None);
        // Nor does anybody from a first one that must not leave.
        let foreign = numbered(fragment(shared, peer, 0, true, &ports(2048, 53)), 9);
        expect_drop(&boundary, BoundaryDrop::ForeignSource, || {
            send(&boundary, HOST, &mut geneve(&[], &foreign))
        });
        let verdict = send(&boundary, HOST, &mut geneve(&[], &numbered(later, 9)));
        assert_eq!(verdict, Verdict::Held);
    }
}

#[test]
fn one_that_comes_before_the_first_waits_for_it() {
    let boundary = boundary();
    for family in [0, 1] {
        let early = outside(&later(family, 1));
        assert_eq!(boundary.from_outside(&mut early.clone(), now()), Verdict::Held);
        let (shared, peer) = (SHARED[family], PEER[family]);
        let early_out = geneve(&[], &fragment(shared, peer, 9, false, &[1; 9]));
        assert_eq!(send(&boundary, HOST, &mut early_out.clone()), Verdict::Held);
        assert_eq!(boundary.waited(), None);

        arrives(&boundary, &first(family, 1500, 1), HOST);
        let waited = boundary.waited().unwrap();
        assert_eq!((waited.bytes, waited.from), (early, None));
        assert_eq!(boundary.waited(), None);
        arrives(&boundary, &later(family, 1), HOST);

        leaves(&boundary, HOST, &[], &fragment(shared, peer, 0, true, &ports(1024, 53)));
        let waited = boundary.waited().unwrap();
        assert_eq!((waited.bytes, waited.from), (early_out, Some((HOST.parse().unwrap(), 0))));
        assert_eq!(boundary.waited(), None);
    }
    assert_eq!(boundary.counters().events(BoundaryEvent::FragmentsHeld), 4);
}

#[test]
fn neither_is_remembered_for_long() {
    let boundary = boundary();
    let at = |ms| Moment::from_millis(1_000 + ms);
    boundary.from_outside(&mut outside(&first(0, 1500, 1)), at(0));
    let verdict = boundary.from_outside(&mut outside(&later(0, 1)), at(FOLLOWED_MS - 1));
    assert!(matches!(verdict, Verdict::Encapsulate { .. }));
    let verdict = boundary.from_outside(&mut outside(&later(0, 1)), at(FOLLOWED_MS));
    assert_eq!(verdict, Verdict::Held);
    expect_drop_more(&boundary, 1, || {
        boundary.from_outside(&mut outside(&first(0, 1500, 1)), at(FOLLOWED_MS + WAITING_MS));
    });
    assert_eq!(boundary.waited(), None);
}

#[test]
fn floods_of_fragments_have_their_limits() {
    let boundary = boundary();
    // Of the last ones the first fragments are known, of one more they are not.
    for id in 0..=MAX_FOLLOWED as u16 {
        arrives(&boundary, &first(0, 1500, id), HOST);
    }
    assert_eq!(boundary.counters().events(BoundaryEvent::FragmentsForgotten), 1);
    for id in [1, MAX_FOLLOWED as u16] {
        arrives(&boundary, &later(0, id), HOST);
    }
    let frame = outside(&later(0, 0));
    assert_eq!(boundary.from_outside(&mut frame.clone(), now()), Verdict::Held);

    let room = WAITING_BYTES / frame.len();
    let waits = |id| boundary.from_outside(&mut outside(&later(0, id)), now());
    for id in 0..room as u16 - 1 {
        assert_eq!(waits(10_000 + id), Verdict::Held);
    }
    expect_drop_more(&boundary, 1, || assert_eq!(waits(30_000), Verdict::Held));
    // The oldest had to give way.
    arrives(&boundary, &first(0, 1500, 0), HOST);
    assert_eq!(boundary.waited(), None);
    // What goes on elsewhere does not notice.
    arrives(&boundary, &ip(PEER[0], SHARED[0], 17, 64, &ports(53, 1500)), HOST);
}

/// So many fragments are given up for want of a first one.
fn expect_drop_more(boundary: &Boundary<TestHost>, count: u64, act: impl FnOnce()) {
    let before = boundary.counters().drops(BoundaryDrop::Fragment);
    act();
    assert_eq!(boundary.counters().drops(BoundaryDrop::Fragment), before + count);
}
