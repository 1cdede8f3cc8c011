// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The memory of the flow table: two cells for each flow, in chunks that never move.
//!
//! Number `n` has the cells `2n` (packets that go out) and `2n + 1` (packets that come in). Each
//! cell has a lock of its own, so packets of different flows never wait for each other. A chunk is
//! made when it is needed first, and stays until the table ends.

use super::memory_for;
use crate::flow::Flow;
use crate::host::{Host, Lock};
use crate::slot::Slot;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use once_cell::race::OnceBox;
use opte_api::Direction;

/// Cells of a chunk.
const CHUNK: usize = 256;
/// No number.
pub const NO_NUMBER: u32 = u32::MAX;

/// Room for one direction of a flow. Two lines of a processor's cache, of which a packet that
/// runs a stored transform needs both and no other.
#[repr(C, align(128))]
struct Cell<H: Host> {
    /// While the cell is free: the number that is taken after this one.
    next_free: AtomicU32,
    slot: H::Lock<Option<Slot<H>>>,
}

impl<H: Host> Default for Cell<H> {
    fn default() -> Self {
        Self { next_free: AtomicU32::new(NO_NUMBER), slot: H::Lock::new(None) }
    }
}

/// Numbers that are free: those that were given back, last one first, and those never taken.
struct Free {
    first: u32,
    fresh: u32,
    /// Numbers that are taken.
    taken: u32,
    /// Most of them.
    limit: u32,
}

/// The number of the cell of one direction of flow number `number`.
pub const fn cell_of(number: u32, direction: Direction) -> u32 {
    number << 1 | direction as u32
}

/// The cell is one for packets that go `direction`.
pub const fn is_way(cell: u32, direction: Direction) -> bool {
    cell & 1 == direction as u32
}

/// All cells of a table.
pub struct Cells<H: Host> {
    chunks: Box<[OnceBox<[Cell<H>; CHUNK]>]>,
    free: H::Lock<Free>,
}

impl<H: Host> Cells<H> {
    /// Cells for `limit` flows, and never for more.
    pub fn new(limit: u32) -> Self {
        let chunks = (limit as usize * 2).div_ceil(CHUNK);
        Self {
            chunks: (0..chunks).map(|_| OnceBox::new()).collect(),
            free: H::Lock::new(Free { first: NO_NUMBER, fresh: 0, taken: 0, limit }),
        }
    }

    #[inline]
    fn cell(&self, cell: u32) -> Option<&Cell<H>> {
        self.chunks.get(cell as usize / CHUNK)?.get()?.get(cell as usize % CHUNK)
    }

    /// Runs `f` with what is in a cell, alone.
    #[inline]
    pub fn with<R>(&self, cell: u32, f: impl FnOnce(&mut Option<Slot<H>>) -> R) -> Option<R> {
        Some(self.cell(cell)?.slot.with(f))
    }

    /// Reads the memory of a cell and nothing in it, so that it is at hand when it is needed.
    #[inline]
    pub fn glance(&self, cell: u32) {
        if let Some(cell) = self.cell(cell) {
            core::hint::black_box(cell.next_free.load(Ordering::Relaxed));
            cell.slot.glance();
        }
    }

    /// Takes a number, whose cells are empty. `None`: all are taken, or there is no memory for
    /// more.
    pub fn take(&self) -> Option<u32> {
        self.free.with(|free| {
            if free.taken >= free.limit {
                return None;
            }
            let number = if free.first != NO_NUMBER {
                let number = free.first;
                free.first =
                    self.cell(cell_of(number, Direction::Out))?.next_free.load(Ordering::Relaxed);
                number
            } else {
                let number = free.fresh;
                let chunk = self.chunks.get(number as usize * 2 / CHUNK)?;
                chunk.get_or_try_init(|| fresh_chunk().ok_or(())).ok()?;
                free.fresh += 1;
                number
            };
            free.taken += 1;
            Some(number)
        })
    }

    /// Sets how many numbers may be taken. There is memory for as many as at first.
    pub fn set_limit(&self, limit: u32) {
        self.free.with(|free| free.limit = limit);
    }

    /// Gives a number back, whose cells are empty.
    pub fn give_back(&self, number: u32) {
        let Some(cell) = self.cell(cell_of(number, Direction::Out)) else { return };
        self.free.with(|free| {
            cell.next_free.store(free.first, Ordering::Relaxed);
            free.first = number;
            free.taken = free.taken.saturating_sub(1);
        });
    }

    /// The flow of a number, if there is one.
    pub fn flow(&self, number: u32) -> Option<Arc<Flow<H>>> {
        let cell = cell_of(number, Direction::Out);
        self.with(cell, |slot| slot.as_ref().map(|slot| slot.flow.clone()))?
    }

    /// One more than the highest number that was taken.
    pub fn numbers(&self) -> u32 {
        self.free.with(|free| free.fresh)
    }

    /// All flows of this number and higher ones, by number.
    pub fn flows_from(&self, first: u32) -> impl Iterator<Item = (u32, Arc<Flow<H>>)> {
        (first..self.numbers()).filter_map(|number| Some((number, self.flow(number)?)))
    }
}

fn fresh_chunk<H: Host>() -> Option<Box<[Cell<H>; CHUNK]>> {
    // By way of a slice: an array would be made on the stack first.
    memory_for(CHUNK, Cell::default)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::flow_table::testing::{StdHost, StdLock};

    #[test]
    fn a_cell_is_two_lines_of_memory() {
        // With a lock of one word, as hosts have.
        assert_eq!(size_of::<StdLock<()>>(), 8);
        assert_eq!((size_of::<Cell<StdHost>>(), align_of::<Cell<StdHost>>()), (128, 128));
    }

    #[test]
    fn numbers_are_taken_once_and_come_back() {
        let cells = Cells::<StdHost>::new(200);
        let mut taken: std::vec::Vec<u32> = core::iter::from_fn(|| cells.take()).collect();
        assert_eq!(taken, (0..200).collect::<std::vec::Vec<u32>>());
        cells.give_back(7);
        cells.give_back(150);
        taken = core::iter::from_fn(|| cells.take()).collect();
        assert_eq!(taken, [150, 7]);
    }

    #[test]
    fn a_lower_limit_holds_back_numbers_that_are_free() {
        let cells = Cells::<StdHost>::new(8);
        (0..4).for_each(|number| assert_eq!(cells.take(), Some(number)));
        cells.set_limit(3);
        assert_eq!(cells.take(), None);
        cells.give_back(0);
        assert_eq!(cells.take(), None);
        cells.give_back(1);
        assert_eq!(cells.take(), Some(1));
        cells.set_limit(8);
        assert_eq!(core::iter::from_fn(|| cells.take()).count(), 5);
    }
}
