// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Memory as the module sees it: pages that can be executed, or written, or are not there.
//!
//! | where | what |
//! |---|---|
//! | nothing below | a null pointer traps |
//! | [`DIRECT`] | all memory, as data: the heap lies here, far from the code as in a real kernel |
//! | [`STACKS`] | stacks, each with pages below it that are not there |
//! | [`MODULE_DATA`], [`MODULE_TEXT`] | the module, in the last 2 GiB |
//! | the last 2 GiB from their beginning | this kernel |

use core::ops::Range;
use core::ptr::with_exposed_provenance_mut;
use core::sync::atomic::{AtomicU64, Ordering};

/// Where all memory is, as data.
pub const DIRECT: usize = 0xffff_c000_0000_0000;
/// Where stacks are.
pub const STACKS: usize = 0xffff_fe00_0000_0000;
/// Where the module's data is.
pub const MODULE_DATA: usize = 0xffff_ffff_c000_0000;
/// Where the module's code is.
pub const MODULE_TEXT: usize = 0xffff_ffff_f800_0000;
/// Bytes of a page.
pub const PAGE: usize = 4096;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const NOT_EXECUTED: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

static NEXT: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);

/// What may be done with a page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Use {
    /// Read and execute.
    Code,
    /// Read and write.
    Data,
}

/// Where a place of the machine's memory can be read and written.
pub fn direct(physical: u64) -> *mut u8 {
    with_exposed_provenance_mut(DIRECT + physical as usize)
}

/// From now on this memory is given out.
pub fn begin(memory: &Range<u64>) {
    let page = PAGE as u64;
    NEXT.store(memory.start.next_multiple_of(page), Ordering::Relaxed);
    END.store(memory.end, Ordering::Relaxed);
}

/// New memory, zeroed, in whole pages; `None` when there is no more. Called with interrupts off, or
/// before there are any.
pub fn take(bytes: usize) -> Option<u64> {
    let bytes = bytes.next_multiple_of(PAGE);
    let start = NEXT.load(Ordering::Relaxed);
    let end = start.checked_add(bytes as u64)?;
    if end > END.load(Ordering::Relaxed) {
        return None;
    }
    NEXT.store(end, Ordering::Relaxed);
    // SAFETY: memory that nobody has yet.
    unsafe { direct(start).write_bytes(0, bytes) };
    Some(start)
}

unsafe extern "C" {
    /// The first table, which the start-up code has made, where it lies in the machine's memory.
    static tables: u8;
}

fn entry(table: u64, index: usize) -> *mut u64 {
    // SAFETY: an entry of a table of a page.
    unsafe { direct(table).cast::<u64>().add(index % 512) }
}

fn first_table() -> u64 {
    (&raw const tables).addr() as u64
}

/// Maps new memory at `address`; answers where it is in the machine.
pub fn map(address: usize, bytes: usize, how: Use) -> Option<u64> {
    let start = take(bytes)?;
    for offset in (0..bytes).step_by(PAGE) {
        let mut table = first_table();
        for level in [39, 30, 21] {
            let entry = entry(table, (address + offset) >> level);
            // SAFETY: an entry of a table, which we alone change.
            unsafe {
                if *entry & PRESENT == 0 {
                    *entry = take(PAGE)? | PRESENT | WRITABLE;
                }
                table = *entry & ADDRESS;
            }
        }
        let flags = match how {
            Use::Code => PRESENT,
            Use::Data => PRESENT | WRITABLE | NOT_EXECUTED,
        };
        // SAFETY: as above; nothing is there yet, so no processor remembers anything.
        unsafe { *entry(table, (address + offset) >> 12) = (start + offset as u64) | flags };
    }
    Some(start)
}

/// Takes away what the start-up code needed: from now on nothing is at low addresses.
///
/// # Safety
///
/// Nothing that is used any more lies there.
pub unsafe fn forget_low() {
    // SAFETY: the caller's promise; writing the register makes the processor forget.
    unsafe {
        *entry(first_table(), 0) = 0;
        core::arch::asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack));
    }
}
