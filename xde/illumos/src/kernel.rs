// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! As much of a kernel as the unit tests of this crate need: memory that is counted and can be
//! refused, mutexes, conditions and messages.
//!
//! What a whole kernel would do with the module is shown elsewhere, with the module as it is
//! shipped.

use crate::message::Message;
use core::ffi::{c_char, c_int, c_uint, c_void};
use illumos_sys_hdrs::sys::condvar::kcondvar_t;
use illumos_sys_hdrs::sys::mutex::kmutex_t;
use illumos_sys_hdrs::sys::stream::{dblk_t, mblk_t};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicIsize, AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};

static ALONE: Mutex<()> = Mutex::new(());
static BYTES_OUT: AtomicIsize = AtomicIsize::new(0);
static REFUSE: AtomicBool = AtomicBool::new(false);
static LAST_FLAG: AtomicI32 = AtomicI32::new(-1);

/// Flags, start, stuff, end and segment size of a message, by its data.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    pub flags: u32,
    pub start: u32,
    pub stuff: u32,
    pub mss: u32,
    pub lso: u32,
}

static FACTS: LazyLock<Mutex<HashMap<usize, Facts>>> = LazyLock::new(Mutex::default);

/// Tests that look at what all share run one after the other.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Bytes that are not given back.
pub fn bytes_out() -> isize {
    BYTES_OUT.load(Ordering::SeqCst)
}

/// From now on there is no memory, or there is.
pub fn refuse_memory(refuse: bool) {
    REFUSE.store(refuse, Ordering::SeqCst);
}

/// How memory was last asked for.
pub fn last_flag() -> c_int {
    LAST_FLAG.load(Ordering::SeqCst)
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 16).unwrap()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn kmem_alloc(size: usize, flag: c_int) -> *mut c_void {
    LAST_FLAG.store(flag, Ordering::SeqCst);
    if flag & 1 != 0 && REFUSE.load(Ordering::SeqCst) {
        return core::ptr::null_mut();
    }
    BYTES_OUT.fetch_add(size.cast_signed(), Ordering::SeqCst);
    // SAFETY: callers ask for more than nothing.
    unsafe { alloc_zeroed(layout(size)).cast() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn kmem_free(memory: *mut c_void, size: usize) {
    BYTES_OUT.fetch_sub(size.cast_signed(), Ordering::SeqCst);
    // SAFETY: callers give back what they got, with the same size.
    unsafe { dealloc(memory.cast(), layout(size)) };
}

#[unsafe(no_mangle)]
unsafe extern "C" fn threadp() -> *mut c_void {
    std::thread_local!(static ME: u8 = const { 0 });
    ME.with(|me| core::ptr::from_ref(me).cast_mut().cast())
}

fn word<'a>(mutex: *mut kmutex_t) -> &'a AtomicU32 {
    // SAFETY: callers hold a mutex that lives, of a word and aligned.
    unsafe { AtomicU32::from_ptr(mutex.cast()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mutex_init(
    mutex: *mut kmutex_t,
    _name: *mut c_char,
    _kind: c_uint,
    _cookie: *mut c_void,
) {
    word(mutex).store(0, Ordering::SeqCst);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mutex_destroy(mutex: *mut kmutex_t) {
    assert_eq!(word(mutex).load(Ordering::SeqCst), 0);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mutex_enter(mutex: *mut kmutex_t) {
    while word(mutex).compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_err() {
        std::thread::yield_now();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mutex_exit(mutex: *mut kmutex_t) {
    word(mutex).store(0, Ordering::SeqCst);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cv_init(_: *mut kcondvar_t, _: *mut c_char, _: c_uint, _: *mut c_void) {}

#[unsafe(no_mangle)]
unsafe extern "C" fn cv_destroy(_: *mut kcondvar_t) {}

/// Comes back whenever it likes, as it may.
#[unsafe(no_mangle)]
unsafe extern "C" fn cv_wait(_: *mut kcondvar_t, mutex: *mut kmutex_t) {
    // SAFETY: held by the caller.
    unsafe {
        mutex_exit(mutex);
        std::thread::yield_now();
        mutex_enter(mutex);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cv_broadcast(_: *mut kcondvar_t) {}

/// A block, its data and `size` bytes, in this order.
#[unsafe(no_mangle)]
unsafe extern "C" fn allocb(size: usize, _priority: c_uint) -> *mut mblk_t {
    // SAFETY: memory for both structures, whose zeros are what they begin with.
    unsafe {
        let block: *mut mblk_t = kmem_alloc(size_of::<mblk_t>(), 1).cast();
        if block.is_null() {
            return block;
        }
        let data: *mut dblk_t = kmem_alloc(size_of::<dblk_t>(), 1).cast();
        let bytes: *mut u8 = kmem_alloc(size.max(1), 1).cast();
        (*data).db_base = bytes;
        (*data).db_lim = bytes.add(size);
        (*data).db_ref = 1;
        (*block).b_datap = data;
        (*block).b_rptr = bytes;
        (*block).b_wptr = bytes;
        block
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn freeb(block: *mut mblk_t) {
    // SAFETY: made by `allocb` or `share`.
    unsafe {
        let data = (*block).b_datap;
        (*data).db_ref -= 1;
        if (*data).db_ref == 0 {
            FACTS.lock().unwrap().remove(&data.addr());
            let size = (*data).db_lim.offset_from_unsigned((*data).db_base);
            kmem_free((*data).db_base.cast(), size.max(1));
            kmem_free(data.cast(), size_of::<dblk_t>());
        }
        kmem_free(block.cast(), size_of::<mblk_t>());
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn freemsg(message: *mut mblk_t) {
    let mut next = message;
    while !next.is_null() {
        // SAFETY: blocks of a message.
        unsafe {
            assert!((*next).b_next.is_null());
            let block = next;
            next = (*block).b_cont;
            freeb(block);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn freemsgchain(chain: *mut mblk_t) {
    let mut next = chain;
    while !next.is_null() {
        // SAFETY: messages of a chain.
        unsafe {
            let message = next;
            next = core::mem::replace(&mut (*message).b_next, core::ptr::null_mut());
            freemsg(message);
        }
    }
}

fn facts_of(message: *const mblk_t) -> Facts {
    // SAFETY: a message.
    let data = unsafe { (*message).b_datap };
    FACTS.lock().unwrap().get(&data.addr()).copied().unwrap_or_default()
}

fn change(message: *const mblk_t, change: impl FnOnce(&mut Facts)) {
    // SAFETY: a message.
    let data = unsafe { (*message).b_datap };
    change(FACTS.lock().unwrap().entry(data.addr()).or_default());
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_hcksum_clone(from: *const mblk_t, to: *mut mblk_t) {
    let facts = facts_of(from);
    change(to, |it| *it = facts);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_hcksum_get(
    message: *const mblk_t,
    start: *mut u32,
    stuff: *mut u32,
    _end: *mut u32,
    _value: *mut u32,
    flags: *mut u32,
) {
    let facts = facts_of(message);
    for (to, value) in [(start, facts.start), (stuff, facts.stuff), (flags, facts.flags)] {
        // SAFETY: null, or a place of the caller's.
        if let Some(to) = unsafe { to.as_mut() } {
            *to = value;
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_hcksum_set(
    message: *mut mblk_t,
    start: u32,
    stuff: u32,
    _end: u32,
    _value: u32,
    flags: u32,
) {
    change(message, |it| (it.start, it.stuff, it.flags) = (start, stuff, flags));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_lso_get(message: *mut mblk_t, mss: *mut u32, flags: *mut u32) {
    let facts = facts_of(message);
    // SAFETY: places of the caller's.
    unsafe { (*mss, *flags) = (facts.mss, facts.lso) };
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lso_info_set(message: *mut mblk_t, mss: u32, flags: u32) {
    change(message, |it| (it.mss, it.lso) = (mss, flags));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lso_info_cleanup(message: *mut mblk_t) {
    change(message, |it| (it.mss, it.lso) = (0, 0));
}

/// Marks what it is asked to do with flag 0x8000 and leaves the chain as it is.
#[unsafe(no_mangle)]
unsafe extern "C" fn mac_hw_emul(
    chain: *mut *mut mblk_t,
    _tail: *mut *mut mblk_t,
    _count: *mut c_uint,
    what: c_uint,
) {
    // SAFETY: a chain of one message at least.
    change(unsafe { *chain }, |it| it.flags |= 0x8000 | what << 16);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_modclose(_module: *mut c_void) -> c_int {
    0
}

/// A message of these bytes, cut into blocks of these lengths and one of the rest.
pub fn split(bytes: &[u8], lengths: &[usize]) -> Message {
    let mut rest = bytes;
    let mut blocks: std::vec::Vec<Message> = std::vec::Vec::new();
    let cuts = lengths.iter().copied().chain([usize::MAX]);
    for len in cuts {
        let (block, after) = rest.split_at(len.min(rest.len()));
        blocks.push(Message::of(block).unwrap());
        rest = after;
    }
    let mut message = blocks.pop().unwrap();
    while let Some(front) = blocks.pop() {
        // SAFETY: two messages of ours, in no chain.
        unsafe { (*front.as_ptr()).b_cont = message.into_raw() };
        message = front;
    }
    message
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dupmsg(message: *mut mblk_t) -> *mut mblk_t {
    let Some(from) = core::ptr::NonNull::new(message) else { return message };
    // SAFETY: a message; the copy of each block is one more window onto its data.
    unsafe {
        let block: *mut mblk_t = kmem_alloc(size_of::<mblk_t>(), 0).cast();
        (*block).b_datap = from.as_ref().b_datap;
        (*(*block).b_datap).db_ref += 1;
        (*block).b_rptr = from.as_ref().b_rptr;
        (*block).b_wptr = from.as_ref().b_wptr;
        (*block).b_cont = dupmsg(from.as_ref().b_cont);
        block
    }
}

/// Another window onto the data of the first block.
pub fn share(message: &Message) -> Message {
    // SAFETY: memory for a block, which becomes one like that of the message.
    unsafe {
        let block: *mut mblk_t = kmem_alloc(size_of::<mblk_t>(), 0).cast();
        let from = message.as_ptr();
        (*block).b_datap = (*from).b_datap;
        (*(*block).b_datap).db_ref += 1;
        (*block).b_rptr = (*from).b_rptr;
        (*block).b_wptr = (*from).b_wptr;
        Message::from_raw(block).unwrap()
    }
}

/// Offload facts of a message.
pub fn facts_of_message(message: &Message) -> Facts {
    facts_of(message.as_ptr())
}

/// Sets them.
pub fn set_facts_of_message(message: &Message, facts: Facts) {
    change(message.as_ptr(), |it| *it = facts);
}

/// Sets nothing but flags.
pub fn set_facts(message: &Message, flags: u32) {
    set_facts_of_message(message, Facts { flags, ..Facts::default() });
}

/// Only the flags.
pub fn facts(message: &Message) -> u32 {
    facts_of_message(message).flags
}
