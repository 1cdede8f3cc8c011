// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a classifier can tell rules apart by, as blocks of bits.
//!
//! Addresses, ports, protocols and all other values are bits, left-aligned in 128. A block is all
//! values that agree in the first `len` bits. A prefix is one block, so is a single value, and a
//! range is a few: at most 30 of ports (Srinivasan et al., 1998, "prefix expansion").

use crate::flow_key::FlowKey;
use crate::meta::{Meta, SLOTS};
use crate::rule::{Facts, Predicate, Rule};
use opte_api::{IpCidr, MacAddr, Protocol};

/// A property of packets that predicates name. Metadata slots are one each.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Dimension(u8);

// Of dimensions that equally many rules name, the first is split by first: those that have one
// length of blocks, then those that have many, since each length multiplies what lies below.
const PROTOCOL: u8 = 0;
const FAMILY: u8 = 1;
const META: u8 = 2;
const DST_MAC: u8 = META + SLOTS as u8;
const SRC_MAC: u8 = DST_MAC + 1;
const ICMP_TYPE: u8 = SRC_MAC + 1;
const ICMP_CODE: u8 = ICMP_TYPE + 1;
const DST: u8 = ICMP_CODE + 1;
const SRC: u8 = DST + 1;
const DST_PORT: u8 = SRC + 1;
const SRC_PORT: u8 = DST_PORT + 1;

/// All values that agree in the first `len` bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Block {
    /// Left-aligned; zero behind the first `len`.
    pub bits: u128,
    pub len: u8,
    /// Apart from all values of the other: IPv6 addresses.
    pub ipv6: bool,
}

/// A value of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub bits: u128,
    pub ipv6: bool,
}

impl Value {
    /// The block of `len` bits, 1 to 128, that holds the value.
    pub const fn block(self, len: u8) -> Block {
        let mask = u128::MAX << (128 - len as u32);
        Block { bits: self.bits & mask, len, ipv6: self.ipv6 }
    }
}

/// A set of dimensions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Dimensions(u32);

impl Dimensions {
    pub const NONE: Self = Self(0);

    /// Those that a rule names.
    pub fn of(rule: &Rule) -> Self {
        let named = rule.predicates.iter().filter_map(Dimension::of);
        named.fold(Self::NONE, Self::with)
    }

    pub const fn with(self, dimension: Dimension) -> Self {
        Self(self.0 | 1 << dimension.0)
    }

    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The dimension that most of these sets have; the first among equals.
    pub fn most_common(sets: impl Iterator<Item = Self> + Clone) -> Option<Dimension> {
        let count = |at: u8| sets.clone().filter(|set| set.0 >> at & 1 == 1).count();
        let counts = (0..=SRC_PORT).map(|at| (count(at), at));
        let most = counts.reduce(|most, next| if next.0 > most.0 { next } else { most })?;
        (most.0 > 0).then_some(Dimension(most.1))
    }
}

impl Dimension {
    /// The dimension of a predicate. Predicates without one are only tried at the end.
    fn of(predicate: &Predicate) -> Option<Self> {
        Some(Self(match predicate {
            Predicate::Dst(prefix) if prefix.prefix_len() > 0 => DST,
            Predicate::Src(prefix) if prefix.prefix_len() > 0 => SRC,
            Predicate::DstPort(_) => DST_PORT,
            Predicate::SrcPort(..) => SRC_PORT,
            Predicate::Meta(slot, _) => META + slot.index() as u8,
            Predicate::DstMac(_) => DST_MAC,
            Predicate::SrcMac(_) => SRC_MAC,
            Predicate::Protocol(_) => PROTOCOL,
            Predicate::IcmpType(..) => ICMP_TYPE,
            Predicate::IcmpCode(..) => ICMP_CODE,
            Predicate::Ipv4(_) | Predicate::Dst(_) | Predicate::Src(_) => FAMILY,
            Predicate::Arp | Predicate::Not(_) => return None,
        }))
    }

    /// Blocks that together hold every value a packet of this rule may have here. A rule that
    /// does not name the dimension has one block of no bits: everything.
    pub fn blocks(self, rule: &Rule, mut each: impl FnMut(Block)) {
        let named = rule.predicates.iter().find(|predicate| Self::of(predicate) == Some(self));
        let mut one = |bits: u128, width: u8| {
            each(Block { bits: bits << (128 - u32::from(width)), len: width, ipv6: false });
        };
        match named {
            Some(Predicate::Dst(prefix) | Predicate::Src(prefix)) if self.0 != FAMILY => {
                each(prefix_block(*prefix));
            }
            Some(Predicate::Dst(prefix) | Predicate::Src(prefix)) => {
                one(prefix.is_ipv4().into(), 8);
            }
            Some(Predicate::Ipv4(ipv4)) => one((*ipv4).into(), 8),
            Some(Predicate::DstPort(ranges)) => each_of_ranges(ranges, &mut each),
            Some(Predicate::SrcPort(first, last)) => {
                range_blocks((*first).into(), (*last).into(), 16, &mut each);
            }
            Some(Predicate::IcmpType(first, last) | Predicate::IcmpCode(first, last)) => {
                range_blocks((*first).into(), (*last).into(), 8, &mut each);
            }
            Some(Predicate::Meta(_, bits)) => one(*bits, 128),
            Some(Predicate::DstMac(mac) | Predicate::SrcMac(mac)) => one(mac_bits(*mac), 48),
            Some(Predicate::Protocol(protocol)) => one(protocol.0.into(), 8),
            Some(Predicate::Arp | Predicate::Not(_)) | None => {
                each(Block { bits: 0, len: 0, ipv6: false });
            }
        }
    }

    /// The packet's value, if it has one.
    pub fn value(self, facts: &Facts, meta: &Meta) -> Option<Value> {
        let key = facts.key.as_ref();
        let ported = || key.filter(|k| matches!(k.protocol(), Protocol::TCP | Protocol::UDP));
        let icmp = || key.filter(|k| k.is_icmp()).map(FlowKey::icmp_kind);
        let (bits, width): (u128, u32) = match self.0 {
            DST => return Some(address(key?, 2)),
            SRC => return Some(address(key?, 0)),
            DST_PORT => (ported()?.dst_port().into(), 16),
            SRC_PORT => (ported()?.src_port().into(), 16),
            DST_MAC => (mac_bits(facts.macs.dst()), 48),
            SRC_MAC => (mac_bits(facts.macs.src()), 48),
            PROTOCOL => (key?.protocol().0.into(), 8),
            ICMP_TYPE => (icmp()?[0].into(), 8),
            ICMP_CODE => (icmp()?[1].into(), 8),
            FAMILY => (key?.is_ipv4().into(), 8),
            slot => (meta.bits_at(usize::from(slot - META))?, 128),
        };
        Some(Value { bits: bits << (128 - width), ipv6: false })
    }
}

/// IPv4 addresses are 32 bits, so that blocks of both families have their own lengths.
fn address(key: &FlowKey, word: usize) -> Value {
    let [s0, s1, d0, d1, _] = *key.words();
    let (high, low) = if word == 0 { (s0, s1) } else { (d0, d1) };
    let ipv6 = !key.is_ipv4();
    let bits = if ipv6 { u128::from(high) << 64 | u128::from(low) } else { u128::from(low) << 96 };
    Value { bits, ipv6 }
}

fn prefix_block(prefix: IpCidr) -> Block {
    let bits = prefix.left_aligned_bits();
    Block { bits, len: prefix.prefix_len(), ipv6: !prefix.is_ipv4() }
}

fn mac_bits(MacAddr([a, b, c, d, e, f]): MacAddr) -> u128 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f]).into()
}

/// Most blocks of a list of ranges. A longer list is taken as the one range around it: thousands of
/// rules with such lists are found slowly by ports between their ranges.
const MAX_BLOCKS: usize = 64;

fn each_of_ranges(ranges: &[(u16, u16)], each: &mut impl FnMut(Block)) {
    let mut count = 0;
    for (first, last) in ranges {
        range_blocks((*first).into(), (*last).into(), 16, &mut |_| count += 1);
    }
    if (1..=MAX_BLOCKS).contains(&count) {
        for (first, last) in ranges {
            range_blocks((*first).into(), (*last).into(), 16, each);
        }
    } else {
        let first = ranges.iter().map(|range| range.0).min().unwrap_or(0);
        let last = ranges.iter().map(|range| range.1).max().unwrap_or(u16::MAX);
        range_blocks(first.into(), last.into(), 16, each);
    }
}

/// The fewest blocks that together are the values of `width` bits from `first` to `last`. An
/// empty range, which no packet lies in, is one block of everything.
fn range_blocks(first: u32, last: u32, width: u8, each: &mut impl FnMut(Block)) {
    if first > last {
        return each(Block { bits: 0, len: 0, ipv6: false });
    }
    let mut next = first;
    while next <= last {
        let aligned = next.trailing_zeros().min(width.into());
        let fitting = (last - next + 1).ilog2();
        let size = aligned.min(fitting);
        let bits = u128::from(next) << (128 - u32::from(width));
        each(Block { bits, len: width - size as u8, ipv6: false });
        next += 1 << size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{Action, RuleId};
    use alloc::vec::Vec;

    fn blocks(predicate: Predicate) -> Vec<Block> {
        let rule = Rule::new(RuleId(0), 0, [predicate].into(), Action::Allow);
        let [dimension] = [Dimensions::most_common([Dimensions::of(&rule)].into_iter()).unwrap()];
        let mut blocks = Vec::new();
        dimension.blocks(&rule, |block| blocks.push(block));
        blocks
    }

    fn holds(blocks: &[Block], port: u16) -> bool {
        let value = Value { bits: u128::from(port) << 112, ipv6: false };
        blocks.iter().any(|block| block.len == 0 || value.block(block.len) == *block)
    }

    #[test]
    fn ranges_become_blocks() {
        for (first, last, count) in
            [(0, u16::MAX, 1), (80, 80, 1), (1, u16::MAX - 1, 30), (1024, u16::MAX, 6)]
        {
            let blocks = blocks(Predicate::DstPort([(first, last)].into()));
            assert_eq!(blocks.len(), count, "{first}-{last}");
            for port in 0..=u16::MAX {
                assert_eq!(holds(&blocks, port), (first..=last).contains(&port));
            }
        }
    }

    #[test]
    fn many_ranges_become_one() {
        let ranges = (0..100).map(|at| (at * 10, at * 10)).collect();
        let blocks = blocks(Predicate::DstPort(ranges));
        assert!((0..=990).all(|port| holds(&blocks, port)));
        assert!(!holds(&blocks, 991));
    }
}
