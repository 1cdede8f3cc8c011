// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Laws of edits and transforms, on real packets of every kind.

use opte::edit::{HeaderEdit, OuterEdit};
use opte::frame::{ChecksumState, FlatFrame, Offload, Rewrite};
use opte::geneve::{Mark, OuterFacts};
use opte::headers::Headers;
use opte::outer::{GeneveOptions, Outer};
use opte::tcp::TcpFlags;
use opte::transform::Transform;
use opte_api::{MacAddr, Protocol, Vni};
use opte_tests::packets::{Body, Packet, checksums};
use opte_tests::setting::cases;
use oxide_vpc::overlay::DIALECT;
use proptest::option;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

const CASES: u32 = 2000;

fn macs() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr)
}

fn ips(ipv4: bool) -> BoxedStrategy<IpAddr> {
    if ipv4 {
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()).boxed()
    } else {
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).into()).boxed()
    }
}

fn bodies() -> impl Strategy<Value = Body> {
    let tcp = |(ports, flags, numbers)| Body::Tcp { ports, flags: TcpFlags(flags | 0x10), numbers };
    let echo = prop_oneof![Just(8u8), Just(0), Just(128), Just(129)];
    prop_oneof![
        3 => any::<([u16; 2], u8, [u32; 2])>().prop_map(tcp),
        3 => any::<([u16; 2], bool)>()
            .prop_map(|(ports, checksum)| Body::Udp { ports, checksum }),
        3 => (echo, any::<[u8; 4]>()).prop_map(|(kind, rest)| Body::Icmp { kind: [kind, 0], rest }),
        1 => any::<([u8; 2], [u8; 4])>().prop_map(|(kind, rest)| Body::Icmp { kind, rest }),
        1 => prop_oneof![Just(47u8), Just(132)].prop_map(Body::Other),
    ]
}

fn packets(ipv4: bool) -> impl Strategy<Value = Packet> {
    let payload = proptest::collection::vec(any::<u8>(), 0..80);
    (macs(), macs(), ips(ipv4), ips(ipv4), bodies(), 0usize..4, payload).prop_map(
        |(a, b, src, dst, body, extras, payload)| {
            let packet = Packet::new([a, b], [src, dst], body);
            Packet { extras, payload, ..packet }
        },
    )
}

fn outers() -> impl Strategy<Value = OuterEdit> {
    let set = (any::<[u128; 2]>(), any::<u16>(), 0..=Vni::MAX, any::<Option<[u8; 4]>>()).prop_map(
        |([src, dst], source_port, vni, option)| {
            OuterEdit::Set(Outer {
                src: src.into(),
                dst: dst.into(),
                source_port,
                vni: Vni::new(vni).unwrap(),
                // A class that nobody knows, and no body.
                options: option.map_or(GeneveOptions::NONE, |[a, b, c, _]| {
                    GeneveOptions::new(&[a, b, c & 0x7f, 0]).unwrap()
                }),
                traffic_class: 0,
            })
        },
    );
    prop_oneof![Just(OuterEdit::Keep), Just(OuterEdit::Strip), set]
}

fn edits(ipv4: bool) -> impl Strategy<Value = HeaderEdit> {
    let (mac, ip) = (|| option::of(macs()), || option::of(ips(ipv4)));
    let port = || option::of(any::<u16>());
    (mac(), mac(), ip(), ip(), port(), port(), port(), outers()).prop_map(
        |(src_mac, dst_mac, src_ip, dst_ip, src_port, dst_port, echo_id, outer)| HeaderEdit {
            src_mac,
            dst_mac,
            src_ip,
            dst_ip,
            src_port,
            dst_port,
            echo_id,
            outer,
            care: None,
        },
    )
}

fn packets_and_edits() -> impl Strategy<Value = (Packet, HeaderEdit, HeaderEdit)> {
    any::<bool>().prop_flat_map(|ipv4| (packets(ipv4), edits(ipv4), edits(ipv4)))
}

/// A frame, and whether it has outer headers.
#[derive(Clone, Debug, PartialEq)]
struct Parcel {
    frame: FlatFrame,
    wrapped: bool,
}

impl Parcel {
    fn new(bytes: Vec<u8>) -> Self {
        Self { frame: FlatFrame::new(bytes), wrapped: false }
    }

    fn headers(&self) -> Headers {
        let bytes = &self.frame.bytes;
        let ether = if self.wrapped {
            OuterFacts::parse(bytes, bytes.len(), &DIALECT).unwrap().inner
        } else {
            0
        };
        Headers::parse(bytes, bytes.len(), ether, Mark::GUEST).unwrap()
    }

    fn edited(mut self, edit: &HeaderEdit) -> Self {
        let headers = self.headers();
        let transform = Transform::compile(edit, headers.key().unwrap(), &headers, Arc::new);
        let mut rewrite = Rewrite::default();
        transform.apply(&mut self.frame, &headers, &mut rewrite).unwrap();
        self.frame.bytes = self.frame.rewritten(&rewrite);
        let wrapped = match edit.outer {
            OuterEdit::Keep => self.wrapped,
            OuterEdit::Strip => false,
            OuterEdit::Set(_) => true,
        };
        Self { wrapped, ..self }
    }
}

fn complement_sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
    let sum = words.fold(0, |sum, word| (sum + word) % 0xffff);
    !(sum as u16)
}

/// Offset of a transport checksum in its header.
fn checksum_offset(protocol: Protocol) -> Option<usize> {
    Some(match protocol {
        Protocol::TCP => 16,
        Protocol::UDP => 6,
        Protocol::ICMP | Protocol::ICMPV6 => 2,
        _ => return None,
    })
}

/// The pseudo-header of a packet whose transport part is `len` bytes long (RFC 9293, section 3.1;
/// RFC 8200, section 8.1). ICMP has none.
fn pseudo_header(packet: &Packet, len: usize) -> Vec<u8> {
    let mut bytes = match [packet.src, packet.dst] {
        [IpAddr::V4(src), IpAddr::V4(dst)] => [src.octets(), dst.octets()].concat(),
        [IpAddr::V6(src), IpAddr::V6(dst)] => [src.octets(), dst.octets()].concat(),
        _ => unreachable!("one family"),
    };
    bytes.extend_from_slice(&[0, packet.protocol().0]);
    bytes.extend_from_slice(&(len as u32).to_be_bytes());
    if packet.protocol() == Protocol::ICMP { Vec::new() } else { bytes }
}

proptest! {
    #![proptest_config(cases(CASES))]

    /// One edit after the other is both at once.
    #[test]
    fn then_is_one_after_the_other((packet, a, b) in packets_and_edits()) {
        let parcel = Parcel::new(packet.bytes());
        let both = parcel.clone().edited(&a.then(b));
        let by_turns = parcel.edited(&a).edited(&b);
        prop_assert_eq!(both, by_turns);
    }

    /// What an edit says of the key and the MAC addresses is what a parser finds afterwards.
    #[test]
    fn keys_are_foretold((packet, edit, _) in packets_and_edits()) {
        let parcel = Parcel::new(packet.bytes());
        let before = parcel.headers();
        let after = parcel.edited(&edit).headers();
        prop_assert_eq!(edit.key(*before.key().unwrap()), *after.key().unwrap());
        prop_assert_eq!(edit.macs(before.macs), after.macs);
    }

    /// Checksums are brought up to date as if they had been computed anew; absent ones stay so.
    #[test]
    fn checksums_stay_right((packet, edit, _) in packets_and_edits()) {
        let after = Parcel::new(packet.bytes()).edited(&edit);
        let inner = usize::from(after.headers().ether);
        let bytes = &after.frame.bytes[inner..];
        let absent = matches!(packet.body, Body::Udp { checksum: false, .. });
        let read = Packet::read(bytes).unwrap();
        prop_assert_eq!(matches!(read.body, Body::Udp { checksum: false, .. }), absent);
        if !absent || packet.src.is_ipv4() {
            prop_assert_eq!(checksums::verify(bytes), Ok(()));
        }
    }

    /// A checksum that comes wrong leaves wrong, by the same difference.
    #[test]
    fn wrong_checksums_stay_wrong((packet, edit, _) in packets_and_edits(), wrong in 1u16..0xfffe) {
        let Some(offset) = checksum_offset(packet.protocol()) else { return Ok(()) };
        prop_assume!(!matches!(packet.body, Body::Udp { checksum: false, .. }));
        let right = Parcel::new(packet.bytes());
        let at = usize::from(right.headers().transport) + offset;
        let sum = |bytes: &[u8], at: usize| u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let changed = (sum(&right.frame.bytes, at) + u32::from(wrong)) % 0xffff;
        let mut bad = right.clone();
        // Zero would mean, to UDP, that there is none.
        let stored = if changed == 0 { 0xffff } else { changed as u16 };
        bad.frame.bytes[at..at + 2].copy_from_slice(&stored.to_be_bytes());
        let (right, bad) = (right.edited(&edit), bad.edited(&edit));
        let at = usize::from(right.headers().transport) + offset;
        let (right, bad) = (sum(&right.frame.bytes, at), sum(&bad.frame.bytes, at));
        prop_assert_eq!((right + u32::from(wrong)) % 0xffff, bad % 0xffff);
    }

    /// A checksum that a device completes is right if the device completes it afterwards.
    #[test]
    fn partial_checksums_can_be_completed((packet, mut edit, _) in packets_and_edits()) {
        edit.outer = OuterEdit::Keep;
        let Some(offset) = checksum_offset(packet.protocol()) else { return Ok(()) };
        let mut parcel = Parcel::new(packet.bytes());
        let start = usize::from(parcel.headers().transport);
        let len = parcel.frame.bytes.len() - start;
        let pseudo = !complement_sum(&pseudo_header(&packet, len));
        parcel.frame.bytes[start + offset..][..2].copy_from_slice(&pseudo.to_be_bytes());
        let checksum = ChecksumState::Partial { start: start as u16, offset: offset as u16 };
        parcel.frame.offload = Offload { checksum, segments: None };

        let mut after = parcel.edited(&edit).frame.bytes;
        let sum = complement_sum(&after[start..]);
        let udp = packet.protocol() == Protocol::UDP;
        let sum = if udp && sum == 0 { 0xffff } else { sum };
        after[start + offset..][..2].copy_from_slice(&sum.to_be_bytes());
        prop_assert_eq!(checksums::verify(&after), Ok(()));
    }
}

/// Zero means that there is no checksum, so one that comes to zero is sent as ones (RFC 768).
#[test]
fn a_udp_checksum_of_zero_is_sent_as_ones() {
    let macs = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];
    for ips in [["10.0.0.1", "10.0.0.2"], ["fd00::1", "fd00::2"]] {
        let ips = ips.map(|ip| ip.parse().unwrap());
        let body = Body::Udp { ports: [1, 2], checksum: true };
        let parcel = Parcel::new(Packet::new(macs, ips, body).bytes());
        let at = usize::from(parcel.headers().transport) + 6;
        // Of all source ports, one makes the checksum zero.
        let ones = (0..=u16::MAX).filter(|port| {
            let edit = HeaderEdit { src_port: Some(*port), ..HeaderEdit::NONE };
            let bytes = parcel.clone().edited(&edit).frame.bytes;
            assert_eq!(checksums::verify(&bytes), Ok(()));
            bytes[at..at + 2] == [0xff; 2]
        });
        assert_eq!(ones.count(), 1);
    }
}
