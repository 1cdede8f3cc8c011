// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A small module that is right, and what each rule says when one thing about it is wrong.

use super::{Allowed, Report, check};
use crate::kmod::build::{finish, sources};
use crate::shell::Cmd;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

/// Entry points, an import, a call and a tail call of a probe, and data that refer to a function.
const GOOD: &str = "
    .section .text._init,\"ax\",@progbits
    .globl _init
    .type _init,@function
_init:
    push %rbp
    mov %rsp,%rbp
    push %rbx
    sub $0x48,%rsp
    mov %rax,-0x48(%rbp)
    #1
    call kmem_alloc@PLT
    call __dtrace_probe_here@PLT
    add $0x48,%rsp
    pop %rbx
    pop %rbp
    ret
    .size _init,.-_init
    .section .text._info,\"ax\",@progbits
    .globl _info
    .type _info,@function
_info:
    push %rbp
    mov %rsp,%rbp
    #2
    mov table,%rax
    pop %rbp
    jmp __dtrace_probe_here@PLT
    .size _info,.-_info
    .section .text._fini,\"ax\",@progbits
    .globl _fini
    .type _fini,@function
_fini:
    ret
    .size _fini,.-_fini
    .section .data.table,\"aw\",@progbits
table:
    .quad _fini
    #3
";

const ALLOWED: &str = "# names\nkmem_alloc\tgenunix, kmem_alloc(9F)\n";

/// Assembles and links as the module is, and checks what comes out. `change` gets the last word on
/// its bytes.
fn report(source: &str, change: impl FnOnce(&mut Vec<u8>)) -> Report {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("gate-{}-{number}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (text, object) = (dir.join("module.s"), dir.join("module.o"));
    fs::write(&text, source).unwrap();
    Cmd::new("as").arg(&text).arg("-o").arg(&object).run().unwrap();
    let module = finish(&object, &dir).unwrap();
    let mut bytes = fs::read(module).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    change(&mut bytes);
    check(&bytes, &Allowed::parse(ALLOWED).unwrap()).unwrap()
}

/// The problems of the good module with `more` at place `at`.
fn with(at: u8, more: &str) -> Vec<String> {
    report(&GOOD.replace(&format!("#{at}"), more), |_| {}).problems
}

#[track_caller]
fn says(problems: Vec<String>, what: &str) {
    assert!(problems.iter().any(|problem| problem.contains(what)), "{what}: {problems:#?}");
}

#[test]
fn a_good_module_passes_and_is_described() {
    let report = report(GOOD, |_| {});
    assert_eq!(report.problems, [""; 0]);
    assert_eq!(report.depends, ["drv/dld", "drv/ip", "misc/dls", "misc/mac"]);
    assert_eq!(report.imports.iter().collect::<Vec<_>>(), ["kmem_alloc"]);
    assert_eq!(report.probes["__dtrace_probe_here"], 2);
    assert_eq!(report.frames, [(0x50, "_init".to_owned())]);
}

#[test]
fn imports_and_exports_are_held_to_lists() {
    says(with(1, "call kmem_free@PLT"), "imports kmem_free");
    says(with(1, "call __udivti3@PLT"), "imports __udivti3");
    says(report(&GOOD.replace(".globl _fini", ""), |_| {}).problems, "exports");
    let long = format!("call __dtrace_probe_{}", "x".repeat(64));
    says(with(1, &long), "is too long");
    assert!(Allowed::parse("name\t\n").is_err() && Allowed::parse("name\n").is_err());
}

#[test]
fn relocations_that_the_loader_gets_wrong_are_refused() {
    says(with(1, "mov kmem_alloc@GOTPCREL(%rip),%rax"), "relocation of kind 42");
    says(with(1, "call *kmem_alloc@GOTPCREL(%rip)"), "relocation of kind 41");
    says(with(3, ".long _fini\n.long 0"), "relocation of kind 10");
    says(with(3, ".quad kmem_alloc@TPOFF"), "relocation of kind 18");
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|it| it == what);
    // Right behind the opcode of the last jump, which ends `_info`.
    let jump = [0x5d, 0xe9, 0, 0, 0, 0];
    let dirty = |bytes: &mut Vec<u8>| {
        let at = find(bytes, &jump).unwrap();
        bytes[at + 2] = 1;
    };
    says(report(GOOD, dirty).problems, "is not zero before");
}

#[test]
fn probes_are_called_and_nothing_else() {
    says(with(1, "jne __dtrace_probe_here"), "no call");
    says(with(3, ".quad __dtrace_probe_here"), "no call");
    says(with(1, "lea __dtrace_probe_here(%rip),%rax"), "no call");
    let unused = format!("{GOOD}\n.globl __dtrace_probe_unused\n.section .bss\n.quad 0\n");
    says(report(&unused, |_| {}).problems, "probe __dtrace_probe_unused is nowhere called");
}

#[test]
fn instructions_that_a_kernel_must_not_run_are_refused() {
    for (what, instruction) in [
        ("floating point", "movups (%rax),%xmm0"),
        ("floating point", "vmovdqu (%rax),%ymm1"),
        ("floating point", "fld1"),
        ("floating point", "movq %rax,%mm1"),
        ("floating point", "fxsave (%rax)"),
        ("memory of a thread", "mov %fs:0,%rax"),
        ("privileged", "cli"),
        ("privileged", "wrmsr"),
        ("below the stack pointer", "mov %rax,-0x8(%rsp)"),
        ("below the stack pointer", "mov %rax,-0x58(%rbp)"),
    ] {
        says(with(1, instruction), what);
    }
    // An address is no access, and what is above is ours.
    assert_eq!(with(1, "lea -0x8(%rsp),%rax\nmov %rax,-0x50(%rbp)"), [""; 0]);
    says(with(1, "sub $0x1000,%rsp"), "the frame of _init has 4176 bytes");
}

/// A function that takes so many bytes of stack, then does something.
fn function(name: &str, bytes: u32, body: &str) -> String {
    format!(
        ".section .text.{name},\"ax\",@progbits\n.type {name},@function\n{name}:\npush %rbp\n\
         mov %rsp,%rbp\nsub ${bytes},%rsp\n{body}\nadd ${bytes},%rsp\npop %rbp\nret\n\
         .size {name},.-{name}\n"
    )
}

/// Bytes of the deepest stack of `_init`, of which its own frame has 0x60.
fn depth_of(call: &str, functions: &[String]) -> u64 {
    let source = GOOD.replace("#1", call) + &functions.concat();
    let report = report(&source, |_| {});
    let depths = report.depths.iter();
    depths.filter(|depth| depth.chain[0].0 == "_init").map(|depth| depth.bytes).next().unwrap()
}

#[test]
fn the_stack_is_as_deep_as_the_deepest_chain_of_calls() {
    let shallow = function("shallow", 0x10, "call shallower");
    let shallower = function("shallower", 0x10, "nop");
    let deep = function("deep", 0x100, "nop");
    let all = [shallow.clone(), shallower.clone(), deep.clone()];
    assert_eq!(depth_of("nop", &[]), 0x60);
    assert_eq!(depth_of("call shallower", &all), 0x60 + 0x20);
    assert_eq!(depth_of("call shallow\ncall deep", &all), 0x60 + 0x110);
    assert_eq!(depth_of("call shallow", &all), 0x60 + 0x20 + 0x20);
    // After a tail call the caller's own frame is gone.
    let tail = function("tail", 0x50, "nop").replace("\nret\n", "\njmp deep\n");
    assert_eq!(depth_of("call tail", &[tail, deep.clone()]), 0x60 + 0x110);
    let again = function("again", 0x10, "call again");
    assert_eq!(depth_of("call again", &[again]), 0x60 + 4 * 0x20);
    let ends = function("core_panicking_panic", 0x10, "call deep");
    assert_eq!(depth_of("call core_panicking_panic", &[ends, deep.clone()]), 0x60 + 0x20);
    let too_deep = format!("{GOOD}{}", function("far", 0x8000, "nop")).replace("#1", "call far");
    says(report(&too_deep, |_| {}).problems, "_init may take 32880 bytes of stack");
}

#[test]
fn methods_are_called_by_their_place_in_a_table() {
    let table = ".section .rodata.methods,\"a\",@progbits\n.balign 8\n\
                 methods: .quad end\n.quad 24\n.quad 8\n.quad first\n.quad second\n";
    let functions = [("end", 0x20), ("first", 0x40), ("second", 0x80)];
    let functions = functions.map(|(name, bytes)| function(name, bytes, "nop"));
    let all: Vec<String> = functions.into_iter().chain([table.to_owned()]).collect();
    let call = |through: &str| depth_of(&format!("mov $methods,%rcx\n{through}"), &all);
    assert_eq!(call("call *0x18(%rcx)"), 0x60 + 0x50);
    assert_eq!(call("call *0x20(%rcx)"), 0x60 + 0x90);
    assert_eq!(call("mov (%rcx),%rax\ncall *%rax"), 0x60 + 0x30);
    assert_eq!(call("mov 0x20(%rcx),%rax\nmov %rax,-0x20(%rbp)\ncall *-0x20(%rbp)"), 0x60 + 0x90);
    // What nobody knows may be any function whose address code has taken.
    assert_eq!(call("mov $second,%rax\ncall *%rax"), 0x60 + 0x90);
}

#[test]
fn sections_that_are_never_run_or_cannot_be_loaded_are_refused() {
    // Something refers to it, or the linker would leave it out.
    let section = |line: &str| with(3, &format!(".quad kept\n.section {line}\nkept: .zero 8"));
    assert_eq!(section(".more,\"aw\",@progbits"), [""; 0]);
    says(section(".init_array,\"aw\",@init_array"), "constructors");
    says(section(".ctors,\"aw\",@progbits"), "constructors");
    says(section(".tbss,\"awT\",@nobits\n.type kept,@tls_object"), "each thread");
    says(section(".both,\"awx\",@progbits"), "written and executed");
    says(section(".wide,\"aw\",@progbits\n.balign 8192"), "more than a page");
}

#[test]
fn files_of_other_kinds_are_refused() {
    let changed = |at: usize, to: u8| report(GOOD, |bytes| bytes[at] = to).problems;
    says(changed(16, 3), "not a relocatable");
    says(changed(18, 3), "not a relocatable");
    assert!(check(b"no file", &Allowed::default()).is_err());
    // The number of sections.
    says(report(GOOD, |bytes| bytes[60..62].fill(0xff)).problems, "extended");
}

#[test]
fn dependencies_are_read_as_the_loader_does() {
    let path = sources().join("depends.s");
    let depends = fs::read_to_string(path).unwrap();
    for name in super::sections::DEPENDS {
        assert!(depends.contains(&format!("\"{name}\"")), "{name}");
    }
    let other = report(GOOD, |bytes| {
        let at = bytes.windows(6).position(|it| it == b"drv/ip").unwrap();
        bytes[at] = b'x';
    });
    says(other.problems, "depends on");
}
