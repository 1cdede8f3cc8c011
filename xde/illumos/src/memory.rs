// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Memory: who may wait for it, and what happens when there is none.
//!
//! A thread that holds a [`MayWait`] waits (`KM_SLEEP`): requests, attach and detach, the periodic
//! callback, readers of statistics. All others do not (`KM_NOSLEEP`), whatever the context, so no
//! packet ever waits for memory.
//!
//! What holds when there is none:
//!
//! * Messages: the packet is dropped and counted (`no_memory`).
//! * Arrays of the flow table (its cells and its index, over 4 KiB each): the engine is told, and
//!   the table counts as full.
//! * Everything else on a packet's way is at most [`LARGEST`] bytes and comes from a **reserve**
//!   that was made at attach, [`Reserve::CLASS_BYTES`] for each of its sizes. While the reserve is
//!   drawn on and is less than half full in any size, bursts are dropped and counted as they come
//!   in (`memory_low`). So the reserve has to last for the bursts that are under way alone.
//! * If it does not, the kernel panics: Rust has no other end for a failed allocation.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;
use core::ptr::{self, NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use illumos_sys_hdrs::sys::kmem::{KM_NORMALPRI, KM_NOSLEEP, KM_SLEEP, kmem_alloc, kmem_free};
use illumos_sys_hdrs::sys::thread::{kthread_t, threadp};
use opte::host::Lock;

use crate::lock::Mutex;

/// Threads that may wait for memory at the same time; more wait for none.
const WAITERS: usize = 8;
/// Alignment that `kmem_alloc` promises, in bytes.
const KMEM_ALIGN: usize = 8;
/// Largest block of the reserve.
pub const LARGEST: usize = 4096;

static MAY_WAIT: [AtomicPtr<kthread_t>; WAITERS] = [const { AtomicPtr::new(null_mut()) }; WAITERS];
static RESERVE: Mutex<Option<Reserve>> = Mutex::of(None);
/// Where the reserve begins; null while there is none.
static RESERVE_BASE: AtomicPtr<u8> = AtomicPtr::new(null_mut());
static RESERVE_LOW: AtomicU64 = AtomicU64::new(0);
/// Allocations that the kernel refused and the reserve served.
static FROM_RESERVE: AtomicU64 = AtomicU64::new(0);

/// This thread may wait for memory for as long as this lives.
pub struct MayWait(Option<&'static AtomicPtr<kthread_t>>);

impl MayWait {
    /// To be called in user or kernel context alone.
    pub fn here() -> Self {
        // SAFETY: asks which thread this is, in any context.
        let me = unsafe { threadp() };
        let order = Ordering::Relaxed;
        let free = |slot: &&AtomicPtr<kthread_t>| {
            slot.compare_exchange(null_mut(), me, order, order).is_ok()
        };
        // Waits already: whoever said so first says when it ends.
        let known = may_wait();
        Self(MAY_WAIT.iter().filter(|_| !known).find(free))
    }
}

impl Drop for MayWait {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            slot.store(null_mut(), Ordering::Relaxed);
        }
    }
}

/// This thread has said that it may wait. Others' slots may change meanwhile: they are not ours.
fn may_wait() -> bool {
    // SAFETY: as above.
    let me = unsafe { threadp() };
    MAY_WAIT.iter().any(|slot| slot.load(Ordering::Relaxed) == me)
}

/// The kernel's memory as Rust's.
pub struct KernelAllocator;

#[cfg(target_os = "illumos")]
#[global_allocator]
static ALLOCATOR: KernelAllocator = KernelAllocator;

// SAFETY: blocks are `kmem_alloc`'s own or the reserve's, as long and as aligned as asked for, and
// nobody else's until they are given back to where they came from, which their address tells.
unsafe impl GlobalAlloc for KernelAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let waits = may_wait();
        // An allocation that fails has a reserve, or a caller who copes: no reason to try harder.
        let flag = if waits { KM_SLEEP } else { KM_NOSLEEP | KM_NORMALPRI };
        // SAFETY: the size is not zero (our caller's promise), and only threads that may wait do.
        let block = unsafe { kernel_block(layout, flag) };
        if block.is_null() && !waits { from_reserve(layout) } else { block }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(offset) = reserve_offset(block) {
            RESERVE.with(|reserve| {
                let Some(reserve) = reserve else { return };
                // SAFETY: the block is one of the reserve's and no longer in use (our caller's
                // promise).
                unsafe { reserve.give_back(offset) };
            });
            return;
        }
        // SAFETY: it is none of the reserve's, so it came from `kernel_block` with this layout.
        unsafe { free_kernel_block(block, layout) };
    }
}

/// Bytes to ask the kernel for, so that an aligned block and the word in front of it fit.
const fn padded(layout: Layout) -> usize {
    if layout.align() <= KMEM_ALIGN { layout.size() } else { layout.size() + layout.align() }
}

/// # Safety
///
/// The size is not zero; `flag` is `KM_SLEEP` only where waiting is allowed.
unsafe fn kernel_block(layout: Layout, flag: i32) -> *mut u8 {
    // SAFETY: the caller's promise.
    let block: *mut u8 = unsafe { kmem_alloc(padded(layout), flag) }.cast();
    if layout.align() <= KMEM_ALIGN || block.is_null() {
        return block;
    }
    // Blocks are aligned to 8 at least, so there is room for a word in front of the next multiple
    // of 16.
    let skip = layout.align() - block.addr() % layout.align();
    // SAFETY: `skip` is 8 to `align`, so the word and the block lie in the `size + align` bytes.
    unsafe {
        let aligned = block.add(skip);
        aligned.cast::<*mut u8>().sub(1).write(block);
        aligned
    }
}

/// # Safety
///
/// The block is of [`kernel_block`] with this layout, and not in use.
unsafe fn free_kernel_block(block: *mut u8, layout: Layout) {
    let start = if layout.align() <= KMEM_ALIGN {
        block
    } else {
        // SAFETY: `kernel_block` wrote where the block begins into the word in front of it.
        unsafe { block.cast::<*mut u8>().sub(1).read() }
    };
    // SAFETY: what `kmem_alloc` answered, with the size that it was asked for.
    unsafe { kmem_free(start.cast::<c_void>(), padded(layout)) };
}

/// A free block: the next one of its size.
struct Free(Option<NonNull<Free>>);

/// Memory for when the kernel has none: one region, and in it equal shares of blocks of 64 to 4096
/// bytes, aligned to their size or at least to 64.
pub struct Reserve {
    base: NonNull<u8>,
    free: [Option<NonNull<Free>>; Self::CLASSES],
    left: [u32; Self::CLASSES],
}

// SAFETY: the region belongs to the reserve, which is used under a mutex.
unsafe impl Send for Reserve {}

impl Reserve {
    const SMALLEST_BITS: u32 = 6;
    const CLASSES: usize = 7;
    /// Bytes for blocks of each size.
    pub const CLASS_BYTES: usize = 128 << 10;
    const LAYOUT: Layout = match Layout::from_size_align(Self::CLASSES * Self::CLASS_BYTES, LARGEST)
    {
        Ok(layout) => layout,
        Err(_) => panic!("sizes are constants"),
    };

    fn class(layout: Layout) -> Option<usize> {
        let size =
            layout.size().max(layout.align()).next_power_of_two().max(1 << Self::SMALLEST_BITS);
        (size <= LARGEST).then(|| (size.ilog2() - Self::SMALLEST_BITS) as usize)
    }

    const fn blocks(class: usize) -> usize {
        Self::CLASS_BYTES >> (Self::SMALLEST_BITS as usize + class)
    }

    fn new(base: NonNull<u8>) -> Self {
        let mut reserve = Self { base, free: [None; Self::CLASSES], left: [0; Self::CLASSES] };
        for class in 0..Self::CLASSES {
            for block in 0..Self::blocks(class) {
                let within = block << (Self::SMALLEST_BITS as usize + class);
                // SAFETY: each block once, inside of the region, and nobody uses any yet.
                unsafe { reserve.give_back(class * Self::CLASS_BYTES + within) };
            }
        }
        reserve
    }

    fn take(&mut self, class: usize) -> Option<NonNull<u8>> {
        let first = self.free.get_mut(class)?;
        let block = (*first)?;
        // SAFETY: a free block begins with its `Free`, and only we reach it.
        *first = unsafe { block.as_ref() }.0;
        if let Some(left) = self.left.get_mut(class) {
            *left -= 1;
            note_low(class, *left as usize * 2 < Self::blocks(class));
        }
        Some(block.cast())
    }

    /// # Safety
    ///
    /// A block of this reserve begins at `offset`, and nobody uses it.
    unsafe fn give_back(&mut self, offset: usize) {
        let class = offset / Self::CLASS_BYTES;
        let (Some(first), Some(left)) = (self.free.get_mut(class), self.left.get_mut(class)) else {
            return;
        };
        // SAFETY: inside of the region, aligned to 64 at least, and nobody's (our caller's
        // promise).
        let block = unsafe { self.base.add(offset).cast::<Free>() };
        // SAFETY: as above; a block has room for a pointer.
        unsafe { block.write(Free(*first)) };
        *first = Some(block);
        *left += 1;
        note_low(class, *left as usize * 2 < Self::blocks(class));
    }

    fn is_whole(&self) -> bool {
        self.left.iter().enumerate().all(|(class, left)| *left as usize == Self::blocks(class))
    }
}

/// Under the mutex of the reserve.
fn note_low(class: usize, low: bool) {
    let bits = RESERVE_LOW.load(Ordering::Relaxed) & !(1 << class);
    RESERVE_LOW.store(bits | u64::from(low) << class, Ordering::Relaxed);
}

fn from_reserve(layout: Layout) -> *mut u8 {
    let Some(class) = Reserve::class(layout) else { return null_mut() };
    let block = RESERVE.with(|reserve| reserve.as_mut()?.take(class));
    block.map_or(null_mut(), |block| {
        FROM_RESERVE.fetch_add(1, Ordering::Relaxed);
        block.as_ptr()
    })
}

/// Where in the reserve a block is, if it is one of its.
fn reserve_offset(block: *mut u8) -> Option<usize> {
    let base = RESERVE_BASE.load(Ordering::Relaxed);
    let offset = block.addr().wrapping_sub(base.addr());
    (!base.is_null() && offset < Reserve::LAYOUT.size()).then_some(offset)
}

/// The reserve, for as long as this lives.
pub struct ReserveHeld(());

/// Makes the reserve. In user or kernel context; there is none yet.
pub fn make_reserve() -> ReserveHeld {
    let _waits = MayWait::here();
    // SAFETY: not zero bytes, and this context may wait.
    let region = unsafe { kernel_block(Reserve::LAYOUT, KM_SLEEP) };
    if let Some(base) = NonNull::new(region) {
        RESERVE.with(|reserve| *reserve = Some(Reserve::new(base)));
        RESERVE_BASE.store(region, Ordering::Relaxed);
    }
    ReserveHeld(())
}

impl Drop for ReserveHeld {
    fn drop(&mut self) {
        let taken = RESERVE.with(|reserve| reserve.take_if(|reserve| reserve.is_whole()));
        let Some(reserve) = taken else {
            // Somebody still has a block of it: that must not be reused, and the rest stays with
            // it.
            return;
        };
        RESERVE_BASE.store(null_mut(), Ordering::Relaxed);
        // SAFETY: made with this layout by `make_reserve`, and all of its blocks have come back.
        unsafe { free_kernel_block(reserve.base.as_ptr(), Reserve::LAYOUT) };
    }
}

/// Little is left of the reserve: a burst that comes in now is dropped.
#[inline]
pub fn is_low() -> bool {
    RESERVE_LOW.load(Ordering::Relaxed) != 0
}

/// Allocations that the reserve served so far.
pub fn from_reserve_count() -> u64 {
    FROM_RESERVE.load(Ordering::Relaxed)
}

/// A pointer to nothing, for C.
pub(crate) const NOTHING: *mut c_void = ptr::null_mut();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel;
    use std::vec::Vec;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn blocks_are_aligned_and_come_back_as_they_were() {
        let _alone = kernel::alone();
        let before = kernel::bytes_out();
        for (size, align) in [(1, 1), (24, 8), (40, 16), (128, 128), (32 << 10, 128), (4096, 4096)]
        {
            // SAFETY: sizes are not zero, and each block goes back with its layout.
            unsafe {
                let block = KernelAllocator.alloc(layout(size, align));
                assert_eq!(block.addr() % align, 0);
                block.write_bytes(0xaa, size);
                KernelAllocator.dealloc(block, layout(size, align));
            }
        }
        assert_eq!(kernel::bytes_out(), before);
    }

    #[test]
    fn only_threads_that_said_so_wait() {
        let _alone = kernel::alone();
        let flag_of = || {
            // SAFETY: not zero bytes, given back at once.
            unsafe {
                let block = KernelAllocator.alloc(layout(8, 8));
                KernelAllocator.dealloc(block, layout(8, 8));
            }
            kernel::last_flag()
        };
        assert_eq!(flag_of(), KM_NOSLEEP | KM_NORMALPRI);
        let outer = MayWait::here();
        drop(MayWait::here());
        assert_eq!(flag_of(), KM_SLEEP);
        drop(outer);
        assert_eq!(flag_of(), KM_NOSLEEP | KM_NORMALPRI);
    }

    #[test]
    fn the_reserve_serves_when_the_kernel_does_not() {
        let _alone = kernel::alone();
        let before = kernel::bytes_out();
        let held = make_reserve();
        kernel::refuse_memory(true);
        let half = Reserve::blocks(1) / 2;
        // SAFETY: sizes are not zero, and each block goes back with its layout.
        unsafe {
            assert!(KernelAllocator.alloc(layout(LARGEST + 1, 8)).is_null());
            let mut blocks: Vec<_> =
                (0..half).map(|_| KernelAllocator.alloc(layout(100, 64))).collect();
            assert!(blocks.iter().all(|block| !block.is_null() && block.addr() % 64 == 0));
            assert!(!is_low());
            blocks.push(KernelAllocator.alloc(layout(128, 1)));
            assert!(is_low());
            blocks.sort_unstable();
            assert!(blocks.windows(2).all(|two| two[1].addr() - two[0].addr() >= 128));
            kernel::refuse_memory(false);
            blocks.iter().for_each(|block| KernelAllocator.dealloc(*block, layout(128, 1)));
        }
        assert!(!is_low());
        drop(held);
        assert_eq!(kernel::bytes_out(), before);
    }
}
