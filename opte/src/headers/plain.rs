// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The short way: frames that are nearly all frames, read in one go.

use super::{Headers, MacPair, Packet, Payload};
use crate::flow_key::{Ends, FlowKey};
use crate::geneve::Mark;
use crate::tcp::TcpFlags;
use crate::wire::{
    ETHER_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ether, IPV4_LEN, IPV6_LEN, Ipv4, Ipv6, view,
};
use opte_api::Protocol;

/// What nearly all frames are: TCP or UDP right behind an IP header without options.
pub(super) struct Plain {
    key: FlowKey,
    macs: MacPair,
    /// Where the transport header begins, from the Ethernet header.
    at: u16,
    /// Where the IP packet ends.
    end: u16,
    flags: TcpFlags,
}

impl Plain {
    /// The headers of a frame that begins at `ether`; `None` if offsets exceed 16 bits.
    #[inline]
    pub(super) fn at(self, ether: usize, mark: Mark) -> Option<Headers> {
        let ether = u16::try_from(ether).ok()?;
        Some(Headers {
            ether,
            transport: ether.checked_add(self.at)?,
            end: u32::from(ether) + u32::from(self.end),
            macs: self.macs,
            payload: Payload::Ip(self.key),
            flags: self.flags,
            mark,
            ecn: 0,
        })
    }
}

/// Reads a plain frame in one go. `None` is for all others, and for those with an error: a test
/// holds that [`Headers::parse_any`] says the same of the rest.
#[inline]
pub(super) fn plain(frame: &[u8], len: usize) -> Option<Plain> {
    let ether: &Ether = view(frame, 0).ok()?;
    let (ends, protocol, at, ip_len) = match ether.ether_type.get() {
        ETHERTYPE_IPV4 => {
            let ip: &Ipv4 = view(frame, ETHER_LEN).ok()?;
            if ip.version_ihl != 0x45 || ip.fragment.get() & 0x3fff != 0 {
                return None;
            }
            let ends = Ends::ipv4(ip.src, ip.dst);
            (ends, ip.protocol, ETHER_LEN + IPV4_LEN, usize::from(ip.total_len.get()))
        }
        ETHERTYPE_IPV6 => {
            let ip: &Ipv6 = view(frame, ETHER_LEN).ok()?;
            if ip.first.get() >> 28 != 6 {
                return None;
            }
            let ends = Ends::ipv6(ip.src, ip.dst);
            let ip_len = IPV6_LEN + usize::from(ip.payload_len.get());
            (ends, ip.next, ETHER_LEN + IPV6_LEN, ip_len)
        }
        _ => return None,
    };
    let end = ETHER_LEN + ip_len;
    if end > len {
        return None;
    }
    let packet = Packet { ends, protocol: Protocol(protocol), at, end, fragment: None };
    let (ports, flags) = match packet.protocol {
        Protocol::UDP => packet.udp(frame),
        Protocol::TCP => packet.tcp(frame),
        _ => return None,
    }
    .ok()?;
    Some(Plain {
        key: FlowKey::of(ends, packet.protocol, ports),
        macs: MacPair(*frame.first_chunk()?),
        at: at as u16,
        end: u16::try_from(end).ok()?,
        flags,
    })
}
