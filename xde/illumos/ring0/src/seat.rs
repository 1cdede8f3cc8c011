// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The module in its place: its memory, its stack, and calls of its entry points.

use crate::paging::{self, MODULE_DATA, MODULE_TEXT, PAGE, Use};
use crate::probes;
use crate::run::Wrong;
use crate::say;
use crate::threads::{KERNEL_STACK, Stack};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ops::Range;
use core::ptr::NonNull;
use opte_api::ioctl::{COMMAND, Exchange, MIN_ROOM};
use xde_illumos_loader::{Entries, Module, Part, Region};
use xde_illumos_shim::context::{Context, run_in};
use xde_illumos_shim::ddi::{self, Who};

/// The only node that is no link.
const NODE: &str = "ctl";
/// Bytes of a `modinfo`, and more.
const INFO: usize = 4096;

/// Memory of the module, wherever it is loaded again.
struct Place {
    address: usize,
    memory: NonNull<u8>,
    bytes: usize,
}

impl Place {
    fn new(part: Part, address: usize, how: Use) -> Result<Self, Wrong> {
        let bytes = part.size.max(1).next_multiple_of(PAGE);
        let memory = paging::map(address, bytes, how).ok_or("no memory for the module")?;
        let memory = NonNull::new(paging::direct(memory)).ok_or("memory at nowhere")?;
        Ok(Self { address, memory, bytes })
    }

    fn region(&self) -> Region {
        // SAFETY: memory that was mapped for the module alone, and is written by its other address.
        // What was loaded here before is no longer used.
        unsafe { Region::new(self.memory, self.bytes, self.address) }
    }
}

/// A module, its memory, and the stack on which it is called.
pub struct Seat<'a> {
    module: Module<'a>,
    text: Place,
    data: Place,
    /// The stack of the thread that calls it.
    pub stack: Stack,
}

impl<'a> Seat<'a> {
    /// Takes memory for a module, and the first stack.
    pub fn new(file: &'a [u8]) -> Result<Self, Wrong> {
        let module = Module::parse(file).map_err(|error| format!("{error}"))?;
        let room = module.room();
        let text = Place::new(room.text, MODULE_TEXT, Use::Code)?;
        let data = Place::new(room.data, MODULE_DATA, Use::Data)?;
        let (size, more) = (room.text.size, room.data.size);
        say!("module: {size} bytes at {MODULE_TEXT:#x}, {more} at {MODULE_DATA:#x}");
        let stack = Stack::new(1, KERNEL_STACK).ok_or("no memory for a stack")?;
        Ok(Self { module, text, data, stack })
    }

    /// Loads it, anew if it was loaded before, and switches its probes on.
    pub fn load(&self, resolve: fn(&str) -> Option<usize>) -> Result<Entries, Wrong> {
        let loaded = self.module.load(self.text.region(), self.data.region(), resolve);
        let loaded = probes::begin(loaded.map_err(|error| format!("{error}"))?);
        probes::set_enabled(true);
        Ok(loaded.entries())
    }

    /// Calls something of the module's on its stack, in the context of a thread.
    pub fn call<R>(&self, f: impl FnOnce() -> R) -> R {
        self.stack.run(|| run_in(Context::Kernel, f))
    }

    /// Calls `_info`; 1 if that went well, see _info(9E).
    pub fn info(&self, entries: Entries) -> i32 {
        let mut info = [0_u64; INFO / 8];
        // SAFETY: the module is loaded, and this is longer than a `modinfo`.
        self.call(|| unsafe { (entries.info)(info.as_mut_ptr().cast::<c_void>()) })
    }

    /// Makes a request: a whole frame there, a whole frame back.
    pub fn request(&self, request: &[u8]) -> Result<Vec<u8>, Wrong> {
        let mut answer = vec![0; MIN_ROOM as usize];
        let mut argument = Exchange {
            request: request.as_ptr().expose_provenance() as u64,
            request_len: request.len() as u32,
            answer: answer.as_mut_ptr().expose_provenance() as u64,
            room: MIN_ROOM,
            answer_len: 0,
        }
        .to_bytes();
        let memory = |bytes: &[u8], write| (range(bytes), write);
        let offered = [memory(request, false), memory(&answer, true), memory(&argument, true)];
        let at = argument.as_mut_ptr().expose_provenance();
        let error = ddi::with_memory(&offered, || {
            self.stack.run(|| ddi::ioctl(NODE, COMMAND, at, Who::Privileged))
        });
        let told = Exchange::from_bytes(&argument).map_err(|wrong| format!("{wrong:?}"))?;
        if error != 0 {
            return Err(format!("ioctl: error {error}, {told:?}"));
        }
        answer.truncate(told.answer_len as usize);
        Ok(answer)
    }

    /// Opens the node for requests.
    pub fn open(&self) -> Result<(), Wrong> {
        let opened = self.stack.run(|| ddi::open(NODE, 0, Who::Privileged));
        opened.map_err(|error| format!("open: error {error}"))
    }

    /// Closes it.
    pub fn close(&self) {
        self.stack.run(|| ddi::close(NODE));
    }
}

fn range(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr().expose_provenance();
    start..start + bytes.len()
}
