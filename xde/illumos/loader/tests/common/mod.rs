// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Small modules, assembled here, and memory to load them into.

use std::path::PathBuf;
use std::process::Command;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use xde_illumos_loader::{Error, Loaded, Module, Part, Region};

/// Entry points, and a place for more code (`#code`) and more data (`#data`). `_init` answers what
/// the code leaves in `eax`.
const MODULE: &str = "
    .text
    .globl _init, _info, _fini
    .type _init,@function
_init:
    push %rbp
    mov %rsp,%rbp
    mov $7,%eax
    #code
    pop %rbp
    ret
    .type _info,@function
_info:
    push %rbp
    mov %rsp,%rbp
    pop %rbp
    jmp __dtrace_probe_last__one@PLT
    .type _fini,@function
_fini:
    ret
    .data
    #data
";

/// A file as the assembler makes it.
pub fn assemble(source: &str) -> Vec<u8> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = |ending: &str| {
        let name = format!("loader-{}-{number}.{ending}", std::process::id());
        std::env::temp_dir().join(name)
    };
    let [text, object]: [PathBuf; 2] = [name("s"), name("o")];
    std::fs::write(&text, source).unwrap();
    // Jumps stay as they are, and so do kinds of relocations.
    let options = ["-mrelax-relocations=yes", "-o"];
    let status = Command::new("as").args(options).arg(&object).arg(&text).status().unwrap();
    assert!(status.success(), "{source}");
    let bytes = std::fs::read(&object).unwrap();
    std::fs::remove_file(text).unwrap();
    std::fs::remove_file(object).unwrap();
    bytes
}

/// The module with more code and more data.
pub fn module(code: &str, data: &str) -> Vec<u8> {
    assemble(&MODULE.replace("#code", code).replace("#data", data))
}

/// Memory below 2 GiB that can be written and executed, and is never given back.
pub fn memory(part: Part) -> Region {
    let len = part.size.max(1).next_multiple_of(4096);
    // SAFETY: new memory, wherever the system wants it below 2 GiB.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    assert_ne!(memory, libc::MAP_FAILED);
    let memory = NonNull::new(memory.cast::<u8>()).unwrap();
    let address = memory.as_ptr().expose_provenance();
    // SAFETY: mapped above for good, and nobody else's. Nothing is zero by itself.
    unsafe {
        memory.write_bytes(0xee, len);
        Region::new(memory, len, address)
    }
}

/// A function of the kernel, as far away as this program is.
pub extern "C" fn answer() -> i32 {
    42
}

/// What the kernel of these tests has: a function far away, and a place near by.
pub fn kernel(name: &str) -> Option<usize> {
    match name {
        "answer" => Some((answer as extern "C" fn() -> i32 as *const ()).expose_provenance()),
        // No kernel has the second; what refers to it is refused for another reason.
        "near" | "_GLOBAL_OFFSET_TABLE_" => Some(0x4000_1000),
        _ => None,
    }
}

/// Loads a file.
pub fn load(file: &[u8]) -> Result<Loaded, Error> {
    let module = Module::parse(file)?;
    let room = module.room();
    module.load(memory(room.text), memory(room.data), kernel)
}

/// What the loader says of a file that it refuses.
#[track_caller]
pub fn refused(file: &[u8], what: &str) {
    let said = load(file).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains(what), "{what}: {said}");
}

/// Bytes that the module sees.
pub fn read<const N: usize>(address: usize) -> [u8; N] {
    let bytes = std::ptr::with_exposed_provenance::<[u8; N]>(address);
    // SAFETY: tests ask for memory of loaded modules alone.
    unsafe { bytes.read() }
}
