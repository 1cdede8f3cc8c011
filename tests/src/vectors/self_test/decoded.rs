// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The same for decoded answers.

use super::for_each_answer;
use crate::vectors::check::compare;
use crate::vectors::model::{Expected, PacketStep};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Range;

#[test]
fn decoded_fields_are_compared() {
    for_each_answer("decoded_fields_are_compared", |sample| {
        let Some((expected, good)) = sample.frame() else { return };
        for name in expected.decoded.keys() {
            // Another value expected: the same as another value seen, unless the value is free.
            let mut other = expected.clone();
            other.decoded.insert(name.clone(), json!("something else"));
            let packet =
                PacketStep { expected: Expected::Frame(Box::new(other)), ..sample.packet.clone() };
            let caught = compare(&packet, &sample.good, sample.variables);
            let free = expected.decoded_free.contains(name);
            assert_eq!(caught.iter().any(|m| m.field == *name), !free, "{name}: {caught:?}");
        }
        for (at, field) in decoded_bytes(&expected.decoded, &good) {
            let mut frame = good.clone();
            frame[at] ^= 1;
            // A spoiled length or name may make the answer unreadable; that is told by any name.
            let prefix = field.split_once('.').unwrap().0;
            sample.assert_caught_alone(expected, frame, prefix);
        }
    });
}

/// Bytes of a frame that decide a field which is not free: fixed ones, and option data.
fn decoded_bytes(decoded: &BTreeMap<String, Value>, frame: &[u8]) -> Vec<(usize, String)> {
    let mut bytes = Vec::new();
    let mut add = |range: Range<usize>, field: &str| {
        bytes.extend(range.map(|at| (at, field.to_owned())));
    };
    if decoded.contains_key("dhcp.op") {
        // RFC 2131, section 2; the UDP payload begins at offset 42.
        for (range, field) in [
            (42..45, "dhcp.op"),
            (46..50, "dhcp.xid"),
            (50..54, "dhcp.secs"),
            (54..62, "dhcp.ciaddr"),
            (66..76, "dhcp.giaddr"),
            (278..282, "dhcp.magic"),
        ] {
            add(range, field);
        }
        let mut at = 282;
        while frame[at] != 255 {
            let len = usize::from(frame[at + 1]);
            // Which options are present and how long the lease is are free.
            if frame[at] != 51 {
                add(at + 1..at + 2 + len, "dhcp.option");
            }
            at += 2 + len;
        }
        add(at..at + 1, "dhcp.end_option");
    } else if decoded.contains_key("dhcpv6.message_type") {
        add(62..66, "dhcpv6.message_type");
        let mut at = 66;
        while at < frame.len() {
            let code = u16::from_be_bytes([frame[at], frame[at + 1]]);
            let len = usize::from(u16::from_be_bytes([frame[at + 2], frame[at + 3]]));
            // The server's identifier is free.
            if code != 2 {
                add(at + 4..at + 4 + len, "dhcpv6.option");
            }
            at += 4 + len;
        }
    } else if decoded.contains_key("ra.managed") {
        assert!(frame[70..].starts_with(&[1, 1]) || frame[70..].starts_with(&[5, 1]));
        add(72..78, "ra.option");
    }
    bytes
}
