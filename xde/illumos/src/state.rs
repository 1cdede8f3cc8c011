// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! All there is of the driver while it is attached, and how bursts go through it.

use crate::counters::{Counter, Counters};
use crate::exports::Exports;
use crate::host::{self, IllumosHost, Probes};
use crate::lock::Mutex;
use crate::memory;
use crate::message::Chain;
use crate::packet::Packet;
use crate::platform::Made;
use crate::routes::Routes;
use crate::way_out::{WayOut, Ways};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_int;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use illumos_sys_hdrs::sys::cpuvar::curcpup;
use illumos_sys_hdrs::sys::dditypes::dev_info_t;
use opte::host::Lock;
use xde::Driver;
use xde::host::{PortId, UnderlayShape};

/// Packets that go through the engine together.
const BURST: usize = 64;
/// Lists of packets that are kept for the next burst, one for each of so many CPUs.
const SPARES: usize = 64;
/// Rounds of upkeep of one periodic call: more are left for the next.
const ROUNDS: usize = 4096;

/// All there is.
pub struct State {
    /// The engine.
    pub driver: Driver<IllumosHost>,
    /// What this kernel has besides mainline's.
    pub exports: Exports,
    /// Remembered next hops.
    pub routes: Routes,
    /// What this host has done and lost.
    pub counters: Counters,
    /// What requests have made.
    pub made: Mutex<Made>,
    /// Node of the device tree.
    pub node: *mut dev_info_t,
    ways: Mutex<Arc<Ways>>,
    spares: [Spare; SPARES],
}

// SAFETY: the node is the kernel's, and only passed on to it; all else may be sent.
unsafe impl Send for State {}
// SAFETY: as above; all else may be shared.
unsafe impl Sync for State {}

/// A list of packets that nobody uses, on a line of memory of its own.
#[repr(align(64))]
struct Spare(AtomicPtr<Frames>);

/// Packets of a burst.
struct Frames(Vec<Packet>);

impl State {
    /// Without ports and underlay. In user context.
    pub fn new(node: *mut dev_info_t, exports: Exports) -> Result<Self, c_int> {
        Ok(Self {
            driver: Driver::new(host::secret()?, Probes),
            exports,
            routes: Routes::default(),
            counters: Counters::default(),
            made: Made::nothing(),
            node,
            ways: Mutex::of(Arc::default()),
            spares: [const { Spare(AtomicPtr::new(null_mut())) }; SPARES],
        })
    }

    /// Publishes other ways out. By the thread that serves a request.
    pub fn change_ways(&self, change: impl FnOnce(&mut Ways)) {
        let mut next = Ways::clone(&self.ways.with(|ways| ways.clone()));
        change(&mut next);
        let next = Arc::new(next);
        // What goes away is dropped without the lock.
        drop(self.ways.with(|ways| core::mem::replace(ways, next)));
    }

    /// Packets that the guest of a port has sent.
    pub fn from_guest(&self, port: PortId, chain: Chain) {
        let take = |message| Packet::from_guest(message, &self.counters);
        self.bursts(chain, take, |frames, now, out| {
            self.driver.from_guest(port, frames, now, out);
        });
    }

    /// Geneve packets of the underlay.
    pub fn from_underlay(&self, chain: Chain) {
        let take = |message| Packet::from_underlay(message, &self.exports, &self.counters);
        self.bursts(chain, take, |frames, now, out| {
            self.driver.from_underlay(UnderlayShape::Ethernet, frames, now, out);
        });
    }

    fn bursts(
        &self,
        mut chain: Chain,
        take: impl Fn(crate::message::Message) -> Result<Packet, Counter>,
        go: impl Fn(&mut Vec<Packet>, opte::host::Moment, &mut WayOut<'_>),
    ) {
        if chain.is_empty() {
            return;
        }
        if memory::is_low() {
            while chain.pop().is_some() {
                self.counters.count(Counter::MemoryLow);
            }
            return;
        }
        let now = host::now();
        let mut out = WayOut::new(self, self.ways.with(|ways| ways.clone()), now);
        let mut frames = self.take_spare();
        while !chain.is_empty() {
            while frames.0.len() < BURST {
                let Some(message) = chain.pop() else { break };
                match take(message) {
                    Ok(packet) => frames.0.push(packet),
                    Err(counter) => self.counters.count(counter),
                }
            }
            go(&mut frames.0, now, &mut out);
            frames.0.clear();
        }
        // Before packets are handed over: whoever gets them may come back here.
        self.give_spare(frames);
        out.flush();
    }

    /// The CPU that this runs on, as good as any other if it is another one by now.
    fn spare(&self) -> Option<&Spare> {
        // SAFETY: the kernel's own structure of a CPU, which stays as long as the kernel.
        let cpu = unsafe { (*curcpup()).cpu_seqid };
        self.spares.get(cpu.unsigned_abs() as usize % SPARES)
    }

    fn take_spare(&self) -> Box<Frames> {
        let spare = self.spare().map(|it| it.0.swap(null_mut(), Ordering::Acquire));
        match spare.filter(|spare| !spare.is_null()) {
            // SAFETY: `give_spare` put it there, and whoever swaps it out has it alone.
            Some(spare) => unsafe { Box::from_raw(spare) },
            None => Box::new(Frames(Vec::with_capacity(BURST))),
        }
    }

    fn give_spare(&self, frames: Box<Frames>) {
        let Some(spare) = self.spare() else { return };
        let before = spare.0.swap(Box::into_raw(frames), Ordering::AcqRel);
        free(before);
    }

    /// Looks which links of the underlay are up. From the periodic callback.
    pub fn watch_links(&self) {
        let ways = self.ways.with(|ways| ways.clone());
        for link in ways.underlay.iter().flat_map(|underlay| &underlay.links) {
            let Some(up) = link.look() else { continue };
            self.counters.count(if up { Counter::LinksUp } else { Counter::LinksDown });
            // Flows that left by it go another way at once, or come back to it.
            self.routes.forget();
        }
    }

    /// Flows that were idle for too long end. From the periodic callback.
    pub fn upkeep(&self) {
        let now = host::now();
        for _ in 0..ROUNDS {
            if !self.driver.upkeep(now) {
                return;
            }
        }
    }
}

/// Frees a list that was swapped out of its place.
fn free(spare: *mut Frames) {
    if !spare.is_null() {
        // SAFETY: made by `Box::into_raw`, and whoever swapped it out has it alone.
        drop(unsafe { Box::from_raw(spare) });
    }
}

impl Drop for State {
    fn drop(&mut self) {
        for spare in &self.spares {
            free(spare.0.swap(null_mut(), Ordering::Acquire));
        }
    }
}
