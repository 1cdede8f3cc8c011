// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! All ports, or echo identifiers, of one external address and protocol.

use super::lock::AnyLock;
use super::quarantine::{Hold, Quarantine};
use super::space::Realm;
use crate::host::{Host, Moment};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::net::IpAddr;
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use once_cell::race::OnceBox;

const WORDS: usize = 65536 / 64;
/// Ports whose owners stand in one piece of memory.
const PAGE: usize = 256;
/// Ports that are tried at random before all free ones are counted.
const TRIES: usize = 16;

type Bits = Box<[AtomicU64]>;

/// Who has which port. Memory comes with the first loan among the ports of a page.
struct Owners(Box<[OnceBox<Box<[AtomicU32]>>]>);

impl Owners {
    fn new() -> Self {
        Self((0..65536 / PAGE).map(|_| OnceBox::new()).collect())
    }

    fn set(&self, port: u16, owner: u32) {
        let Some(page) = self.0.get(usize::from(port) / PAGE) else { return };
        let page = match owner {
            0 => page.get(),
            _ => {
                Some(page.get_or_init(|| Box::new((0..PAGE).map(|_| AtomicU32::new(0)).collect())))
            }
        };
        if let Some(place) = page.and_then(|page| page.get(usize::from(port) % PAGE)) {
            place.store(owner, Ordering::Release);
        }
    }

    fn get(&self, port: u16) -> u32 {
        let page = self.0.get(usize::from(port) / PAGE).and_then(OnceBox::get);
        let place = page.and_then(|page| page.get(usize::from(port) % PAGE));
        place.map_or(0, |place| place.load(Ordering::Acquire))
    }
}

fn bits() -> Bits {
    (0..WORDS).map(|_| AtomicU64::new(0)).collect()
}

/// Numbers that nobody foresees who does not know the seed (SplitMix64, Steele et al., 2014).
#[derive(Clone, Copy, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, each as likely as the next; zero if there is none.
    pub fn below(&mut self, end: u32) -> u32 {
        let wide = u128::from(self.roll()) * u128::from(end);
        (wide >> 64) as u32
    }
}

/// Which ports will do.
#[derive(Clone, Debug)]
pub struct Want {
    /// They lie in this range, which is not empty.
    pub range: RangeInclusive<u16>,
    /// They are odd, or even.
    pub odd: Option<bool>,
}

impl Want {
    /// Any port of a range.
    pub const fn any(range: RangeInclusive<u16>) -> Self {
        Self { range, odd: None }
    }

    /// The ports that will do among the 64 of one word.
    fn mask(&self, word: usize) -> u64 {
        let (first, last) = (usize::from(*self.range.start()), usize::from(*self.range.end()));
        if first > last || word * 64 > last || word * 64 + 63 < first {
            return 0;
        }
        let low = first.saturating_sub(word * 64);
        let high = (last - word * 64).min(63);
        let parity = match self.odd {
            None => u64::MAX,
            Some(false) => 0x5555_5555_5555_5555,
            Some(true) => 0xaaaa_aaaa_aaaa_aaaa,
        };
        (u64::MAX >> (63 - high)) & (u64::MAX << low) & parity
    }

    fn words(&self) -> RangeInclusive<usize> {
        usize::from(*self.range.start()) / 64..=usize::from(*self.range.end()) / 64
    }

    /// Any of the ports that will do, each as likely as the next.
    fn pick(&self, dice: &mut Dice) -> Option<u16> {
        let (first, last) = (u32::from(*self.range.start()), u32::from(*self.range.end()));
        let step = if self.odd.is_some() { 2 } else { 1 };
        let first = match self.odd {
            Some(odd) if (first & 1 == 1) != odd => first + 1,
            _ => first,
        };
        let count = last.checked_sub(first)? / step + 1;
        u16::try_from(first + step * dice.below(count)).ok()
    }
}

/// How many ports of a range are what.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// On loan.
    pub used: u32,
    /// Given back, and waiting.
    pub quarantined: u32,
    /// Kept for port forwards and addresses of one owner.
    pub claimed: u32,
    /// Free to be taken.
    pub free: u32,
    /// Most that were on loan at a time, in all of the map.
    pub peak: u32,
}

/// All ports, or echo identifiers, of one external address and protocol: which are on loan, which
/// wait after a loan, and which are claimed.
///
/// A port is taken by one atomic test-and-set, so that any number of threads can take all of them
/// to the last one, each once. The lock is for those that wait, and for shared ones.
pub struct PortMap {
    realm: Realm,
    ip: IpAddr,
    /// On loan, or waiting.
    taken: Bits,
    /// Not to be taken by anybody who comes for any port.
    claimed: OnceBox<Bits>,
    /// Who has which port, if several owners use this address.
    owners: OnceBox<Owners>,
    waiting: AnyLock<Waiting>,
    /// No port's wait ends before, in milliseconds.
    due: AtomicU64,
    on_loan: AtomicU32,
    peak: AtomicU32,
}

struct Waiting {
    quarantine: Quarantine,
    /// Ports with more than one loan, and how many more.
    shared: BTreeMap<u16, u32>,
}

impl PortMap {
    pub(super) fn new<H: Host>(realm: Realm, ip: IpAddr) -> Self {
        let waiting = Waiting { quarantine: Quarantine::new(), shared: BTreeMap::new() };
        Self {
            realm,
            ip,
            taken: bits(),
            claimed: OnceBox::new(),
            owners: OnceBox::new(),
            waiting: AnyLock::new::<H>(waiting),
            due: AtomicU64::new(u64::MAX),
            on_loan: AtomicU32::new(0),
            peak: AtomicU32::new(0),
        }
    }

    /// Where the address is, and the address.
    pub const fn address(&self) -> (Realm, IpAddr) {
        (self.realm, self.ip)
    }

    fn claimed_word(&self, word: usize) -> u64 {
        let claimed = self.claimed.get().and_then(|bits| bits.get(word));
        claimed.map_or(0, |word| word.load(Ordering::SeqCst))
    }

    fn free_word(&self, want: &Want, word: usize) -> u64 {
        let taken = self.taken.get(word).map_or(u64::MAX, |word| word.load(Ordering::Relaxed));
        want.mask(word) & !taken & !self.claimed_word(word)
    }

    /// Takes a port if nobody has it.
    fn try_take(&self, port: u16) -> bool {
        let (index, bit) = (usize::from(port) / 64, 1 << (port % 64));
        let Some(word) = self.taken.get(index) else { return false };
        // Orders one owner's use of the port before the next's. Sequentially consistent with
        // claims: who takes sees the claim, or who claims sees what was taken.
        if word.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
            return false;
        }
        if self.claimed_word(index) & bit != 0 {
            word.fetch_and(!bit, Ordering::Release);
            return false;
        }
        self.lent();
        true
    }

    fn lent(&self) {
        let now = self.on_loan.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }

    /// Takes one of the free ports that will do: any of them, each as likely as the next (RFC 6056,
    /// section 3.3), or without `dice` the lowest. `None`: there is none.
    pub fn take(&self, want: &Want, dice: Option<&mut Dice>, now: Moment) -> Option<u16> {
        self.release_due(now);
        let Some(dice) = dice else {
            return self.take_first(want);
        };
        for _ in 0..TRIES {
            let port = want.pick(dice)?;
            if self.try_take(port) {
                return Some(port);
            }
        }
        loop {
            let free = want.words().map(|word| self.free_word(want, word).count_ones()).sum();
            if free == 0 {
                return None;
            }
            if let Some(port) = self.nth_free(want, dice.below(free))
                && self.try_take(port)
            {
                return Some(port);
            }
            // Another thread was faster, and has a port.
        }
    }

    fn nth_free(&self, want: &Want, mut n: u32) -> Option<u16> {
        for word in want.words() {
            let mut free = self.free_word(want, word);
            let count = free.count_ones();
            if n >= count {
                n -= count;
                continue;
            }
            (0..n).for_each(|_| free &= free - 1);
            return u16::try_from(word * 64 + free.trailing_zeros() as usize).ok();
        }
        None
    }

    fn take_first(&self, want: &Want) -> Option<u16> {
        for word in want.words() {
            let mut free = self.free_word(want, word);
            while free != 0 {
                let port = u16::try_from(word * 64 + free.trailing_zeros() as usize).ok()?;
                if self.try_take(port) {
                    return Some(port);
                }
                free &= free - 1;
            }
        }
        None
    }

    /// Takes the port of `range` that waits longest.
    pub fn take_waiting(&self, range: &RangeInclusive<u16>) -> Option<u16> {
        let taken = self.waiting.with(|waiting| {
            while let Some(port) = waiting.quarantine.take_oldest(range) {
                if !self.is_claimed(port) {
                    return Some(port);
                }
                self.clear(port);
            }
            None
        });
        taken.inspect(|_| self.lent())
    }

    /// Takes exactly this port, if nobody has it; one that waits will do.
    pub fn take_exactly(&self, port: u16) -> bool {
        if self.try_take(port) {
            return true;
        }
        let waited =
            !self.is_claimed(port) && self.waiting.with(|waiting| waiting.quarantine.take(port));
        if waited {
            self.lent();
        }
        waited
    }

    /// One more loan of a port that is on loan: towards another destination.
    pub(super) fn share(&self, port: u16) {
        self.waiting.with(|waiting| *waiting.shared.entry(port).or_default() += 1);
        self.lent();
    }

    /// Ends a loan. The port waits, unless it is `fresh`: no packet has left with it.
    pub(super) fn give_back(&self, port: u16, fresh: bool, hold: Hold, now: Moment) {
        self.on_loan.fetch_sub(1, Ordering::Relaxed);
        self.waiting.with(|waiting| {
            if let Some(more) = waiting.shared.get_mut(&port) {
                *more -= 1;
                if *more == 0 {
                    waiting.shared.remove(&port);
                }
                return;
            }
            self.set_owner(port, 0);
            if fresh || hold.millis == 0 || hold.ports == 0 {
                self.clear(port);
                return;
            }
            let until = now.plus_millis(hold.millis);
            waiting.quarantine.push(port, until);
            while waiting.quarantine.len() > hold.ports {
                let Some(oldest) = waiting.quarantine.take_oldest(&(0..=u16::MAX)) else { break };
                self.clear(oldest);
            }
            self.due.fetch_min(until.as_millis(), Ordering::Relaxed);
        });
    }

    fn clear(&self, port: u16) {
        if let Some(word) = self.taken.get(usize::from(port) / 64) {
            word.fetch_and(!(1 << (port % 64)), Ordering::Release);
        }
    }

    pub(super) fn release_due(&self, now: Moment) {
        if self.due.load(Ordering::Relaxed) > now.as_millis() {
            return;
        }
        self.waiting.with(|waiting| {
            while let Some(port) = waiting.quarantine.take_due(now) {
                self.clear(port);
            }
            let due = waiting.quarantine.next_due().map_or(u64::MAX, Moment::as_millis);
            self.due.store(due, Ordering::Relaxed);
        });
    }

    /// Keeps ports away from who comes for any, or no longer, but leaves those of `except` as they
    /// are. Ports on loan stay so until their owners' connections are judged.
    pub(super) fn set_claimed(
        &self,
        range: &RangeInclusive<u16>,
        except: &[RangeInclusive<u16>],
        claimed: bool,
    ) {
        let words = self.claimed.get_or_init(|| Box::new(bits()));
        let want = Want::any(range.clone());
        for index in want.words() {
            let Some(word) = words.get(index) else { break };
            let others = except.iter().fold(0, |mask, r| mask | Want::any(r.clone()).mask(index));
            let mask = want.mask(index) & !others;
            match claimed {
                true => word.fetch_or(mask, Ordering::SeqCst),
                false => word.fetch_and(!mask, Ordering::SeqCst),
            };
        }
    }

    /// The port is kept for a port forward, or for one owner of the whole address.
    pub fn is_claimed(&self, port: u16) -> bool {
        self.claimed_word(usize::from(port) / 64) & 1 << (port % 64) != 0
    }

    /// Begins to note who has which port.
    pub(super) fn note_owners(&self) {
        self.owners.get_or_init(|| Box::new(Owners::new()));
    }

    pub(super) fn set_owner(&self, port: u16, owner: u32) {
        self.owners.get().into_iter().for_each(|owners| owners.set(port, owner));
    }

    /// Who has the port, if that is noted here.
    pub fn owner(&self, port: u16) -> Option<u32> {
        let owner = self.owners.get()?.get(port);
        (owner != 0).then_some(owner)
    }

    /// What the ports of `range` are.
    pub fn usage(&self, range: RangeInclusive<u16>) -> Usage {
        let quarantined = self.waiting.with(|waiting| waiting.quarantine.count(&range)) as u32;
        let want = Want::any(range);
        let mut usage = Usage { quarantined, peak: self.peak(), ..Usage::default() };
        for word in want.words() {
            let taken = self.taken.get(word).map_or(0, |word| word.load(Ordering::Relaxed));
            let claimed = want.mask(word) & self.claimed_word(word);
            usage.used += (want.mask(word) & taken).count_ones();
            usage.claimed += (claimed & !taken).count_ones();
            usage.free += self.free_word(&want, word).count_ones();
        }
        usage.used = usage.used.saturating_sub(quarantined);
        usage
    }

    /// The port is on loan, or waits after a loan.
    pub fn is_taken(&self, port: u16) -> bool {
        let word = self.taken.get(usize::from(port) / 64);
        word.is_some_and(|word| word.load(Ordering::Relaxed) & 1 << (port % 64) != 0)
    }

    /// Loans at this moment.
    pub fn on_loan(&self) -> u32 {
        self.on_loan.load(Ordering::Relaxed)
    }

    /// Most loans at a time so far.
    pub fn peak(&self) -> u32 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Nobody has anything of it, and nothing waits.
    pub(super) fn is_idle(&self, now: Moment) -> bool {
        self.release_due(now);
        self.on_loan() == 0 && self.waiting.with(|waiting| waiting.quarantine.len() == 0)
    }
}
