// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Which external addresses anybody of this host may have, said without a lock: a set of hashes that
//! only grows. So it is never wrong about an address that somebody has, and seldom about others.

use super::space::Realm;
use crate::meta::MetaValue;
use alloc::boxed::Box;
use core::net::IpAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use once_cell::race::OnceBox;
use opte_api::IpCidr;

const BITS: usize = 1 << 16;
/// Longest host part of prefixes that are entered address by address.
const MAX_HOST_LEN: u8 = 10;
/// Wider prefixes that are known. If there are more, any address may be one of them.
const MAX_WIDE: usize = 32;

pub(super) struct Known {
    bits: Box<[AtomicU64]>,
    wide: Box<[OnceBox<(Realm, IpCidr)>]>,
    /// There are more of these.
    any: AtomicBool,
}

impl Known {
    pub fn new() -> Self {
        let bits = (0..BITS / 64).map(|_| AtomicU64::new(0)).collect();
        let wide = (0..MAX_WIDE).map(|_| OnceBox::new()).collect();
        Self { bits, wide, any: AtomicBool::new(false) }
    }

    /// Somebody has these addresses.
    pub fn add(&self, realm: Realm, prefix: IpCidr) {
        if prefix.host_len() > MAX_HOST_LEN {
            let this = (realm, prefix);
            let mut places = self.wide.iter();
            if !places.any(|place| *place.get_or_init(|| Box::new(this)) == this) {
                self.any.store(true, Ordering::Relaxed);
            }
            return;
        }
        for host in 0..1u128 << prefix.host_len() {
            let (word, bit) = place(realm, prefix.with_host_bits(host));
            if let Some(word) = self.bits.get(word) {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    /// False: nobody has this address.
    pub fn may_have(&self, realm: Realm, ip: IpAddr) -> bool {
        let (word, bit) = place(realm, ip);
        let word = self.bits.get(word).map_or(0, |word| word.load(Ordering::Relaxed));
        let wide = || self.wide.iter().map_while(OnceBox::get);
        word & bit != 0
            || wide().any(|(of, prefix)| *of == realm && prefix.contains(ip))
            || self.any.load(Ordering::Relaxed)
    }
}

/// Word and bit of an address. Nobody gains by making two of them one.
fn place(Realm(realm): Realm, ip: IpAddr) -> (usize, u64) {
    let bits = ip.to_bits();
    let sum = (bits >> 64) as u64 ^ (bits as u64).rotate_left(7) ^ u64::from(realm) << 40;
    let hash = sum.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    (hash as usize / 64, 1 << (hash % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_known_and_little_else() {
        let known = Known::new();
        let one = |text: &str| known.may_have(Realm::OUTSIDE, text.parse().unwrap());
        assert!(!one("192.0.2.1"));
        known.add(Realm::OUTSIDE, "192.0.2.1/32".parse().unwrap());
        known.add(Realm::OUTSIDE, "203.0.113.64/28".parse().unwrap());
        known.add(Realm::OUTSIDE, "2001:db8::7/128".parse().unwrap());
        assert!(
            one("192.0.2.1") && one("203.0.113.64") && one("203.0.113.79") && one("2001:db8::7")
        );
        let others = (0..10_000u32).map(|n| IpAddr::from((0x0808_0000 + n).to_be_bytes()));
        let wrong = others.filter(|ip| known.may_have(Realm::OUTSIDE, *ip)).count();
        assert!(wrong < 20, "{wrong}");
        known.add(Realm::OUTSIDE, "2001:db8:1::/64".parse().unwrap());
        assert!(one("2001:db8:1::7") && !one("2001:db8:2::7") && !one("192.0.2.2"));
        for net in 2..2 + MAX_WIDE as u16 {
            known.add(Realm::OUTSIDE, alloc::format!("2001:db8:{net:x}::/64").parse().unwrap());
        }
        assert!(one("192.0.2.2"));
    }
}
