// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Explicit congestion notification between inner and outer headers, in the normal mode of
//! RFC 6040: what is put into a tunnel is marked outside as it is inside (section 4.1), and what
//! the underlay has marked stays marked when the tunnel ends (section 4.2).

use crate::checksum::Delta;
use crate::drop_reason::DropReason;
use crate::wire::{Ipv4, Ipv6, view_mut};

/// The bits of a traffic class that are ECN (RFC 3168, section 5).
pub const MASK: u8 = 3;
/// Not capable.
const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
/// Congestion was experienced.
const CE: u8 = 3;

/// The ECN field of a packet that leaves a tunnel (RFC 6040, figure 4). `None`: it must be dropped,
/// for its sender would not understand that there is congestion.
pub const fn combined(inner: u8, outer: u8) -> Option<u8> {
    match (inner & MASK, outer & MASK) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

/// An outer field that may change an inner one: [`combined`] is the inner one for all others.
#[inline]
pub const fn matters(outer: u8) -> bool {
    outer & ECT_1 != 0
}

/// Brings the outer field into the IP packet that begins at `at`.
pub fn decapsulate(head: &mut [u8], at: usize, outer: u8) -> Result<(), DropReason> {
    let is_ipv4 = head.get(at).is_some_and(|first| first >> 4 == 4);
    if is_ipv4 {
        let ip: &mut Ipv4 = view_mut(head, at)?;
        let ecn = combined(ip.tos, outer).ok_or(DropReason::Congestion)?;
        let tos = ip.tos & !MASK | ecn;
        let delta = Delta::default().replace(&[ip.version_ihl, ip.tos], &[ip.version_ihl, tos]);
        ip.checksum.set(delta.update(ip.checksum.get()));
        ip.tos = tos;
    } else {
        const AT: u32 = 20;
        let ip: &mut Ipv6 = view_mut(head, at)?;
        let first = ip.first.get();
        let ecn = combined((first >> AT) as u8, outer).ok_or(DropReason::Congestion)?;
        ip.first.set(first & !(u32::from(MASK) << AT) | u32::from(ecn) << AT);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Sum;

    /// Rows are the inner field, columns the outer one: Not-ECT, ECT(0), ECT(1), CE.
    #[test]
    fn figure_4_of_rfc_6040() {
        let order = [NOT_ECT, ECT_0, ECT_1, CE];
        let table = [
            [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None],
            [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)],
            [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)],
            [Some(CE), Some(CE), Some(CE), Some(CE)],
        ];
        for (inner, row) in order.into_iter().zip(table) {
            for (outer, result) in order.into_iter().zip(row) {
                assert_eq!(combined(inner, outer), result, "{inner:02b} in {outer:02b}");
                assert!(matters(outer) || result == Some(inner));
            }
        }
    }

    #[test]
    fn packets_keep_everything_else() {
        let mut ipv4 = [0x45, 0xb9, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let sum = Sum::default().bytes(&ipv4).complement().to_be_bytes();
        ipv4[10..12].copy_from_slice(&sum);
        decapsulate(&mut ipv4, 0, CE).unwrap();
        assert_eq!(ipv4[1], 0xbb);
        assert_eq!(Sum::default().bytes(&ipv4).folded(), 0xffff);
        let mut ipv6 = [0; 40];
        ipv6[..4].copy_from_slice(&[0x6b, 0xa1, 2, 3]);
        decapsulate(&mut ipv6, 0, CE).unwrap();
        assert_eq!(ipv6[..4], [0x6b, 0xb1, 2, 3]);
        ipv6[1] = 0x81;
        assert_eq!(decapsulate(&mut ipv6, 0, CE), Err(DropReason::Congestion));
    }
}
