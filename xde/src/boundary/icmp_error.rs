// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! ICMP errors that a boundary, as a router, sends about packets (RFC 792, RFC 4443), and how
//! many of them.

use super::counters::{BoundaryDrop, BoundaryEvent};
use super::packet::{End, Packet, Part, may_cross};
use alloc::vec::Vec;
use core::net::IpAddr;
use opte::checksum::Sum;
use opte::host::Moment;
use opte::wire::{IPV4_LEN, IPV6_LEN, Icmp, Ipv4, Ipv6};
use opte_api::Protocol;
use zerocopy::IntoBytes;

/// Precedence of network control (RFC 1812, section 4.3.2.5).
pub(super) const TRAFFIC_CLASS: u8 = 0xc0;
const HOP_LIMIT: u8 = 64;
const DO_NOT_FRAGMENT: u16 = 0x4000;

/// What an error is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Complaint {
    HopLimit,
    TooBig { mtu: u32 },
}

impl Complaint {
    /// Why the packet is dropped when no error can be sent.
    pub fn reason(self) -> BoundaryDrop {
        match self {
            Self::HopLimit => BoundaryDrop::HopLimit,
            Self::TooBig { .. } => BoundaryDrop::TooBig,
        }
    }

    /// What is counted when one is sent.
    pub fn event(self) -> BoundaryEvent {
        match self {
            Self::HopLimit => BoundaryEvent::TimeExceeded,
            Self::TooBig { .. } => BoundaryEvent::TooBigTold,
        }
    }

    /// Whether an error may be sent about this packet (RFC 1812, section 4.3.2.7; RFC 4443,
    /// section 2.4). An IPv4 packet that may be cut is not told of its size.
    pub fn may_answer(self, packet: &Packet, bytes: &[u8]) -> bool {
        may_cross(packet.addr(End::Source))
            && packet.part != Part::LaterFragment
            && !packet.is_icmp_error(bytes)
            && (self == Self::HopLimit || packet.atomic)
    }

    /// The error, from `from` to the source of `packet`, as an IP packet. It quotes as much as
    /// 576 bytes (RFC 1812, section 4.3.2.3) or 1280 (RFC 4443, section 3.1) leave room for.
    /// `None`: the addresses are of two families.
    pub fn error(self, from: IpAddr, packet: &Packet, bytes: &[u8]) -> Option<Vec<u8>> {
        let (limit, headers) = match from {
            IpAddr::V4(_) => (576, IPV4_LEN + size_of::<Icmp>()),
            IpAddr::V6(_) => (1280, IPV6_LEN + size_of::<Icmp>()),
        };
        let quote = bytes.get(..packet.len.min(limit - headers))?;
        let mut icmp = self.icmp(from.is_ipv4());
        let message_len = u16::try_from(size_of::<Icmp>() + quote.len()).ok()?;
        let mut sum = Sum::default().bytes(icmp.as_bytes()).bytes(quote);
        let mut error = Vec::with_capacity(headers + quote.len());
        match (from, packet.addr(End::Source)) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header = Ipv4 {
                    version_ihl: 0x45,
                    tos: TRAFFIC_CLASS,
                    total_len: (message_len + IPV4_LEN as u16).into(),
                    id: 0.into(),
                    fragment: DO_NOT_FRAGMENT.into(),
                    ttl: HOP_LIMIT,
                    protocol: Protocol::ICMP.0,
                    checksum: 0.into(),
                    src: src.octets(),
                    dst: dst.octets(),
                };
                header.checksum = Sum::default().bytes(header.as_bytes()).complement().into();
                error.extend_from_slice(header.as_bytes());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let header = Ipv6 {
                    first: (6 << 28 | u32::from(TRAFFIC_CLASS) << 20).into(),
                    payload_len: message_len.into(),
                    next: Protocol::ICMPV6.0,
                    hop_limit: HOP_LIMIT,
                    src: src.octets(),
                    dst: dst.octets(),
                };
                sum = sum.bytes(&header.src).bytes(&header.dst);
                sum = sum.word(message_len).word(Protocol::ICMPV6.0.into());
                error.extend_from_slice(header.as_bytes());
            }
            _ => return None,
        }
        icmp.checksum = sum.complement().into();
        error.extend_from_slice(icmp.as_bytes());
        error.extend_from_slice(quote);
        Some(error)
    }

    fn icmp(self, ipv4: bool) -> Icmp {
        let (kind, code, mtu) = match (self, ipv4) {
            (Self::HopLimit, true) => (11, 0, 0),
            (Self::HopLimit, false) => (3, 0, 0),
            // The MTU has 16 bits here (RFC 1191, section 4), and 32 there.
            (Self::TooBig { mtu }, true) => (3, 4, mtu.min(0xffff)),
            (Self::TooBig { mtu }, false) => (2, 0, mtu),
        };
        let (high, low) = ((mtu >> 16) as u16, mtu as u16);
        Icmp { kind, code, checksum: 0.into(), id: high.into(), seq: low.into() }
    }
}

/// Lets [`TokenBucket::RATE`] errors through each second, and [`TokenBucket::BURST`] at once
/// (RFC 4443, section 2.4 f).
#[derive(Debug)]
pub(super) struct TokenBucket {
    /// In thousandths: one is added each millisecond for each error a second.
    tokens: u64,
    filled: Moment,
}

impl TokenBucket {
    pub const RATE: u64 = 1000;
    pub const BURST: u64 = 50;
    const ONE: u64 = 1000;

    /// Whether one more may pass at `now`.
    pub fn take(&mut self, now: Moment) -> bool {
        let earned = now.since(self.filled).saturating_mul(Self::RATE);
        self.filled = self.filled.max(now);
        let tokens = self.tokens.saturating_add(earned).min(Self::BURST * Self::ONE);
        self.tokens = tokens.checked_sub(Self::ONE).unwrap_or(tokens);
        tokens >= Self::ONE
    }
}

impl Default for TokenBucket {
    fn default() -> Self {
        Self { tokens: Self::BURST * Self::ONE, filled: Moment::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_allows_a_burst_and_then_its_rate() {
        let mut bucket = TokenBucket::default();
        let take = |bucket: &mut TokenBucket, at| {
            (0..2 * TokenBucket::BURST).filter(|_| bucket.take(Moment::from_millis(at))).count()
        };
        assert_eq!(take(&mut bucket, 5), 50);
        assert_eq!(take(&mut bucket, 5), 0);
        assert_eq!(take(&mut bucket, 15), 10);
        assert_eq!(take(&mut bucket, 4), 0, "time never earns twice");
        assert_eq!(take(&mut bucket, u64::MAX), 50);
    }
}
