// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! STREAMS messages that are ours, and chains of them.
//!
//! A [`Message`] is one packet: blocks linked by `b_cont`, each a window onto data that others may
//! look at, too. Whoever writes asks first whether the data are ours alone (`db_ref`), and copies
//! them if not.

use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};
use core::slice::{from_raw_parts, from_raw_parts_mut};
use illumos_sys_hdrs::sys::mac_offload::mac_hcksum_clone;
use illumos_sys_hdrs::sys::stream::{BPRI_MED, allocb, dupmsg, freemsg, mblk_t};
use illumos_sys_hdrs::sys::strsubr::freemsgchain;
use opte::checksum::Sum;
use opte::outer::Outer;

/// Room in front of the bytes of each block that is made here: outer headers fit, rounded up so
/// that the IP header behind an Ethernet header is aligned to 4.
pub const HEAD_ROOM: usize = Outer::MAX_LEN.next_multiple_of(4) + 2;

/// There is no memory for a block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoMemory;

/// A message. Freed when it is dropped. It is in no chain: `b_next` is null.
#[derive(Debug)]
pub struct Message(NonNull<mblk_t>);

// SAFETY: a message is memory without a tie to a thread, and this is its only owner.
unsafe impl Send for Message {}

impl Message {
    /// Takes over a message.
    ///
    /// # Safety
    ///
    /// It is the caller's, and in no chain.
    pub unsafe fn from_raw(message: *mut mblk_t) -> Option<Self> {
        NonNull::new(message).map(Self)
    }

    /// Gives it away.
    pub fn into_raw(self) -> *mut mblk_t {
        let message = self.0.as_ptr();
        core::mem::forget(self);
        message
    }

    /// The message for calls that look at it or set its offload facts.
    pub fn as_ptr(&self) -> *mut mblk_t {
        self.0.as_ptr()
    }

    /// A message of these bytes, with [`HEAD_ROOM`] in front.
    pub fn of(bytes: &[u8]) -> Result<Self, NoMemory> {
        let message = Self::empty(HEAD_ROOM, bytes.len())?;
        // SAFETY: the block has so much room behind `b_rptr`, and nobody else knows it.
        unsafe {
            let block = &mut *message.0.as_ptr();
            block.b_wptr.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            block.b_wptr = block.b_wptr.add(bytes.len());
        }
        Ok(message)
    }

    /// An empty message that begins `front` bytes into a block with `room` more.
    fn empty(front: usize, room: usize) -> Result<Self, NoMemory> {
        // SAFETY: in any context.
        let block = NonNull::new(unsafe { allocb(front + room, BPRI_MED) }).ok_or(NoMemory)?;
        // SAFETY: a fresh block of at least `front + room` bytes, and ours.
        unsafe {
            let block = &mut *block.as_ptr();
            block.b_rptr = block.b_rptr.add(front);
            block.b_wptr = block.b_rptr;
        }
        Ok(Self(block))
    }

    fn blocks(&self) -> Blocks<'_> {
        Blocks { next: self.0.as_ptr(), _message: PhantomData }
    }

    /// Bytes in all blocks.
    pub fn len(&self) -> usize {
        self.blocks().map(<[u8]>::len).sum()
    }

    /// Has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the first block.
    pub fn first(&self) -> &[u8] {
        self.blocks().next().unwrap_or_default()
    }

    /// The same bytes, to be edited, if nobody else looks at them.
    pub fn first_mut(&mut self) -> Option<&mut [u8]> {
        // SAFETY: our block; `b_rptr` and `b_wptr` bound its bytes, which nobody else refers to at
        // `db_ref` 1, and which are borrowed through `&mut self`.
        unsafe {
            let block = self.0.as_ref();
            let len = block.b_wptr.addr().saturating_sub(block.b_rptr.addr());
            self.is_exclusive().then(|| from_raw_parts_mut(block.b_rptr, len))
        }
    }

    /// Nobody else looks at the data of the first block.
    pub fn is_exclusive(&self) -> bool {
        // SAFETY: each block has data as long as it lives. Others may let go of the data meanwhile,
        // so the answer may be needlessly false; it is never wrongly true, since only we could
        // share them.
        unsafe { (&raw const (*self.0.as_ref().b_datap).db_ref).read_volatile() == 1 }
    }

    /// Copies bytes from `at` on into `to`; answers how many there were.
    pub fn copy_out(&self, mut at: usize, to: &mut [u8]) -> usize {
        let mut done = 0;
        for block in self.blocks() {
            let from = block.get(at..).unwrap_or_default();
            at = at.saturating_sub(block.len());
            let room = to.get_mut(done..).unwrap_or_default();
            let count = from.len().min(room.len());
            room.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            done += count;
        }
        done
    }

    /// The one's-complement sum of the bytes from `at` to the end.
    pub fn sum(&self, mut at: usize) -> Sum {
        let (mut sum, mut is_odd) = (Sum::default(), false);
        for block in self.blocks() {
            let bytes = block.get(at..).unwrap_or_default();
            at = at.saturating_sub(block.len());
            let part = Sum::default().bytes(bytes).folded();
            // Words of a block that begins at an odd place have their bytes the other way round
            // (RFC 1071, section 2 (B)).
            sum = sum.word(if is_odd { part.swap_bytes() } else { part });
            is_odd ^= bytes.len() % 2 == 1;
        }
        sum
    }

    /// The same packet with its first `len` bytes, or all if there are fewer, in a block of our
    /// own, with [`HEAD_ROOM`] in front. Later bytes stay where they are. Offload facts are kept.
    pub fn pulled_up(self, len: usize) -> Result<Self, NoMemory> {
        let len = len.min(self.len());
        let new = Self::empty(HEAD_ROOM, len)?;
        // SAFETY: both are messages; the new one is ours alone.
        unsafe { mac_hcksum_clone(self.as_ptr(), new.as_ptr()) };
        // SAFETY: the block has room for `len` bytes behind `b_rptr`, and nobody else knows it.
        let room = unsafe { from_raw_parts_mut((*new.as_ptr()).b_rptr, len) };
        let copied = self.copy_out(0, room);
        // SAFETY: so many bytes were written; `rest` is what is left of our own message, or null.
        unsafe {
            let block = &mut *new.as_ptr();
            block.b_wptr = block.b_rptr.add(copied);
            block.b_cont = self.without_front(copied);
        }
        Ok(new)
    }

    /// The same packet once more, with the bytes of the first block in one of its own. Later bytes
    /// are shared.
    pub fn copied_front(&self) -> Result<Self, NoMemory> {
        // SAFETY: a message of ours; what it answers is ours, too, and in no chain.
        let copy = unsafe { Self::from_raw(dupmsg(self.as_ptr())) }.ok_or(NoMemory)?;
        let len = copy.first().len();
        copy.pulled_up(len)
    }

    /// Takes bytes off the front, frees the blocks that are empty then, and gives away the rest:
    /// null if nothing is left.
    fn without_front(mut self, mut len: usize) -> *mut mblk_t {
        loop {
            // SAFETY: our own block, which nobody else refers to (others look at the data alone).
            let block = unsafe { self.0.as_mut() };
            let there = block.b_wptr.addr().saturating_sub(block.b_rptr.addr());
            if len < there {
                // SAFETY: stays before `b_wptr`.
                block.b_rptr = unsafe { block.b_rptr.add(len) };
                return self.into_raw();
            }
            len -= there;
            let next = block.b_cont;
            block.b_cont = null_mut();
            // SAFETY: the rest of our own message, in no chain.
            match unsafe { Self::from_raw(next) } {
                Some(rest) => self = rest,
                None => return null_mut(),
            }
        }
    }

    /// Takes bytes off the front of the first block. False, and nothing happens, if it has fewer.
    #[must_use]
    pub fn strip(&mut self, len: usize) -> bool {
        let enough = len <= self.first().len();
        if enough {
            // SAFETY: our own block, and its window shrinks within its bounds.
            unsafe {
                let block = self.0.as_mut();
                block.b_rptr = block.b_rptr.add(len);
            }
        }
        enough
    }

    /// Puts bytes in front: into the room of the first block if nobody else looks at it, else in a
    /// block of their own (answer: true), which gets the offload facts.
    pub fn pushed(mut self, bytes: &[u8]) -> Result<(Self, bool), NoMemory> {
        // SAFETY: our own block and its data; the room is from `db_base` to `b_rptr`, and ours to
        // write at `db_ref` 1.
        unsafe {
            let block = self.0.as_mut();
            let room = block.b_rptr.addr().saturating_sub((*block.b_datap).db_base.addr());
            if (*block.b_datap).db_ref == 1 && bytes.len() <= room {
                block.b_rptr = block.b_rptr.sub(bytes.len());
                block.b_rptr.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                return Ok((self, false));
            }
        }
        let front = Self::of(bytes)?;
        // SAFETY: both are messages of ours, in no chain; the second becomes the first one's rest.
        unsafe {
            mac_hcksum_clone(self.as_ptr(), front.as_ptr());
            (*front.as_ptr()).b_cont = self.into_raw();
        }
        Ok((front, true))
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: ours, and in no chain.
        unsafe { freemsg(self.0.as_ptr()) };
    }
}

/// The bytes of each block.
struct Blocks<'a> {
    next: *mut mblk_t,
    _message: PhantomData<&'a Message>,
}

impl<'a> Iterator for Blocks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        // SAFETY: a block of the message, which is borrowed; `b_rptr` and `b_wptr` bound its bytes.
        // Data that others look at, too, are not written by them either, by the rules of STREAMS.
        unsafe {
            let block = self.next.as_ref()?;
            self.next = block.b_cont;
            let len = block.b_wptr.addr().saturating_sub(block.b_rptr.addr());
            Some(from_raw_parts(block.b_rptr, len))
        }
    }
}

/// Messages linked by `b_next`. Freed when it is dropped.
#[derive(Debug)]
pub struct Chain {
    first: *mut mblk_t,
    last: *mut mblk_t,
    count: u32,
}

// SAFETY: as for a message.
unsafe impl Send for Chain {}

impl Default for Chain {
    fn default() -> Self {
        Self { first: null_mut(), last: null_mut(), count: 0 }
    }
}

impl Chain {
    /// Takes over a chain; null is an empty one. Its messages are not counted.
    ///
    /// # Safety
    ///
    /// All of it is the caller's.
    pub unsafe fn from_raw(first: *mut mblk_t) -> Self {
        let mut last = first;
        // SAFETY: a chain ends with null.
        while let Some(next) = unsafe { last.as_ref() }.map(|message| message.b_next) {
            if next.is_null() {
                break;
            }
            last = next;
        }
        Self { first, last, count: 0 }
    }

    /// Gives it away.
    pub fn into_raw(self) -> *mut mblk_t {
        let first = self.first;
        core::mem::forget(self);
        first
    }

    /// Its last message; null if it is empty.
    pub fn last(&self) -> *mut mblk_t {
        self.last
    }

    /// Has no message.
    pub fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Messages that were added here, not counting those that were taken over.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Adds a message at the end.
    pub fn push(&mut self, message: Message) {
        let message = message.into_raw();
        // SAFETY: the last message is ours, and so is the new one, whose `b_next` is null.
        match unsafe { self.last.as_mut() } {
            Some(last) => last.b_next = message,
            None => self.first = message,
        }
        self.last = message;
        self.count += 1;
    }

    /// Takes the first message.
    pub fn pop(&mut self) -> Option<Message> {
        // SAFETY: ours.
        let first = unsafe { self.first.as_mut() }?;
        self.first = core::mem::replace(&mut first.b_next, null_mut());
        if self.first.is_null() {
            self.last = null_mut();
        }
        self.count = self.count.saturating_sub(1);
        // SAFETY: ours, and cut off from the chain.
        unsafe { Message::from_raw(first) }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        if !self.first.is_null() {
            // SAFETY: all of it is ours.
            unsafe { freemsgchain(self.first) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{self, share, split};
    use illumos_sys_hdrs::sys::stream::freeb;
    use std::vec::Vec;

    /// Frees the first block of a message and answers the rest.
    fn without_first_block(message: Message) -> Option<Message> {
        let block = message.into_raw();
        // SAFETY: a block of ours; what follows it stays ours.
        unsafe {
            let rest = (*block).b_cont;
            freeb(block);
            Message::from_raw(rest)
        }
    }

    fn bytes(message: &Message) -> Vec<u8> {
        let mut all = std::vec![0; message.len()];
        assert_eq!(message.copy_out(0, &mut all), all.len());
        all
    }

    #[test]
    fn pulling_up_keeps_bytes_and_facts_wherever_the_message_is_cut() {
        let _alone = kernel::alone();
        let before = kernel::bytes_out();
        let data: Vec<u8> = (0..40).collect();
        for first in 0..=40 {
            for second in 0..=40 - first {
                for len in [0, 1, 20, 40, 50] {
                    let message = split(&data, &[first, second]);
                    kernel::set_facts(&message, 7);
                    let message = message.pulled_up(len).unwrap();
                    assert_eq!(bytes(&message), data);
                    assert!(message.first().len() >= len.min(40) && message.is_exclusive());
                    assert_eq!(kernel::facts(&message), 7);
                }
            }
        }
        assert_eq!(kernel::bytes_out(), before);
    }

    #[test]
    fn shared_data_are_not_written() {
        let _alone = kernel::alone();
        let mut message = split(b"abcdef", &[6]);
        let other = share(&message);
        assert_eq!(message.first_mut(), None);
        let (pushed, apart) = message.pushed(b"xy").unwrap();
        assert!(apart);
        assert_eq!((bytes(&pushed), bytes(&other)), (b"xyabcdef".to_vec(), b"abcdef".to_vec()));
        let mut message = pushed.pulled_up(8).unwrap();
        message.first_mut().unwrap()[2] = b'!';
        assert_eq!((bytes(&message), bytes(&other)), (b"xy!bcdef".to_vec(), b"abcdef".to_vec()));
    }

    #[test]
    fn a_copy_has_a_front_of_its_own() {
        let _alone = kernel::alone();
        let before = kernel::bytes_out();
        let mut message = split(b"abcdef", &[4]);
        let mut copy = message.copied_front().unwrap();
        message.first_mut().unwrap()[0] = b'1';
        copy.first_mut().unwrap()[0] = b'2';
        assert_eq!((bytes(&message), bytes(&copy)), (b"1bcdef".to_vec(), b"2bcdef".to_vec()));
        drop((message, copy));
        assert_eq!(kernel::bytes_out(), before);
    }

    #[test]
    fn the_front_grows_and_shrinks_within_its_room() {
        let _alone = kernel::alone();
        let message = Message::of(b"inner").unwrap();
        let (mut message, apart) = message.pushed(&[1; HEAD_ROOM]).unwrap();
        assert!(!apart && message.strip(HEAD_ROOM - 1) && !message.strip(7));
        assert_eq!(bytes(&message), b"\x01inner");
        let (message, apart) = message.pushed(&[2; HEAD_ROOM]).unwrap();
        assert!(apart);
        assert_eq!(bytes(&without_first_block(message).unwrap()), b"\x01inner");
    }

    #[test]
    fn sums_do_not_depend_on_where_blocks_end() {
        let _alone = kernel::alone();
        let data: Vec<u8> = (0..61_u8).map(|n| n.wrapping_mul(37)).collect();
        for at in [0, 1, 2, 17] {
            let whole = Sum::default().bytes(&data[at..]).folded();
            for first in 0..61 {
                let message = split(&data, &[first, (61 - first) / 2]);
                assert_eq!(message.sum(at).folded(), whole, "{at} {first}");
            }
        }
    }

    #[test]
    fn chains_give_back_what_they_were_given_in_order() {
        let _alone = kernel::alone();
        let before = kernel::bytes_out();
        let mut chain = Chain::default();
        (0..3_u8).for_each(|n| chain.push(Message::of(&[n]).unwrap()));
        assert_eq!((chain.count(), chain.pop().unwrap().first()), (3, &[0_u8][..]));
        // SAFETY: given away by the line itself.
        let mut again = unsafe { Chain::from_raw(chain.into_raw()) };
        assert_eq!(again.pop().unwrap().first(), [1]);
        again.push(Message::of(&[9]).unwrap());
        assert_eq!(again.pop().unwrap().first(), [2]);
        assert!(!again.is_empty());
        drop(again);
        assert_eq!(kernel::bytes_out(), before);
    }
}
