// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! TCP resets (RFC 9293, section 3.5.2).

use super::ip;
use crate::flow_key::FlowKey;
use crate::headers::MacPair;
use crate::tcp::{Segment, SeqNumber, TcpFlags};
use crate::wire::Tcp;
use alloc::vec::Vec;
use opte_api::Protocol;
use zerocopy::IntoBytes;

/// A segment that ends a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reset {
    /// Its sequence number. Only one that is exactly what the receiver expects next is believed
    /// (RFC 5961, section 3.2).
    pub seq: SeqNumber,
    /// What it acknowledges, if it has to: a reset that answers a SYN.
    pub ack: Option<SeqNumber>,
}

impl Reset {
    /// The reset that answers a segment for which there is no connection (RFC 9293,
    /// section 3.10.7.1). A reset is not answered.
    pub fn answering(segment: &Segment) -> Option<Self> {
        if segment.flags.is_rst() {
            return None;
        }
        Some(if segment.flags.is_ack() {
            Self { seq: segment.ack, ack: None }
        } else {
            Self { seq: SeqNumber(0), ack: Some(segment.end()) }
        })
    }

    /// The segment as a frame. `key` and `macs` are its own: who gets it stands as destination.
    pub fn frame(&self, macs: MacPair, key: &FlowKey) -> Vec<u8> {
        let flags = match self.ack {
            Some(_) => TcpFlags::RST | TcpFlags::ACK,
            None => TcpFlags::RST,
        };
        let mut tcp = Tcp {
            src_port: key.src_port().into(),
            dst_port: key.dst_port().into(),
            seq: self.seq.0.into(),
            ack: self.ack.unwrap_or_default().0.into(),
            offset: 5 << 4,
            flags: flags.0,
            window: 0.into(),
            checksum: 0.into(),
            urgent: 0.into(),
        };
        let (src, dst) = (key.src(), key.dst());
        let sum = ip::pseudo_header(src, dst, Protocol::TCP, size_of::<Tcp>());
        tcp.checksum = sum.bytes(tcp.as_bytes()).complement().into();
        let header = ip::Header { src, dst, protocol: Protocol::TCP, traffic_class: 0 };
        let mut packet = header.start(size_of::<Tcp>()).unwrap_or_default();
        packet.extend_from_slice(tcp.as_bytes());
        ip::frame(macs, &packet)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn reset(ipv4: bool, flags: TcpFlags, payload: usize) -> Option<(SeqNumber, SeqNumber, u8)> {
        let frame = answer(&tcp(ipv4, flags, payload), |it| it.reset())?;
        let (ip, tcp) = open(&frame);
        assert_eq!((ip.src, ip.dst), (destination(ipv4), source(ipv4)));
        assert_eq!(tcp[..4], [0, 80, 4, 0], "ports are turned");
        let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
        Some((SeqNumber(word(4)), SeqNumber(word(8)), tcp[13]))
    }

    #[test]
    fn a_segment_without_acknowledgment_is_acknowledged() {
        for ipv4 in [true, false] {
            let answer = reset(ipv4, TcpFlags::SYN, 3).unwrap();
            assert_eq!(answer, (SeqNumber(0), SEQ.add(4), 0x14));
        }
    }

    #[test]
    fn a_segment_with_acknowledgment_says_what_is_expected() {
        for ipv4 in [true, false] {
            for flags in [TcpFlags::ACK, TcpFlags::SYN | TcpFlags::ACK] {
                assert_eq!(reset(ipv4, flags, 3), Some((ACK, SeqNumber(0), 0x04)));
            }
        }
    }

    #[test]
    fn resets_and_other_protocols_are_not_reset() {
        for ipv4 in [true, false] {
            assert_eq!(reset(ipv4, TcpFlags::RST, 0), None);
            assert_eq!(reset(ipv4, TcpFlags::RST | TcpFlags::ACK, 0), None);
            assert_eq!(answer(&udp(ipv4, 3), |it| it.reset()), None);
        }
    }

    #[test]
    fn the_numbers_may_come_from_elsewhere() {
        let key = FlowKey::new(source(true), destination(true), Protocol::TCP, [1, 2]);
        let frame = Reset { seq: SeqNumber(7), ack: None }.frame(MacPair::default(), &key);
        let (ip, tcp) = open(&frame);
        assert_eq!((ip.src, ip.dst), (source(true), destination(true)));
        assert_eq!(tcp[..14], [0, 1, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 0x04]);
    }
}
