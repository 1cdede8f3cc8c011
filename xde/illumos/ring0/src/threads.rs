// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Two threads, as illumos has them on one processor: the one that makes requests and sends, and the
//! one that an interrupt runs on.
//!
//! The clock interrupts whoever runs, wherever that is, on the running stack. If there is work for the
//! interrupt thread, it runs from there, on its own stack, and the thread below it is pinned: it goes on
//! when the interrupt thread has ended, or waits for something that the pinned thread has.

use crate::paging::{self, PAGE, STACKS, Use};
use crate::trap::{self, Frame, without_interrupts};
use core::arch::asm;
use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr::{null_mut, with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Interrupts of the clock in a second.
pub const HERTZ: u32 = 10_000;
/// A kernel's stack: `DEFAULTSTKSZ`.
pub const KERNEL_STACK: usize = 5 * PAGE;
/// Room between stacks, of which the stack is the end and nothing is in the rest.
const SPACING: usize = 1 << 22;
const PAINT: u8 = 0xa5;

const GIVE_WAY: u64 = 0;
const DONE: u64 = 1;

/// A stack, and nothing below it.
#[derive(Debug)]
pub struct Stack {
    memory: Range<usize>,
}

impl Stack {
    /// The stack of this number, which nobody has made before.
    pub fn new(number: usize, bytes: usize) -> Option<Self> {
        let end = STACKS + (number + 1) * SPACING;
        paging::map(end - bytes, bytes, Use::Data)?;
        let stack = Self { memory: end - bytes..end };
        stack.paint();
        Some(stack)
    }

    /// One past its last byte.
    pub const fn end(&self) -> usize {
        self.memory.end
    }

    /// Forgets how far down it was used. Nobody runs on it.
    pub fn paint(&self) {
        let start = with_exposed_provenance_mut::<u8>(self.memory.start);
        // SAFETY: mapped by `new`, and nobody's while nobody runs on it.
        unsafe { start.write_bytes(PAINT, self.memory.len()) };
    }

    /// Bytes that were used at most since it was painted.
    pub fn used(&self) -> usize {
        let is_unused = |address: &usize| {
            // SAFETY: mapped by `new`.
            unsafe { with_exposed_provenance::<u8>(*address).read_volatile() == PAINT }
        };
        self.memory.len() - self.memory.clone().take_while(is_unused).count()
    }

    /// Runs `f` on this stack. Nobody runs on it.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Call<F, R> {
            f: Option<F>,
            result: Option<R>,
        }
        /// # Safety
        ///
        /// `call` is a `Call` of these types.
        unsafe extern "C" fn enter<R, F: FnOnce() -> R>(call: *mut Call<F, R>) {
            // SAFETY: the caller's promise.
            let call = unsafe { &mut *call };
            call.result = call.f.take().map(|f| f());
        }
        fn enter_of<R, F: FnOnce() -> R>(_: &F) -> unsafe extern "C" fn(*mut Call<F, R>) {
            enter::<R, F>
        }
        let enter = enter_of(&f);
        let mut call = Call { f: Some(f), result: None };
        // SAFETY: the stack is ours and nobody's; `rbx` is kept by what is called, and brings the old
        // one back.
        unsafe {
            asm!(
                "push rbx", "mov rbx, rsp", "mov rsp, {stack}", "call {enter}", "mov rsp, rbx", "pop rbx",
                stack = in(reg) self.memory.end,
                enter = in(reg) enter,
                in("rdi") &mut call,
                clobber_abi("C"),
            );
        }
        match call.result {
            Some(result) => result,
            None => unreachable!("a call that comes back has a result"),
        }
    }

    /// Whether an address is where stacks and the room below them are.
    pub fn is_in_area(address: usize) -> bool {
        (STACKS..STACKS + 16 * SPACING).contains(&address)
    }
}

/// The interrupt thread.
#[derive(Clone, Copy)]
enum Interrupt {
    Idle,
    Running,
    Waits(*mut Frame),
}

struct Threads {
    interrupt: Interrupt,
    /// Where the interrupt thread begins: a frame at the end of its stack.
    stack_end: usize,
    pinned: *mut Frame,
    work: Option<fn()>,
}

struct Shared(UnsafeCell<Threads>);

// SAFETY: one processor; looked at with interrupts off alone.
unsafe impl Sync for Shared {}

static THREADS: Shared = Shared(UnsafeCell::new(Threads {
    interrupt: Interrupt::Idle,
    stack_end: 0,
    pinned: null_mut(),
    work: None,
}));
static TICKS: AtomicU64 = AtomicU64::new(0);
static IN_INTERRUPT: AtomicBool = AtomicBool::new(false);
/// How often the interrupt thread may run until it is allowed again.
static ALLOWED: AtomicU64 = AtomicU64::new(0);
/// How often the interrupt thread ran, and how often it had to wait for the pinned one.
static RUNS: AtomicU64 = AtomicU64::new(0);
static WAITS: AtomicU64 = AtomicU64::new(0);

/// Interrupts of the clock so far.
pub fn ticks() -> u64 {
    TICKS.load(Ordering::Relaxed)
}

/// How often the interrupt thread ran, and how often it waited.
pub fn runs_and_waits() -> [u64; 2] {
    [RUNS.load(Ordering::Relaxed), WAITS.load(Ordering::Relaxed)]
}

/// From now on the interrupt thread may run so often, each time with a tick: if it ran with all of them,
/// it would leave no time to the thread below it.
pub fn allow(times: u64) {
    ALLOWED.store(times, Ordering::Relaxed);
}

/// Takes one of the times that are allowed. With interrupts off.
fn is_allowed() -> bool {
    let left = ALLOWED.load(Ordering::Relaxed);
    ALLOWED.store(left.saturating_sub(1), Ordering::Relaxed);
    left > 0
}

/// Whether this is the interrupt thread.
pub fn in_interrupt() -> bool {
    IN_INTERRUPT.load(Ordering::Relaxed)
}

/// With interrupts off.
fn with<R>(f: impl FnOnce(&mut Threads) -> R) -> R {
    // SAFETY: interrupts are off, and no caller calls another.
    f(unsafe { &mut *THREADS.0.get() })
}

/// From now on the interrupt thread runs `work` with each tick, or no longer.
pub fn set_work(stack: &Stack, work: Option<fn()>) {
    without_interrupts(|| with(|it| (it.work, it.stack_end) = (work, stack.end())));
}

/// Whether the interrupt thread runs, or waits.
pub fn is_interrupt_at_work() -> bool {
    without_interrupts(|| with(|it| !matches!(it.interrupt, Interrupt::Idle)))
}

impl Threads {
    fn go_on(&mut self, pinned: *mut Frame, frame: *mut Frame) -> *mut Frame {
        (self.pinned, self.interrupt) = (pinned, Interrupt::Running);
        IN_INTERRUPT.store(true, Ordering::Relaxed);
        frame
    }

    fn give_way(&mut self, state: Interrupt) -> *mut Frame {
        self.interrupt = state;
        IN_INTERRUPT.store(false, Ordering::Relaxed);
        self.pinned
    }
}

/// The clock has interrupted `frame`; answers what goes on.
pub fn tick(frame: *mut Frame) -> *mut Frame {
    TICKS.fetch_add(1, Ordering::Relaxed);
    with(|it| match it.interrupt {
        Interrupt::Running => frame,
        Interrupt::Waits(other) => it.go_on(frame, other),
        Interrupt::Idle if it.work.is_some() && is_allowed() => {
            RUNS.fetch_add(1, Ordering::Relaxed);
            let begin = it.stack_end - size_of::<Frame>();
            let first = with_exposed_provenance_mut::<Frame>(begin);
            // SAFETY: the end of a stack on which nobody runs.
            unsafe { first.write(Frame::begin(interrupt_thread, begin & !15)) };
            it.go_on(frame, first)
        }
        Interrupt::Idle => frame,
    })
}

/// The running thread asks for the other; answers what goes on.
pub fn switch(frame: *mut Frame, what: u64) -> *mut Frame {
    with(|it| match (it.interrupt, what) {
        (Interrupt::Running, DONE) => it.give_way(Interrupt::Idle),
        (Interrupt::Running, _) => {
            WAITS.fetch_add(1, Ordering::Relaxed);
            it.give_way(Interrupt::Waits(frame))
        }
        (Interrupt::Waits(other), _) => it.go_on(frame, other),
        (Interrupt::Idle, _) => frame,
    })
}

extern "C" fn interrupt_thread() -> ! {
    if let Some(work) = without_interrupts(|| with(|it| it.work)) {
        work();
    }
    loop {
        trap::ask_for_switch(DONE);
    }
}

/// Lets the other thread run: this one waits for something that it has. Comes back when there is reason
/// to look again: the next tick at the latest. Interrupts are on.
pub fn give_way() {
    if in_interrupt() {
        trap::ask_for_switch(GIVE_WAY);
    } else {
        trap::rest();
    }
}
