// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The key of a flow: addresses, protocol, and ports or echo identifier.
//!
//! Both families have one form of five words, so that comparing and hashing never ask which it
//! is. Which virtual network or port a packet belongs to is not in the key: each port has its
//! own flow table.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use opte_api::{FlowId, Protocol};

const V4_MAPPED: u64 = 0xffff << 32;
const ONE_WAY: u64 = 1 << 16;

/// Identity of the packets that go one way within a connection.
///
/// Words 0 and 1 are the source, 2 and 3 the destination (IPv4 as IPv4-mapped addresses), 4 is
/// source port, destination port, a mark, protocol, and family. For ICMP the source port is
/// type and code, and the destination port the identifier of a query, zero for other messages.
#[derive(Clone, Copy, Eq)]
pub struct FlowKey([u64; 5]);

impl PartialEq for FlowKey {
    /// Without a branch for each word: keys that are compared are nearly always equal.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let ([a, b, c, d, e], [v, w, x, y, z]) = (self.0, other.0);
        (a ^ v) | (b ^ w) | (c ^ x) | (d ^ y) | (e ^ z) == 0
    }
}

/// Source and destination address of a packet, and their family, as a key has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    words: [u64; 4],
    family: u64,
}

impl Ends {
    /// From the fields of an IPv4 header.
    #[inline]
    pub const fn ipv4(src: [u8; 4], dst: [u8; 4]) -> Self {
        let [src, dst] = [u32::from_be_bytes(src) as u64, u32::from_be_bytes(dst) as u64];
        Self { words: [0, V4_MAPPED | src, 0, V4_MAPPED | dst], family: 4 }
    }

    /// From the fields of an IPv6 header.
    #[inline]
    pub const fn ipv6(src: [u8; 16], dst: [u8; 16]) -> Self {
        let [src, dst] = [u128::from_be_bytes(src), u128::from_be_bytes(dst)];
        let words = [(src >> 64) as u64, src as u64, (dst >> 64) as u64, dst as u64];
        Self { words, family: 6 }
    }

    /// Both are IPv4.
    #[inline]
    pub const fn is_ipv4(&self) -> bool {
        self.family == 4
    }
}

impl FlowKey {
    /// The key of these addresses and ports. Both addresses are of one family.
    pub fn new(src: IpAddr, dst: IpAddr, protocol: Protocol, ports: [u16; 2]) -> Self {
        let ([s0, s1], [d0, d1]) = (words(src), words(dst));
        let family = if src.is_ipv4() { 4 } else { 6 };
        Self::of(Ends { words: [s0, s1, d0, d1], family }, protocol, ports)
    }

    #[inline]
    pub(crate) const fn of(ends: Ends, protocol: Protocol, ports: [u16; 2]) -> Self {
        let [s0, s1, d0, d1] = ends.words;
        let [src_port, dst_port] = [ports[0] as u64, ports[1] as u64];
        let last = src_port << 48 | dst_port << 32 | (protocol.0 as u64) << 8 | ends.family;
        Self([s0, s1, d0, d1, last])
    }

    /// The words, for hashing.
    pub const fn words(&self) -> &[u64; 5] {
        &self.0
    }

    /// Source address.
    pub fn src(&self) -> IpAddr {
        addr([self.0[0], self.0[1]], self.is_ipv4())
    }

    /// Destination address.
    pub fn dst(&self) -> IpAddr {
        addr([self.0[2], self.0[3]], self.is_ipv4())
    }

    /// Source port, or ICMP type and code.
    pub const fn src_port(&self) -> u16 {
        (self.0[4] >> 48) as u16
    }

    /// Destination port, or echo identifier.
    pub const fn dst_port(&self) -> u16 {
        (self.0[4] >> 32) as u16
    }

    /// IP protocol.
    pub const fn protocol(&self) -> Protocol {
        Protocol((self.0[4] >> 8) as u8)
    }

    /// Both addresses are IPv4.
    pub const fn is_ipv4(&self) -> bool {
        self.0[4] as u8 == 4
    }

    /// ICMP or ICMPv6.
    pub const fn is_icmp(&self) -> bool {
        matches!(self.protocol(), Protocol::ICMP | Protocol::ICMPV6)
    }

    /// Type and code of an ICMP message; meaningless otherwise.
    pub const fn icmp_kind(&self) -> [u8; 2] {
        self.src_port().to_be_bytes()
    }

    /// An ICMP error (RFC 792; RFC 4443, section 2.1): it quotes the packet it is about.
    pub const fn is_icmp_error(&self) -> bool {
        match (self.protocol(), self.icmp_kind()) {
            (Protocol::ICMP, [kind, _]) => matches!(kind, 3 | 4 | 5 | 11 | 12),
            (Protocol::ICMPV6, [kind, _]) => kind < 128,
            _ => false,
        }
    }

    /// An ICMP error that belongs to the connection it quotes. Source quench is deprecated
    /// (RFC 6633), and a redirect speaks of routes, not of a connection: these need a rule.
    pub const fn is_about_connection(&self) -> bool {
        match (self.protocol(), self.icmp_kind()) {
            (Protocol::ICMP, [kind, _]) => matches!(kind, 3 | 11 | 12),
            _ => self.is_icmp_error(),
        }
    }

    /// An ICMP query or its answer: an echo (RFC 792; RFC 4443, section 4) or timestamp message.
    pub const fn is_query(&self) -> bool {
        self.is_icmp() && query_twin(self.protocol(), self.icmp_kind()).is_some()
    }

    /// An ICMP query.
    pub const fn is_query_request(&self) -> bool {
        matches!(
            (self.protocol(), self.icmp_kind()),
            (Protocol::ICMP, [8 | 13, 0]) | (Protocol::ICMPV6, [128, 0])
        )
    }

    /// The key that answers to packets of this key have. ICMP messages other than queries have no
    /// answer of their own: their mirror is a key that no packet ever has.
    pub fn mirror(&self) -> Self {
        let [s0, s1, d0, d1, last] = self.0;
        let low = last & 0xffff_ffff;
        let ports = if !self.is_icmp() {
            u64::from(self.dst_port()) << 48 | u64::from(self.src_port()) << 32 | low
        } else if let Some([kind, code]) = query_twin(self.protocol(), self.icmp_kind()) {
            let twin = u64::from(u16::from_be_bytes([kind, code]));
            twin << 48 | u64::from(self.dst_port()) << 32 | low
        } else {
            last ^ ONE_WAY
        };
        Self([d0, d1, s0, s1, ports])
    }

    /// The same key without ports, as later fragments have it.
    #[must_use]
    pub const fn without_ports(mut self) -> Self {
        self.0[4] &= 0xffff_ffff;
        self
    }

    /// The same key with another source address.
    pub fn with_src(mut self, src: IpAddr) -> Self {
        [self.0[0], self.0[1]] = words(src);
        self
    }

    /// The same key with another destination address.
    pub fn with_dst(mut self, dst: IpAddr) -> Self {
        [self.0[2], self.0[3]] = words(dst);
        self
    }

    /// The same key with another source port.
    pub fn with_src_port(mut self, port: u16) -> Self {
        self.0[4] = self.0[4] & !(0xffff << 48) | u64::from(port) << 48;
        self
    }

    /// The same key with another destination port or echo identifier.
    pub fn with_dst_port(mut self, port: u16) -> Self {
        self.0[4] = self.0[4] & !(0xffff << 32) | u64::from(port) << 32;
        self
    }

    /// The key as dumps show it.
    pub fn id(&self) -> FlowId {
        FlowId {
            protocol: self.protocol(),
            src: self.src(),
            src_port: self.src_port(),
            dst: self.dst(),
            dst_port: self.dst_port(),
        }
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id())
    }
}

const fn query_twin(protocol: Protocol, kind: [u8; 2]) -> Option<[u8; 2]> {
    match (protocol, kind) {
        (Protocol::ICMP, [8, 0]) => Some([0, 0]),
        (Protocol::ICMP, [0, 0]) => Some([8, 0]),
        (Protocol::ICMP, [13, 0]) => Some([14, 0]),
        (Protocol::ICMP, [14, 0]) => Some([13, 0]),
        (Protocol::ICMPV6, [128, 0]) => Some([129, 0]),
        (Protocol::ICMPV6, [129, 0]) => Some([128, 0]),
        _ => None,
    }
}

const fn words(addr: IpAddr) -> [u64; 2] {
    match addr {
        IpAddr::V4(a) => [0, V4_MAPPED | a.to_bits() as u64],
        IpAddr::V6(a) => [(a.to_bits() >> 64) as u64, a.to_bits() as u64],
    }
}

fn addr([high, low]: [u64; 2], ipv4: bool) -> IpAddr {
    if ipv4 {
        Ipv4Addr::from_bits(low as u32).into()
    } else {
        Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into()
    }
}

/// A keyed hash of flow keys: nobody who does not know the seed can aim at one bucket.
///
/// Folded 64x64 multiplication, as in wyhash and foldhash.
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher([u64; 6]);

impl KeyHasher {
    /// A hasher whose six secrets come from `seed` by SplitMix64 (Steele et al., 2014).
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self([(); 6].map(|()| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    /// The hash of `key`.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        let [w0, w1, w2, w3, w4] = key.0;
        let [k0, k1, k2, k3, k4, k5] = self.0;
        let src = fold(w0 ^ k0, w1 ^ k1);
        let dst = fold(w2 ^ k2, w3 ^ k3);
        fold(src ^ dst.rotate_left(29) ^ k5, w4 ^ k4)
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(protocol: Protocol, ports: [u16; 2]) -> FlowKey {
        let src = "10.0.0.1".parse().unwrap();
        FlowKey::new(src, "10.0.0.2".parse().unwrap(), protocol, ports)
    }

    #[test]
    fn mirror_is_its_own_inverse_and_swaps() {
        for key in [
            key(Protocol::TCP, [1, 2]),
            key(Protocol::ICMP, [0x0800, 77]),
            key(Protocol::ICMP, [0x0d00, 77]),
            key(Protocol::ICMP, [0x0f00, 0]),
            key(Protocol(47), [0, 0]),
        ] {
            assert_eq!(key.mirror().mirror(), key);
            assert_ne!(key.mirror(), key);
            assert_eq!(key.mirror().src(), key.dst());
        }
        let reply = key(Protocol::ICMP, [0x0800, 77]).mirror();
        assert_eq!((reply.icmp_kind(), reply.dst_port()), ([0, 0], 77));
    }

    #[test]
    fn one_way_messages_have_no_answer() {
        let information = key(Protocol::ICMP, [0x0f00, 0]);
        let (src, dst) = (information.dst(), information.src());
        assert_ne!(information.mirror(), FlowKey::new(src, dst, Protocol::ICMP, [0x0f00, 0]));
    }

    #[test]
    fn seed_changes_the_hash() {
        let key = key(Protocol::UDP, [5, 6]);
        assert_ne!(KeyHasher::new(1).hash(&key), KeyHasher::new(2).hash(&key));
    }

    #[test]
    fn fields_come_back() {
        let v6 = FlowKey::new(
            "fd00::1".parse().unwrap(),
            "fd00::2".parse().unwrap(),
            Protocol::UDP,
            [7, 8],
        );
        let other = v6.with_src("fd00::9".parse().unwrap()).with_src_port(70).with_dst_port(80);
        assert_eq!(other.src(), "fd00::9".parse::<IpAddr>().unwrap());
        assert_eq!((other.src_port(), other.dst_port(), other.protocol().0), (70, 80, 17));
        assert_eq!(other.dst(), v6.dst());
    }
}
