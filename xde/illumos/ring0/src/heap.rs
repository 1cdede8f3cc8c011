// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The heap: blocks of powers of two, which are kept for the next who wants one of that size.

use crate::paging::{self, direct};
use crate::trap::without_interrupts;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;

/// Smallest block: 16 bytes.
const SMALLEST: u32 = 4;
/// Largest block: 256 MiB.
const LARGEST: u32 = 28;
/// How much is taken for small blocks at a time: 64 KiB.
const PIECE: u32 = 16;
const CLASSES: usize = (LARGEST - SMALLEST + 1) as usize;

/// All memory that is given out and comes back.
pub struct Heap(UnsafeCell<[*mut Free; CLASSES]>);

/// A block that nobody has.
struct Free(*mut Free);

// SAFETY: one processor, and the lists are looked at with interrupts off.
unsafe impl Sync for Heap {}

impl Heap {
    /// Without memory.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([null_mut(); CLASSES]))
    }

    fn class(layout: Layout) -> u32 {
        let size = layout.size().max(layout.align()).max(1 << SMALLEST);
        size.next_power_of_two().ilog2()
    }

    fn take(&self, class: u32) -> *mut u8 {
        // SAFETY: interrupts are off (our callers'), and this reference is the only one.
        let lists = unsafe { &mut *self.0.get() };
        let Some(list) = lists.get_mut((class - SMALLEST) as usize) else { return null_mut() };
        if list.is_null() {
            let piece = class.max(PIECE);
            let Some(memory) = paging::take(1 << piece) else { return null_mut() };
            for block in (0..1_u64 << piece).step_by(1 << class) {
                let block = direct(memory + block).cast::<Free>();
                // SAFETY: a part of new memory, of 16 bytes at least.
                unsafe { block.write(Free(*list)) };
                *list = block;
            }
        }
        let block = *list;
        // SAFETY: a free block begins with its `Free`.
        *list = unsafe { (*block).0 };
        block.cast()
    }

    fn give_back(&self, block: *mut u8, class: u32) {
        // SAFETY: as above.
        let lists = unsafe { &mut *self.0.get() };
        if let Some(list) = lists.get_mut((class - SMALLEST) as usize) {
            let block = block.cast::<Free>();
            // SAFETY: the block is nobody's any more.
            unsafe { block.write(Free(*list)) };
            *list = block;
        }
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: blocks are as long and as aligned as their power of two, up to a page; nothing here wants
// more. Each belongs to one until it comes back.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let class = Self::class(layout);
        if class > LARGEST || layout.align() > paging::PAGE {
            return null_mut();
        }
        without_interrupts(|| self.take(class))
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        without_interrupts(|| self.give_back(block, Self::class(layout)));
    }
}
