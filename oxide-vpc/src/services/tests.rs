// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The promises of the module, for arbitrary frames.

use super::testing::*;
use super::{Answer, Checksum, packet};
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use opte_api::MacAddr;
use oxide_vpc_api::PortConfig;
use proptest::prelude::*;
use smoltcp::wire::IpProtocol;

const LONGEST_FRAME: usize = 1514;

/// A frame that each service answers.
fn answered() -> Vec<Vec<u8>> {
    let routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    let mut arp = [GUEST.0.as_slice(), &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    arp.splice(0..0, MacAddr::BROADCAST.0);
    arp.extend(GUEST.0);
    arp.extend(GUEST_V4.octets());
    arp.extend([0; 6]);
    arp.extend(GATEWAY_V4.octets());
    let mut solicitation = [135, 0, 0, 0, 0, 0, 0, 0].to_vec();
    solicitation.extend(GATEWAY_LOCAL.octets());
    solicitation.extend([1, 1]);
    solicitation.extend(GUEST.0);
    let icmp6 = |to| ip(GUEST_LOCAL, to, IpProtocol::Icmpv6);
    [
        arp,
        icmp_frame(GATEWAY, ip(GUEST_V4, GATEWAY_V4, IpProtocol::Icmp), &[8, 0, 0, 0, 1, 2, 3, 4]),
        icmp_frame(GATEWAY, icmp6(GATEWAY_LOCAL), &[128, 0, 0, 0, 1, 2, 3, 4]),
        icmp_frame(GATEWAY, icmp6(GATEWAY_LOCAL), &solicitation),
        icmp_frame(MacAddr::from_ipv6_group(routers), icmp6(routers), &[133, 0, 0, 0, 0, 0, 0, 0]),
        dhcp4_frame(&dhcp4_message(&[53, 1, 1, 55, 2, 26, 119])),
        dhcp6_frame(&dhcp6_message(1, &[0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
    ]
    .into()
}

/// Asks all services, twice, and checks what holds for any frame.
fn check(config: &PortConfig, frame: &[u8]) -> usize {
    let mut replies = 0;
    for checksum in [Checksum::Complete, Checksum::Partial] {
        let answer = answer_of_all(config, frame, checksum);
        let Answer::Reply(reply) = &answer else { continue };
        replies += 1;
        assert!(reply.len() <= LONGEST_FRAME.max(frame.len()));
        assert_eq!(reply[6..12], config.gateway_mac.0);
        if reply[12..14] != [8, 6] {
            reply_of(answer);
        }
    }
    replies
}

#[test]
fn each_service_answers_and_none_answers_a_stranger() {
    for mut frame in answered() {
        assert_eq!(check(&config(), &frame), 2, "{frame:x?}");
        frame.extend([0; 18]);
        assert_eq!(check(&config(), &frame), 2, "padded: {frame:x?}");
        frame[6..12].copy_from_slice(&STRANGER.0);
        assert_eq!(check(&config(), &frame), 0, "{frame:x?}");
    }
}

#[test]
fn cut_frames_get_no_answer() {
    for frame in answered() {
        for length in 0..frame.len() {
            assert_eq!(check(&config(), &frame[..length]), 0, "{length} bytes of {frame:x?}");
        }
    }
}

#[test]
fn a_wrong_checksum_matters_unless_it_is_left_to_the_device() {
    // All but ARP, which has none. The first byte of the checksum field is flipped.
    for mut frame in answered().split_off(1) {
        let at = match (frame[12], frame[23], frame[20]) {
            (8, 1, _) => 14 + 20 + 2,
            (8, _, _) => 14 + 20 + 6,
            (_, _, 58) => 14 + 40 + 2,
            _ => 14 + 40 + 6,
        };
        frame[at] ^= 0xff;
        let complete = answer_of_all(&config(), &frame, Checksum::Complete);
        assert!(matches!(complete, Answer::Deny(_)), "{frame:x?}");
        let partial = answer_of_all(&config(), &frame, Checksum::Partial);
        assert!(matches!(partial, Answer::Reply(_)), "{frame:x?}");
    }
}

#[test]
fn replies_stay_within_the_mtu() {
    let config = crowded();
    for frame in answered() {
        let answer = answer_of_all(&config, &frame, Checksum::Complete);
        let Answer::Reply(reply) = answer else { panic!("{frame:x?}: {answer:?}") };
        assert!(reply.len() <= 14 + usize::from(config.mtu));
    }
}

/// The message in the envelope that leads it to the parser behind.
fn enveloped(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let icmp6 = ip(GUEST_LOCAL, GATEWAY_LOCAL, IpProtocol::Icmpv6);
    match kind % 6 {
        0 => dhcp4_frame(&dhcp4_message(bytes)),
        1 => dhcp6_frame(&dhcp6_message(kind / 6, bytes)),
        2 => dhcp6_frame(bytes),
        3 => dhcp4_frame(bytes),
        4 => {
            let solicitation = [128 | (kind / 6), 0, 0, 0, 0, 0, 0, 0];
            icmp_frame(GATEWAY, icmp6, &[solicitation.as_slice(), bytes].concat())
        }
        _ => {
            let mut ip = ip(GUEST_LOCAL, GATEWAY_LOCAL, IpProtocol::HopByHop);
            ip.set_payload_len(bytes.len());
            packet::frame(GATEWAY, GUEST, &ip, |payload| payload.copy_from_slice(bytes))
        }
    }
}

proptest! {
    #[test]
    fn random_frames(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&config(), &bytes);
    }

    #[test]
    fn random_bytes_behind_good_headers(
        kind in any::<u8>(),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        check(&config(), &enveloped(kind, &bytes));
        check(&crowded(), &enveloped(kind, &bytes));
    }

    /// Options with lengths that fit, so that the values are looked at.
    #[test]
    fn random_options(
        kind in any::<u8>(),
        options in prop::collection::vec(
            (0_u8..128, prop::collection::vec(any::<u8>(), 0..40)), 0..40),
    ) {
        let mut short = Vec::new();
        let mut long = Vec::new();
        for (code, value) in &options {
            short.extend([*code, value.len() as u8]);
            short.extend(value);
            long.extend([0, *code % 48, 0, value.len() as u8]);
            long.extend(value);
        }
        for config in [config(), crowded()] {
            check(&config, &dhcp4_frame(&dhcp4_message(&short)));
            check(&config, &dhcp6_frame(&dhcp6_message(kind % 16, &long)));
        }
    }

    #[test]
    fn changed_and_cut_frames(
        which in 0_usize..7,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        length in any::<prop::sample::Index>(),
    ) {
        let mut frame = answered().swap_remove(which);
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        check(&config(), &frame);
        check(&config(), &frame[..length.index(frame.len())]);
    }
}
