// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Probes: what the loader leaves of a call, and a trap in its place.

mod common;

use common::{load, module, read, refused};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use xde_illumos_loader::Loaded;

static COUNTS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
static ARGUMENT: AtomicUsize = AtomicUsize::new(0);
static LOADED: OnceLock<Loaded> = OnceLock::new();

const CODE: &str = "mov $1234,%edi\ncall __dtrace_probe_first@PLT";

#[test]
fn calls_become_instructions_that_do_nothing() {
    let loaded = load(&module(CODE, "")).unwrap();
    let [call, tail] = loaded.sites() else { panic!("{:?}", loaded.sites()) };
    assert_eq!(
        (call.probe.as_str(), call.function.as_str(), call.is_tail),
        ("first", "_init", false)
    );
    assert_eq!(
        (tail.probe.as_str(), tail.function.as_str(), tail.is_tail),
        ("last-one", "_info", true)
    );
    assert_eq!(read(call.address - 1), [0x90; 5]);
    assert_eq!(read(tail.address - 1), [0x90, 0x90, 0x90, 0x90, 0xc3]);
    loaded.enable(0);
    assert_eq!(read(call.address - 1), [0x90, 0xf0, 0x90, 0x90, 0x90]);
    loaded.disable(0);
    assert_eq!(read(call.address - 1), [0x90; 5]);
    assert_eq!(loaded.trap(call.address).unwrap().resume, call.address + 1);
    assert_eq!((loaded.trap(call.address + 1), loaded.trap(0)), (None, None));
    assert_eq!(loaded.function_at(call.address).unwrap().0, "_init");
    assert_eq!(loaded.function_at(loaded.data_range().start), None);
}

#[test]
fn probes_are_called_and_nothing_else() {
    refused(&module("jne __dtrace_probe_first", ""), "it can only be called");
    refused(&module("lea __dtrace_probe_first(%rip),%rax", ""), "it can only be called");
    refused(&module("mov $__dtrace_probe_first,%rax", ""), "it can only be called");
    refused(&module("call *__dtrace_probe_first@GOTPCREL(%rip)", ""), "kind 41");
    refused(&module("", ".quad __dtrace_probe_first"), "it can only be called");
    refused(&module("", ".byte 0xe8\n.long __dtrace_probe_first - ."), "it can only be called");
}

extern "C" fn on_trap(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system's own argument, see sigaction(2).
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let at = registers[libc::REG_RIP as usize] as usize;
    let Some(trap) = LOADED.get().and_then(|loaded| loaded.trap(at)) else {
        std::process::abort();
    };
    COUNTS[trap.index].fetch_add(1, Ordering::SeqCst);
    ARGUMENT.store(registers[libc::REG_RDI as usize] as usize, Ordering::SeqCst);
    registers[libc::REG_RIP as usize] = trap.resume as i64;
}

#[test]
fn a_site_that_is_switched_on_traps_and_goes_on() {
    let loaded = LOADED.get_or_init(|| load(&module(CODE, "")).unwrap());
    // SAFETY: zeros are an empty set of signals; the handler is as the flag says.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = (on_trap as extern "C" fn(_, _, _)) as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()), 0);
    }
    let run = || {
        // SAFETY: code of ours.
        unsafe { ((loaded.entries().init)(), (loaded.entries().info)(std::ptr::null_mut())).0 }
    };
    let counts = || COUNTS.each_ref().map(|count| count.load(Ordering::SeqCst));
    assert_eq!((run(), counts()), (7, [0, 0]));
    loaded.enable(0);
    assert_eq!((run(), counts()), (7, [1, 0]));
    assert_eq!(ARGUMENT.load(Ordering::SeqCst), 1234);
    loaded.enable(1);
    assert_eq!((run(), counts()), (7, [2, 1]));
    loaded.disable(0);
    loaded.disable(1);
    assert_eq!((run(), counts()), (7, [2, 1]));
}
