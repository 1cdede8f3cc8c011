// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Identifications of IPv4 fragments that leave from an address which others have, too.

use core::net::IpAddr;
use core::sync::atomic::{AtomicU32, Ordering};
use opte_api::IpCidr;

/// The numbers of a range of ports, as identifications: nobody who does not have the range uses any
/// of them. All who have it count together, so each is used again only after all others (RFC 6864,
/// section 5.3.1).
#[derive(Debug)]
pub struct Identifications {
    prefix: IpCidr,
    first: u16,
    count: u32,
    next: AtomicU32,
}

impl Identifications {
    pub(super) const fn new(prefix: IpCidr, first: u16, last: u16, start: u64) -> Self {
        let count = last.saturating_sub(first) as u32 + 1;
        let next = AtomicU32::new((start % count as u64) as u32);
        Self { prefix, first, count, next }
    }

    /// They are for fragments from this address.
    pub fn is_of(&self, ip: IpAddr) -> bool {
        self.prefix.contains(ip)
    }

    /// The next one.
    pub fn next(&self) -> u16 {
        let after = |next: u32| Some(if next + 1 >= self.count { 0 } else { next + 1 });
        let next = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
        self.first.saturating_add(next.unwrap_or_default() as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_used_again_only_after_all_others() {
        for (first, last, start) in [(7, 7, 9), (0, 2, 1), (1024, 2047, 77), (0, u16::MAX, 65_535)]
        {
            let prefix = IpCidr::host(IpAddr::from([192, 0, 2, 1]));
            let ids = Identifications::new(prefix, first, last, start);
            let round = || (first..=last).map(|_| ids.next()).collect::<alloc::vec::Vec<_>>();
            let (one, two) = (round(), round());
            assert_eq!(one, two);
            let mut sorted = one;
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(first..=last));
        }
    }
}
