// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The shim finds what it is there to find: each rule is broken once.

use crate::context::{Context, run_in};
use crate::machine::{Machine, install};
use crate::offload::Facts;
use crate::world::{World, complaints, exchange, left_over};
use crate::{clock, dls, emulate, fault, kmem, message, resolve};
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use illumos_sys_hdrs::sys::kmem::{KM_NOSLEEP, KM_SLEEP};
use illumos_sys_hdrs::sys::mutex::{MUTEX_DRIVER, kmutex_t};
use illumos_sys_hdrs::sys::pattr::{HCK_IPV4_HDRCKSUM, HCK_PARTIALCKSUM, HW_LSO};
use illumos_sys_hdrs::sys::stream::mblk_t;
use std::string::String;
use std::sync::{Condvar, Mutex, MutexGuard, Once};
use std::vec::Vec;

const IMPORTS: &str = include_str!("../../imports.txt");

struct Process {
    taken: Mutex<bool>,
    changed: Condvar,
}

impl Machine for Process {
    fn thread(&self) -> usize {
        std::thread_local!(static ME: u128 = const { 0 });
        ME.with(|me| core::ptr::from_ref(me).addr())
    }

    fn cpu(&self) -> u32 {
        0
    }

    fn lock(&self) {
        let mut taken = self.taken.lock().unwrap();
        while *taken {
            taken = self.changed.wait(taken).unwrap();
        }
        *taken = true;
    }

    fn unlock(&self) {
        *self.taken.lock().unwrap() = false;
        self.changed.notify_all();
    }

    fn wait(&self) {
        self.unlock();
        std::thread::yield_now();
        self.lock();
    }

    fn wake(&self) {}

    fn print(&self, line: &str) {
        std::println!("{line}");
    }

    fn stop(&self, why: &str) -> ! {
        std::eprintln!("{why}");
        std::process::abort()
    }
}

static PROCESS: Process = Process { taken: Mutex::new(false), changed: Condvar::new() };
static ALONE: Mutex<()> = Mutex::new(());

/// A fresh world for this test, and nobody else in it.
fn alone() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| install(&PROCESS));
    let guard = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    exchange(&mut World::new());
    guard
}

/// A function of the kernel's as the module sees it.
macro_rules! kernel {
    ($name:ident: $kind:ty) => {{
        let address = resolve(stringify!($name)).unwrap();
        let pointer = core::ptr::with_exposed_provenance::<()>(address);
        // SAFETY: the table says what it is.
        unsafe { core::mem::transmute::<*const (), $kind>(pointer) }
    }};
}

fn alloc(size: usize, flag: c_int) -> *mut c_void {
    kernel!(kmem_alloc: extern "C" fn(usize, c_int) -> *mut c_void)(size, flag)
}

fn give_back(memory: *mut c_void, size: usize) {
    kernel!(kmem_free: extern "C" fn(*mut c_void, usize))(memory, size);
}

fn enter(mutex: *mut kmutex_t) {
    kernel!(mutex_enter: extern "C" fn(*mut kmutex_t))(mutex);
}

fn exit(mutex: *mut kmutex_t) {
    kernel!(mutex_exit: extern "C" fn(*mut kmutex_t))(mutex);
}

fn freemsg(message: *mut mblk_t) {
    kernel!(freemsg: extern "C" fn(*mut mblk_t))(message);
}

/// One complaint with this in it, and no other.
#[track_caller]
fn blamed(what: &str) {
    let found = complaints();
    assert!(found.len() == 1 && found[0].contains(what), "no '{what}' in {found:?}");
}

#[test]
fn every_import_has_an_address() {
    let of_the_linker = ["memcmp", "memcpy", "memmove", "memset"];
    let names = IMPORTS.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = names.filter_map(|line| line.split('\t').next()).collect();
    assert!(names.len() > 90);
    for name in names {
        let expected = !of_the_linker.contains(&name);
        assert_eq!(resolve(name).is_some(), expected, "{name}");
    }
    assert_eq!(resolve("no_such_name"), None);
}

#[test]
fn memory_goes_back_once_and_whole() {
    let _alone = alone();
    let (good, lost) = (alloc(24, KM_SLEEP), alloc(100, KM_NOSLEEP));
    assert_eq!((good.addr() % 16, kmem::bytes_out()), (8, 124));
    give_back(good, 23);
    blamed("24 bytes");
    give_back(good, 24);
    give_back(good, 24);
    blamed("nobody has it");
    assert!(left_over()[0].starts_with("100 bytes"), "{:?}", left_over());
    give_back(lost, 100);
    assert_eq!((left_over(), complaints()), (Vec::<String>::new(), Vec::new()));
}

#[test]
fn who_writes_beside_or_afterwards_is_found() {
    let _alone = alone();
    for (place, what) in [(-1, "beside"), (24, "beside")] {
        let block = alloc(24, KM_SLEEP);
        // SAFETY: inside of what the shim has allocated, guards included.
        unsafe { block.cast::<u8>().offset(place).write(1) };
        give_back(block, 24);
        blamed(what);
    }
    let block = alloc(24, KM_SLEEP);
    give_back(block, 24);
    // SAFETY: buried, but not freed.
    unsafe { block.cast::<u8>().write(1) };
    kmem::exhume();
    blamed("after it was free");
}

#[test]
fn memory_fails_where_it_may() {
    let _alone = alone();
    fault::fail("kmem_alloc", 2);
    let blocks = [KM_NOSLEEP, KM_SLEEP, KM_NOSLEEP, KM_NOSLEEP].map(|flag| alloc(8, flag));
    assert_eq!(blocks.map(|it| it.is_null()), [false, false, true, false]);
    kmem::exhaust(true);
    assert!(alloc(8, KM_NOSLEEP).is_null());
    let message = kernel!(allocb: extern "C" fn(usize, u32) -> *mut mblk_t)(8, 0);
    assert!(message.is_null());
    run_in(Context::Interrupt, || give_back(alloc(8, KM_SLEEP), 8));
    blamed("kmem_alloc(KM_SLEEP) in an interrupt");
}

#[test]
fn mutexes_are_watched() {
    let _alone = alone();
    let block = alloc(32, KM_SLEEP).cast::<kmutex_t>();
    // SAFETY: so many bytes.
    unsafe { block.cast::<u8>().write_bytes(0, 32) };
    let [a, b] = [block, block.wrapping_add(1)];
    for [first, second] in [[a, b], [b, a]] {
        enter(first);
        enter(second);
        exit(second);
        exit(first);
    }
    blamed("two orders");
    enter(a);
    kernel!(mac_rx_barrier: extern "C" fn(*mut c_void))(null_mut());
    assert!(complaints().iter().any(|it| it.contains("mac_rx_barrier with 1 mutexes held")));
    give_back(block.cast(), 32);
    blamed("a mutex that is held");
    assert!(left_over().iter().any(|it| it.starts_with("held by a thread: mutex")));
}

#[test]
fn made_locks_are_destroyed_before_their_memory_goes() {
    let _alone = alone();
    let block = alloc(8, KM_SLEEP);
    let init = kernel!(mutex_init: extern "C" fn(*mut c_void, *mut u8, u32, *mut c_void));
    init(block, null_mut(), MUTEX_DRIVER, null_mut());
    give_back(block, 8);
    blamed("was not destroyed");
}

#[test]
fn messages_are_counted() {
    let _alone = alone();
    let message = message::split(&[b"ab", b"", b"c"], Facts::default());
    let other = message::share(message);
    assert_eq!((message::bytes(other), message::live()), (b"abc".to_vec(), 6));
    let set = kernel!(mac_hcksum_set: extern "C" fn(*mut mblk_t, u32, u32, u32, u32, u32));
    set(message.as_ptr(), 0, 0, 0, 0, 0);
    blamed("others look at");
    freemsg(message.as_ptr());
    freemsg(message.as_ptr());
    blamed("no message block");
    // SAFETY: it lives; its window is moved out of its data.
    unsafe { (*other.as_ptr()).b_wptr = (*other.as_ptr()).b_wptr.wrapping_add(1) };
    freemsg(other.as_ptr());
    blamed("not inside of its data");
    assert!(!left_over().is_empty());
}

#[test]
fn setting_checksums_takes_a_wish_for_segments_back() {
    let _alone = alone();
    let message = message::of(b"x", 0);
    let lso = kernel!(lso_info_set: extern "C" fn(*mut mblk_t, u32, u32));
    let set = kernel!(mac_hcksum_set: extern "C" fn(*mut mblk_t, u32, u32, u32, u32, u32));
    lso(message.as_ptr(), 1000, HW_LSO);
    assert_eq!(message::facts(message).flags, HW_LSO);
    set(message.as_ptr(), 20, 36, 0, 0, HCK_PARTIALCKSUM);
    assert_eq!(message::facts(message).flags, HCK_PARTIALCKSUM);
    message::free(message);
    assert_eq!(left_over(), Vec::<String>::new());
}

/// An IPv4 and TCP packet with 25 bytes of payload, without checksums.
fn tcp() -> Vec<u8> {
    let mut frame = std::vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 65];
    frame.extend([0xff, 0xff, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 7, 0, 9, 0xff, 0xff, 0xff, 0xf8, 0, 0, 0, 0, 0x50, 0x89, 0, 9, 0, 0, 0, 0]);
    frame.extend(0..25);
    frame
}

#[test]
fn large_packets_are_cut() {
    let _alone = alone();
    let flags = HW_LSO | HCK_PARTIALCKSUM | HCK_IPV4_HDRCKSUM;
    let facts = Facts { flags, start: 20, stuff: 36, mss: 10, ..Facts::default() };
    let mut chain = message::split(&[&emulate::partial(&tcp()).unwrap()], facts).as_ptr();
    let emulate = kernel!(mac_hw_emul: extern "C" fn(*mut *mut mblk_t, *mut c_void, *mut u32, u32));
    let mut count = 0;
    emulate(&mut chain, null_mut(), &mut count, 7);
    assert_eq!(count, 3);
    let mut seen = Vec::new();
    for message in message::unchain(chain) {
        let bytes = message::bytes(message);
        message::free(message);
        assert_eq!(Some(&bytes), emulate::completed(&bytes).as_ref());
        // Length, identification, sequence number, flags, first byte of payload.
        seen.push((
            bytes[17],
            [bytes[18], bytes[19]],
            bytes[38..42].to_vec(),
            bytes[47],
            bytes[54],
        ));
    }
    let expected = [
        (50, [0xff, 0xff], std::vec![0xff, 0xff, 0xff, 0xf8], 0x80, 0),
        (50, [0, 0], std::vec![0, 0, 0, 2], 0, 10),
        (45, [0, 1], std::vec![0, 0, 0, 12], 0x09, 20),
    ];
    assert_eq!(seen, expected);
    assert_eq!(left_over(), Vec::<String>::new());
}

#[test]
fn sums_are_those_of_the_standard() {
    // RFC 1071, section 1 (3): the sum over a header with its checksum is all ones.
    let _alone = alone();
    let whole = emulate::completed(&tcp()).unwrap();
    let header: u32 =
        whole[14..34].chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
    assert_eq!((header & 0xffff) + (header >> 16), 0xffff);
}

#[test]
fn a_fresh_data_link_is_busy_for_who_does_not_wait() {
    let _alone = alone();
    dls::name("port0");
    let destroy = kernel!(dls_devnet_destroy: extern "C" fn(*mut c_void, *mut u32, u32) -> c_int);
    let mut number = 7;
    assert_eq!((destroy(null_mut(), &mut number, 0), number), (2, 0));
    assert_eq!(clock::tick(), 0);
}

#[test]
fn the_console_is_formatted() {
    let _alone = alone();
    let cmn_err = kernel!(cmn_err: extern "C" fn(c_int, *const i8, *const i8, usize));
    cmn_err(2, c"xde: %s is %d %%".as_ptr(), c"it".as_ptr(), 7);
    assert_eq!(crate::world::console(), ["WARNING: xde: it is 7 %"]);
    kernel!(mac_fini_ops: extern "C" fn(*mut c_void))(null_mut());
    blamed("mac_fini_ops(NULL)");
}
