// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A message as the engine's frame, on its way from where it came in to where it leaves.
//!
//! The engine edits headers where they lie, so the first block holds them all and nobody else looks
//! at it. That is so for most packets as they come; others are copied, which is counted
//! (`pull_ups`).

use crate::counters::{Counter, Counters};
use crate::exports::Exports;
use crate::look;
use crate::message::{Chain, Message};
use crate::offload::{self, Tunnel, Work};
use illumos_sys_hdrs::sys::mac::{MAC_HWCKSUM_EMUL, MAC_IPCKSUM_EMUL, MAC_LSO_EMUL};
use opte::checksum::Sum;
use opte::frame::{ChecksumState, Frame, HEAD_LEN, Offload};
use opte::outer::Outer;

const ETHER: usize = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0];
const IPV4_CHECKSUM: usize = ETHER + 10;
const TCP: u8 = 6;

/// A message that the engine may edit.
#[derive(Debug)]
pub struct Packet {
    message: Message,
    len: usize,
    offload: Offload,
}

impl Frame for Packet {
    fn head(&self) -> &[u8] {
        self.message.first()
    }

    fn head_mut(&mut self) -> &mut [u8] {
        self.message.first_mut().unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.len
    }

    fn offload(&self) -> Offload {
        self.offload
    }

    fn sum(&self, at: usize) -> Option<Sum> {
        Some(self.message.sum(at))
    }

    /// A copy has headers of its own, and looks at the same data behind them.
    fn copy(&self) -> Option<Self> {
        let message = self.message.copied_front().ok()?;
        Some(Self { message, len: self.len, offload: self.offload })
    }
}

/// The message with so many bytes at least in a first block of our own.
fn editable(message: Message, need: usize, counters: &Counters) -> Result<Message, Counter> {
    if message.is_exclusive() && need <= message.first().len() {
        return Ok(message);
    }
    counters.count(Counter::PullUps);
    message.pulled_up(need).map_err(|_| Counter::NoMemory)
}

/// Bytes that must lie in one piece of a guest's frame of so many that is not plain TCP or UDP.
#[cold]
#[inline(never)]
fn need_of_unusual(message: &Message, len: usize) -> usize {
    let mut front = [0; look::FRONT];
    let front_len = message.copy_out(0, &mut front);
    let whole = look::is_answered_whole(front.get(..front_len).unwrap_or_default());
    if whole { len } else { HEAD_LEN }
}

impl Packet {
    /// A packet that a guest has sent.
    pub fn from_guest(message: Message, counters: &Counters) -> Result<Self, Counter> {
        let len = message.len();
        let plain = look::inner(message.first());
        let need = plain.unwrap_or_else(|| need_of_unusual(&message, len)).min(len);
        let mut message = editable(message, need, counters)?;
        let wishes = offload::of_guest(&message);
        if wishes.whole_checksum {
            // Our links do not offer this, and a stack that asks for it all the same is served
            // slowly.
            let mut chain = offload::emulate(message, None, MAC_HWCKSUM_EMUL | MAC_IPCKSUM_EMUL);
            let message = chain.pop().ok_or(Counter::NoMemory)?;
            let message = editable(message, need, counters)?;
            return Ok(Self { len: message.len(), message, offload: Offload::default() });
        }
        if wishes.ip_checksum {
            fill_ip_checksum(message.first_mut().unwrap_or_default());
        }
        Ok(Self { message, len, offload: wishes.offload })
    }

    /// A Geneve packet of the underlay.
    pub fn from_underlay(
        message: Message,
        exports: &Exports,
        counters: &Counters,
    ) -> Result<Self, Counter> {
        let len = message.len();
        let first = message.first();
        // A block that ends inside of the outer headers does not tell how long they are.
        let need = if first.len() > look::OUTER_LOOK { look::outer(first) } else { HEAD_LEN };
        let message = editable(message, need.min(len), counters)?;
        let offload = offload::of_underlay(&message, exports);
        Ok(Self { message, len, offload })
    }

    /// A packet that was written here, with complete checksums.
    pub fn of_ours(message: Message) -> Self {
        Self { len: message.len(), message, offload: Offload::default() }
    }

    /// Takes bytes off the front.
    fn strip(&mut self, len: u16) -> Result<(), Counter> {
        let len = usize::from(len);
        if !self.message.strip(len) {
            return Err(Counter::BadMessage);
        }
        self.len -= len;
        Ok(())
    }

    /// The messages that a guest gets of this packet without its first `strip` bytes.
    pub fn for_guest(
        mut self,
        strip: u16,
        exports: &Exports,
        counters: &Counters,
    ) -> Result<Chain, Counter> {
        self.strip(strip)?;
        match self.work() {
            Some(work) if work.size.is_some() => self.cut(&work, exports, counters),
            _ => {
                self.finish_checksum(counters)?;
                let verified = self.offload.checksum == ChecksumState::Verified;
                offload::set_done(&self.message, verified);
                let mut chain = Chain::default();
                chain.push(self.message);
                Ok(chain)
            }
        }
    }

    /// Has a large frame cut, or on kernels whose guests take it whole, its checksum filled in.
    fn cut(self, work: &Work, exports: &Exports, counters: &Counters) -> Result<Chain, Counter> {
        let (message, work) = self.without_ip_checksum(work);
        let whole = exports.packet_facts().is_some();
        let checksums = MAC_HWCKSUM_EMUL | MAC_IPCKSUM_EMUL;
        if !whole {
            counters.count(Counter::Cuts);
        }
        let what = if whole { checksums } else { checksums | MAC_LSO_EMUL };
        let chain = offload::emulate(message, Some(&work), what);
        if chain.is_empty() { Err(Counter::NoMemory) } else { Ok(chain) }
    }

    /// The messages that another host gets: outer headers in front, checksums filled in, or both
    /// left to a link that can. `fits` tells the longest frame that the link carries, and whether
    /// it can.
    pub fn for_underlay(
        mut self,
        strip: u16,
        outer: &Outer,
        macs: &[u8; 12],
        link: LinkFacts,
        exports: &Exports,
        counters: &Counters,
    ) -> Result<Chain, Counter> {
        self.strip(strip)?;
        let wrap = |message: Message| {
            let len = message.len();
            let mut room = [0; Outer::MAX_LEN];
            outer.write(&mut room, len);
            let bytes = room.get_mut(Outer::MAX_LEN - outer.len()..).unwrap_or_default();
            bytes.iter_mut().zip(macs).for_each(|(to, from)| *to = *from);
            let (message, apart) = message.pushed(bytes).map_err(|_| Counter::NoMemory)?;
            counters.add(Counter::HeaderBlocks, apart.into());
            Ok((message, bytes.len() + len))
        };
        let mut chain = Chain::default();
        let work = self.work();
        if let Some((work, tunnel)) = work.filter(|_| link.cuts).and_then(|w| self.tunnel(w, outer))
        {
            let size = work.size.map(|size| size.min(link.largest_segment(outer, &work, &tunnel)));
            let (message, work) = self.without_ip_checksum(&Work { size, ..work });
            let (message, len) = wrap(message)?;
            if work.size.is_none() && len > link.longest {
                return Err(Counter::TooLong);
            }
            offload::ask_link(&message, &work, &tunnel, exports);
            chain.push(message);
            return Ok(chain);
        }
        let mut plain = match work {
            Some(work) if work.size.is_some() => {
                counters.count(Counter::Cuts);
                let (message, work) = self.without_ip_checksum(&work);
                let what = MAC_HWCKSUM_EMUL | MAC_IPCKSUM_EMUL | MAC_LSO_EMUL;
                offload::emulate(message, Some(&work), what)
            }
            _ => {
                self.finish_checksum(counters)?;
                let mut chain = Chain::default();
                chain.push(self.message);
                chain
            }
        };
        if plain.is_empty() {
            return Err(Counter::NoMemory);
        }
        while let Some(message) = plain.pop() {
            offload::set_done(&message, false);
            let (message, len) = wrap(message)?;
            if len > link.longest {
                return Err(Counter::TooLong);
            }
            chain.push(message);
        }
        Ok(chain)
    }

    /// What is left to do of a frame whose transport checksum is not complete.
    fn work(&self) -> Option<Work> {
        let ChecksumState::Partial { start, offset } = self.offload.checksum else { return None };
        let size = self.offload.segments.map(|segments| segments.size);
        // One segment is no work.
        let size = size.filter(|size| self.len > usize::from(*size) + usize::from(start));
        Some(Work { start, offset, len: self.len, ip_checksum: false, size })
    }

    /// Where headers are, if the transport is one that links know.
    fn tunnel(&self, work: Work, outer: &Outer) -> Option<(Work, Tunnel)> {
        let head = self.message.first();
        let ethertype = *head.get(12..)?.first_chunk::<2>()?;
        let is_ipv4 = ethertype == ETHERTYPE_IPV4;
        let protocol = *head.get(if is_ipv4 { ETHER + 9 } else { ETHER + 6 })?;
        let transport = match protocol {
            TCP => head.get(usize::from(work.start) + 12)? >> 4 << 2,
            17 => 8,
            _ => return None,
        };
        let geneve = u16::try_from(outer.len()).ok()?.checked_sub(14 + 40 + 8)?;
        let ethertype = u16::from_be_bytes(ethertype);
        Some((work, Tunnel { geneve, ethertype, protocol, transport }))
    }

    /// The message with a zero for the checksum of an IPv4 header that segments will have each of
    /// their own, and the work that this adds.
    fn without_ip_checksum(mut self, work: &Work) -> (Message, Work) {
        let head = self.message.first_mut().unwrap_or_default();
        let is_ipv4 = head.get(12..14) == Some(&ETHERTYPE_IPV4);
        let clear = is_ipv4 && work.size.is_some();
        if let Some(sum) = head.get_mut(IPV4_CHECKSUM..IPV4_CHECKSUM + 2).filter(|_| clear) {
            sum.fill(0);
        }
        (self.message, Work { ip_checksum: clear, ..*work })
    }

    /// Fills in a transport checksum of which the field holds the pseudo-header's part.
    fn finish_checksum(&mut self, counters: &Counters) -> Result<(), Counter> {
        let ChecksumState::Partial { start, offset } = self.offload.checksum else { return Ok(()) };
        let (start, at) = (usize::from(start), usize::from(start) + usize::from(offset));
        let sum = match self.message.sum(start).complement() {
            // A UDP checksum of zero would say that there is none (RFC 768).
            0 => u16::MAX,
            sum => sum,
        };
        let head = self.message.first_mut().unwrap_or_default();
        let field = head.get_mut(at..at + 2).ok_or(Counter::BadMessage)?;
        field.copy_from_slice(&sum.to_be_bytes());
        counters.count(Counter::Checksums);
        self.offload.checksum = ChecksumState::Complete;
        Ok(())
    }
}

/// What the sender of a tunnelled packet must know of its link.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LinkFacts {
    /// Longest frame with its Ethernet header, in bytes.
    pub longest: usize,
    /// Cuts TCP inside of Geneve, and fills in checksums there.
    pub cuts: bool,
}

impl LinkFacts {
    /// Longest payload of a segment that fits with all of its headers.
    fn largest_segment(&self, outer: &Outer, work: &Work, tunnel: &Tunnel) -> u16 {
        let headers = outer.len() + usize::from(work.start) + usize::from(tunnel.transport);
        u16::try_from(self.longest.saturating_sub(headers)).unwrap_or(u16::MAX).max(1)
    }
}

fn fill_ip_checksum(head: &mut [u8]) {
    if head.get(12..14) != Some(&ETHERTYPE_IPV4) {
        return;
    }
    let len = usize::from(head.get(ETHER).copied().unwrap_or_default() & 0xf) * 4;
    let Some(header) = head.get_mut(ETHER..ETHER + len).filter(|header| header.len() >= 20) else {
        return;
    };
    let mut fill = |sum: [u8; 2]| header.iter_mut().skip(10).zip(sum).for_each(|(to, b)| *to = b);
    fill([0; 2]);
    let sum = Sum::default().bytes(header).complement().to_be_bytes();
    header.iter_mut().skip(10).zip(sum).for_each(|(to, b)| *to = b);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{self, Facts, share, split};
    use illumos_sys_hdrs::sys::pattr::{
        HCK_FULLCKSUM_OK, HCK_IPV4_HDRCKSUM, HCK_PARTIALCKSUM, HW_LSO,
    };
    use opte::frame::FlatFrame;
    use opte_api::Vni;
    use std::vec::Vec;

    const UDP_AT: usize = 34;

    /// IPv4 and UDP with right sums, or with a partial transport sum and none for IP.
    fn frame(partial: bool) -> Vec<u8> {
        let payload = b"payload of odd length";
        let udp_len = 8 + payload.len() as u16;
        let mut frame = std::vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
        frame.extend((20 + udp_len).to_be_bytes());
        frame.extend([0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x30, 0x39, 0x30, 0x39]);
        frame.extend(udp_len.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        let pseudo = Sum::default().bytes(&frame[26..34]).word(17).word(udp_len);
        let sum =
            if partial { pseudo.folded() } else { pseudo.bytes(&frame[UDP_AT..]).complement() };
        frame[UDP_AT + 6..UDP_AT + 8].copy_from_slice(&sum.to_be_bytes());
        if !partial {
            fill_ip_checksum(&mut frame);
        }
        frame
    }

    const PARTIAL: Facts =
        Facts { flags: HCK_PARTIALCKSUM | HCK_IPV4_HDRCKSUM, start: 20, stuff: 26, mss: 0, lso: 0 };

    fn outer() -> Outer {
        Outer {
            src: core::net::Ipv6Addr::LOCALHOST,
            dst: core::net::Ipv6Addr::LOCALHOST,
            source_port: 7,
            vni: Vni::new(1).unwrap(),
            options: opte::outer::GeneveOptions::NONE,
            traffic_class: 0,
        }
    }

    fn bytes(chain: &mut Chain) -> Vec<u8> {
        let message = chain.pop().unwrap();
        let mut all = std::vec![0; message.len()];
        message.copy_out(0, &mut all);
        all
    }

    #[test]
    fn headers_are_in_one_piece_of_our_own_wherever_a_message_is_cut() {
        let _alone = kernel::alone();
        let before = kernel::bytes_out();
        let (flat, exports) = (frame(false), Exports::none());
        for first in 0..flat.len() {
            let counters = Counters::default();
            let packet = Packet::from_guest(split(&flat, &[first, 9]), &counters).unwrap();
            assert_eq!((packet.len(), &packet.head()[..42]), (flat.len(), &flat[..42]));
            assert_eq!(counters.value(Counter::PullUps), u64::from(first < 42), "{first}");
            let mut chain = packet.for_guest(0, &exports, &counters).unwrap();
            assert_eq!(bytes(&mut chain), flat);
        }
        let (counters, message) = (Counters::default(), split(&flat, &[]));
        let other = share(&message);
        let mut packet = Packet::from_guest(message, &counters).unwrap();
        packet.head_mut()[0] ^= 0xff;
        assert_eq!((counters.value(Counter::PullUps), other.first()), (1, &flat[..]));
        drop((packet, other));
        assert_eq!(kernel::bytes_out(), before);
    }

    #[test]
    fn what_a_guest_left_to_do_is_done_before_a_frame_leaves() {
        let _alone = kernel::alone();
        let (counters, exports) = (Counters::default(), Exports::none());
        let made = || {
            let message = split(&frame(true), &[50]);
            kernel::set_facts_of_message(&message, PARTIAL);
            Packet::from_guest(message, &counters).unwrap()
        };
        let partial = ChecksumState::Partial { start: 34, offset: 6 };
        assert_eq!(made().offload().checksum, partial);
        let whole = frame(false);
        assert_eq!(bytes(&mut made().for_guest(0, &exports, &counters).unwrap()), whole);
        let link = LinkFacts { longest: 1514, cuts: false };
        let sent = made().for_underlay(0, &outer(), &[9; 12], link, &exports, &counters);
        let mut chain = sent.unwrap();
        let mut expected = FlatFrame::new(whole)
            .rewritten(&opte::frame::Rewrite { strip: 0, outer: Some(outer()) });
        expected[..12].fill(9);
        assert_eq!(bytes(&mut chain), expected);
        assert_eq!(counters.value(Counter::Checksums), 2);
    }

    #[test]
    fn large_frames_are_cut_by_the_mac_layer_and_long_ones_lost() {
        let _alone = kernel::alone();
        let (counters, exports) = (Counters::default(), Exports::none());
        let message = split(&frame(true), &[]);
        kernel::set_facts_of_message(&message, Facts { mss: 4, lso: HW_LSO, ..PARTIAL });
        let packet = Packet::from_guest(message, &counters).unwrap();
        let mut chain = packet.for_guest(0, &exports, &counters).unwrap();
        let message = chain.pop().unwrap();
        let all = MAC_HWCKSUM_EMUL | MAC_IPCKSUM_EMUL | MAC_LSO_EMUL;
        let facts = kernel::facts_of_message(&message);
        assert_eq!(facts.flags, PARTIAL.flags | 0x8000 | all << 16);
        assert_eq!((facts.start, facts.stuff, facts.mss), (20, 26, 4));
        assert_eq!(message.first()[24..26], [0, 0]);
        let packet = Packet::from_guest(split(&frame(false), &[]), &counters).unwrap();
        let link = LinkFacts { longest: 100, cuts: false };
        let sent = packet.for_underlay(0, &outer(), &[0; 12], link, &exports, &counters);
        assert_eq!(sent.unwrap_err(), Counter::TooLong);
    }

    #[test]
    fn what_a_link_verified_stays_verified() {
        let _alone = kernel::alone();
        let (counters, exports) = (Counters::default(), Exports::none());
        let flat = frame(false);
        let wire = FlatFrame::new(flat.clone())
            .rewritten(&opte::frame::Rewrite { strip: 0, outer: Some(outer()) });
        let message = split(&wire, &[80]);
        kernel::set_facts(&message, HCK_FULLCKSUM_OK);
        let mut packet = Packet::from_underlay(message, &exports, &counters).unwrap();
        // On mainline, the flag speaks of the outer headers.
        assert_eq!(packet.offload(), Offload::default());
        packet.offload.checksum = ChecksumState::Verified;
        let strip = outer().len() as u16;
        let mut chain = packet.for_guest(strip, &exports, &counters).unwrap();
        let message = chain.pop().unwrap();
        assert_eq!(kernel::facts(&message), HCK_FULLCKSUM_OK | HCK_IPV4_HDRCKSUM);
        assert_eq!(message.len(), flat.len());
    }

    #[test]
    fn without_memory_a_packet_is_lost_and_nothing_else() {
        let _alone = kernel::alone();
        let before = kernel::bytes_out();
        let (counters, exports) = (Counters::default(), Exports::none());
        let message = split(&frame(false), &[10]);
        let whole = Packet::from_guest(split(&frame(false), &[]), &counters).unwrap();
        let other = share(&whole.message);
        kernel::refuse_memory(true);
        let pulled_up = Packet::from_guest(message, &counters).unwrap_err();
        let link = LinkFacts { longest: 1514, cuts: false };
        let sent = whole.for_underlay(0, &outer(), &[0; 12], link, &exports, &counters);
        kernel::refuse_memory(false);
        assert_eq!((pulled_up, sent.unwrap_err()), (Counter::NoMemory, Counter::NoMemory));
        drop(other);
        assert_eq!(kernel::bytes_out(), before);
    }
}
