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
/// The bucket of entries that were taken from theirs, and are about to be filed.
const PASSED: u16 = BUCKETS as u16;

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
    /// The bucket of level 1 or more that time has reached and that is not empty yet.
    falling: Option<u16>,
}

impl Default for Wheel {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Wheel {
    /// An empty wheel. Ticks before `now_tick` are past.
    pub const fn new(now_tick: u64) -> Self {
        Self { now: now_tick, occupied: [0; LEVELS], buckets: [EMPTY; BUCKETS], falling: None }
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
        let mut moves = u32::MAX;
        self.poll_some(links, now_tick, &mut moves)
    }

    /// The same, with at most so many `moves` of entries to lower levels, which are counted down.
    /// At zero, `None` means that there may be more.
    pub fn poll_some(
        &mut self,
        links: &mut impl Links,
        now_tick: u64,
        moves: &mut u32,
    ) -> Option<u32> {
        self.catch_up(links, now_tick);
        loop {
            if let Some(bucket) = self.falling {
                if !self.empty(links, bucket, moves) {
                    return None;
                }
                self.falling = None;
            }
            let Some(due) = self.earliest().filter(|due| due.start <= now_tick) else { break };
            self.now = due.start;
            if due.level > 0 {
                self.falling = Some(due.bucket);
            } else if let Some(id) = self.pop(links, due.bucket) {
                return Some(id);
            }
        }
        self.now = self.now.max(now_tick);
        None
    }

    /// Moves the entries of a bucket to where they belong now. False if some are left.
    fn empty(&mut self, links: &mut impl Links, bucket: u16, moves: &mut u32) -> bool {
        while let Some(list) = self.buckets.get(usize::from(bucket)) {
            let Some(link) = member(links, list.head, bucket) else {
                // Empty, or the caller threw the entry away: the list cannot be followed.
                self.take(bucket);
                break;
            };
            if *moves == 0 {
                return false;
            }
            *moves -= 1;
            let id = list.head;
            self.unlink(links, id, link);
            self.append(links, id, link.deadline);
        }
        true
    }

    /// No entry is due before this tick; `None` if there is no entry.
    pub fn quiet_until(&self) -> Option<u64> {
        if self.falling.is_some() {
            return Some(self.now);
        }
        self.earliest().map(|due| due.start)
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
        (self.now, self.occupied, self.falling) = (now_tick, [0; LEVELS], None);
        // All are taken, into one list, before any is filed, which may be in the bucket where it
        // was: so each is filed once, whatever a forgetful caller has made of the lists.
        let (mut first, mut last) = (NOBODY, NOBODY);
        for (bucket, list) in (0..).zip(&mut self.buckets) {
            let mut id = core::mem::replace(list, EMPTY).head;
            while let Some(link) = member(links, id, bucket) {
                links.set(id, Link { bucket: PASSED, next: NOBODY, ..link });
                match member(links, last, PASSED) {
                    Some(before) => links.set(last, Link { next: id, ..before }),
                    None => first = id,
                }
                (last, id) = (id, link.next);
            }
        }
        let mut id = first;
        while let Some(link) = member(links, id, PASSED) {
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
mod tests;
