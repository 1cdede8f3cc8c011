// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A hierarchical timer wheel (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels",
//! SOSP 1987) over entries that the caller keeps.
//!
//! Time is counted in ticks of the caller's choosing. Level 0 has one bucket for each of 64
//! ticks, level 1 one for each of 64 times 64, and so on. An entry lies at the level of the
//! highest base-64 digit in which its deadline differs from the present. When time reaches a
//! bucket of level 1 or more, its entries move down to where they belong by then.
//!
//! What holds:
//!
//! * An entry fires on the first poll whose tick has reached its deadline: never earlier, and
//!   never later unless ticks run backwards, in which case it waits for the highest tick seen.
//! * Inserting and removing touch at most three entries. Polling moves an entry down at most
//!   once for each level. Apart from that, a poll looks at occupied buckets only: its work does
//!   not grow with the length of a pause.
//! * Nothing is allocated. A wheel has a fixed size (about 2 KiB); an entry has one [`Link`].
//! * Entries that the caller does not know are ignored. A caller that throws away an entry
//!   without [`Wheel::remove`] may lose other entries of its bucket, and nothing worse.
//!
//! Deadlines may be any number of ticks away. Those beyond 63 * 64^3 ticks (12 days of ticks of
//! 64 ms) wait in the furthest bucket and are filed again when time gets there.

/// Digits of a tick that the wheel tells apart.
const LEVELS: usize = 4;
/// Bits of a digit.
const DIGIT: u32 = 6;
/// Buckets of a level.
const SLOTS: u64 = 1 << DIGIT;
const BUCKETS: usize = LEVELS << DIGIT;

/// No entry: an id that callers do not use.
const NOBODY: u32 = u32::MAX;
/// The bucket of entries that are in none.
const NOWHERE: u16 = u16::MAX;

/// What the wheel keeps in each entry. The default is in no wheel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Link {
    deadline: u64,
    prev: u32,
    next: u32,
    bucket: u16,
}

impl Default for Link {
    fn default() -> Self {
        Self { deadline: 0, prev: NOBODY, next: NOBODY, bucket: NOWHERE }
    }
}

/// The caller's entries.
///
/// A link may only be changed through [`set`](Self::set), and must be the default in a new entry.
pub trait Links {
    /// The link of entry `id`; `None` if there is no such entry.
    fn get(&self, id: u32) -> Option<Link>;

    /// Replaces the link of entry `id`, if there is such an entry.
    fn set(&mut self, id: u32, link: Link);
}

/// A list of entries, first in, first out.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    head: u32,
    tail: u32,
}

const EMPTY: Bucket = Bucket { head: NOBODY, tail: NOBODY };

/// Tells which entries are due. Pass the same [`Links`] to all methods.
#[derive(Clone, Debug)]
pub struct Wheel {
    /// All buckets before this tick are empty.
    now: u64,
    /// A bit for each bucket of a level that is not empty.
    occupied: [u64; LEVELS],
    buckets: [Bucket; BUCKETS],
}

impl Default for Wheel {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Wheel {
    /// An empty wheel. Ticks before `now_tick` are past.
    pub const fn new(now_tick: u64) -> Self {
        Self { now: now_tick, occupied: [0; LEVELS], buckets: [EMPTY; BUCKETS] }
    }

    /// Enters `id`, or moves it if it is here already. A deadline in the past is due at once.
    pub fn insert(&mut self, links: &mut impl Links, id: u32, deadline_tick: u64) {
        if id == NOBODY {
            return;
        }
        let Some(link) = links.get(id) else { return };
        if link.bucket == self.bucket_for(deadline_tick) {
            links.set(id, Link { deadline: deadline_tick, ..link });
            return;
        }
        self.unlink(links, id, link);
        self.append(links, id, deadline_tick);
    }

    /// Takes `id` out. False if it was not here.
    pub fn remove(&mut self, links: &mut impl Links, id: u32) -> bool {
        let Some(link) = links.get(id) else { return false };
        self.unlink(links, id, link)
    }

    /// Takes out an entry that is due at `now_tick`. Repeat until `None`.
    pub fn poll(&mut self, links: &mut impl Links, now_tick: u64) -> Option<u32> {
        self.catch_up(links, now_tick);
        while let Some(due) = self.earliest().filter(|due| due.start <= now_tick) {
            self.now = due.start;
            if due.level > 0 {
                let list = self.take(due.bucket);
                self.refile(links, due.bucket, list);
            } else if let Some(id) = self.pop(links, due.bucket) {
                return Some(id);
            }
        }
        self.now = self.now.max(now_tick);
        None
    }

    /// An entry of the bucket that is reached first: about the one with the earliest deadline.
    pub fn soonest(&self, links: &impl Links) -> Option<u32> {
        let head = self.buckets.get(usize::from(self.earliest()?.bucket))?.head;
        links.get(head).map(|_| head)
    }

    /// After a pause of more than the whole wheel, each bucket has been passed. So everything is
    /// filed anew, once, instead of going round and round.
    fn catch_up(&mut self, links: &mut impl Links, now_tick: u64) {
        let top = LEVELS - 1;
        if position(now_tick, top).saturating_sub(position(self.now, top)) < SLOTS {
            return;
        }
        let passed = core::mem::replace(self, Self::new(now_tick));
        for (bucket, list) in (0..).zip(passed.buckets) {
            self.refile(links, bucket, list);
        }
    }

    /// Files the entries of `list`, which was taken from `bucket`, where they belong now.
    fn refile(&mut self, links: &mut impl Links, bucket: u16, list: Bucket) {
        let mut id = list.head;
        while let Some(link) = member(links, id, bucket) {
            self.append(links, id, link.deadline);
            id = link.next;
        }
    }

    fn pop(&mut self, links: &mut impl Links, bucket: u16) -> Option<u32> {
        let id = self.buckets.get(usize::from(bucket))?.head;
        if let Some(link) = member(links, id, bucket) {
            self.unlink(links, id, link);
            return Some(id);
        }
        // The caller threw the entry away; the list cannot be followed.
        self.take(bucket);
        None
    }

    fn take(&mut self, bucket: u16) -> Bucket {
        self.mark(bucket, false);
        self.buckets
            .get_mut(usize::from(bucket))
            .map_or(EMPTY, |list| core::mem::replace(list, EMPTY))
    }

    fn append(&mut self, links: &mut impl Links, id: u32, deadline: u64) {
        let bucket = self.bucket_for(deadline);
        let Some(list) = self.buckets.get_mut(usize::from(bucket)) else { return };
        let mut prev = NOBODY;
        if let Some(last) = member(links, list.tail, bucket) {
            prev = list.tail;
            links.set(prev, Link { next: id, ..last });
        } else {
            list.head = id;
        }
        list.tail = id;
        // Last, so that an entry that was thrown away as the tail and came back ends the list.
        links.set(id, Link { deadline, prev, next: NOBODY, bucket });
        self.mark(bucket, true);
    }

    /// Takes the entry out of its bucket, if it is in one.
    fn unlink(&mut self, links: &mut impl Links, id: u32, link: Link) -> bool {
        let Some(list) = self.buckets.get_mut(usize::from(link.bucket)) else { return false };
        match member(links, link.prev, link.bucket) {
            Some(prev) => links.set(link.prev, Link { next: link.next, ..prev }),
            None if list.head == id => list.head = link.next,
            None => {}
        }
        match member(links, link.next, link.bucket) {
            Some(next) => links.set(link.next, Link { prev: link.prev, ..next }),
            None if list.tail == id => list.tail = link.prev,
            None => {}
        }
        let empty = list.head == NOBODY;
        links.set(id, Link::default());
        if empty {
            self.take(link.bucket);
        }
        true
    }

    fn mark(&mut self, bucket: u16, occupied: bool) {
        let (level, slot) = (usize::from(bucket >> DIGIT), u64::from(bucket) % SLOTS);
        if let Some(bits) = self.occupied.get_mut(level) {
            *bits = *bits & !(1 << slot) | u64::from(occupied) << slot;
        }
    }

    /// Where a deadline belongs at present.
    fn bucket_for(&self, deadline: u64) -> u16 {
        let deadline = deadline.max(self.now);
        let highest_bit = (deadline ^ self.now | 1).ilog2();
        let level = ((highest_bit / DIGIT) as usize).min(LEVELS - 1);
        let furthest = position(self.now, level).saturating_add(SLOTS - 1);
        bucket_at(level, position(deadline, level).min(furthest))
    }

    /// The occupied bucket that is reached first. Below the top level, occupied buckets are
    /// ahead within the current round of their level, hence before all of the next level.
    fn earliest(&self) -> Option<Due> {
        let (level, bits) = self.occupied.iter().enumerate().find(|(_, bits)| **bits != 0)?;
        let current = position(self.now, level);
        let ahead = bits.rotate_right((current % SLOTS) as u32).trailing_zeros();
        let at = current.saturating_add(u64::from(ahead));
        Some(Due { level, bucket: bucket_at(level, at), start: at << (DIGIT * level as u32) })
    }
}

/// A bucket, and the tick at which it is reached.
struct Due {
    level: usize,
    bucket: u16,
    start: u64,
}

/// The number of the bucket that a tick falls into, counted at `level` from tick 0.
const fn position(tick: u64, level: usize) -> u64 {
    tick >> (DIGIT * level as u32)
}

const fn bucket_at(level: usize, position: u64) -> u16 {
    (level << DIGIT) as u16 | (position % SLOTS) as u16
}

/// The link of `id` if that is in `bucket`.
fn member(links: &impl Links, id: u32, bucket: u16) -> Option<Link> {
    if id == NOBODY {
        return None;
    }
    links.get(id).filter(|link| link.bucket == bucket)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    /// Twelve hours of ticks of 64 ms.
    const HALF_A_DAY: u64 = 12 * 3600 * 1000 / 64;

    /// Entries with the ids 0, 1, ...; counts how often one is looked at.
    #[derive(Default)]
    struct Entries {
        links: Vec<Link>,
        looks: Cell<usize>,
    }

    impl Entries {
        fn new(count: usize) -> Self {
            Self { links: std::vec![Link::default(); count], looks: Cell::new(0) }
        }
    }

    impl Links for Entries {
        fn get(&self, id: u32) -> Option<Link> {
            self.looks.set(self.looks.get() + 1);
            self.links.get(id as usize).copied()
        }

        fn set(&mut self, id: u32, link: Link) {
            self.looks.set(self.looks.get() + 1);
            if let Some(own) = self.links.get_mut(id as usize) {
                *own = link;
            }
        }
    }

    fn fired(wheel: &mut Wheel, entries: &mut Entries, now_tick: u64) -> Vec<u32> {
        let mut fired: Vec<u32> = core::iter::from_fn(|| wheel.poll(entries, now_tick)).collect();
        fired.sort_unstable();
        fired
    }

    #[test]
    fn fires_at_the_deadline_across_all_levels() {
        for base in [0, 63, 64, 4095, (1 << 24) - 1, 1 << 40] {
            for delay in [0, 1, 63, 64, 65, 4096, 262_143, 262_144, HALF_A_DAY, 1 << 24, 1 << 30] {
                let (mut wheel, mut entries) = (Wheel::new(base), Entries::new(1));
                wheel.insert(&mut entries, 0, base + delay);
                if delay > 0 {
                    assert_eq!(wheel.poll(&mut entries, base + delay - 1), None);
                }
                assert_eq!(wheel.soonest(&entries), Some(0));
                assert_eq!(wheel.poll(&mut entries, base + delay), Some(0), "{base} {delay}");
                assert_eq!(wheel.poll(&mut entries, u64::MAX), None);
                assert_eq!(wheel.soonest(&entries), None);
                assert_eq!(entries.links, [Link::default()]);
            }
        }
    }

    #[test]
    fn equal_deadlines_fire_in_the_order_of_insertion() {
        let (mut wheel, mut entries) = (Wheel::default(), Entries::new(4));
        for id in [2, 0, 3, 1] {
            wheel.insert(&mut entries, id, 5000);
        }
        assert_eq!(wheel.soonest(&entries), Some(2));
        assert!(wheel.remove(&mut entries, 3));
        assert!(!wheel.remove(&mut entries, 3));
        let order: Vec<_> = core::iter::from_fn(|| wheel.poll(&mut entries, 5000)).collect();
        assert_eq!(order, [2, 0, 1]);
    }

    #[test]
    fn ids_that_do_not_exist_are_ignored() {
        let (mut wheel, mut entries) = (Wheel::default(), Entries::new(1));
        for id in [1, 77, u32::MAX] {
            wheel.insert(&mut entries, id, 1);
            assert!(!wheel.remove(&mut entries, id));
        }
        assert_eq!(wheel.soonest(&entries), None);
        assert_eq!(wheel.poll(&mut entries, 10), None);
    }

    #[test]
    fn time_that_runs_backwards_fires_nothing_early() {
        let (mut wheel, mut entries) = (Wheel::default(), Entries::new(2));
        assert_eq!(wheel.poll(&mut entries, 1000), None);
        wheel.insert(&mut entries, 0, 990);
        wheel.insert(&mut entries, 1, 1001);
        assert_eq!(wheel.poll(&mut entries, 60), None);
        assert_eq!(wheel.poll(&mut entries, 80), None);
        assert_eq!(wheel.poll(&mut entries, 995), None);
        assert_eq!(wheel.poll(&mut entries, 1000), Some(0));
        assert_eq!(wheel.poll(&mut entries, 1000), None);
        assert_eq!(wheel.poll(&mut entries, 1001), Some(1));
    }

    #[test]
    fn a_poll_with_nothing_due_looks_at_no_entry() {
        let (mut wheel, mut entries) = (Wheel::default(), Entries::new(1000));
        for id in 0..1000 {
            wheel.insert(&mut entries, id, HALF_A_DAY - u64::from(id));
        }
        entries.looks.set(0);
        for tick in 0..=4096 {
            assert_eq!(wheel.poll(&mut entries, tick), None);
        }
        assert_eq!(entries.looks.get(), 0);
    }

    #[test]
    fn the_work_after_a_pause_depends_on_entries_only() {
        for (deadline, pause) in [
            (HALF_A_DAY, HALF_A_DAY),
            (HALF_A_DAY, u64::MAX),
            (u64::MAX, u64::MAX - 1),
            (u64::MAX, u64::MAX),
        ] {
            let (mut wheel, mut entries) = (Wheel::default(), Entries::new(1000));
            for id in 0..1000 {
                wheel.insert(&mut entries, id, deadline - u64::from(id) * 600);
            }
            entries.looks.set(0);
            fired(&mut wheel, &mut entries, pause);
            // Down three levels and out, with at most six looks each time.
            assert!(entries.looks.get() <= 1000 * 4 * 6, "{}", entries.looks.get());
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert {
            id: u32,
            delay: u64,
        },
        Remove {
            id: u32,
        },
        /// Lets time pass, then takes so many entries, or all that are due.
        Poll {
            pause: u64,
            at_most: usize,
        },
        /// Throws the entry away without telling the wheel.
        Forget {
            id: u32,
        },
    }

    const IDS: u32 = 24;

    fn ticks(far: bool) -> BoxedStrategy<u64> {
        let near = prop_oneof![
            0..4_u64,
            0..200_u64,
            0..10_000_u64,
            0..HALF_A_DAY,
            (0..17_u32, -1..2_i64).prop_map(|(bit, off)| (1_u64 << bit).wrapping_add_signed(off)),
        ];
        if far {
            prop_oneof![near, any::<u64>(), (0..63_u32).prop_map(|bit| 1 << bit)].boxed()
        } else {
            near.boxed()
        }
    }

    fn ops(far: bool, forget: bool) -> impl Strategy<Value = Vec<Op>> {
        let forget_weight = u32::from(forget);
        let op = prop_oneof![
            4 => (0..IDS, ticks(far)).prop_map(|(id, delay)| Op::Insert { id, delay }),
            1 => (0..IDS).prop_map(|id| Op::Remove { id }),
            2 => ticks(far).prop_map(|pause| Op::Poll { pause, at_most: usize::MAX }),
            1 => (ticks(far), 0..3_usize)
                .prop_map(|(pause, at_most)| Op::Poll { pause, at_most }),
            forget_weight => (0..IDS).prop_map(|id| Op::Forget { id }),
        ];
        prop::collection::vec(op, 1..120)
    }

    /// Runs the wheel against a map of deadlines.
    fn compare(start: u64, ops: Vec<Op>, far: bool) -> Result<(), TestCaseError> {
        let (mut wheel, mut entries) = (Wheel::new(start), Entries::new(IDS as usize));
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let mut now = start;
        for op in ops {
            match op {
                Op::Insert { id, delay } => {
                    let deadline = now.saturating_add(delay);
                    wheel.insert(&mut entries, id, deadline);
                    model.insert(id, deadline);
                }
                Op::Remove { id } | Op::Forget { id } => {
                    let was_there = model.remove(&id).is_some();
                    prop_assert_eq!(wheel.remove(&mut entries, id), was_there);
                }
                Op::Poll { pause, at_most } => {
                    now = now.saturating_add(pause);
                    let due = model.values().filter(|deadline| **deadline <= now).count();
                    for _ in 0..due.min(at_most) {
                        let id = wheel.poll(&mut entries, now);
                        let deadline = id.and_then(|id| model.remove(&id));
                        prop_assert!(deadline.is_some_and(|deadline| deadline <= now));
                    }
                    if at_most >= due {
                        prop_assert_eq!(wheel.poll(&mut entries, now), None);
                    }
                }
            }
            let soonest = wheel.soonest(&entries);
            prop_assert_eq!(soonest.is_some(), !model.is_empty());
            let soonest = soonest.map(|id| model.get(&id).copied());
            prop_assert!(soonest != Some(None));
            if !far && let Some(Some(deadline)) = soonest {
                let first = *model.values().min().unwrap();
                prop_assert!(same_bucket(wheel.now, deadline, first));
            }
        }
        Ok(())
    }

    /// `first`, the earliest deadline, shares its bucket with `other`: they agree in all base-64
    /// digits down to the highest one in which `first` differs from `now`.
    fn same_bucket(now: u64, other: u64, first: u64) -> bool {
        let [other, first] = [other, first].map(|deadline| deadline.max(now));
        let digits = |tick: u64, skip: u32| tick.checked_shr(6 * skip).unwrap_or(0);
        let level = (0..4).find(|level| digits(first, level + 1) == digits(now, level + 1));
        let level = level.unwrap_or(3);
        digits(other, level) == digits(first, level)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn behaves_as_a_map_of_deadlines(start in 0..u64::MAX / 2, ops in ops(false, false)) {
            compare(start, ops, false)?;
        }

        #[test]
        fn the_same_with_deadlines_and_pauses_of_any_length(start: u64, ops in ops(true, false)) {
            compare(start, ops, true)?;
        }

        /// Entries may be lost, but each call ends, and nothing fires that was not entered.
        #[test]
        fn survives_a_caller_that_forgets(start: u64, ops in ops(true, true)) {
            let (mut wheel, mut entries) = (Wheel::new(start), Entries::new(IDS as usize));
            let mut now = start;
            let mut entered = [false; IDS as usize];
            for op in ops {
                entries.looks.set(0);
                match op {
                    Op::Insert { id, delay } => {
                        wheel.insert(&mut entries, id, now.saturating_add(delay));
                        entered[id as usize] = true;
                    }
                    Op::Remove { id } => {
                        prop_assert_eq!(wheel.remove(&mut entries, id), entered[id as usize]);
                        entered[id as usize] = false;
                    }
                    Op::Poll { pause, .. } => {
                        now = now.saturating_add(pause);
                        for id in fired(&mut wheel, &mut entries, now) {
                            prop_assert!(entered[id as usize]);
                            entered[id as usize] = false;
                        }
                    }
                    Op::Forget { id } => {
                        entries.links[id as usize] = Link::default();
                        entered[id as usize] = false;
                    }
                }
                prop_assert!(entries.looks.get() < 1000);
            }
        }
    }
}
