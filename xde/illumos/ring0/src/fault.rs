// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The end, when it is a bad one: what happened, and where.

use crate::ports::{self, Outcome};
use crate::probes;
use crate::say;
use crate::threads::{self, Stack};
use crate::trap::{DOUBLE, Frame, INVALID, PAGE_FAULT, interrupts_off};
use core::arch::asm;
use core::ptr::with_exposed_provenance;
use core::sync::atomic::{AtomicBool, Ordering};

/// Callers that are told.
const CALLERS: usize = 24;

fn name(vector: u64) -> &'static str {
    match vector {
        0 => "division",
        1 => "debug",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        INVALID => "invalid instruction",
        7 => "floating point",
        DOUBLE => "double fault",
        13 => "protection",
        PAGE_FAULT => "page fault",
        _ => "trap",
    }
}

/// Prints where an address is.
fn place(address: u64) {
    match probes::module().and_then(|module| module.function_at(address as usize)) {
        Some((function, offset)) => say!("    {address:#x} {function}+{offset:#x}"),
        None => say!("    {address:#x}"),
    }
}

fn registers(it: &Frame) {
    say!("  rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}", it.rax, it.rbx, it.rcx, it.rdx);
    say!("  rsi {:016x} rdi {:016x} rbp {:016x} rsp {:016x}", it.rsi, it.rdi, it.rbp, it.rsp);
    say!("  r8  {:016x} r9  {:016x} r10 {:016x} r11 {:016x}", it.r8, it.r9, it.r10, it.r11);
    say!("  r12 {:016x} r13 {:016x} r14 {:016x} r15 {:016x}", it.r12, it.r13, it.r14, it.r15);
}

/// Tells about a trap that nobody expected, and ends the machine.
pub fn die(frame: &Frame) -> ! {
    let fault: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {0}, cr2", out(reg) fault, options(nomem, nostack)) };
    let vector = frame.vector;
    if is_ending() {
        ports::exit(Outcome::Badly);
    }
    say!("FAILED: {} (vector {vector}, error {:#x})", name(vector), frame.error);
    if [DOUBLE, PAGE_FAULT].contains(&vector) {
        say!("  at address {fault:#x}");
        if Stack::is_in_area(fault) {
            say!("  which is below a stack: it overran");
        }
    }
    let who = if threads::in_interrupt() { "interrupt" } else { "first" };
    say!("  in the {who} thread, at tick {}", threads::ticks());
    registers(frame);
    place(frame.rip);
    if vector != DOUBLE {
        callers(frame.rbp as usize);
    }
    ports::exit(Outcome::Badly)
}

/// Prints where functions were called from, beginning with the frame at `base`.
fn callers(mut base: usize) {
    for _ in 0..CALLERS {
        // Frames lie on stacks; what looks otherwise is none.
        if !Stack::is_in_area(base) || !base.is_multiple_of(8) {
            return;
        }
        let words = with_exposed_provenance::<[u64; 2]>(base);
        // SAFETY: a frame pointer of code that keeps them; if it is not, this traps, which ends the
        // machine as it is about to end.
        let [next, caller] = unsafe { words.read() };
        if caller == 0 {
            return;
        }
        say!("  {:6} bytes", (next as usize).saturating_sub(base));
        place(caller);
        base = next as usize;
    }
}

/// Whether the machine is ending already.
fn is_ending() -> bool {
    static ENDS: AtomicBool = AtomicBool::new(false);
    ENDS.swap(true, Ordering::Relaxed)
}

/// Ends the machine with a reason.
pub fn fail(why: core::fmt::Arguments<'_>) -> ! {
    interrupts_off();
    say!("FAILED: {why}");
    if !is_ending() {
        let base: usize;
        // SAFETY: reads a register.
        unsafe { asm!("mov {0}, rbp", out(reg) base, options(nomem, nostack)) };
        callers(base);
    }
    ports::exit(Outcome::Badly)
}
