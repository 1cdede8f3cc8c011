// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the machine tells about itself when it starts: Xen's PVH boot ABI.

use crate::paging::direct;
use core::ffi::{CStr, c_char};
use core::ops::Range;

unsafe extern "C" {
    /// Where this kernel ends in the machine's memory: its address is the number.
    static kernel_end: u8;
}

const MAGIC: u32 = 0x336e_c578;
/// Memory that can be used.
const RAM: u32 = 1;
const MEBIBYTE: u64 = 1 << 20;

/// `hvm_start_info`.
#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

/// `hvm_modlist_entry`.
#[repr(C)]
struct ModuleEntry {
    address: u64,
    size: u64,
    command_line: u64,
    reserved: u64,
}

/// `hvm_memmap_table_entry`.
#[repr(C)]
struct MemoryEntry {
    address: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

/// What is taken from it.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The module. The command line tells its length: `module=BYTES`.
    pub file: &'static [u8],
    /// What came along behind it: recorded requests.
    pub records: &'static str,
    /// Words for this kernel.
    pub command_line: &'static str,
    /// Memory behind this kernel, up to what is in use.
    pub memory: Range<u64>,
}

impl Boot {
    /// Reads it.
    ///
    /// # Safety
    ///
    /// `info` is what the machine started us with.
    pub unsafe fn read(info: u64) -> Option<Self> {
        // SAFETY: the caller's promise: all of it lies in the first GiB, which is at `direct`, and
        // nobody writes it.
        unsafe {
            let info = direct(info).cast::<StartInfo>().as_ref()?;
            if info.magic != MAGIC || info.version < 1 || info.modules == 0 {
                return None;
            }
            let module = direct(info.module_list).cast::<ModuleEntry>().as_ref()?;
            let file = core::slice::from_raw_parts(direct(module.address), module.size as usize);
            let command_line = CStr::from_ptr(direct(info.command_line).cast::<c_char>());
            let entries = core::slice::from_raw_parts(
                direct(info.memory_map).cast::<MemoryEntry>(),
                info.memory_map_entries as usize,
            );
            let ours = entries.iter().find(|it| {
                it.kind == RAM && (it.address..it.address + it.size).contains(&MEBIBYTE)
            })?;
            let start = (&raw const kernel_end).addr() as u64;
            // What the machine has put behind this kernel is the end of what is free.
            let taken = [info.memory_map, info.command_line, info.module_list, module.address];
            let behind = taken.into_iter().filter(|address| *address >= start);
            let end = behind.fold(ours.address + ours.size, u64::min);
            let command_line = command_line.to_str().ok()?;
            let (file, records) =
                file.split_at_checked(number(command_line, "module=")? as usize)?;
            let records = str::from_utf8(records).ok()?;
            Some(Self { file, records, command_line, memory: start..end })
        }
    }
}

/// A number of the command line, by what is in front of it.
pub fn number(command_line: &str, what: &str) -> Option<u64> {
    command_line.split(' ').find_map(|word| word.strip_prefix(what)?.parse().ok())
}
