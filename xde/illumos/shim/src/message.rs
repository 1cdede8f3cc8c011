// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! STREAMS messages, msgb(9S) and datab(9S): who looks at which data, and that each message given
//! away or back is one.
//!
//! Each block and its data are memory of their own, exactly as long as was asked for, so that
//! whoever reads or writes beside them is found.

use crate::context::{May, begin};
use crate::kmem::{Kind, is_exhausted};
use crate::offload::Facts;
use crate::world::{World, with};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::c_uint;
use core::ptr::{null_mut, with_exposed_provenance_mut};
use illumos_sys_hdrs::oxide::stream::dblk_t;
use illumos_sys_hdrs::sys::stream::{M_DATA, mblk_t};

/// Data of one or more blocks.
struct Data {
    bytes: usize,
    size: usize,
    facts: Facts,
    windows: u8,
}

pub(crate) struct Messages {
    /// Each block, and its data.
    blocks: BTreeMap<usize, usize>,
    data: BTreeMap<usize, Data>,
}

impl Messages {
    pub(crate) const fn new() -> Self {
        Self { blocks: BTreeMap::new(), data: BTreeMap::new() }
    }

    pub(crate) fn left_over(&self, found: &mut Vec<String>) {
        found.extend(self.blocks.keys().map(|block| format!("message block {block:#x}")));
    }

    /// Offload facts of a message: they are with the data of its first block.
    pub(crate) fn facts(&mut self, message: *const mblk_t) -> Option<&mut Facts> {
        let data = self.blocks.get(&message.addr())?;
        self.data.get_mut(data).map(|data| &mut data.facts)
    }
}

fn block<'a>(at: usize) -> &'a mut mblk_t {
    // SAFETY: asked for with addresses of blocks that are known to live, and one at a time.
    unsafe { &mut *with_exposed_provenance_mut::<mblk_t>(at) }
}

fn data<'a>(at: usize) -> &'a mut dblk_t {
    // SAFETY: as above, for data.
    unsafe { &mut *with_exposed_provenance_mut::<dblk_t>(at) }
}

impl World {
    /// A block with room for `size` bytes.
    pub(crate) fn allocb(&mut self, size: usize) -> *mut mblk_t {
        let bytes = self.memory.take(size, Kind::Message);
        let (new, new_data) = (self.memory.take(size_of::<mblk_t>(), Kind::Message), {
            self.memory.take(size_of::<dblk_t>(), Kind::Message)
        });
        // SAFETY: fresh memory of these sizes; both structures may be all zeros.
        unsafe {
            with_exposed_provenance_mut::<mblk_t>(new).write_bytes(0, 1);
            with_exposed_provenance_mut::<dblk_t>(new_data).write_bytes(0, 1);
        }
        let base = with_exposed_provenance_mut::<u8>(bytes);
        let it = &mut data(new_data).base;
        (it.db_base, it.db_lim) = (base, base.wrapping_add(size));
        (it.db_ref, it.db_type) = (1, M_DATA);
        let it = block(new);
        (it.b_rptr, it.b_wptr) = (base, base);
        it.b_datap = with_exposed_provenance_mut(new_data);
        self.messages.blocks.insert(new, new_data);
        let facts = Facts::default();
        self.messages.data.insert(new_data, Data { bytes, size, facts, windows: 1 });
        with_exposed_provenance_mut(new)
    }

    /// Another window onto the data of a block. `None`: there are too many (`db_ref` is a byte).
    fn dupb(&mut self, from: &mblk_t) -> Option<*mut mblk_t> {
        let at = from.b_datap.addr();
        let known = self.messages.data.get_mut(&at)?;
        known.windows = known.windows.checked_add(1)?;
        data(at).base.db_ref = known.windows;
        let new = self.memory.take(size_of::<mblk_t>(), Kind::Message);
        // SAFETY: fresh memory of this size, which may be all zeros.
        unsafe { with_exposed_provenance_mut::<mblk_t>(new).write_bytes(0, 1) };
        let it = block(new);
        (it.b_rptr, it.b_wptr, it.b_datap) = (from.b_rptr, from.b_wptr, from.b_datap);
        self.messages.blocks.insert(new, at);
        Some(with_exposed_provenance_mut(new))
    }

    /// Every block of a message, in order, checked: each is alive and in the message once, and its
    /// window lies in its data. Stops at the first that is not.
    pub(crate) fn blocks_of(&mut self, who: &str, message: *const mblk_t) -> Vec<usize> {
        let (mut blocks, mut seen) = (Vec::new(), BTreeSet::new());
        let mut at = message.addr();
        while at != 0 {
            let Some(of) = self.messages.blocks.get(&at).copied() else {
                self.blame(format!("{who}: {at:#x} is no message block, or no longer"));
                return blocks;
            };
            if !seen.insert(at) {
                self.blame(format!("{who}: block {at:#x} is in its message twice"));
                return blocks;
            }
            if let Err(why) = self.check_block(at, of) {
                self.blame(format!("{who}: block {at:#x}: {why}"));
                return blocks;
            }
            blocks.push(at);
            at = block(at).b_cont.addr();
        }
        blocks
    }

    fn check_block(&self, at: usize, of: usize) -> Result<(), String> {
        let (it, Some(known)) = (block(at), self.messages.data.get(&of)) else {
            return Err("its data are gone".into());
        };
        let (read, write) = (it.b_rptr.addr(), it.b_wptr.addr());
        if it.b_datap.addr() != of {
            return Err("it points to other data than it was made with".into());
        }
        if !(known.bytes <= read && read <= write && write <= known.bytes + known.size) {
            return Err(format!("its window {read:#x} to {write:#x} is not inside of its data"));
        }
        let refs = data(of).base.db_ref;
        if refs != known.windows {
            return Err(format!("db_ref is {refs}, but {} look at the data", known.windows));
        }
        Ok(())
    }

    /// The same of packets: one without bytes is wrong.
    pub(crate) fn take_packets(&mut self, who: &str, chain: *mut mblk_t) -> Vec<*mut mblk_t> {
        let messages = self.take_chain(who, chain);
        for message in &messages {
            if self.bytes_of(who, *message).is_empty() {
                self.blame(format!("{who}: a packet without bytes"));
            }
        }
        messages
    }

    /// Every message of a chain, checked, each cut off from the next.
    pub(crate) fn take_chain(&mut self, who: &str, chain: *mut mblk_t) -> Vec<*mut mblk_t> {
        let (mut messages, mut seen) = (Vec::new(), BTreeSet::new());
        let mut next = chain;
        while !next.is_null() {
            let blocks = self.blocks_of(who, next);
            if blocks.is_empty() || !seen.insert(next.addr()) {
                self.blame(format!("{who}: the chain is broken at {:#x}", next.addr()));
                break;
            }
            if blocks.iter().skip(1).any(|at| !block(*at).b_next.is_null()) {
                self.blame(format!("{who}: a later block of a message has a successor"));
            }
            messages.push(next);
            next = core::mem::replace(&mut block(next.addr()).b_next, null_mut());
        }
        messages
    }

    /// Bytes of a message.
    pub(crate) fn bytes_of(&mut self, who: &str, message: *const mblk_t) -> Vec<u8> {
        let mut bytes = Vec::new();
        for at in self.blocks_of(who, message) {
            let (read, write) = (block(at).b_rptr, block(at).b_wptr);
            // SAFETY: the window was checked just now.
            bytes.extend(unsafe {
                core::slice::from_raw_parts(read, write.offset_from_unsigned(read))
            });
        }
        bytes
    }

    /// Frees a message.
    pub(crate) fn freemsg(&mut self, who: &str, message: *mut mblk_t) {
        for at in self.blocks_of(who, message) {
            if !block(at).b_next.is_null() {
                self.blame(format!("{who}: {at:#x} is freed while it is in a chain"));
            }
            let Some(of) = self.messages.blocks.remove(&at) else { continue };
            self.give_back(who, at, size_of::<mblk_t>(), Kind::Message);
            let Some(known) = self.messages.data.get_mut(&of) else { continue };
            known.windows -= 1;
            data(of).base.db_ref = known.windows;
            if known.windows == 0 {
                let (bytes, size) = (known.bytes, known.size);
                self.messages.data.remove(&of);
                self.give_back(who, bytes, size, Kind::Message);
                self.give_back(who, of, size_of::<dblk_t>(), Kind::Message);
            }
        }
    }

    /// A message of these bytes with facts, with so much room in front.
    pub(crate) fn message(&mut self, room: usize, bytes: &[u8], facts: Facts) -> *mut mblk_t {
        let new = self.allocb(room + bytes.len());
        let it = block(new.addr());
        it.b_rptr = it.b_rptr.wrapping_add(room);
        // SAFETY: the block has so much room.
        unsafe { it.b_rptr.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        it.b_wptr = it.b_rptr.wrapping_add(bytes.len());
        if let Some(place) = self.messages.facts(new) {
            *place = facts;
        }
        new
    }

    /// Another window onto each block, or `None` and nothing.
    fn dupmsg(&mut self, message: *mut mblk_t) -> Option<*mut mblk_t> {
        let (mut first, mut last) = (null_mut::<mblk_t>(), null_mut::<mblk_t>());
        for at in self.blocks_of("dupmsg", message) {
            let Some(new) = self.dupb(block(at)) else {
                self.freemsg("dupmsg", first);
                return None;
            };
            if last.is_null() {
                first = new;
            } else {
                block(last.addr()).b_cont = new;
            }
            last = new;
        }
        Some(first)
    }

    /// A copy that shares nothing, in blocks as they were.
    pub(crate) fn copymsg(&mut self, message: *mut mblk_t) -> *mut mblk_t {
        let (mut first, mut last) = (null_mut::<mblk_t>(), null_mut::<mblk_t>());
        for at in self.blocks_of("copymsg", message) {
            let (read, write) = (block(at).b_rptr, block(at).b_wptr);
            // SAFETY: the window was checked just now.
            let bytes =
                unsafe { core::slice::from_raw_parts(read, write.offset_from_unsigned(read)) };
            let facts = self.messages.facts(block(at)).copied().unwrap_or_default();
            let new = self.message(0, bytes, facts);
            if last.is_null() {
                first = new;
            } else {
                block(last.addr()).b_cont = new;
            }
            last = new;
        }
        first
    }
}

/// A chain of these messages, in order.
pub(crate) fn linked(messages: &[*mut mblk_t]) -> *mut mblk_t {
    for two in messages.windows(2) {
        block(two[0].addr()).b_next = two[1];
    }
    messages.first().copied().unwrap_or(null_mut())
}

exports! { allocb, freemsg, freemsgchain, dupmsg }

/// allocb(9F): any context; null when there is no memory. The priority means nothing.
extern "C" fn allocb(size: usize, _priority: c_uint) -> *mut mblk_t {
    with(|world| {
        let fails = begin(world, "allocb", May::Anywhere) || is_exhausted(world);
        if fails { null_mut() } else { world.allocb(size) }
    })
}

/// freemsg(9F): all blocks of one message; null is none.
extern "C" fn freemsg(message: *mut mblk_t) {
    with(|world| {
        begin(world, "freemsg", May::Anywhere);
        world.freemsg("freemsg", message);
    });
}

/// `sys/strsubr.h`: freemsg for each message of a chain.
extern "C" fn freemsgchain(chain: *mut mblk_t) {
    with(|world| {
        begin(world, "freemsgchain", May::Anywhere);
        for message in world.take_chain("freemsgchain", chain) {
            world.freemsg("freemsgchain", message);
        }
    });
}

/// dupmsg(9F): `db_ref` of each block grows; null when there is no memory.
extern "C" fn dupmsg(message: *mut mblk_t) -> *mut mblk_t {
    with(|world| {
        let fails = begin(world, "dupmsg", May::Anywhere) || is_exhausted(world);
        if fails { null_mut() } else { world.dupmsg(message).unwrap_or(null_mut()) }
    })
}

/// A message, for a test. It is lost, and found by [`crate::world::left_over`], unless it is given
/// to the module or freed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Message(pub(crate) *mut mblk_t);

// SAFETY: memory that any thread may use, one at a time.
unsafe impl Send for Message {}

impl Message {
    pub(crate) fn at(address: usize) -> Self {
        Self(with_exposed_provenance_mut(address))
    }

    /// The message as the module sees it.
    pub fn as_ptr(self) -> *mut mblk_t {
        self.0
    }
}

/// A message of one block with `room` bytes in front.
pub fn of(bytes: &[u8], room: usize) -> Message {
    Message(with(|world| world.message(room, bytes, Facts::default())))
}

/// A message of these pieces, each in a block of its own; pieces may be empty.
pub fn split(pieces: &[&[u8]], facts: Facts) -> Message {
    with(|world| {
        let blocks: Vec<_> = pieces.iter().map(|piece| world.message(0, piece, facts)).collect();
        for two in blocks.windows(2) {
            block(two[0].addr()).b_cont = two[1];
        }
        Message(blocks.first().copied().unwrap_or(null_mut()))
    })
}

/// A chain of these messages.
pub fn chain(messages: &[Message]) -> Message {
    let messages: Vec<_> = messages.iter().map(|message| message.0).collect();
    Message(linked(&messages))
}

/// The messages of a chain.
pub fn unchain(chain: *mut mblk_t) -> Vec<Message> {
    with(|world| world.take_chain("a test", chain)).into_iter().map(Message).collect()
}

/// Another message that looks at the same data.
pub fn share(message: Message) -> Message {
    Message(with(|world| world.dupmsg(message.0).unwrap_or(null_mut())))
}

/// Bytes of a message.
pub fn bytes(message: Message) -> Vec<u8> {
    with(|world| world.bytes_of("a test", message.0))
}

/// Offload facts of a message.
pub fn facts(message: Message) -> Facts {
    with(|world| world.messages.facts(message.0).copied().unwrap_or_default())
}

/// Sets them.
pub fn set_facts(message: Message, facts: Facts) {
    with(|world| {
        if let Some(place) = world.messages.facts(message.0) {
            *place = facts;
        }
    });
}

/// Frees a message.
pub fn free(message: Message) {
    with(|world| world.freemsg("a test", message.0));
}

/// Blocks that there are.
pub fn live() -> usize {
    with(|world| world.messages.blocks.len())
}
