// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A kernel that does nothing but run the illumos kernel module where it will run: in ring 0, in the
//! last 2 GiB, on a kernel's stack, without floating point and vector registers, with interrupts at any
//! instruction.
//!
//! From the bottom up:
//!
//! * [`ports`], [`boot`], [`paging`], [`heap`]: the machine;
//! * [`trap`], [`threads`]: exceptions, the clock, and the thread that interrupts run on;
//! * [`probes`], [`fault`]: which of the traps are the module's probes, and the end when one is not;
//! * [`frames`], [`world`]: what packets look like, and who sends them; what the module is told;
//! * [`traffic`]: packets, and that they arrive;
//! * [`machine`]: what the shim, which stands for illumos, wants of all this;
//! * [`seat`]: the module in its place;
//! * [`commands`]: every command there is;
//! * [`run`]: the story.
//!
//! What it finds out: instructions that a kernel must not run (they trap), a stack that is too short
//! (nothing is below it), null pointers and writes to constants or code (they trap), memory that does
//! not come back, locks that an interrupt waits for in vain (the machine does not end). What it cannot
//! find out: what the kernel's own functions do; they are the shim's.
//!
//! It is started by `start.s`, put together by `kernel.lds`, and run by `cargo xtask kmod-ring0`.

#![no_std]

extern crate alloc;

pub mod boot;
pub mod commands;
pub mod fault;
pub mod frames;
pub mod heap;
pub mod machine;
pub mod paging;
pub mod ports;
pub mod probes;
pub mod run;
pub mod seat;
pub mod threads;
pub mod traffic;
pub mod trap;
pub mod world;

use boot::Boot;
use ports::Outcome;
use threads::Stack;

#[cfg(target_os = "none")]
#[global_allocator]
static HEAP: heap::Heap = heap::Heap::new();

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    fault::fail(format_args!("{info}"))
}

/// Stack of this kernel's own: what it does beside the module does not count.
const OWN_STACK: usize = 1 << 20;

/// What `start.s` calls.
///
/// # Safety
///
/// Called once, with the address of what the machine tells about itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kernel_main(info: u64) -> ! {
    // SAFETY: this is the beginning; `info` is what the caller promises.
    let boot = unsafe {
        trap::begin();
        Boot::read(info)
    };
    let Some(boot) = boot else {
        fault::fail(format_args!("nothing came along, or not as `boot` wants it"))
    };
    paging::begin(&boot.memory);
    let Some(stack) = Stack::new(0, OWN_STACK) else { fault::fail(format_args!("no memory")) };
    stack.run(|| {
        // SAFETY: code, stacks and data are in the last 2 GiB, at `DIRECT` and at `STACKS`.
        unsafe { paging::forget_low() };
        match run::all(&boot) {
            Ok(()) => ports::exit(Outcome::Well),
            Err(why) => fault::fail(format_args!("{why}")),
        }
    })
}
