// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Names for the bytes of a frame, so that a difference can be told field by field.

use opte_api::MacAddr;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// A named part of a frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Field {
    /// For example `outer.ipv6.dst`.
    pub name: String,
    /// Which bytes.
    pub bytes: Range<usize>,
    form: Form,
}

/// How a field is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Mac,
    Ipv4,
    Ipv6,
    Number,
    Hex,
}

type Part = (&'static str, usize, Form);

const ETHERNET: &[Part] =
    &[("ether.dst", 6, Form::Mac), ("ether.src", 6, Form::Mac), ("ether.type", 2, Form::Hex)];
const ARP: &[Part] = &[
    ("arp.hardware_type", 2, Form::Number),
    ("arp.protocol_type", 2, Form::Hex),
    ("arp.hardware_length", 1, Form::Number),
    ("arp.protocol_length", 1, Form::Number),
    ("arp.operation", 2, Form::Number),
    ("arp.sender_mac", 6, Form::Mac),
    ("arp.sender_ip", 4, Form::Ipv4),
    ("arp.target_mac", 6, Form::Mac),
    ("arp.target_ip", 4, Form::Ipv4),
];
const IPV4: &[Part] = &[
    ("ipv4.version_and_header_length", 1, Form::Hex),
    ("ipv4.tos", 1, Form::Hex),
    ("ipv4.total_length", 2, Form::Number),
    ("ipv4.id", 2, Form::Hex),
    ("ipv4.flags_and_fragment_offset", 2, Form::Hex),
    ("ipv4.ttl", 1, Form::Number),
    ("ipv4.protocol", 1, Form::Number),
    ("ipv4.header_checksum", 2, Form::Hex),
    ("ipv4.src", 4, Form::Ipv4),
    ("ipv4.dst", 4, Form::Ipv4),
];
const IPV6: &[Part] = &[
    ("ipv6.version_class_and_flow_label", 4, Form::Hex),
    ("ipv6.payload_length", 2, Form::Number),
    ("ipv6.next_header", 1, Form::Number),
    ("ipv6.hop_limit", 1, Form::Number),
    ("ipv6.src", 16, Form::Ipv6),
    ("ipv6.dst", 16, Form::Ipv6),
];
const TCP: &[Part] = &[
    ("tcp.src_port", 2, Form::Number),
    ("tcp.dst_port", 2, Form::Number),
    ("tcp.seq", 4, Form::Hex),
    ("tcp.ack", 4, Form::Hex),
    ("tcp.offset_and_flags", 2, Form::Hex),
    ("tcp.window", 2, Form::Number),
    ("tcp.checksum", 2, Form::Hex),
    ("tcp.urgent", 2, Form::Hex),
];
const UDP: &[Part] = &[
    ("udp.src_port", 2, Form::Number),
    ("udp.dst_port", 2, Form::Number),
    ("udp.length", 2, Form::Number),
    ("udp.checksum", 2, Form::Hex),
];
const ICMP: &[Part] = &[
    ("icmp.type", 1, Form::Number),
    ("icmp.code", 1, Form::Number),
    ("icmp.checksum", 2, Form::Hex),
    ("icmp.id", 2, Form::Hex),
    ("icmp.sequence", 2, Form::Hex),
];
const ICMPV6: &[Part] = &[
    ("icmpv6.type", 1, Form::Number),
    ("icmpv6.code", 1, Form::Number),
    ("icmpv6.checksum", 2, Form::Hex),
    ("icmpv6.id", 2, Form::Hex),
    ("icmpv6.sequence", 2, Form::Hex),
];
const GENEVE: &[Part] = &[
    ("geneve.version_and_option_length", 1, Form::Hex),
    ("geneve.flags", 1, Form::Hex),
    ("geneve.protocol_type", 2, Form::Hex),
    ("geneve.vni", 3, Form::Number),
    ("geneve.reserved", 1, Form::Hex),
];
/// Longest value that is shown whole.
const MAX_SHOWN: usize = 24;

/// The fields of a frame, in order and without gaps. `tunnelled`: the frame is an outer one.
pub fn layout(frame: &[u8], tunnelled: bool) -> Vec<Field> {
    let mut walk =
        Walk { frame, at: 0, prefix: if tunnelled { "outer." } else { "" }, out: vec![] };
    walk.ethernet();
    walk.rest("payload", frame.len());
    walk.out
}

impl Field {
    /// The end of the field from an offset of the frame on.
    pub fn starting_at(self, offset: usize) -> Self {
        Self { bytes: offset..self.bytes.end, ..self }
    }

    /// The field of `frame` as people write it.
    pub fn show(&self, frame: &[u8]) -> String {
        let Some(bytes) = frame.get(self.bytes.clone()) else { return "nothing".into() };
        match self.form {
            Form::Mac => bytes.try_into().map(|mac| MacAddr(mac).to_string()).ok(),
            Form::Ipv4 => <[u8; 4]>::try_from(bytes).map(|ip| Ipv4Addr::from(ip).to_string()).ok(),
            Form::Ipv6 => <[u8; 16]>::try_from(bytes).map(|ip| Ipv6Addr::from(ip).to_string()).ok(),
            Form::Number if bytes.len() <= 8 => {
                Some(bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)).to_string())
            }
            Form::Number | Form::Hex => None,
        }
        .unwrap_or_else(|| hex(bytes))
    }
}

/// Bytes as hexadecimal digits, long ones shortened.
pub fn hex(bytes: &[u8]) -> String {
    let shown = bytes.get(..MAX_SHOWN).unwrap_or(bytes);
    let digits: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    if shown.len() < bytes.len() { format!("{digits}..({} bytes)", bytes.len()) } else { digits }
}

struct Walk<'a> {
    frame: &'a [u8],
    at: usize,
    prefix: &'static str,
    out: Vec<Field>,
}

impl Walk<'_> {
    fn byte(&self, at: usize) -> usize {
        self.frame.get(self.at + at).copied().map_or(0, usize::from)
    }

    fn word(&self, at: usize) -> usize {
        self.byte(at) << 8 | self.byte(at + 1)
    }

    fn push(&mut self, name: &str, len: usize, form: Form) {
        let end = self.frame.len().min(self.at + len);
        if self.at < end {
            let name = format!("{}{name}", self.prefix);
            self.out.push(Field { name, bytes: self.at..end, form });
            self.at = end;
        }
    }

    fn parts(&mut self, parts: &[Part]) {
        for &(name, len, form) in parts {
            self.push(name, len, form);
        }
    }

    /// Everything up to `end` as one field.
    fn rest(&mut self, name: &str, end: usize) {
        self.push(name, end.saturating_sub(self.at), Form::Hex);
    }

    fn ethernet(&mut self) {
        let ether_type = self.word(12);
        self.parts(ETHERNET);
        match ether_type {
            0x0800 => self.ipv4(),
            0x0806 => self.parts(ARP),
            0x86dd => self.ipv6(),
            _ => {}
        }
    }

    fn ipv4(&mut self) {
        let end = self.at + (self.byte(0) & 0xf) * 4;
        let protocol = self.byte(9);
        let later_fragment = self.word(6) & 0x1fff != 0;
        self.parts(IPV4);
        self.rest("ipv4.options", end);
        if !later_fragment {
            self.transport(protocol);
        }
    }

    fn ipv6(&mut self) {
        let mut next = self.byte(6);
        self.parts(IPV6);
        // Hop-by-hop, routing, fragment and destination options (RFC 8200, section 4).
        while matches!(next, 0 | 43 | 44 | 60) && self.at < self.frame.len() {
            let len = if next == 44 { 8 } else { (self.byte(1) + 1) * 8 };
            next = self.byte(0);
            self.push("ipv6.extension", len, Form::Hex);
        }
        self.transport(next);
    }

    fn transport(&mut self, protocol: usize) {
        match protocol {
            1 => self.parts(ICMP),
            6 => {
                let end = self.at + (self.byte(12) >> 4) * 4;
                self.parts(TCP);
                self.rest("tcp.options", end);
            }
            17 => {
                self.parts(UDP);
                if self.prefix == "outer." {
                    self.geneve();
                }
            }
            58 => self.parts(ICMPV6),
            _ => {}
        }
    }

    fn geneve(&mut self) {
        let end = self.at + 8 + (self.byte(0) & 0x3f) * 4;
        self.prefix = "";
        self.parts(GENEVE);
        self.rest("geneve.options", end);
        self.prefix = "inner.";
        self.ethernet();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_frame_is_named_to_the_end() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 58, 17, 255]);
        frame.extend([0xfd; 32]);
        frame.extend([0xd4, 0x31, 0x17, 0xc1, 0, 58, 0, 0]);
        frame.extend([1, 0, 0x65, 0x58, 0, 0, 99, 0, 1, 0x29, 0, 0]);
        frame.extend([2; 12]);
        frame.extend([0x08, 0x00, 0x45, 0, 0, 24, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1]);
        frame.extend([10, 0, 0, 2, 0, 1, 0, 53, 0, 9, 0, 0, b'x']);
        let fields = layout(&frame, true);
        let named = |name: &str| {
            fields.iter().find(|field| field.name == name).map(|field| field.show(&frame))
        };
        for (name, value) in [
            ("outer.udp.dst_port", "6081"),
            ("outer.ipv6.hop_limit", "255"),
            ("geneve.vni", "99"),
            ("geneve.options", "01290000"),
            ("inner.ether.dst", "02:02:02:02:02:02"),
            ("inner.ipv4.dst", "10.0.0.2"),
            ("inner.udp.dst_port", "53"),
            ("inner.payload", "78"),
        ] {
            assert_eq!(named(name).as_deref(), Some(value), "{name}");
        }
        let mut at = 0;
        for field in &fields {
            assert_eq!(field.bytes.start, at, "{}", field.name);
            at = field.bytes.end;
        }
        assert_eq!(at, frame.len());
    }

    #[test]
    fn broken_frames_are_named_too() {
        for byte in 0..=255 {
            for len in 0..200 {
                let frame = vec![byte; len];
                let covered: usize = layout(&frame, true).iter().map(|f| f.bytes.len()).sum();
                assert_eq!(covered, len);
            }
        }
    }
}
