// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Joining against cutting: what was joined and is cut again is what has come.

use super::*;
use crate::inner::{TCP, samples};
use crate::segment::Cutter;
use proptest::prelude::*;

const GENEVE: [u8; 12] = [1, 0, 0x65, 0x58, 0, 0, 99, 0, 1, 0x29, 0, 0];

/// A super-frame as a guest would send it, cut into datagrams.
fn datagrams(family: Family, seq: u32, flags: u8, payload: &[u8], size: u16) -> Vec<Vec<u8>> {
    let frame = samples::ip(family, TCP, &samples::tcp(seq, flags, payload));
    cut(&frame, Segmentation { kind: SegmentKind::Tcp, size })
}

/// The same of UDP.
fn udp_datagrams(family: Family, payload: &[u8], size: u16) -> Vec<Vec<u8>> {
    let frame = samples::ip(family, UDP, &samples::udp(payload));
    cut(&frame, Segmentation { kind: SegmentKind::Udp, size })
}

fn cut(frame: &[u8], segments: Segmentation) -> Vec<Vec<u8>> {
    let cutter = Cutter::new(frame, segments).unwrap();
    let datagram = |index| {
        let mut bytes = GENEVE.to_vec();
        cutter.write_header(index, &mut bytes);
        bytes.extend_from_slice(&frame[cutter.body(index)]);
        bytes
    };
    (0..cutter.count()).map(datagram).collect()
}

fn split_all(datagrams: &[Vec<u8>]) -> (Vec<Packet>, usize) {
    let (pool, mut out) = (Pool::default(), Vec::new());
    let mut piece = pool.packet(crate::packet::MAX_LEN);
    let bytes = datagrams.concat();
    piece.room_mut()[..bytes.len()].copy_from_slice(&bytes);
    piece.set_len(bytes.len());
    let merged = split(piece, datagrams[0].len(), Joining::TcpAndUdp, &pool, &mut out);
    (out, merged)
}

/// All frames, cut again where they are super-frames.
fn cut_again(frames: &[Packet]) -> Vec<Vec<u8>> {
    cut_behind(GENEVE.len(), frames)
}

/// The same behind Geneve headers of that length.
fn cut_behind(geneve: usize, frames: &[Packet]) -> Vec<Vec<u8>> {
    use opte::frame::Frame;
    let mut all = Vec::new();
    for packet in frames {
        let (geneve, frame) = packet.bytes().split_at(geneve);
        let Some(segments) = packet.offload().segments else {
            all.push(packet.bytes().to_vec());
            continue;
        };
        let cutter = Cutter::new(frame, segments).unwrap();
        for index in 0..cutter.count() {
            let mut bytes = geneve.to_vec();
            cutter.write_header(index, &mut bytes);
            bytes.extend_from_slice(&frame[cutter.body(index)]);
            all.push(bytes);
        }
    }
    all
}

/// Datagrams made of several segments each, and the same frame cut into these segments.
fn large_and_small(family: Family, payload: &[u8], size: u16, many: u16) -> [Vec<Vec<u8>>; 2] {
    let frame = samples::ip(family, TCP, &samples::tcp(9, PSH, payload));
    let [s0, s1] = size.to_be_bytes();
    let geneve = [2, 0, 0x65, 0x58, 0, 0, 99, 0, 1, 0x29, 2, 1, 0, 0, s0, s1];
    [size * many, size].map(|size| {
        let cutter = Cutter::new(&frame, Segmentation { kind: SegmentKind::Tcp, size }).unwrap();
        let datagram = |index| {
            let mut bytes = geneve.to_vec();
            cutter.write_header(index, &mut bytes);
            bytes.extend_from_slice(&frame[cutter.body(index)]);
            bytes
        };
        (0..cutter.count()).map(datagram).collect()
    })
}

proptest! {
    #[test]
    fn segments_that_came_in_large_pieces_are_the_guests_own(
        v6: bool,
        payload in proptest::collection::vec(any::<u8>(), 1..9000),
        size in 60u16..600,
        many in 2u16..6,
    ) {
        use opte::frame::Frame;
        let family = if v6 { Family::V6 } else { Family::V4 };
        let [large, small] = large_and_small(family, &payload, size, many);
        let (frames, _) = split_all(&large);
        prop_assert_eq!(frames.len(), 1);
        match frames[0].offload().segments {
            Some(segments) => prop_assert_eq!(segments.size, size),
            None => prop_assert_eq!(small.len(), 1),
        }
        let seen = cut_behind(16, &frames);
        // Identifications of packets that are never fragmented mean nothing, and are not told.
        prop_assert_eq!(seen.len(), small.len());
        if v6 {
            prop_assert_eq!(seen, small);
        }
    }

    #[test]
    fn joining_undoes_cutting(
        v6: bool,
        seq: u32,
        push: bool,
        payload in proptest::collection::vec(any::<u8>(), 1..9000),
        size in 60u16..1500,
    ) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let sent = datagrams(family, seq, if push { PSH } else { 0 }, &payload, size);
        let (frames, merged) = split_all(&sent);
        prop_assert_eq!(frames.len(), 1);
        prop_assert_eq!(merged, sent.len() - 1);
        prop_assert_eq!(cut_again(&frames), sent);
    }

    #[test]
    fn joining_undoes_cutting_of_datagrams(
        v6: bool,
        payload in proptest::collection::vec(any::<u8>(), 1..5000),
        size in 100u16..1500,
    ) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let sent = udp_datagrams(family, &payload, size);
        let (frames, merged) = split_all(&sent);
        prop_assert_eq!((frames.len(), merged), (1, sent.len() - 1));
        prop_assert_eq!(cut_again(&frames), sent);
    }

    #[test]
    fn a_changed_byte_is_never_lost(
        udp: bool,
        v6: bool,
        payload in proptest::collection::vec(any::<u8>(), 1000..2000),
        at in 0usize..4096,
        change in 1u8..,
    ) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let mut sent = if udp {
            udp_datagrams(family, &payload, 500)
        } else {
            datagrams(family, 7, 0, &payload, 500)
        };
        let which = at % sent.len();
        let place = at / sent.len() % sent[which].len();
        sent[which][place] ^= change;
        let (frames, _) = split_all(&sent);
        prop_assert_eq!(cut_again(&frames), sent);
    }

    #[test]
    fn any_bytes_are_safe_and_kept(
        bytes in proptest::collection::vec(any::<u8>(), 1..600),
        run_of in 1usize..200,
    ) {
        let pool = Pool::default();
        let mut out = Vec::new();
        split(pool.packet_of(&bytes), run_of, Joining::TcpAndUdp, &pool, &mut out);
        let seen: Vec<u8> = out.iter().flat_map(|p| p.bytes().to_vec()).collect();
        prop_assert_eq!(seen, bytes);
    }
}

#[test]
fn datagrams_are_joined_only_where_that_is_wanted_and_up_to_a_limit() {
    let sent = udp_datagrams(Family::V6, &[7; 100 * (MAX_DATAGRAMS + 1)], 100);
    assert_eq!(split_all(&sent).0.len(), 2);
    let (pool, mut out) = (Pool::default(), Vec::new());
    let piece = pool.packet_of(&sent.concat());
    assert_eq!(split(piece, sent[0].len(), Joining::Tcp, &pool, &mut out), 0);
    assert_eq!(out.len(), sent.len());
    let mut unsure = sent[..2].to_vec();
    let checksum = GENEVE.len() + 54 + 6;
    unsure[1][checksum..checksum + 2].fill(0);
    assert_eq!(split_all(&unsure).0.len(), 2, "without a checksum");
}

#[test]
fn neighbours_that_differ_stay_apart() {
    let stream = |seq, flags| datagrams(Family::V4, seq, flags, &[7; 200], 100);
    let mut other = stream(200, 0);
    other[0][50] ^= 1; // A port; the checksum no longer holds.
    for (name, sent, frames) in [
        ("one stream", [stream(0, 0), stream(200, 0)].concat(), 1),
        ("a gap", [stream(0, 0), stream(201, 0)].concat(), 2),
        ("again", [stream(0, 0), stream(0, 0)].concat(), 2),
        ("PSH in the middle", [stream(0, PSH), stream(200, 0)].concat(), 2),
        ("FIN", [stream(0, 0), stream(200, 1)].concat(), 2),
        ("damage", [stream(0, 0), other].concat(), 3),
    ] {
        assert_eq!(split_all(&sent).0.len(), frames, "{name}");
    }
}
