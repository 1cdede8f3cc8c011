// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Probes of the module: all of them are switched on, and each trap is counted.

use crate::trap::Frame;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use xde_illumos_loader::Loaded;

/// Sites that are counted.
const SITES: usize = 256;

static MODULE: AtomicPtr<Loaded> = AtomicPtr::new(null_mut());
static HITS: [AtomicU64; SITES] = [const { AtomicU64::new(0) }; SITES];

/// The module, once it is loaded.
pub fn module() -> Option<&'static Loaded> {
    // SAFETY: a box that was leaked, or null.
    unsafe { MODULE.load(Ordering::Acquire).as_ref() }
}

/// From now on traps may be this module's.
pub fn begin(module: Loaded) -> &'static Loaded {
    let module = Box::leak(Box::new(module));
    MODULE.store(module, Ordering::Release);
    module
}

/// Switches all sites on or off.
pub fn set_enabled(enabled: bool) {
    if let Some(module) = module() {
        (0..module.sites().len()).for_each(|site| module.set_enabled(site, enabled));
    }
}

/// Counts an invalid instruction that is a probe; answers where to go on.
pub fn hit(frame: &Frame) -> Option<u64> {
    let trap = module()?.trap(frame.rip as usize)?;
    HITS.get(trap.index)?.fetch_add(1, Ordering::Relaxed);
    Some(trap.resume as u64)
}

/// How often each probe fired, of all its sites together, by name.
pub fn counts() -> Vec<(&'static str, u64)> {
    let mut counts: Vec<(&str, u64)> = Vec::new();
    for (site, hits) in module().map(Loaded::sites).unwrap_or_default().iter().zip(&HITS) {
        let hits = hits.load(Ordering::Relaxed);
        match counts.iter_mut().find(|(probe, _)| *probe == site.probe) {
            Some((_, count)) => *count += hits,
            None => counts.push((&site.probe, hits)),
        }
    }
    counts.sort_unstable();
    counts
}
