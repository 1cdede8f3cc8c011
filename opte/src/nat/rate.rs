// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How fast new mappings come (RFC 6888, REQ-4c). What a guest has spent is remembered when its
//! mappings have ended, so that who opens and closes quickly gains nothing.

use super::options::Rates;
use crate::answer::Bucket;
use crate::host::Moment;
use alloc::collections::BTreeMap;
use core::net::IpAddr;

/// Guests of one owner whose new mappings are counted apart, as long as they have spent something.
/// Of more, the owner's rate alone is asked.
pub const MAX_RATED: usize = 1024;

/// New mappings of one owner lately.
#[derive(Default)]
pub(super) struct Spent {
    owner: Bucket,
    guests: BTreeMap<IpAddr, Bucket>,
}

impl Spent {
    /// Whether this guest may get one more mapping at `now`; if so, it counts. Who may not has
    /// spent nothing.
    pub fn take(&mut self, guest: IpAddr, rates: &Rates, now: Moment) -> bool {
        let mut bucket = self.guests.get(&guest).copied().unwrap_or_default();
        if !bucket.take(rates.guest, now) || !self.owner.take(rates.owner, now) {
            return false;
        }
        if self.has_room_for(guest, rates, now) {
            self.guests.insert(guest, bucket);
        }
        true
    }

    fn has_room_for(&mut self, guest: IpAddr, rates: &Rates, now: Moment) -> bool {
        if self.guests.len() >= MAX_RATED && !self.guests.contains_key(&guest) {
            self.guests.retain(|_, bucket| !bucket.is_full(rates.guest, now));
        }
        self.guests.len() < MAX_RATED || self.guests.contains_key(&guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Rate;

    const RATES: Rates = Rates {
        owner: Rate { per_second: 2000, burst: 2000 },
        guest: Rate { per_second: 1, burst: 2 },
    };

    fn guest(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn each_guest_has_its_rate_and_all_have_one() {
        let rates = Rates { owner: Rate { per_second: 1, burst: 3 }, ..RATES };
        let (mut spent, now) = (Spent::default(), Moment::from_millis(1));
        let mut takes = |who| spent.take(guest(who), &rates, now);
        assert_eq!([1, 1, 1, 2, 2].map(&mut takes), [true, true, false, true, false]);
        let later = now.plus_millis(1000);
        // Who was refused for the others' sake has spent nothing.
        assert!(spent.take(guest(2), &rates, later));
        assert!(!spent.take(guest(1), &rates, later));
    }

    #[test]
    fn of_too_many_guests_the_owner_answers() {
        let (mut spent, now) = (Spent::default(), Moment::from_millis(1));
        let many = MAX_RATED as u32;
        assert!((0..many).all(|who| spent.take(guest(who), &RATES, now)));
        assert!((0..9).all(|_| spent.take(guest(many), &RATES, now)));
        assert_eq!(spent.guests.len(), MAX_RATED);
        // When the others have been quiet, it is counted, too.
        let later = now.plus_millis(2000);
        let takes = [(); 3].map(|()| spent.take(guest(many), &RATES, later));
        assert_eq!((takes, spent.guests.len()), ([true, true, false], 1));
    }
}
