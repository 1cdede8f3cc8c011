// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! kmem_alloc(9F): every block with its size, filled with rubbish, between guards, and buried for a
//! while when it is given back, so that whoever still writes to it is found.

use crate::context::{May, begin};
use crate::machine::machine;
use crate::world::{World, with};
use alloc::alloc::{Layout, alloc, dealloc};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{c_int, c_void};
use core::ptr::{null_mut, with_exposed_provenance_mut};
use illumos_sys_hdrs::sys::kmem::KM_NOSLEEP;

/// Bytes in front of a block. `kmem_alloc` promises an alignment of 8 and no more: blocks lie so
/// that they never have more.
const FRONT: usize = 8;
const REAR: usize = 8;
const GUARD: u8 = 0xa5;
/// What fresh memory holds, as with `kmem_flags` of the kernel: not zero, and no address.
const FRESH: u8 = 0xba;
/// What memory holds that was given back.
const DEAD: u8 = 0xde;
/// Bytes that stay buried.
const BURIED: usize = 4 << 20;

/// What a block is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Of `kmem_alloc`.
    Memory,
    /// A part of a message.
    Message,
    /// A structure of the kernel's that a driver may look at.
    Kernel,
}

struct Block {
    size: usize,
    kind: Kind,
    serial: u64,
}

pub(crate) struct Memory {
    live: BTreeMap<usize, Block>,
    graves: VecDeque<(usize, usize)>,
    buried: usize,
    bytes: usize,
    serial: u64,
    refuse: bool,
    plain: bool,
}

fn layout(size: usize) -> Layout {
    match Layout::from_size_align(FRONT + size + REAR, 16) {
        Ok(layout) => layout,
        Err(_) => machine().stop("a block as large as the address space"),
    }
}

/// # Safety
///
/// There are so many bytes, and nobody else uses them.
unsafe fn fill(at: usize, len: usize, with: u8) {
    // SAFETY: the caller's promise.
    unsafe { with_exposed_provenance_mut::<u8>(at).write_bytes(with, len) };
}

/// # Safety
///
/// There are so many bytes, and they were written.
unsafe fn all_are(at: usize, len: usize, value: u8) -> bool {
    // SAFETY: the caller's promise.
    let bytes = unsafe { core::slice::from_raw_parts(with_exposed_provenance_mut::<u8>(at), len) };
    bytes.iter().all(|byte| *byte == value)
}

impl Memory {
    pub(crate) const fn new() -> Self {
        Self {
            live: BTreeMap::new(),
            graves: VecDeque::new(),
            buried: 0,
            bytes: 0,
            serial: 0,
            refuse: false,
            plain: false,
        }
    }

    /// A block; its address. There is always memory.
    pub(crate) fn take(&mut self, size: usize, kind: Kind) -> usize {
        // SAFETY: the size is not zero, since there are guards.
        let raw = unsafe { alloc(layout(size)) };
        if raw.is_null() {
            machine().stop("no memory is left for the shim");
        }
        let at = raw.expose_provenance() + FRONT;
        if !self.plain {
            // SAFETY: all of it is inside of the fresh block.
            unsafe {
                fill(at - FRONT, FRONT, GUARD);
                fill(at, size, FRESH);
                fill(at + size, REAR, GUARD);
            }
        }
        self.serial += 1;
        self.bytes += size;
        self.live.insert(at, Block { size, kind, serial: self.serial });
        at
    }

    /// Gives a block back; the error says what is wrong, and then nothing happens.
    fn give_back(&mut self, at: usize, size: usize, kind: Kind) -> Result<(), String> {
        let Some(block) = self.live.get(&at) else {
            return Err(format!("{at:#x} is given back, but nobody has it"));
        };
        let Block { size: real, kind: is, serial } = *block;
        if real != size || is != kind {
            return Err(format!(
                "{at:#x} ({is:?}, {real} bytes, allocation {serial}) is given back as {kind:?} of \
                 {size} bytes"
            ));
        }
        self.live.remove(&at);
        self.bytes -= size;
        if self.plain {
            self.release(at, size);
            return Ok(());
        }
        // SAFETY: the block is ours again, with its guards.
        let whole = unsafe {
            let whole = all_are(at - FRONT, FRONT, GUARD) && all_are(at + size, REAR, GUARD);
            fill(at, size, DEAD);
            whole
        };
        self.graves.push_back((at, size));
        self.buried += size;
        let disturbed = self.reopen(BURIED);
        if !whole {
            return Err(format!("somebody wrote beside {at:#x} ({size} bytes)"));
        }
        disturbed
    }

    /// Frees what is buried beyond so many bytes.
    fn reopen(&mut self, keep: usize) -> Result<(), String> {
        let mut result = Ok(());
        while self.buried > keep {
            let Some((at, size)) = self.graves.pop_front() else { break };
            self.buried -= size;
            // SAFETY: buried, hence ours, and filled.
            if !unsafe { all_are(at, size, DEAD) } {
                result = Err(format!("somebody wrote to {at:#x} ({size} bytes) after it was free"));
            }
            self.release(at, size);
        }
        result
    }

    fn release(&mut self, at: usize, size: usize) {
        // SAFETY: made by `take` with this layout, and freed once: it is neither live nor buried.
        unsafe { dealloc(with_exposed_provenance_mut(at - FRONT), layout(size)) };
    }

    pub(crate) fn left_over(&self, found: &mut Vec<String>) {
        let lost = self.live.iter().filter(|(_, block)| block.kind == Kind::Memory);
        found.extend(lost.map(|(at, Block { size, serial, .. })| {
            format!("{size} bytes at {at:#x}, allocation {serial}")
        }));
    }
}

impl World {
    /// Gives memory back that the kernel has handed out.
    pub(crate) fn give_back(&mut self, who: &str, at: usize, size: usize, kind: Kind) {
        let asleep = self.locks.within(at, size);
        if let Some(what) = asleep {
            self.blame(format!("{who}: {at:#x} ({size} bytes) holds {what}"));
        }
        self.locks.forget(at, size);
        if let Err(why) = self.memory.give_back(at, size, kind) {
            self.blame(format!("{who}: {why}"));
        }
    }

    /// A zeroed structure of the kernel's.
    pub(crate) fn make<T>(&mut self) -> *mut T {
        let at = self.memory.take(size_of::<T>(), Kind::Kernel);
        // SAFETY: a fresh block of so many bytes.
        unsafe { fill(at, size_of::<T>(), 0) };
        with_exposed_provenance_mut(at)
    }

    /// Undoes [`World::make`].
    pub(crate) fn unmake<T>(&mut self, who: &str, it: *mut T) {
        self.give_back(who, it.addr(), size_of::<T>(), Kind::Kernel);
    }
}

exports! { kmem_alloc, kmem_free }

/// kmem_alloc(9F): aligned to 8; null only without `KM_SLEEP`. Sleeping in user or kernel context
/// alone. The module never asks for 0 bytes, for which there would be null.
extern "C" fn kmem_alloc(size: usize, flag: c_int) -> *mut c_void {
    with(|world| {
        let waits = flag & KM_NOSLEEP == 0;
        let fails = if waits {
            begin(world, "kmem_alloc(KM_SLEEP)", May::Sleep);
            false
        } else {
            begin(world, "kmem_alloc", May::Anywhere) || world.memory.refuse
        };
        if size == 0 {
            world.blame("kmem_alloc of 0 bytes".into());
        }
        if fails || size == 0 {
            return null_mut();
        }
        with_exposed_provenance_mut(world.memory.take(size, Kind::Memory))
    })
}

/// kmem_free(9F): with the size that was asked for; any context.
extern "C" fn kmem_free(memory: *mut c_void, size: usize) {
    with(|world| {
        begin(world, "kmem_free", May::Anywhere);
        world.give_back("kmem_free", memory.addr(), size, Kind::Memory);
    });
}

/// Bytes that the module has of `kmem_alloc` and in messages.
pub fn bytes_out() -> usize {
    with(|world| world.memory.bytes)
}

/// From now on there is no memory for those who do not wait, messages included, or there is.
pub fn exhaust(exhausted: bool) {
    with(|world| world.memory.refuse = exhausted);
}

/// Whether there is none.
pub(crate) fn is_exhausted(world: &World) -> bool {
    world.memory.refuse
}

/// Fresh memory is not filled, there are no guards and no graves: for a checker of memory that has
/// its own. Before anything is allocated.
pub fn leave_to_checker() {
    with(|world| world.memory.plain = true);
}

/// Looks at all that is buried, and frees it.
pub fn exhume() {
    with(|world| {
        if let Err(why) = world.memory.reopen(0) {
            world.blame(why);
        }
    });
}
