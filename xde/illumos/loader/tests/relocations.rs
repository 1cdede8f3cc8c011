// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Addresses that are written into code and data.

mod common;

use common::{kernel, load, module, read, refused};

/// A number of `N` bytes at the beginning of the data, relocated.
fn relocated<const N: usize>(kind: &str, to: &str, before: &str) -> [u8; N] {
    let loaded = load(&with(kind, to, before)).unwrap();
    read(loaded.data_range().start)
}

fn with(kind: &str, to: &str, before: &str) -> Vec<u8> {
    module("", &format!("place: {before}\n.zero 8\n.reloc place, R_X86_64_{kind}, {to}"))
}

#[test]
fn an_address_is_added_to_what_is_in_place() {
    let near = 0x4000_1000_u64;
    assert_eq!(relocated("64", "near", ".quad 0"), near.to_le_bytes());
    assert_eq!(relocated("64", "near+5", ".quad 0"), (near + 5).to_le_bytes());
    assert_eq!(relocated("64", "near-1", ".quad 0x100"), (near + 0xff).to_le_bytes());
    assert_eq!(relocated("32", "near", ".long 2"), (near as u32 + 2).to_le_bytes());
    assert_eq!(relocated("32S", "near", ".long 2"), (near as u32 + 2).to_le_bytes());
    let far = (kernel("answer").unwrap() as u64).to_le_bytes();
    assert_eq!(relocated("64", "answer", ".quad 0"), far);
    // What is behind it stays as it is.
    assert_eq!(relocated::<12>("32", "near", ".long 2, 3")[4..], [3, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn distances_are_from_the_place() {
    let loaded = load(&with("PC32", "near+8", ".long 0")).unwrap();
    let place = loaded.data_range().start as i64;
    let distance = i32::from_le_bytes(read(place as usize));
    assert_eq!(i64::from(distance), 0x4000_1000 + 8 - place);
    let loaded = load(&with("PC64", "answer", ".quad 1")).unwrap();
    let place = loaded.data_range().start;
    let distance = i64::from_le_bytes(read(place));
    assert_eq!(distance, (kernel("answer").unwrap() - place + 1) as i64);
}

#[test]
fn small_numbers_are_held_to_their_size() {
    let constant = ".globl seven\n.set seven, 7\nplace: .byte 1, 0\n.zero 8";
    let with = |kind: &str, to: &str| {
        module("", &format!("{constant}\n.reloc place, R_X86_64_{kind}, {to}"))
    };
    for (kind, fits, does_not) in [("8", 248, 249), ("16", 65528, 65529)] {
        let loaded = load(&with(kind, &format!("seven+{fits}"))).unwrap();
        let first: [u8; 1] = read(loaded.data_range().start);
        assert_eq!(first, [((7 + fits) & 0xff) as u8]);
        refused(&with(kind, &format!("seven+{does_not}")), "too far away");
    }
    refused(&with("PC8", "near"), "too far away");
    refused(&with("PC16", "near"), "too far away");
}

#[test]
fn what_does_not_fit_is_refused() {
    refused(&with("32S", "answer", ".long 0"), "too far away");
    refused(&with("32", "answer", ".long 0"), "too far away");
    refused(&with("PC32", "answer", ".long 0"), "too far away");
    refused(&with("PLT32", "answer", ".long 0"), "too far away");
    // Zero-extended, no address of the kernel fits; sign-extended, all of the last 2 GiB do.
    refused(&with("32", "near-0x40001001", ".long 0"), "too far away");
    assert_eq!(relocated("32S", "near-0x40001001", ".long 0"), [0xff; 4]);
    // Two bytes are left of the section.
    let end = module("", "place: .zero 2\n.reloc place, R_X86_64_32S, near");
    refused(&end, "outside of its section");
}

#[test]
fn what_the_kernel_s_loader_gets_wrong_is_refused() {
    for kind in ["GOTPCREL", "GOTPCRELX", "REX_GOTPCRELX", "GOTPC32", "GOTOFF64", "GLOB_DAT"] {
        refused(&with(kind, "near", ".quad 0"), "it wants a table of addresses");
    }
    refused(&module("mov answer@GOTPCREL(%rip),%rax", ""), "kind 42");
    refused(&module("call *answer@GOTPCREL(%rip)", ""), "kind 41");
    refused(&with("SIZE32", "near", ".quad 0"), "it wants a size");
    refused(&with("SIZE64", "near", ".quad 0"), "it wants a size");
    for kind in ["GOT32", "COPY", "JUMP_SLOT"] {
        refused(&with(kind, "near", ".quad 0"), "the loader refuses it");
    }
    for kind in ["TPOFF32", "TPOFF64", "DTPMOD64", "TLSGD", "TLSLD", "GOTTPOFF"] {
        refused(&with(kind, "near", ".quad 0"), "thread");
    }
    refused(&with("RELATIVE", "near", ".quad 0"), "does not know it");
    // Nothing is what it says.
    assert_eq!(relocated("NONE", "near", ".quad 3"), 3_u64.to_le_bytes());
    // What is not loaded may be what it wants.
    let more = ".section .debug_x\nmore: .quad 0\n.reloc more, R_X86_64_GLOB_DAT, near";
    assert!(load(&module("", more)).is_ok());
}

#[test]
fn what_is_not_in_memory_has_no_address() {
    let debug = ".quad there\n.section .debug_x,\"\",@progbits\nthere: .quad 1";
    refused(&module("", debug), "not in memory");
}

#[test]
fn far_functions_are_called_by_way_of_a_trampoline() {
    let code = "call answer@PLT\nmov %eax,%ebx\ncall answer\nadd %ebx,%eax";
    let loaded = load(&module(&format!("push %rbx\n{code}\npop %rbx"), "")).unwrap();
    // SAFETY: code of ours, which calls a function of ours twice.
    assert_eq!(unsafe { (loaded.entries().init)() }, 84);
    // Not for what is no call: its address would be another one than everybody else's.
    refused(&module("lea answer(%rip),%rax", ""), "too far away");
    refused(&module("mov $answer,%rax", ""), "too far away");
}
