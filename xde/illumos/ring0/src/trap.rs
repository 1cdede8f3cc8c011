// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Traps: exceptions, each of which ends the machine unless it is a probe; the clock; and threads that
//! give way.

use crate::fault;
use crate::paging::PAGE;
use crate::ports;
use crate::probes;
use crate::threads;
use core::arch::asm;
use core::cell::UnsafeCell;

/// An instruction that there is none of.
pub const INVALID: u64 = 6;
/// A trap that could not be delivered.
pub const DOUBLE: u64 = 8;
/// Memory that is not there, or may not be used so.
pub const PAGE_FAULT: u64 = 14;
const CLOCK: u64 = 32;
/// Software asks for another thread.
const SWITCH: u64 = 128;
const VECTORS: usize = 129;
/// Bytes between the entries of `start.s`.
const ENTRY: usize = 16;
const CODE: u16 = 8;
const TASK: u16 = 0x18;
const INTERRUPTS: u64 = 1 << 9;

/// Registers of who was interrupted, as `start.s` pushes them.
#[derive(Clone, Debug)]
#[repr(C)]
#[allow(missing_docs, reason = "names of registers")]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub flags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl Frame {
    /// Of a thread that begins at `start` and may be interrupted.
    pub fn begin(start: extern "C" fn() -> !, stack_end: usize) -> Self {
        // SAFETY: numbers alone, of which all may be zero.
        let zeros: Self = unsafe { core::mem::zeroed() };
        Self {
            rip: start as *const () as u64,
            cs: CODE.into(),
            flags: INTERRUPTS | 2,
            // As if it had been called.
            rsp: stack_end as u64 - 8,
            ss: 0x10,
            ..zeros
        }
    }
}

unsafe extern "C" {
    /// The first entry of `start.s`.
    static vectors: u8;
}

/// Memory that the processor reads.
#[repr(C, align(16))]
struct Cpu<T>(UnsafeCell<T>);

// SAFETY: written once, before there are interrupts.
unsafe impl<T> Sync for Cpu<T> {}

/// Stack of the handlers that must not use the one that runs.
#[repr(C, align(16))]
struct Spare([u8; 4 * PAGE]);

static SPARE: [Cpu<Spare>; 2] = [const { Cpu(UnsafeCell::new(Spare([0; 4 * PAGE]))) }; 2];
static GATES: Cpu<[[u64; 2]; VECTORS]> = Cpu(UnsafeCell::new([[0; 2]; VECTORS]));
/// Code and data as in `start.s`, and the task segment.
static SEGMENTS: Cpu<[u64; 5]> =
    Cpu(UnsafeCell::new([0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0]));
/// The task segment: of its 104 bytes only two stacks are used.
static TASK_STATE: Cpu<[u32; 26]> = Cpu(UnsafeCell::new([0; 26]));

#[repr(C, packed)]
struct Descriptor {
    limit: u16,
    address: u64,
}

fn descriptor<T>(table: &Cpu<T>) -> Descriptor {
    let limit = (size_of::<T>() - 1) as u16;
    Descriptor { limit, address: table.0.get().addr() as u64 }
}

/// Which of the two spare stacks a handler has, if it has one.
fn spare_stack(vector: usize) -> u64 {
    match vector as u64 {
        DOUBLE => 1,
        PAGE_FAULT => 2,
        _ => 0,
    }
}

/// From now on traps come here.
///
/// # Safety
///
/// Called once, with interrupts off.
pub unsafe fn begin() {
    // SAFETY: the tables are nobody else's yet (the caller's promise), and are what the processor
    // wants: see its manual, volume 3, chapters 3, 6 and 7.
    unsafe {
        let state = &mut *TASK_STATE.0.get();
        for (index, spare) in SPARE.iter().enumerate() {
            let end = spare.0.get().addr() as u64 + size_of::<Spare>() as u64;
            (state[9 + 2 * index], state[10 + 2 * index]) = (end as u32, (end >> 32) as u32);
        }
        state[25] = 104 << 16;
        let task = TASK_STATE.0.get().addr() as u64;
        let segments = &mut *SEGMENTS.0.get();
        segments[3] = 103 | (task & 0xff_ffff) << 16 | 0x89 << 40 | (task >> 24 & 0xff) << 56;
        segments[4] = task >> 32;
        for (index, gate) in (*GATES.0.get()).iter_mut().enumerate() {
            let to = ((&raw const vectors).addr() + index * ENTRY) as u64;
            let low = to & 0xffff | u64::from(CODE) << 16 | spare_stack(index) << 32;
            *gate = [low | 0x8e << 40 | (to >> 16 & 0xffff) << 48, to >> 32];
        }
        asm!("lgdt [{0}]", "ltr {1:x}", "lidt [{2}]",
            in(reg) &descriptor(&SEGMENTS), in(reg) TASK, in(reg) &descriptor(&GATES));
    }
}

/// What `start.s` calls for every trap; answers the frame to go on with.
///
/// # Safety
///
/// `frame` is on the stack of who was interrupted, or on a spare one.
#[unsafe(no_mangle)]
unsafe extern "C" fn trap(frame: *mut Frame) -> *mut Frame {
    // SAFETY: the caller's promise.
    let it = unsafe { &mut *frame };
    match it.vector {
        CLOCK => {
            ports::end_of_interrupt();
            threads::tick(frame)
        }
        SWITCH => threads::switch(frame, it.rdi),
        INVALID => match probes::hit(it) {
            Some(resume) => {
                it.rip = resume;
                frame
            }
            None => fault::die(it),
        },
        _ => fault::die(it),
    }
}

/// Asks for another thread; comes back when this one goes on.
pub fn ask_for_switch(what: u64) {
    // SAFETY: the handler keeps all registers; other threads may write memory meanwhile.
    unsafe { asm!("int 128", in("rdi") what) };
}

/// Runs `f` while no interrupt comes.
pub fn without_interrupts<R>(f: impl FnOnce() -> R) -> R {
    let were_on = interrupts_off();
    let result = f();
    if were_on {
        interrupts_on();
    }
    result
}

/// Answers whether they were on.
pub fn interrupts_off() -> bool {
    let flags: u64;
    // SAFETY: reads flags by way of the stack; no interrupt comes afterwards.
    unsafe { asm!("pushfq", "pop {0}", "cli", out(reg) flags) };
    flags & INTERRUPTS != 0
}

/// Lets interrupts come.
pub fn interrupts_on() {
    // SAFETY: `begin` has said where they go.
    unsafe { asm!("sti") };
}

/// Waits for an interrupt.
pub fn rest() {
    // SAFETY: the instruction after `sti` is run before an interrupt comes, so none is missed.
    unsafe { asm!("sti", "hlt") };
}
