// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Internet checksums at known places of a frame, computed from scratch.

use anyhow::{Result, bail};
use serde::Deserialize;
use std::ops::Range;

/// Which checksum.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumKind {
    /// Of an IPv4 header.
    Ipv4,
    /// Of TCP over either family.
    Tcp,
    /// Of UDP over either family.
    Udp,
    /// Of ICMP for IPv4.
    Icmp,
    /// Of ICMPv6.
    Icmpv6,
}

/// A checksum and the headers that it belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChecksumField {
    kind: ChecksumKind,
    l3: usize,
    l4: usize,
}

/// What a checksum covers, and where it stands.
struct Cover {
    field: usize,
    bytes: Range<usize>,
    /// Sum over the pseudo-header; 0 where there is none.
    pseudo: u64,
    ipv4: bool,
}

impl ChecksumField {
    /// The UDP checksum of a tunnel frame that is sent: Ethernet, IPv6, UDP.
    pub const OUTER_UDP: Self = Self { kind: ChecksumKind::Udp, l3: 14, l4: 54 };

    /// A checksum by the offsets of its headers. Only an IPv4 header needs no second one.
    pub fn new(kind: ChecksumKind, l3: usize, l4: Option<usize>) -> Result<Self> {
        match (kind, l4) {
            (ChecksumKind::Ipv4, None) => Ok(Self { kind, l3, l4: l3 }),
            (ChecksumKind::Ipv4, Some(_)) => bail!("an IPv4 header has no l4_offset"),
            (_, Some(l4)) => Ok(Self { kind, l3, l4 }),
            (_, None) => bail!("l4_offset is missing"),
        }
    }

    /// Which checksum it is.
    pub fn kind(&self) -> ChecksumKind {
        self.kind
    }

    /// What stands in the field.
    pub fn value(&self, frame: &[u8]) -> Option<u16> {
        number(frame, self.position()?)
    }

    /// Checks it. A zero UDP checksum over IPv4 says that there is none (RFC 768); over IPv6
    /// that is not allowed (RFC 8200, section 8.1).
    pub fn verify(&self, frame: &[u8]) -> Result<()> {
        let cover = self.cover(frame)?;
        let value = number(frame, cover.field).unwrap_or_default();
        if self.kind == ChecksumKind::Udp && value == 0 {
            return match cover.ipv4 {
                true => Ok(()),
                false => bail!("zero over IPv6"),
            };
        }
        let mut zeroed = frame[cover.bytes.clone()].to_vec();
        zeroed[cover.field - cover.bytes.start..][..2].fill(0);
        let right = complement(cover.pseudo + sum(&zeroed));
        // Both forms of zero verify, except where UDP gives them different meanings.
        if value == right || (value ^ right == 0xffff && matches!(value, 0 | 0xffff)) {
            Ok(())
        } else {
            bail!("{value:04x} where {right:04x} is right")
        }
    }

    /// Computes it anew. A UDP checksum that is absent (zero) stays absent.
    pub fn fill(&self, frame: &mut [u8]) -> Result<()> {
        let cover = self.cover(frame)?;
        let udp = self.kind == ChecksumKind::Udp;
        if udp && number(frame, cover.field) == Some(0) {
            return Ok(());
        }
        frame[cover.field..][..2].fill(0);
        let mut value = complement(cover.pseudo + sum(&frame[cover.bytes]));
        if udp && value == 0 {
            value = 0xffff;
        }
        frame[cover.field..][..2].copy_from_slice(&value.to_be_bytes());
        Ok(())
    }

    /// Offset of the field in the frame.
    pub fn position(&self) -> Option<usize> {
        self.l4.checked_add(match self.kind {
            ChecksumKind::Ipv4 => 10,
            ChecksumKind::Tcp => 16,
            ChecksumKind::Udp => 6,
            ChecksumKind::Icmp | ChecksumKind::Icmpv6 => 2,
        })
    }

    fn cover(&self, frame: &[u8]) -> Result<Cover> {
        let Some(cover) = self.find_cover(frame) else {
            bail!("the headers lie beyond the end of the frame");
        };
        let bytes = &cover.bytes;
        if bytes.start > bytes.end || bytes.end > frame.len() || cover.field + 2 > bytes.end {
            bail!("the length field of the IP header does not fit the frame");
        }
        Ok(cover)
    }

    fn find_cover(&self, frame: &[u8]) -> Option<Cover> {
        let field = self.position()?;
        let header = frame.get(self.l3..)?;
        let ipv4 = header.first()? >> 4 == 4;
        let (addresses, end) = if ipv4 {
            let total = usize::from(number(header, 2)?);
            (header.get(12..20)?, self.l3 + total)
        } else {
            let payload = usize::from(number(header, 4)?);
            (header.get(8..40)?, self.l3 + 40 + payload)
        };
        if self.kind == ChecksumKind::Ipv4 {
            let bytes = self.l3..self.l3 + usize::from(header.first()? & 0xf) * 4;
            return Some(Cover { field, bytes, pseudo: 0, ipv4 });
        }
        let protocol = match self.kind {
            ChecksumKind::Tcp => 6,
            ChecksumKind::Udp => 17,
            ChecksumKind::Icmpv6 => 58,
            // ICMP for IPv4 has no pseudo-header (RFC 792).
            ChecksumKind::Icmp | ChecksumKind::Ipv4 => 0,
        };
        let pseudo = match protocol {
            0 => 0,
            _ => sum(addresses) + protocol + end.checked_sub(self.l4)? as u64,
        };
        Some(Cover { field, bytes: self.l4..end, pseudo, ipv4 })
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    pair.try_into().ok().map(u16::from_be_bytes)
}

/// Sum of 16-bit words; an odd last byte is the high half of a word (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| match *pair {
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        [high] => u64::from(high) << 8,
        _ => 0,
    };
    bytes.chunks(2).map(word).sum()
}

fn complement(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16) // Folded to 16 bits above.
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The IPv4 header of a common textbook example, with its checksum b861.
    const HEADER: [u8; 20] = [
        0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
        0xc7,
    ];

    #[test]
    fn ipv4_header() {
        let field = ChecksumField::new(ChecksumKind::Ipv4, 0, None).unwrap();
        assert!(field.verify(&HEADER).is_ok());
        let mut frame = HEADER;
        frame[8] = 0x3f;
        assert!(field.verify(&frame).is_err());
        field.fill(&mut frame).unwrap();
        assert_eq!(field.value(&frame), Some(0xb961));
        assert!(field.verify(&frame[..19]).is_err());
    }

    /// UDP from 1 to 2 with the payload "a", written out by hand.
    fn udp(ipv6: bool) -> (ChecksumField, Vec<u8>) {
        let mut frame = vec![0; if ipv6 { 40 } else { 20 }];
        if ipv6 {
            frame[0] = 0x60;
            frame[5] = 9;
            frame[6] = 17;
            frame[23] = 1;
            frame[39] = 2;
        } else {
            frame[0] = 0x45;
            frame[3] = 29;
            frame[9] = 17;
            frame[15] = 1;
            frame[19] = 2;
        }
        let l4 = frame.len();
        frame.extend([0, 1, 0, 2, 0, 9, 0xff, 0xff, b'a', 0xee]);
        (ChecksumField::new(ChecksumKind::Udp, 0, Some(l4)).unwrap(), frame)
    }

    #[test]
    fn udp_with_padding_behind_it() {
        for ipv6 in [false, true] {
            let (field, mut frame) = udp(ipv6);
            assert!(field.verify(&frame).is_err());
            field.fill(&mut frame).unwrap();
            // 1+2 addresses, 17, length 9 twice, ports 1+2, and 'a' in a high byte.
            assert_eq!(field.value(&frame), Some(!(1 + 2 + 17 + 9 + 9 + 1 + 2 + 0x6100)));
            assert!(field.verify(&frame).is_ok());
        }
    }

    #[test]
    fn an_absent_udp_checksum_is_for_ipv4_only() {
        for ipv6 in [false, true] {
            let (field, mut frame) = udp(ipv6);
            let at = field.position().unwrap();
            frame[at..at + 2].fill(0);
            field.fill(&mut frame).unwrap();
            assert_eq!(field.value(&frame), Some(0));
            assert_eq!(field.verify(&frame).is_ok(), !ipv6);
        }
    }
}
