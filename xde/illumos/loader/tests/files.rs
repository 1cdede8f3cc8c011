// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a file must be like, and what comes out in memory.

mod common;

use common::{assemble, load, memory, module, read, refused};
use xde_illumos_loader::{Error, Module, Part, Room};

const HEADER_KIND: usize = 16;
const HEADER_MACHINE: usize = 18;
const HEADER_SECTIONS: usize = 60;

fn changed(at: usize, to: &[u8]) -> Vec<u8> {
    let mut file = module("", "");
    file[at..at + to.len()].copy_from_slice(to);
    file
}

/// Where the header of the section with this type and name lies in the file.
fn section(file: &[u8], kind: u32) -> usize {
    let number = |at: usize, len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&file[at..at + len]);
        u64::from_le_bytes(bytes) as usize
    };
    let (start, count) = (number(40, 8), number(HEADER_SECTIONS, 2));
    let headers = (0..count).map(|index| start + index * 64);
    headers.into_iter().find(|at| number(at + 4, 4) == kind as usize).unwrap()
}

#[test]
fn entry_points_run() {
    let loaded = load(&module("", "")).unwrap();
    // SAFETY: code of ours that answers 7.
    assert_eq!(unsafe { (loaded.entries().init)() }, 7);
    // SAFETY: code of ours that does nothing: the probe at its end has become a return.
    unsafe { (loaded.entries().info)(std::ptr::null_mut()) };
}

#[test]
fn sections_go_to_text_or_data_in_order_and_aligned() {
    let source = "
        .quad 1
        .section .one,\"a\",@progbits
        .byte 0x11
        .section .two,\"aw\",@progbits
        .balign 64
        .byte 0x22
        .section .three,\"a\",@progbits
        .balign 32
        .byte 0x33
        .section .zeros,\"aw\",@nobits
        .balign 16
        .zero 100
        .section .left,\"\",@progbits
        .byte 0x44";
    let file = module("", source);
    let module = Module::parse(&file).unwrap();
    let Room { text, data } = module.room();
    assert_eq!(data, Part { size: 80 + 100, align: 64 });
    assert_eq!(text.align, 32);
    let (text, data) = (memory(text), memory(data));
    let (text_at, data_at) = (text.address(), data.address());
    let loaded = module.load(text, data, common::kernel).unwrap();
    let code = loaded.sites().last().unwrap().address + 4 + 1 - text_at;
    let one = text_at + code;
    assert_eq!((read::<1>(one), read::<1>(text_at + 32)), ([0x11], [0x33]));
    assert_eq!((read::<8>(data_at), read::<1>(data_at + 64)), (1_u64.to_le_bytes(), [0x22]));
    assert_eq!(read::<100>(data_at + 80), [0; 100]);
    assert_eq!(read::<1>(data_at + 180), [0xee]);
}

#[test]
fn memory_must_be_as_large_and_as_aligned_as_asked_for() {
    let file = module("", ".balign 4096\n.zero 4097");
    let module = Module::parse(&file).unwrap();
    let room = module.room();
    let short = Part { size: 1, align: 1 };
    let load = |text, data| module.load(text, data, common::kernel).map(|_| ()).unwrap_err();
    assert_eq!(load(memory(room.text), memory(short)), Error::Memory("data"));
    let whole = memory(Part { size: room.data.size + 4096, align: 4096 });
    let askew = std::ptr::with_exposed_provenance_mut::<u8>(whole.address() + 8);
    let askew = std::ptr::NonNull::new(askew).unwrap();
    // SAFETY: inside of memory that is ours for good.
    let askew =
        unsafe { xde_illumos_loader::Region::new(askew, room.data.size, whole.address() + 8) };
    assert_eq!(load(memory(room.text), askew), Error::Memory("data"));
}

#[test]
fn files_of_other_kinds_are_refused() {
    refused(b"no file", "no ELF file of 64 bits");
    refused(&changed(4, &[1]), "no ELF file of 64 bits");
    refused(&changed(5, &[2]), "the highest bits");
    refused(&changed(HEADER_KIND, &[3]), "not relocatable");
    refused(&changed(HEADER_MACHINE, &[3]), "another machine");
    refused(&changed(HEADER_SECTIONS, &[0xff, 0xff]), "extended");
    refused(&changed(HEADER_SECTIONS, &[0, 0]), "extended");
}

#[test]
fn there_is_one_table_of_symbols_and_relocations_belong_to_it() {
    let mut file = module("", "");
    let at = section(&file, 2);
    file[at + 4] = 1;
    refused(&file, "not one table");
    let mut file = module("", ".quad _fini");
    let at = section(&file, 4);
    file[at + 40] = 1;
    refused(&file, "another table of symbols");
    let mut file = module("", ".quad _fini");
    file[at + 4] = 9;
    refused(&file, "addends lie in place");
    // Whatever they are for.
    let mut file = module("", ".section .debug_more\n.quad 1");
    let at = section(&file, 4);
    file[at + 4] = 9;
    refused(&file, "addends lie in place");
    let mut file = module("", ".section .more,\"\",@note\n.quad 1");
    let at = section(&file, 7);
    file[at + 4] = 18;
    refused(&file, "extended");
}

#[test]
fn sections_that_cannot_be_loaded_or_are_never_run_are_refused() {
    let refused =
        |line: &str, what| refused(&module("", &format!(".section {line}\n.zero 8")), what);
    refused(".init_array,\"aw\",@init_array", "nobody runs");
    refused(".fini_array,\"aw\",@fini_array", "nobody runs");
    refused(".tdata,\"awT\",@progbits", "each thread");
    refused(".both,\"awx\",@progbits", "written and executed");
    refused(".wide,\"aw\",@progbits\n.balign 8192", "no part of a page");
    let mut file = module("", ".section .note.x,\"a\",@note\n.zero 8");
    let at = section(&file, 7);
    file[at + 16] = 1;
    common::refused(&file, "has an address");
    file[at + 16] = 0;
    file[at + 9] = 8;
    common::refused(&file, "compressed");
}

#[test]
fn dependencies_are_read() {
    let with = |entries: &str| {
        let strings = ".section .dynstr,\"\",@3\n.byte 0\n.string \"drv/ip\"\n.string \"misc/mac\"";
        let file = module("", &format!("{strings}\n.section .dynamic,\"\",@6\n{entries}"));
        let (table, names) = (section(&file, 6), section(&file, 3));
        (file, table, names)
    };
    let (mut file, table, _) = with(".quad 1, 1, 1, 8, 0, 0");
    // The assembler knows of no names for it; the linker does.
    let start = u64::from_le_bytes(file[40..48].try_into().unwrap()) as usize;
    let is_strings = |at: usize| {
        let offset = u64::from_le_bytes(file[at + 24..at + 32].try_into().unwrap()) as usize;
        file[at + 4] == 3 && file[offset..].starts_with(b"\0drv/ip")
    };
    let index = (0..32_u8).find(|index| is_strings(start + usize::from(*index) * 64)).unwrap();
    file[table + 40] = index;
    assert_eq!(Module::parse(&file).unwrap().depends(), ["drv/ip", "misc/mac"]);
    file[table + 40] = 1;
    refused(&file, "has no names");
    let (mut file, table, _) = with(".quad 1, 1000, 0, 0");
    file[table + 40] = index;
    refused(&file, "a dependency has no name");
    assert!(Module::parse(&module("", "")).unwrap().depends().is_empty());
}

#[test]
fn names_are_the_kernel_s_or_the_module_s_and_nobody_else_s() {
    let file = module("call answer\ncall other@PLT\ncall third@PLT", "");
    let module_of = Module::parse(&file).unwrap();
    assert_eq!(module_of.imports().collect::<Vec<_>>(), ["answer", "other", "third"]);
    refused(&file, "nobody has other, third");
    // Also if nothing refers to it.
    refused(&module("", ".globl unused\n.quad unused - unused"), "nobody has unused");
    refused(&module("", ".globl answer\nanswer: .quad 1"), "multiply defined");
    refused(&module("", ".comm common,8"), "no place yet");
    refused(&module("", ".globl each\n.type each,@tls_object\n.quad 1"), "each thread");
    let without = |name: &str| {
        let source = ".text\n.globl _init,_info,_fini\n_init:\n_info:\n_fini:\nret\n";
        assemble(&source.replace(&format!("{name}:"), "other:").replace(&format!(",{name}"), ""))
    };
    refused(&without("_fini"), "an entry point is missing");
    assert!(load(&without("nothing")).is_ok());
}
