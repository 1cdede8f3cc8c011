// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The story: load, run, unload; once on each kernel that there is.

use crate::boot::{self, Boot};
use crate::commands;
use crate::machine;
use crate::probes;
use crate::say;
use crate::seat::Seat;
use crate::threads::{self, KERNEL_STACK, Stack};
use crate::traffic::{self, Guests, Random};
use crate::world::{self, ask};
use crate::{ports, trap};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use oxide_vpc_api::dump::CounterSet;
use oxide_vpc_api::request::DumpCounters;
use xde_illumos_shim::context::Context;
use xde_illumos_shim::modules::Kernel;
use xde_illumos_shim::world::{World, complaints, exchange, left_over};
use xde_illumos_shim::{clock, ddi, kmem, modules};

/// Why the module has not passed.
pub type Wrong = String;

/// Packets on both kernels together, unless the command line says otherwise: `packets=NUMBER`.
const PACKETS: u64 = 20_000;
/// Requests while packets flow.
const REQUESTS: u64 = 8;
/// Probes are switched on for one of so many packets: the first ones.
const WATCHED: u64 = 10;
/// Most packets that a thread sends together.
const BURST: u64 = 32;
/// Most packets that an interrupt brings.
const INTERRUPT_BURST: u64 = 4;
/// Most of a kernel's stack that the module may use, with the shim that it calls: the rest is for
/// those who call it.
const STACK_LIMIT: usize = KERNEL_STACK / 4 * 3;
/// Most bytes of a stack that were used so far.
static DEEPEST: AtomicUsize = AtomicUsize::new(0);
/// Interrupts that bring packets, at most, while a thread sends once or makes a request.
const INTERRUPTS: u64 = 4;
/// Nanoseconds of a tick.
const TICK: i64 = 1_000_000_000 / threads::HERTZ as i64;

/// Who sends in interrupts; null while nobody does.
static SENDERS: AtomicPtr<Guests> = AtomicPtr::new(null_mut());

struct Alone(UnsafeCell<Random>);

// SAFETY: the interrupt thread alone looks at it.
unsafe impl Sync for Alone {}

static RANDOM: Alone = Alone(UnsafeCell::new(Random::new(0x0123_4567_89ab_cdef)));

/// What the interrupt thread does: packets come in, as from a network card, or a guest's neighbour
/// on this host sends.
fn interrupt() {
    // SAFETY: set by `Interrupts::begin`, which keeps it until none runs; the random numbers are this
    // thread's alone.
    let (guests, random) =
        unsafe { (SENDERS.load(Ordering::Acquire).as_ref(), &mut *RANDOM.0.get()) };
    if let Some(guests) = guests {
        let way = random.below(traffic::WAY_COUNT as u64) as usize;
        let count = 1 + random.below(INTERRUPT_BURST);
        guests.burst(random, way, count, Context::Interrupt);
    }
}

/// Interrupts bring packets for as long as this lives.
struct Interrupts<'a>(&'a Stack);

impl<'a> Interrupts<'a> {
    fn begin(stack: &'a Stack, guests: &'a Guests) -> Self {
        SENDERS.store(core::ptr::from_ref(guests).cast_mut(), Ordering::Release);
        threads::set_work(stack, Some(interrupt));
        Self(stack)
    }
}

impl Drop for Interrupts<'_> {
    fn drop(&mut self) {
        threads::set_work(self.0, None);
        while threads::is_interrupt_at_work() {
            threads::give_way();
        }
        SENDERS.store(null_mut(), Ordering::Release);
    }
}

/// Does all of it.
pub fn all(boot: &Boot) -> Result<(), Wrong> {
    machine::begin();
    let seat = Seat::new(boot.file)?;
    let interrupts = Stack::new(2, KERNEL_STACK).ok_or("no memory for a stack")?;
    ports::start_clock(threads::HERTZ);
    trap::interrupts_on();
    if boot.command_line.contains("control") {
        // SAFETY: the module is loaded.
        let answer = seat.load(machine::resolve).map(|it| seat.call(|| unsafe { (it.init)() }))?;
        return Err(format!("nobody has found out: _init answers {answer}"));
    }
    let number = boot::number(boot.command_line, "packets=").unwrap_or(PACKETS);
    say!("commands:");
    boot_up(Kernel::Oxide);
    whole_life(&seat, |exchange| commands::all(&seat, exchange, boot.records))?;
    for kernel in [Kernel::Oxide, Kernel::Mainline] {
        say!("{kernel:?}:");
        boot_up(kernel);
        whole_life(&seat, |exchange| traffic(&seat, &interrupts, number / 2, exchange))?;
        let [sent, copied] = [traffic::sent()[traffic::FROM_UNDERLAY], traffic::copied()];
        let copies = if kernel == Kernel::Mainline { sent } else { 0 };
        expect("originals that IP got", copied, copies)?;
    }
    tell(number)
}

/// Puts a new kernel in force.
fn boot_up(kernel: Kernel) {
    exchange(&mut Box::new(World::new()));
    modules::be(kernel);
    world::lay_wires();
}

/// Prints how far down a stack was used, and forgets it.
fn stack_of(what: &str, stack: &Stack) -> Result<(), Wrong> {
    let used = stack.used();
    stack.paint();
    use_of_stack(what, used)
}

/// Prints how many bytes of a stack were used; that must not be too many.
pub fn use_of_stack(what: &str, used: usize) -> Result<(), Wrong> {
    say!("  stack of {what}: {used} bytes");
    DEEPEST.fetch_max(used, Ordering::Relaxed);
    if used > STACK_LIMIT {
        return Err(format!("{what} used {used} bytes of stack, more than {STACK_LIMIT}"));
    }
    Ok(())
}

/// From `_init` to `_fini`.
fn whole_life(
    seat: &Seat<'_>,
    life: impl FnOnce(world::Exchange<'_>) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    let entries = seat.load(machine::resolve)?;
    // SAFETY: the module is loaded.
    expect("_init", seat.call(|| unsafe { (entries.init)() }), 0)?;
    expect("_info", seat.info(entries), 1)?;
    expect("attach", seat.stack.run(ddi::attach), true)?;
    seat.open()?;
    stack_of("_init, attach, open", &seat.stack)?;
    let exchange = |request: &[u8]| seat.request(request);
    life(&exchange)?;
    seat.stack.paint();
    seat.close();
    expect("detach", seat.stack.run(ddi::detach), true)?;
    // SAFETY: the module is loaded.
    expect("_fini", seat.call(|| unsafe { (entries.fini)() }), 0)?;
    stack_of("detach and _fini", &seat.stack)?;
    probes::set_enabled(false);
    kmem::exhume();
    let (blamed, left) = (complaints(), left_over());
    if !blamed.is_empty() || !left.is_empty() {
        return Err(format!("blamed for {blamed:#?}, left {left:#?}"));
    }
    say!("  nothing was done against the rules, and nothing is left");
    Ok(())
}

fn expect<T: PartialEq + core::fmt::Debug>(what: &str, is: T, wanted: T) -> Result<(), Wrong> {
    if is == wanted { Ok(()) } else { Err(format!("{what}: {is:?}, not {wanted:?}")) }
}

/// Two ports with all that belongs to them, and packets.
fn traffic(
    seat: &Seat<'_>,
    interrupts: &Stack,
    number: u64,
    exchange: world::Exchange<'_>,
) -> Result<(), Wrong> {
    world::set_up(exchange)?;
    stack_of("making ports", &seat.stack)?;
    packets(seat, interrupts, number, exchange)?;
    world::tear_down(exchange)
}

/// Packets on all ways, from a thread and from interrupts, with requests now and then.
fn packets(
    seat: &Seat<'_>,
    interrupts: &Stack,
    number: u64,
    exchange: world::Exchange<'_>,
) -> Result<(), Wrong> {
    let guests = seat.stack.run(Guests::open).map_err(|error| format!("links: {error}"))?;
    traffic::begin();
    let [mut ticks, mut asked] = [threads::ticks(), 0];
    let mut watched = true;
    let mut random = Random::new(0xfedc_ba98_7654_3210);
    let at_work = Interrupts::begin(interrupts, &guests);
    loop {
        let sent: u64 = traffic::sent().iter().sum();
        if sent >= number {
            break;
        }
        if watched && sent >= number / WATCHED {
            // Traps are slow, and so many are enough.
            watched = false;
            probes::set_enabled(false);
        }
        let way = random.below(traffic::WAY_COUNT as u64) as usize;
        let count = 1 + random.below(BURST);
        threads::allow(INTERRUPTS);
        seat.stack.run(|| guests.burst(&mut random, way, count, Context::Kernel));
        guests.collect();
        let now = threads::ticks();
        clock::advance((now - ticks).cast_signed() * TICK);
        ticks = now;
        seat.stack.run(clock::tick);
        if sent - asked > number / REQUESTS {
            asked = sent;
            threads::allow(INTERRUPTS);
            world::change(exchange)?;
        }
    }
    threads::allow(0);
    drop(at_work);
    guests.collect();
    expect("packets that arrived", traffic::arrived(), traffic::sent())?;
    counters(exchange)?;
    seat.stack.run(|| guests.close());
    stack_of("packets and requests", &seat.stack)?;
    stack_of("packets in interrupts", interrupts)
}

/// What the module has counted must be what was sent.
fn counters(exchange: world::Exchange<'_>) -> Result<(), Wrong> {
    let sets = ask(exchange, &DumpCounters { port: None })?;
    for (guest, name) in world::PORTS.into_iter().enumerate() {
        let is = |set: &&CounterSet| set.port.as_ref().is_some_and(|port| port.as_str() == name);
        let set = sets.iter().find(is).ok_or("a port has no counters")?;
        let value = |name: &str| {
            let counter = set.counters.iter().find(|counter| counter.name == name);
            counter.map_or(0, |counter| counter.value)
        };
        let packets = ["out_packets", "in_packets"].map(value);
        expect("packets that a port has counted", packets, traffic::of_port(guest))?;
        let hits = value("out_hits") + value("in_hits");
        let misses = value("out_misses") + value("in_misses");
        let opened = value("flows_opened");
        say!(
            "  {name}: {packets:?} packets out and in, {hits} hits, {misses} decided, {opened} flows"
        );
        if hits == 0 || misses == 0 || opened == 0 {
            return Err(format!("{name} did not see all kinds of packets"));
        }
    }
    Ok(())
}

/// Prints how often everything happened, and the sum of it in the last line.
fn tell(packets: u64) -> Result<(), Wrong> {
    let counts = probes::counts();
    counts.iter().for_each(|(probe, count)| say!("  probe {probe}: {count}"));
    // Packets came to whole flows, so these must have fired.
    let silent = |name: &&&str| counts.iter().all(|(it, count)| **name != *it || *count == 0);
    if let Some(name) =
        ["batch-begin", "decide-begin", "flow-opened", "published"].iter().find(silent)
    {
        return Err(format!("probe {name} has not fired"));
    }
    let [runs, waits] = threads::runs_and_waits();
    let fired: u64 = counts.iter().map(|(_, count)| count).sum();
    let deepest = DEEPEST.load(Ordering::Relaxed);
    say!(
        "{packets} packets, {runs} interrupts of which {waits} had to wait, {fired} probes, \
         {deepest} of {KERNEL_STACK} bytes of stack, nothing left"
    );
    Ok(())
}
