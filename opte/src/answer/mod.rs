// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Packets that the engine writes itself about packets that it does not let pass: TCP resets
//! and ICMP errors.
//!
//! * [`Original`] is the packet that is answered, as it came.
//! * [`Complaint`] says what was wrong with it, and makes an ICMP error of that (`icmp`).
//! * [`Reset`] is a TCP segment that ends a connection (`reset`).
//! * A port says what its packets' senders are told (`decide`), and the ends of connections that a
//!   policy has ended (`cut`), or whoever speaks of these behind the sweep (`ended`).
//! * [`Bucket`] limits how many of them are sent (`bucket`).
//!
//! What holds: nothing is written about a packet whose source is not one host, nor about an ICMP
//! error, nor about any fragment but the first (RFC 1812, section 4.3.2.7; RFC 4443, section 2.4),
//! so that no answer is ever answered. Checksums are complete. The address family is data.

mod bucket;
mod cut;
mod decide;
mod ended;
mod icmp;
mod ip;
mod reset;
#[cfg(test)]
mod testing;

pub use bucket::{Bucket, Rate};
pub use cut::Told;
pub(crate) use ended::Ended;
pub use ended::{ENDED_MILLIS, MAX_ENDED};
pub use icmp::{Complaint, TRAFFIC_CLASS};
pub use ip::is_host;
pub use reset::Reset;

use crate::flow_key::FlowKey;
use crate::headers::{Headers, MacPair, Payload};
use crate::wire::{IPV4_LEN, IPV6_LEN, Ipv4, view};
use alloc::vec::Vec;
use core::net::IpAddr;

/// The front of a packet that is answered, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// The IP packet without padding, as far as it is at hand.
    packet: &'a [u8],
    headers: &'a Headers,
    key: &'a FlowKey,
}

impl<'a> Original<'a> {
    /// The packet in `head`, which `headers` are of, if it is one that may be answered at all:
    /// sent by one host to one host.
    pub fn new(head: &'a [u8], headers: &'a Headers) -> Option<Self> {
        let key = headers.key()?;
        let end = head.len().min(headers.end as usize);
        let packet = head.get(headers.ip()..end)?;
        let original = Self { packet, headers, key };
        original.may_be_answered().then_some(original)
    }

    fn may_be_answered(&self) -> bool {
        let macs = self.headers.macs;
        let later = matches!(self.headers.payload, Payload::Fragment(_, it) if !it.is_first());
        !later
            && is_host(self.key.src())
            && is_host(self.key.dst())
            && !macs.src().is_multicast()
            && !macs.dst().is_multicast()
    }

    /// An ICMP error about it from `from`, as a frame to its sender. `None`: it must not be
    /// complained of, or `from` is of the other family.
    pub fn complain(&self, complaint: Complaint, from: IpAddr) -> Option<Vec<u8>> {
        let may = !self.key.is_icmp_error()
            && self.key.is_ipv4() == from.is_ipv4()
            && (!complaint.is_about_size() || self.must_not_be_cut());
        let packet = may.then(|| complaint.packet(from, self.key.src(), self.packet))??;
        Some(ip::frame(self.back(), &packet))
    }

    /// The reset that answers it (RFC 9293, section 3.10.7.1), as a frame to its sender. `None`:
    /// it is no TCP segment, or a reset itself.
    pub fn reset(&self) -> Option<Vec<u8>> {
        let segment = self.headers.segment_behind(self.packet, self.headers.ip())?;
        let reset = Reset::answering(&segment)?;
        Some(reset.frame(self.back(), &self.key.mirror()))
    }

    /// A router may not cut it: IPv6 (RFC 8200, section 5), or with the flag that says so.
    fn must_not_be_cut(&self) -> bool {
        let flag = |ip: &Ipv4| ip.fragment.get() & ip::DO_NOT_FRAGMENT != 0;
        !self.key.is_ipv4() || view(self.packet, 0).is_ok_and(flag)
    }

    /// MAC addresses of an answer.
    fn back(&self) -> MacPair {
        MacPair::new(self.headers.macs.src(), self.headers.macs.dst())
    }
}

/// Bytes of an IP header without options.
const fn header_len(ipv4: bool) -> usize {
    if ipv4 { IPV4_LEN } else { IPV6_LEN }
}
