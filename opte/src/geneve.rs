// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a frame from the underlay says of itself before its inner frame begins (RFC 8926).

use crate::drop_reason::DropReason;
use crate::headers::skip_extensions;
use crate::outer::GENEVE_PORT;
use crate::wire::{
    ETHER_LEN, ETHERTYPE_IPV6, Ether, Geneve, GeneveOption, IPV6_LEN, Ipv6, Udp, view,
};
use core::net::Ipv6Addr;
use opte_api::{Protocol, Vni};

const TRANSPARENT_ETHERNET: u16 = 0x6558;
const CONTROL: u8 = 0x80;
const CRITICAL_OPTION: u8 = 0x80;

/// The Geneve options that a network understands. Others are skipped, or, if they are critical,
/// end the packet.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// Option class.
    pub class: u16,
    /// Types of this class that are understood.
    pub known: &'static [u8],
    /// The type that marks packets which come from outside of all virtual networks.
    pub external: u8,
}

/// Origin of a frame, quick to compare: VNI, external mark, or "from the guest"; and which host of
/// the underlay has sent it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Mark {
    network: u32,
    /// Zero if it has not come over the underlay.
    sender: u32,
}

/// A host of the underlay by a hash of its address. Hosts may share one; who can choose its source
/// address so that they do could as well take the other's.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Sender(u32);

impl Sender {
    /// The host with this address.
    pub const fn new(ip: Ipv6Addr) -> Self {
        let bits = ip.to_bits();
        // Each step carries low bits up or high bits down, so that every bit reaches all of the sum.
        let mut sum = ((bits >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ bits as u64;
        sum = (sum ^ sum >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        sum = (sum ^ sum >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        Self((sum >> 32) as u32 | 1)
    }
}

impl Mark {
    /// From the guest of the port: no outer headers.
    pub const GUEST: Self = Self { network: u32::MAX, sender: 0 };
    const EXTERNAL: u32 = 1 << 31;

    /// From the underlay, sent by the host with this address.
    pub const fn underlay(vni: Vni, external: bool, src: Ipv6Addr) -> Self {
        let Sender(sender) = Sender::new(src);
        Self { network: vni.get() | if external { Self::EXTERNAL } else { 0 }, sender }
    }

    /// From another guest of this host.
    pub const fn neighbour(vni: Vni) -> Self {
        Self { network: vni.get(), sender: 0 }
    }

    /// From the outside as this host sees it, turned round on the way there: for a guest of that
    /// network, by an external address of its own.
    pub const fn turned(vni: Vni) -> Self {
        Self { network: vni.get() | Self::EXTERNAL, sender: 0 }
    }

    /// The same, by whichever host.
    pub const fn from_anywhere(self) -> Self {
        Self { sender: 0, ..self }
    }

    /// The host of the underlay that has sent it. `None` for frames that were never on it.
    pub const fn sender(self) -> Option<Sender> {
        if self.sender == 0 { None } else { Some(Sender(self.sender)) }
    }

    /// All but the host that has sent it, which another host asks about anew.
    pub const fn to_bits(self) -> u32 {
        self.network
    }

    /// The mark of these bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self { network: bits, sender: 0 }
    }

    /// The virtual network of the sender. `None` for frames from the guest itself and for frames
    /// that come from outside.
    pub const fn sender_vni(self) -> Option<Vni> {
        match Vni::new(self.network) {
            Ok(vni) => Some(vni),
            Err(_) => None,
        }
    }
}

/// The outer headers of a frame from the underlay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OuterFacts {
    /// Sending host.
    pub src: Ipv6Addr,
    /// Addressed host.
    pub dst: Ipv6Addr,
    /// Virtual network.
    pub vni: Vni,
    /// Marked as coming from outside.
    pub external: bool,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Where the inner Ethernet header begins.
    pub inner: usize,
}

impl OuterFacts {
    /// Parses Ethernet, IPv6 with extensions, UDP and Geneve from the start of `head`; `len` is
    /// the length of the whole frame.
    #[inline]
    pub fn parse(head: &[u8], len: usize, dialect: &Dialect) -> Result<Self, DropReason> {
        let ether: &Ether = view(head, 0)?;
        if ether.ether_type.get() != ETHERTYPE_IPV6 {
            return Err(DropReason::NotGeneve);
        }
        let ip: &Ipv6 = view(head, ETHER_LEN)?;
        if ip.first.get() >> 28 != 6 {
            return Err(DropReason::IpVersion);
        }
        let start = ETHER_LEN + IPV6_LEN;
        let end = start + usize::from(ip.payload_len.get());
        if end > len {
            return Err(DropReason::Truncated);
        }
        let (protocol, at) = skip_extensions(head, ip.next, start, end)?;
        if Protocol(protocol) != Protocol::UDP {
            return Err(DropReason::NotGeneve);
        }
        let udp: &Udp = view(head, at)?;
        if udp.dst_port.get() != GENEVE_PORT {
            return Err(DropReason::NotGeneve);
        }
        let udp_len = usize::from(udp.len.get());
        if udp_len < size_of::<Udp>() + size_of::<Geneve>() || at + udp_len > end {
            return Err(DropReason::TransportLength);
        }
        let (src, dst) = (Ipv6Addr::from(ip.src), Ipv6Addr::from(ip.dst));
        let (vni, external, inner) = geneve(head, at + size_of::<Udp>(), dialect)?;
        let traffic_class = (ip.first.get() >> 20) as u8;
        Ok(Self { src, dst, vni, external, traffic_class, inner })
    }

    /// Parses a Geneve header at `at`; the addresses come from elsewhere, and so does the traffic
    /// class, which is zero here.
    pub fn parse_geneve(
        head: &[u8],
        at: usize,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        dialect: &Dialect,
    ) -> Result<Self, DropReason> {
        let (vni, external, inner) = geneve(head, at, dialect)?;
        Ok(Self { src, dst, vni, external, traffic_class: 0, inner })
    }

    /// The word that stands for these headers in a flow.
    pub const fn mark(&self) -> Mark {
        Mark::underlay(self.vni, self.external, self.src)
    }
}

/// Reads the Geneve header at `at`: the virtual network, the external mark, and where the inner frame
/// begins. Parts go back in registers: a whole [`OuterFacts`] would be copied by way of memory.
#[inline(always)]
fn geneve(head: &[u8], at: usize, dialect: &Dialect) -> Result<(Vni, bool, usize), DropReason> {
    let header: &Geneve = view(head, at)?;
    let wrong_kind = header.version_len >> 6 != 0
        || header.flags & CONTROL != 0
        || header.protocol.get() != TRANSPARENT_ETHERNET;
    if wrong_kind {
        return Err(DropReason::GeneveHeader);
    }
    let start = at + size_of::<Geneve>();
    let inner = start + usize::from(header.version_len & 0x3f) * 4;
    let options = head.get(start..inner).ok_or(DropReason::Truncated)?;
    Ok((Vni::from_bytes(header.vni), walk_options(options, dialect)?, inner))
}

/// Looks at each option; answers whether the external mark is among them. At most 63 words of
/// options exist, so the walk is bounded by the header itself.
fn walk_options(mut options: &[u8], dialect: &Dialect) -> Result<bool, DropReason> {
    let mut external = false;
    while !options.is_empty() {
        let option: &GeneveOption = view(options, 0).map_err(|_| DropReason::GeneveOptions)?;
        let len = size_of::<GeneveOption>() + usize::from(option.len & 0x1f) * 4;
        let ours = option.class.get() == dialect.class;
        if ours && option.kind == dialect.external {
            external = true;
        }
        let known = ours && dialect.known.contains(&option.kind);
        if option.kind & CRITICAL_OPTION != 0 && !known {
            return Err(DropReason::GeneveCritical);
        }
        options = options.get(len..).ok_or(DropReason::GeneveOptions)?;
    }
    Ok(external)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALECT: Dialect = Dialect { class: 0x0129, known: &[0, 1, 2], external: 0 };

    fn parse(header: &[u8]) -> Result<OuterFacts, DropReason> {
        let any = Ipv6Addr::UNSPECIFIED;
        OuterFacts::parse_geneve(header, 0, any, any, &DIALECT)
    }

    #[test]
    fn options_are_walked() {
        let base = |words: u8| alloc::vec![words, 0, 0x65, 0x58, 0, 0, 99, 0];
        let with = |words: u8, options: &[u8]| {
            let mut bytes = base(words);
            bytes.extend_from_slice(options);
            parse(&bytes)
        };
        let plain = parse(&base(0)).unwrap();
        assert_eq!((plain.vni.get(), plain.external, plain.inner), (99, false, 8));
        assert!(with(1, &[1, 0x29, 0, 0]).unwrap().external);
        assert!(!with(2, &[1, 0x29, 2, 1, 0, 0, 0, 0]).unwrap().external);
        assert_eq!(with(1, &[1, 0x29, 0x80, 0]), Err(DropReason::GeneveCritical));
        assert_eq!(with(1, &[9, 9, 0x81, 0]), Err(DropReason::GeneveCritical));
        assert!(with(1, &[9, 9, 0x01, 0]).is_ok());
        assert_eq!(with(1, &[1, 0x29, 2, 1]), Err(DropReason::GeneveOptions));
        assert_eq!(with(2, &[1, 0x29, 2, 0]), Err(DropReason::Truncated));
        assert_eq!(parse(&[0x40, 0, 0x65, 0x58, 0, 0, 0, 0]), Err(DropReason::GeneveHeader));
        assert_eq!(parse(&[0, 0, 0x08, 0x00, 0, 0, 0, 0]), Err(DropReason::GeneveHeader));
    }

    #[test]
    fn marks_tell_origin() {
        let vni = Vni::new(7).unwrap();
        let [a, b] = [1, 2].map(|last| Ipv6Addr::new(0xfd00, 0, 0, last, 0, 0, 0, 1));
        assert_eq!(Mark::underlay(vni, false, a).sender_vni(), Some(vni));
        assert_eq!(Mark::underlay(vni, true, a).sender_vni(), None);
        assert_eq!(Mark::neighbour(vni).sender_vni(), Some(vni));
        assert_eq!(Mark::GUEST.sender_vni(), None);
        assert_eq!(Mark::turned(vni), Mark::underlay(vni, true, a).from_anywhere());
        assert_eq!(Mark::underlay(vni, true, a).sender(), Some(Sender::new(a)));
        assert_ne!(Mark::underlay(vni, true, a), Mark::underlay(vni, true, b));
        assert_eq!(Mark::underlay(vni, false, a).from_anywhere(), Mark::neighbour(vni));
        assert_eq!((Mark::neighbour(vni).sender(), Mark::GUEST.sender()), (None, None));
    }

    #[test]
    fn hosts_of_a_fleet_are_told_apart() {
        let address = |number: u32| {
            let [rack, sled] = [(number >> 6) as u16, (number & 63) as u16];
            Ipv6Addr::new(0xfd00, 0x1122, 0x3344, 0x100 + rack, sled, 0, 0, 1 + sled % 3)
        };
        let senders: alloc::collections::BTreeSet<_> =
            (0..4096).map(|number| Sender::new(address(number))).collect();
        assert!(senders.len() >= 4094, "{}", senders.len());
    }
}
