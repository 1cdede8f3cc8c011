// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Both ways of reading a frame agree.

use super::plain::plain;
use super::*;
use alloc::vec::Vec;
use proptest::prelude::*;

/// A frame that is nearly right: an IP packet of 40 bytes behind its header.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let protocol = prop_oneof![Just(6u8), Just(17), Just(1), Just(58), Just(44), any::<u8>()];
    let body = proptest::collection::vec(any::<u8>(), 40);
    let changes = proptest::collection::vec((0usize..94, any::<u8>()), 0..3);
    (any::<bool>(), protocol, body, changes, 30usize..120).prop_map(
        |(ipv4, protocol, mut body, changes, len)| {
            body[4..6].copy_from_slice(&[0, 40]);
            body[12] = 0x50;
            let mut frame = alloc::vec![0x02; 12];
            if ipv4 {
                frame.extend_from_slice(&[8, 0, 0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, protocol]);
                frame.extend_from_slice(&[0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            } else {
                frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 40, protocol, 64]);
                frame.extend_from_slice(&[0xfd; 32]);
            }
            frame.extend_from_slice(&body);
            for (at, byte) in changes {
                if let Some(place) = frame.get_mut(at) {
                    *place = byte;
                }
            }
            frame.truncate(len);
            frame
        },
    )
}

#[derive(Debug, PartialEq)]
struct Shown(u16, u16, u32, MacPair, Payload, TcpFlags, Mark);

fn shown(headers: &Headers) -> Shown {
    let Headers { ether, transport, end, macs, payload, flags, mark, ecn: _ } = *headers;
    Shown(ether, transport, end, macs, payload, flags, mark)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn reading_in_one_go_changes_nothing(frame in frames(), ether in 0usize..100) {
        let careful = Headers::parse_any(&frame, frame.len(), ether, Mark::GUEST);
        if let Some(quick) = plain(&frame, frame.len()) {
            let quick = quick.at(ether, Mark::GUEST).unwrap();
            prop_assert_eq!(shown(&quick), shown(&careful.unwrap()));
        }
    }
}

#[test]
fn plain_frames_are_read_in_one_go() {
    let mut frame = alloc::vec![2; 12];
    frame.extend_from_slice(&[8, 0, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2, 0, 8, 0, 0]);
    assert!(plain(&frame, frame.len()).is_some());
}
