// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What is asked of a packet beside the rewriting of its headers: that it has hops left, that it
//! is not too long for what lies ahead, that its segments will not be.
//!
//! Nothing is written before everything is known to hold, so a packet that is dropped here is
//! still as it came, and its sender can be told.

use crate::checksum::Delta;
use crate::drop_reason::DropReason;
use crate::ecn;
use crate::frame::{ChecksumState, Frame};
use crate::headers::Headers;
use crate::wire::{Ipv4, Ipv6, Tcp, view, view_mut};
use opte_api::Protocol;

/// The flag of an IPv4 header that forbids routers to cut the packet (RFC 791, section 3.1).
const DO_NOT_FRAGMENT: u16 = 0x4000;
/// TCP options (RFC 9293, section 3.2).
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const SEGMENT_SIZE: u8 = 2;

/// What is asked of the packets of one direction of a flow.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Care {
    /// The gateway is a hop.
    pub hop: bool,
    /// The way leads out of the virtual network.
    pub outside: bool,
    /// The longest IP packet; zero is any.
    pub longest: u16,
    /// The largest segment that a SYN may ask for; zero is any.
    pub segment: u16,
    /// DSCP is brought into the outer headers (RFC 2983, section 3, uniform model); ECN always is.
    pub dscp: bool,
}

impl Care {
    /// Nothing is asked of packets that run a stored transform.
    pub(crate) const fn is_idle(&self) -> bool {
        !self.hop && self.longest == 0
    }

    /// What of an inner traffic class is seen outside.
    pub(crate) const fn class_mask(&self) -> u8 {
        if self.dscp { 0xff } else { ecn::MASK }
    }

    /// Asks it of a packet, and counts the hop.
    #[cold]
    pub(crate) fn take(&self, frame: &mut impl Frame, headers: &Headers) -> Result<(), DropReason> {
        let too_long = self.longest != 0 && len_ahead(frame, headers) > self.longest.into();
        if too_long && must_not_be_cut(frame.head(), headers)? {
            return Err(match self.outside {
                true => DropReason::TooBigOutside,
                false => DropReason::TooBigInside,
            });
        }
        if self.hop { count_hop(frame.head_mut(), headers.ip()) } else { Ok(()) }
    }

    /// Makes a SYN ask for no larger segments than there is room for (RFC 4459, section 3.2).
    pub(crate) fn clamp(&self, frame: &mut impl Frame, headers: &Headers) -> Option<()> {
        if self.segment == 0 || !headers.flags.is_syn() {
            return None;
        }
        let partial = matches!(frame.offload().checksum, ChecksumState::Partial { .. });
        let (at, head) = (usize::from(headers.transport), frame.head_mut());
        let tcp: &Tcp = view(head, at).ok()?;
        let options = at + size_of::<Tcp>()..at + usize::from(tcp.offset >> 4) * 4;
        let found = options.start + segment_size(head.get(options)?)?;
        let field: &mut [u8; 2] = view_mut(head, found).ok()?;
        let (old, new) = (*field, self.segment.to_be_bytes());
        if u16::from_be_bytes(old) <= self.segment {
            return None;
        }
        *field = new;
        if !partial {
            // A field may begin at an odd offset, where its bytes are those of two words.
            let delta = match (found - at) % 2 {
                0 => Delta::default().replace(&old, &new),
                _ => Delta::default().replace(&[0, old[0], old[1], 0], &[0, new[0], new[1], 0]),
            };
            let tcp: &mut Tcp = view_mut(head, at).ok()?;
            tcp.checksum.set(delta.update(tcp.checksum.get()));
        }
        Some(())
    }
}

/// Where the value of the option stands that tells the largest segment.
fn segment_size(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match options.get(at..)? {
            [NO_OPERATION, ..] => at += 1,
            [SEGMENT_SIZE, 4, _, _, ..] => return Some(at + 2),
            [END_OF_OPTIONS, ..] => return None,
            [_, len, ..] if *len >= 2 => at += usize::from(*len),
            _ => return None,
        }
    }
}

/// Length of the longest IP packet that the frame will be: of its segments if it is to be cut.
fn len_ahead(frame: &impl Frame, headers: &Headers) -> usize {
    let whole = (headers.end as usize).saturating_sub(headers.ip());
    let Some(segments) = frame.offload().segments else { return whole };
    let transport = usize::from(headers.transport);
    let header = match headers.key().map(|key| key.protocol()) {
        Some(Protocol::TCP) => view(frame.head(), transport)
            .map_or(size_of::<Tcp>(), |tcp: &Tcp| usize::from(tcp.offset >> 4) * 4),
        _ => 8,
    };
    whole.min(transport.saturating_sub(headers.ip()) + header + usize::from(segments.size))
}

/// IPv6 is never cut by routers (RFC 8200, section 5). An IPv4 packet without the flag is cut by
/// the router whose link is too short for it.
fn must_not_be_cut(head: &[u8], headers: &Headers) -> Result<bool, DropReason> {
    if !headers.key().is_some_and(|key| key.is_ipv4()) {
        return Ok(true);
    }
    let ip: &Ipv4 = view(head, headers.ip())?;
    Ok(ip.fragment.get() & DO_NOT_FRAGMENT != 0)
}

/// One hop less (RFC 1812, section 5.3.1; RFC 8200, section 3).
fn count_hop(head: &mut [u8], at: usize) -> Result<(), DropReason> {
    let is_ipv4 = head.get(at).is_some_and(|first| first >> 4 == 4);
    if is_ipv4 {
        let ip: &mut Ipv4 = view_mut(head, at)?;
        let left = ip.ttl.checked_sub(1).filter(|left| *left > 0).ok_or(DropReason::HopLimit)?;
        let delta = Delta::default().replace(&[ip.ttl, ip.protocol], &[left, ip.protocol]);
        ip.checksum.set(delta.update(ip.checksum.get()));
        ip.ttl = left;
    } else {
        let ip: &mut Ipv6 = view_mut(head, at)?;
        let left = ip.hop_limit.checked_sub(1).filter(|left| *left > 0);
        ip.hop_limit = left.ok_or(DropReason::HopLimit)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_found_wherever_it_stands() {
        assert_eq!(segment_size(&[2, 4, 5, 0xb4]), Some(2));
        assert_eq!(segment_size(&[1, 1, 4, 2, 2, 4, 5, 0xb4]), Some(6));
        assert_eq!(segment_size(&[1, 3, 3, 7, 2, 4, 5, 0xb4]), Some(6));
        for none in [&[][..], &[0, 2, 4, 5, 0xb4], &[2, 4, 5], &[2, 3, 4], &[8, 1, 0], &[8, 0]] {
            assert_eq!(segment_size(none), None, "{none:?}");
        }
    }
}
