// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Where the headers of a guest's frame are: as much as offloads need to know.
//!
//! The engine parses frames for itself; this is the host's view, for frames whose transport
//! checksum or segmentation is the host's work. What is not plain Ethernet, IPv4 or IPv6 and a
//! first (or only) fragment's transport is `None`, and then there is nothing to offload.

/// Length of an Ethernet header without tags.
pub const ETHER_LEN: usize = 14;
/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// Length of a UDP header.
pub const UDP_LEN: usize = 8;
/// Shortest TCP header.
pub const TCP_MIN_LEN: usize = 20;

const IPV4_MIN_LEN: usize = 20;
const IPV6_LEN: usize = 40;
/// Extension headers that are walked before a transport; the engine's limit is not larger.
const MAX_EXTENSIONS: usize = 8;

/// Internet protocol of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Where the headers are, from the first byte of the frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    /// Internet protocol.
    pub family: Family,
    /// Where the transport header begins.
    pub transport: usize,
    /// Its IP protocol number.
    pub protocol: u8,
    /// Where the IP packet ends; the frame may have padding behind it, or, if the length field is
    /// wrong, end earlier.
    pub end: usize,
}

impl Layout {
    /// Where the IP header begins.
    pub const IP: usize = ETHER_LEN;

    /// Finds the headers of `frame`.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let ip = frame.get(Self::IP..)?;
        match frame.get(12..ETHER_LEN)? {
            [0x08, 0x00] => Self::of_ipv4(ip),
            [0x86, 0xdd] => Self::of_ipv6(ip),
            _ => None,
        }
    }

    fn of_ipv4(ip: &[u8]) -> Option<Self> {
        let header = ip.first_chunk::<IPV4_MIN_LEN>()?;
        let header_len = usize::from(header[0] & 0xf) * 4;
        let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
        let plain = header[0] >> 4 == 4 && header_len >= IPV4_MIN_LEN && fragment == 0;
        plain.then_some(Self {
            family: Family::V4,
            transport: ETHER_LEN + header_len,
            protocol: header[9],
            end: ETHER_LEN + usize::from(u16::from_be_bytes([header[2], header[3]])),
        })
    }

    fn of_ipv6(ip: &[u8]) -> Option<Self> {
        let header = ip.first_chunk::<IPV6_LEN>()?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let (mut at, mut next) = (IPV6_LEN, header[6]);
        for _ in 0..=MAX_EXTENSIONS {
            match next {
                // Hop-by-hop, routing, destination options (RFC 8200, section 4).
                0 | 43 | 60 => {
                    let [following, len] = *ip.get(at..)?.first_chunk()?;
                    next = following;
                    at += (usize::from(len) + 1) * 8;
                }
                44 => return None,
                protocol => {
                    let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
                    return Some(Self {
                        family: Family::V6,
                        transport: ETHER_LEN + at,
                        protocol,
                        end: ETHER_LEN + IPV6_LEN + payload,
                    });
                }
            }
        }
        None
    }

    /// Where the transport's payload begins, if the transport is TCP or UDP and `frame` holds its
    /// header.
    pub fn payload(&self, frame: &[u8]) -> Option<usize> {
        let header = frame.get(self.transport..)?;
        let len = match self.protocol {
            UDP => UDP_LEN,
            TCP => usize::from(header.get(12)? >> 4) * 4,
            _ => return None,
        };
        let shortest = if self.protocol == TCP { TCP_MIN_LEN } else { UDP_LEN };
        (len >= shortest && len <= header.len()).then_some(self.transport + len)
    }

    /// Where the transport's checksum is, from its header, if the transport is TCP or UDP.
    pub fn checksum_offset(&self) -> Option<usize> {
        match self.protocol {
            TCP => Some(16),
            UDP => Some(6),
            _ => None,
        }
    }

    /// Source and destination address of `frame`, as they stand in the pseudo-header.
    pub fn addresses<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let range = match self.family {
            Family::V4 => ETHER_LEN + 12..ETHER_LEN + 20,
            Family::V6 => ETHER_LEN + 8..ETHER_LEN + 40,
        };
        frame.get(range).unwrap_or_default()
    }
}

#[cfg(test)]
pub mod samples {
    //! Frames for the tests of this crate.

    use super::Family;
    use opte::checksum::Sum;

    /// An Ethernet and IP header, without options, in front of `transport`, with right lengths.
    pub fn ip(family: Family, protocol: u8, transport: &[u8]) -> Vec<u8> {
        let len = transport.len();
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        match family {
            Family::V4 => {
                frame.extend([0x08, 0x00, 0x45, 0x10]);
                frame.extend(u16::try_from(20 + len).unwrap().to_be_bytes());
                frame.extend([0xff, 0xfe, 0x40, 0, 63, protocol, 0, 0]);
                frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
                let sum = Sum::default().bytes(&frame[14..34]).complement();
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            Family::V6 => {
                frame.extend([0x86, 0xdd, 0x60, 0x10, 0, 0]);
                frame.extend(u16::try_from(len).unwrap().to_be_bytes());
                frame.extend([protocol, 63, 0xfd]);
                frame.extend([0; 14]);
                frame.extend([1, 0xfd]);
                frame.extend([0; 14]);
                frame.extend([2]);
            }
        }
        frame.extend(transport);
        frame
    }

    /// A TCP segment with ACK and the given further flags, checksum zero.
    pub fn tcp(seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut segment = vec![0x12, 0x34, 0x00, 0x50];
        segment.extend(seq.to_be_bytes());
        segment.extend([0, 0, 0, 9, 0x80, 0x10 | flags, 0x20, 0, 0, 0, 0, 0]);
        segment.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        segment.extend(payload);
        segment
    }

    /// A UDP datagram, checksum zero.
    pub fn udp(payload: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0x12, 0x34, 0x00, 0x35];
        datagram.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        datagram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_transport_of_both_families() {
        for (family, transport) in [(Family::V4, 34), (Family::V6, 54)] {
            let frame = samples::ip(family, TCP, &samples::tcp(0, 0, b"xyz"));
            let layout = Layout::of(&frame).unwrap();
            let end = frame.len();
            assert_eq!(layout, Layout { family, transport, protocol: TCP, end });
            assert_eq!(layout.payload(&frame), Some(frame.len() - 3));
            assert_eq!(layout.payload(&frame[..frame.len() - 4]), None);
        }
    }

    #[test]
    fn walks_extension_headers_under_a_limit() {
        let mut options = vec![UDP, 0, 1, 4, 0, 0, 0, 0];
        options.extend(samples::udp(b"x"));
        let frame = samples::ip(Family::V6, 60, &options);
        assert_eq!(Layout::of(&frame).unwrap().transport, 62);
        let many = samples::ip(Family::V6, 0, &[0; 8 * (MAX_EXTENSIONS + 2)]);
        assert_eq!(Layout::of(&many), None);
    }

    #[test]
    fn fragments_tags_and_short_frames_are_not_understood() {
        let frame = samples::ip(Family::V4, UDP, &samples::udp(b"x"));
        for len in 0..34 {
            assert_eq!(Layout::of(&frame[..len]), None, "{len} bytes");
        }
        let mut fragment = frame.clone();
        fragment[21] = 1;
        assert_eq!(Layout::of(&fragment), None);
        let mut tagged = frame;
        tagged[12..14].copy_from_slice(&[0x81, 0x00]);
        assert_eq!(Layout::of(&tagged), None);
    }
}
