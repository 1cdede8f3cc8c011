// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! ICMP errors of the boundary itself.

use super::build::*;
use super::*;

/// Checks an error of either family: from the boundary, to `dst`, with right sums, quoting the
/// front of `about`.
fn check_error(error: &[u8], dst: &str, kind: [u8; 2], about: &[u8]) {
    let (header, quote) = if error[0] >> 4 == 4 {
        assert_eq!(sum(&[&error[..20]]), 0);
        assert_eq!(sum(&[&error[20..]]), 0);
        assert_eq!(usize::from(u16::from_be_bytes([error[2], error[3]])), error.len());
        assert!(error.len() <= 576);
        assert_eq!((addr(OWN[0]), addr(dst)), (v4(&error[12..16]), v4(&error[16..20])));
        (&error[20..28], &error[28..])
    } else {
        let len = (error.len() as u16 - 40).to_be_bytes();
        assert_eq!(sum(&[&error[8..40], &len, &[0, 58], &error[40..]]), 0);
        assert_eq!(error[4..6], len);
        assert!(error.len() <= 1280);
        assert_eq!((addr(OWN[1]), addr(dst)), (v6(&error[8..24]), v6(&error[24..40])));
        (&error[40..48], &error[48..])
    };
    assert_eq!(header[..2], kind);
    assert!(quote.len() >= 28 && about.starts_with(quote));
}

fn v4(bytes: &[u8]) -> IpAddr {
    <[u8; 4]>::try_from(bytes).unwrap().into()
}

fn v6(bytes: &[u8]) -> IpAddr {
    <[u8; 16]>::try_from(bytes).unwrap().into()
}

#[test]
fn the_boundary_is_a_hop_in_both_ways() {
    let boundary = boundary();
    for (family, kind) in [(0, [11, 0]), (1, [3, 0])] {
        let (peer, floating) = (PEER[family], FLOATING[family]);
        let inbound = ip(peer, floating, 17, 1, &[&ports(9, 33434)[..], &[7; 2000]].concat());
        let verdict = boundary.from_outside(&mut outside(&inbound), now());
        let Verdict::Answer(Answer::Packet { destination, bytes }) = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!(destination, addr(peer));
        check_error(&bytes, peer, kind, &inbound);

        let outbound = ip(floating, peer, 17, 1, &ports(9, 33434));
        let host = HOST.parse().unwrap();
        let verdict = boundary.from_underlay((host, 0), &mut geneve(&[], &outbound), now());
        let Verdict::Answer(Answer::Encapsulated { outer, inner }) = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!((outer.dst, outer.vni.get()), (host, 1234));
        assert_eq!(inner[..12], [GUEST_MAC.0, Config::DEFAULT_INNER_MAC.0].concat());
        check_error(&inner[14..], floating, kind, &outbound);
    }
    assert_eq!(boundary.counters().events(BoundaryEvent::TimeExceeded), 4);
}

#[test]
fn packets_that_are_too_large_are_told_to_their_source() {
    let boundary = boundary();
    for (family, kind) in [(0, [3, 4]), (1, [2, 0])] {
        let (peer, floating) = (PEER[family], FLOATING[family]);
        let inbound = ip(peer, floating, 17, 64, &ports(9, 9));
        let verdict = boundary.too_big(&inbound, 1400, now());
        let Verdict::Answer(Answer::Packet { bytes, .. }) = verdict else { panic!("{verdict:?}") };
        check_error(&bytes, peer, kind, &inbound);
        assert_eq!(bytes[[26, 46][family]..][..2], 1400u16.to_be_bytes());

        let outbound = ip(floating, peer, 17, 64, &ports(9, 9));
        let verdict = boundary.too_big(&outbound, 1400, now());
        let Verdict::Answer(Answer::Encapsulated { inner, .. }) = verdict else {
            panic!("{verdict:?}")
        };
        check_error(&inner[14..], floating, kind, &outbound);
    }
    let nowhere = ip("127.0.0.1", FLOATING[0], 17, 64, &ports(9, 9));
    expect_drop(&boundary, BoundaryDrop::TooBig, || boundary.too_big(&nowhere, 1400, now()));
    let may_be_cut = fragment(PEER[0], FLOATING[0], 0, false, &ports(9, 9));
    expect_drop(&boundary, BoundaryDrop::TooBig, || boundary.too_big(&may_be_cut, 1400, now()));
}

#[test]
fn no_error_about_errors_later_fragments_or_without_an_address() {
    let boundary = boundary();
    for family in [0, 1] {
        let [protocol, _, _, kind] = ICMP[family];
        let quote = ip(FLOATING[family], PEER[family], 17, 9, &ports(1, 2));
        let error = ip(PEER[family], FLOATING[family], protocol, 1, &icmp(kind, 0, &quote));
        let fragment = fragment(PEER[family], FLOATING[family], 9, false, &[0; 9]);
        let mut last_hop = fragment.clone();
        if family == 0 {
            last_hop[8..12].copy_from_slice(&[1, 17, 0, 0]);
            let sum = sum(&[&last_hop[..20]]).to_be_bytes();
            last_hop[10..12].copy_from_slice(&sum);
        } else {
            last_hop[7] = 1;
        }
        for packet in [error, last_hop] {
            expect_drop(&boundary, BoundaryDrop::HopLimit, || {
                boundary.from_outside(&mut outside(&packet), now())
            });
        }
        boundary.set_outside(Outside { mac: OUTSIDE_MAC, ..Outside::default() });
        let packet = ip(PEER[family], FLOATING[family], 17, 1, &ports(1, 2));
        expect_drop(&boundary, BoundaryDrop::HopLimit, || {
            boundary.from_outside(&mut outside(&packet), now())
        });
    }
}

#[test]
fn errors_are_limited() {
    let boundary = boundary();
    let packet = ip(PEER[0], FLOATING[0], 17, 0, &ports(1, 2));
    let answered = |millis| {
        let now = Moment::from_millis(millis);
        (0..100)
            .map(|_| boundary.from_outside(&mut outside(&packet), now))
            .filter(|verdict| matches!(verdict, Verdict::Answer(_)))
            .count()
    };
    assert_eq!(answered(1_000), 50);
    assert_eq!(answered(1_020), 20);
    assert_eq!(boundary.counters().events(BoundaryEvent::ErrorsLimited), 130);
    assert_eq!(boundary.counters().drops(BoundaryDrop::HopLimit), 130);
}
