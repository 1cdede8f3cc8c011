// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The wheel against a map of deadlines.

extern crate std;
use super::*;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::vec::Vec;

/// Twelve hours of ticks of 64 ms.
const HALF_A_DAY: u64 = 12 * 3600 * 1000 / 64;

/// Far more looks than a call takes that ends.
const ENDLESS: usize = 1 << 20;

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

    fn look(&self) {
        self.looks.set(self.looks.get() + 1);
        assert!(self.looks.get() < ENDLESS, "a call that does not end");
    }
}

impl Links for Entries {
    fn get(&self, id: u32) -> Option<Link> {
        self.look();
        self.links.get(id as usize).copied()
    }

    fn set(&mut self, id: u32, link: Link) {
        self.look();
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

/// An entry that was thrown away and comes back to its bucket may close a ring. Whatever is in
/// it must not be filed again and again when time jumps to where it stays in that bucket.
#[test]
fn a_ring_that_a_forgetful_caller_made_is_no_trap() {
    let (mut wheel, mut entries) = (Wheel::default(), Entries::new(3));
    (0..3).for_each(|id| wheel.insert(&mut entries, id, u64::MAX));
    entries.links[0] = Link::default();
    wheel.insert(&mut entries, 0, u64::MAX);
    assert!(wheel.remove(&mut entries, 1));
    assert_eq!((entries.links[0].next, entries.links[2].next), (2, 0));
    assert_eq!(wheel.poll(&mut entries, SLOTS << (DIGIT * 3)), None);
    assert_eq!(fired(&mut wheel, &mut entries, u64::MAX), [0, 2]);
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
    fn few_moves_at_a_time_fire_the_same(
        start in 0..u64::MAX / 2,
        delays in proptest::collection::vec(0..HALF_A_DAY, 1..IDS as usize),
        pauses in proptest::collection::vec(0..HALF_A_DAY / 4, 1..8),
        few in 1u32..4,
    ) {
        let (mut wheel, mut entries) = (Wheel::new(start), Entries::new(IDS as usize));
        let mut waiting = BTreeMap::new();
        for (id, delay) in (0..).zip(delays) {
            wheel.insert(&mut entries, id, start + delay);
            waiting.insert(id, start + delay);
        }
        let mut now = start;
        for pause in pauses {
            now += pause;
            loop {
                let mut moves = few;
                match wheel.poll_some(&mut entries, now, &mut moves) {
                    Some(id) => prop_assert!(waiting.remove(&id).is_some_and(|at| at <= now)),
                    None if moves == 0 => {}
                    None => break,
                }
            }
            prop_assert!(waiting.values().all(|at| *at > now));
            let quiet = wheel.quiet_until();
            prop_assert_eq!(quiet.is_some(), !waiting.is_empty());
            prop_assert!(waiting.values().all(|at| Some(*at) >= quiet));
        }
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
