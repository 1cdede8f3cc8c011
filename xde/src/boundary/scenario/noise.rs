// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Random bytes, and good packets with random damage: a verdict, never a panic, and the books
//! balance.

use super::build::*;
use super::*;

/// SplitMix64 (Steele et al., 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len());
            bytes[at] = self.next() as u8;
        }
        if self.below(3) == 0 {
            bytes.truncate(self.below(bytes.len() + 1).max(1));
        }
    }
}

fn samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for family in [0, 1] {
        let [protocol, request, _, exceeded] = ICMP[family];
        for (src, dst) in [(PEER[family], FLOATING[family]), (FLOATING[family], PEER[family])] {
            let udp = ip(src, dst, 17, 64, &ports(7, 2000));
            let quote = ip(dst, src, 17, 1, &ports(2000, 7));
            samples.push(ip(src, dst, protocol, 9, &icmp(exceeded, 0, &quote)));
            samples.push(ip(src, dst, protocol, 1, &icmp(request, 7, b"ping")));
            samples.push(fragment(src, dst, 3, true, &ports(1, 2)));
            samples.push(fragment(src, SHARED[family], 3, false, &ports(1, 2)));
            samples.push(fragment(src, SHARED[family], 0, true, &ports(1, 1500)));
            samples.push(ip(src, SHARED[family], 6, 64, &ports(1, 1500)));
            samples.push(udp);
        }
    }
    samples
}

/// All packets that the counters know of.
fn accounted(boundary: &Boundary<TestHost>) -> u64 {
    let counters = boundary.counters();
    let drops: u64 = BoundaryDrop::ALL.iter().map(|reason| counters.drops(*reason)).sum();
    let other = [
        BoundaryEvent::Encapsulated,
        BoundaryEvent::Routed,
        BoundaryEvent::Ignored,
        BoundaryEvent::ArpReplied,
        BoundaryEvent::Advertised,
        BoundaryEvent::TimeExceeded,
    ];
    drops + other.iter().map(|event| counters.events(*event)).sum::<u64>()
}

#[test]
fn every_packet_is_accounted_for() {
    let boundary = boundary();
    let mut random = Random(42);
    let samples = samples();
    let mut given = 0;
    for round in 0..40_000u64 {
        let now = Moment::from_millis(round);
        for sample in &samples {
            let mut frame = outside(sample);
            random.damage(&mut frame);
            boundary.from_outside(&mut frame, now);
            let mut datagram = geneve(&[1, 0x29, 2, 1, 0, 0, 5, 0xa0], sample);
            random.damage(&mut datagram);
            boundary.from_underlay((HOST.parse().unwrap(), 0), &mut datagram, now);
            given += 2;
            while let Some(Waited { mut bytes, from }) = boundary.waited() {
                match from {
                    None => boundary.from_outside(&mut bytes, now),
                    Some(from) => boundary.from_underlay(from, &mut bytes, now),
                };
            }
        }
        if round % 8 == 0 {
            let mut bytes: Vec<u8> = (0..random.below(90)).map(|_| random.next() as u8).collect();
            boundary.from_outside(&mut bytes, now);
            boundary.from_underlay((HOST.parse().unwrap(), 0), &mut bytes, now);
            given += 2;
        }
    }
    let waiting = boundary.state.with(|state| state.fragments.waiting());
    assert_eq!(accounted(&boundary) + waiting as u64, given);
    assert!(boundary.counters().events(BoundaryEvent::FragmentsHeld) > waiting as u64);
    let passed = boundary.counters().events(BoundaryEvent::Encapsulated);
    assert!(passed > given / 20, "{passed} of {given}");
}
