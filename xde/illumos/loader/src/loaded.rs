// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A module in memory.

use crate::error::Error;
use crate::file::Module;
use crate::names::{self, Function};
use crate::place::{Placed, Region};
use crate::probes::{self, Site, Trap};
use crate::relocate;
use alloc::vec::Vec;
use core::ffi::{c_int, c_void};
use core::mem::transmute;
use core::ops::Range;
use core::ptr::with_exposed_provenance;
use core::sync::atomic::{AtomicU8, Ordering};

/// What the kernel calls of a module, see _init(9E). Each is sound to call if the memory can be
/// executed and what the names were resolved to keeps the promises of the kernel's functions.
#[derive(Clone, Copy, Debug)]
pub struct Entries {
    /// Loads.
    pub init: unsafe extern "C" fn() -> c_int,
    /// Tells about the module: a `modinfo`.
    pub info: unsafe extern "C" fn(*mut c_void) -> c_int,
    /// Unloads.
    pub fini: unsafe extern "C" fn() -> c_int,
}

/// A module in memory, ready to run.
#[derive(Debug)]
pub struct Loaded {
    text: Region,
    data: Region,
    sites: Vec<Site>,
    functions: Vec<Function>,
    entries: Entries,
}

impl Module<'_> {
    /// Puts the module into memory of the caller's, as much as [`Module::room`] says. `resolve`
    /// answers the address of a name of the kernel.
    ///
    /// The memory of the text must be made executable before anything is called.
    pub fn load(
        &self,
        text: Region,
        data: Region,
        resolve: impl Fn(&str) -> Option<usize>,
    ) -> Result<Loaded, Error> {
        let mut placed = Placed::new(self, text, data)?;
        let names = names::find(self, &placed, &resolve)?;
        let sites = relocate::all(self, &mut placed, &names)?;
        let [init, info, fini] = names.entries.map(with_exposed_provenance::<()>);
        // SAFETY: addresses of functions of these types in memory that will be executed: this is
        // what modules are, and who calls one promises the rest. None is 0: `find` has looked.
        let entries = unsafe {
            Entries {
                init: transmute::<*const (), unsafe extern "C" fn() -> c_int>(init),
                info: transmute::<*const (), unsafe extern "C" fn(*mut c_void) -> c_int>(info),
                fini: transmute::<*const (), unsafe extern "C" fn() -> c_int>(fini),
            }
        };
        let Placed { text, data, .. } = placed;
        Ok(Loaded { text, data, sites, functions: names.functions, entries })
    }
}

impl Loaded {
    /// What the kernel calls.
    pub fn entries(&self) -> Entries {
        self.entries
    }

    /// All places where probes fire, by address.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Switches a site on or off, by its number. The text must be writable where
    /// [`Region::new`] was told. Code that runs meanwhile sees the trap or does not.
    pub fn set_enabled(&self, site: usize, enabled: bool) {
        let byte = self.sites.get(site).and_then(|site| self.text.byte(site.address));
        if let Some(byte) = byte {
            // SAFETY: one byte of the region, which can be written (the promise of `Region::new`);
            // processors write and fetch it as a whole.
            let byte = unsafe { AtomicU8::from_ptr(byte.as_ptr()) };
            byte.store(probes::byte(enabled), Ordering::SeqCst);
        }
    }

    /// Switches a site on, by its number.
    pub fn enable(&self, site: usize) {
        self.set_enabled(site, true);
    }

    /// Switches a site off.
    pub fn disable(&self, site: usize) {
        self.set_enabled(site, false);
    }

    /// Which probe an invalid instruction is, by its address; `None` if it is none. Allocates
    /// nothing and takes no lock.
    pub fn trap(&self, address: usize) -> Option<Trap<'_>> {
        let index = self.sites.binary_search_by_key(&address, |site| site.address).ok()?;
        // Behind the trap there is nothing but what does nothing, and the return of a tail.
        Some(Trap { site: self.sites.get(index)?, index, resume: address + 1 })
    }

    /// The function that an address is in, and how far. For messages.
    pub fn function_at(&self, address: usize) -> Option<(&str, usize)> {
        if !self.text_range().contains(&address) {
            return None;
        }
        let at = self.functions.partition_point(|function| function.address <= address);
        let function = self.functions.get(at.checked_sub(1)?)?;
        Some((&function.name, address - function.address))
    }

    /// Addresses of code and constants.
    pub fn text_range(&self) -> Range<usize> {
        self.text.address()..self.text.address() + self.text.len()
    }

    /// Addresses of what the module writes.
    pub fn data_range(&self) -> Range<usize> {
        self.data.address()..self.data.address() + self.data.len()
    }
}
