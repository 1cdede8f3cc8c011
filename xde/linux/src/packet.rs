// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Packet buffers: one piece of memory each, with room in front, used again and again.
//!
//! A [`Packet`] goes back to the [`Pool`] it came from when it is dropped, wherever that happens.
//! [`HEAD_ROOM`] bytes are free in front of a new packet: enough for outer headers or a
//! virtio-net header, so that no frame is moved to make room. Packets stay on the thread of their
//! pool.
//!
//! Who reads does not know how long the next frame is. A [`Landing`] offers a small buffer with a
//! large one behind it, so that small frames end in small buffers, which stay in the processor's
//! caches, and large ones are whole at the price of [`SMALL_LEN`] bytes that are moved.

use opte::frame::{Frame, Offload};
use std::cell::RefCell;
use std::rc::Rc;

/// Free bytes in front of a new packet.
pub const HEAD_ROOM: usize = 128;
/// Longest packet: a super-frame of 64 KiB with its headers.
pub const MAX_LEN: usize = 66 * 1024;

/// Packets up to this length come from small buffers.
pub const SMALL_LEN: usize = 2048;
/// Free buffers that are kept of each size; more are given back to the system.
const MAX_SPARE: usize = 512;

/// Where buffers wait for their next packet.
#[derive(Clone, Debug, Default)]
pub struct Pool(Rc<Spare>);

#[derive(Debug, Default)]
struct Spare {
    small: RefCell<Vec<Box<[u8]>>>,
    large: RefCell<Vec<Box<[u8]>>>,
}

impl Pool {
    /// An empty packet with room for `len` bytes, at most [`MAX_LEN`].
    pub fn packet(&self, len: usize) -> Packet {
        let (spare, size) = if len <= SMALL_LEN {
            (&self.0.small, HEAD_ROOM + SMALL_LEN)
        } else {
            (&self.0.large, HEAD_ROOM + MAX_LEN)
        };
        let buffer = spare.borrow_mut().pop();
        let buffer = buffer.unwrap_or_else(|| vec![0; size].into_boxed_slice());
        Packet {
            buffer,
            start: HEAD_ROOM,
            end: HEAD_ROOM,
            offload: Offload::default(),
            pool: self.clone(),
        }
    }

    /// A packet that holds `bytes`, or as much of them as fits.
    pub fn packet_of(&self, bytes: &[u8]) -> Packet {
        let mut packet = self.packet(bytes.len());
        let room = packet.room_mut();
        let len = bytes.len().min(room.len());
        room[..len].copy_from_slice(&bytes[..len]);
        packet.set_len(len);
        packet
    }
}

/// A place for one frame whose length is not known before it is there.
#[derive(Debug)]
pub struct Landing {
    small: Packet,
    large: Packet,
}

impl Landing {
    /// Bytes that fit.
    pub const ROOM: usize = MAX_LEN;

    /// A place with buffers of `pool`.
    pub fn new(pool: &Pool) -> Self {
        Self { small: pool.packet(SMALL_LEN), large: pool.packet(MAX_LEN) }
    }

    /// Where to put the bytes: into the first piece as far as they fit, the rest into the second.
    pub fn pieces(&mut self) -> [&mut [u8]; 2] {
        let (small, large) = (self.small.room_mut(), self.large.room_mut());
        [small, large.get_mut(SMALL_LEN..).unwrap_or_default()]
    }

    /// The packet of the first `len` bytes. Other buffers take its place.
    pub fn take(&mut self, len: usize) -> Packet {
        let pool = self.small.pool.clone();
        if len <= SMALL_LEN {
            let mut packet = std::mem::replace(&mut self.small, pool.packet(SMALL_LEN));
            packet.set_len(len);
            return packet;
        }
        let mut packet = std::mem::replace(&mut self.large, pool.packet(MAX_LEN));
        let (to, from) = (packet.room_mut().get_mut(..SMALL_LEN), self.small.room_mut());
        if let (Some(to), Some(from)) = (to, from.get(..SMALL_LEN)) {
            to.copy_from_slice(from);
        }
        packet.set_len(len);
        packet
    }
}

/// Places for the frames of a burst, and the pool that they are refilled from.
#[derive(Debug)]
pub struct Landings {
    places: Vec<Landing>,
    pool: Pool,
}

impl Landings {
    /// So many places.
    pub fn new(pool: &Pool, count: usize) -> Self {
        Self { places: (0..count).map(|_| Landing::new(pool)).collect(), pool: pool.clone() }
    }

    /// The places.
    pub fn places(&mut self) -> &mut [Landing] {
        &mut self.places
    }

    /// Where buffers come from.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

/// A packet in a buffer.
#[derive(Debug)]
pub struct Packet {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    offload: Offload,
    pool: Pool,
}

impl Packet {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The bytes, to be edited.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// The packet's bytes and all that is free behind them.
    pub fn room_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..).unwrap_or_default()
    }

    /// Says how many bytes of [`Packet::room_mut`] are the packet; more than there are is all.
    pub fn set_len(&mut self, len: usize) {
        self.end = self.start.saturating_add(len).min(self.buffer.len());
    }

    /// Takes `len` bytes off the front. False, and nothing happens, if there are fewer.
    #[must_use]
    pub fn strip(&mut self, len: usize) -> bool {
        let enough = len <= self.end - self.start;
        if enough {
            self.start += len;
        }
        enough
    }

    /// Puts `bytes` in front. False, and nothing happens, if there is no room.
    #[must_use]
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(bytes.len()) else { return false };
        let Some(room) = self.buffer.get_mut(start..self.start) else { return false };
        room.copy_from_slice(bytes);
        self.start = start;
        true
    }

    /// Sets the facts that travel beside the bytes.
    pub fn set_offload(&mut self, offload: Offload) {
        self.offload = offload;
    }
}

impl Frame for Packet {
    fn head(&self) -> &[u8] {
        self.bytes()
    }

    fn head_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }

    fn len(&self) -> usize {
        self.end - self.start
    }

    fn offload(&self) -> Offload {
        self.offload
    }

    fn copy(&self) -> Option<Self> {
        let mut copy = self.pool.packet_of(self.bytes());
        copy.set_offload(self.offload);
        Some(copy)
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let is_small = buffer.len() == HEAD_ROOM + SMALL_LEN;
        let spare = if is_small { &self.pool.0.small } else { &self.pool.0.large };
        let mut spare = spare.borrow_mut();
        if spare.len() < MAX_SPARE {
            spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back() {
        let pool = Pool::default();
        let packet = pool.packet_of(b"abc");
        let place = packet.bytes().as_ptr();
        drop(packet);
        let again = pool.packet(3);
        assert_eq!(again.len(), 0);
        assert_eq!(again.bytes().as_ptr(), place);
        assert_eq!(pool.0.small.borrow().len(), 0);
    }

    #[test]
    fn front_grows_and_shrinks_within_its_room() {
        let pool = Pool::default();
        let mut packet = pool.packet_of(b"inner");
        assert!(packet.push(b"outer-"));
        assert_eq!(packet.bytes(), b"outer-inner");
        assert!(packet.strip(6));
        assert!(!packet.strip(6));
        assert_eq!(packet.bytes(), b"inner");
        assert!(packet.push(&[0; HEAD_ROOM]));
        assert!(!packet.push(&[0]));
        assert_eq!(packet.len(), HEAD_ROOM + 5);
    }

    #[test]
    fn what_lands_is_whole_in_the_smallest_buffer() {
        let pool = Pool::default();
        let mut landing = Landing::new(&pool);
        for len in [0, 1, SMALL_LEN, SMALL_LEN + 1, MAX_LEN, 7] {
            let sent: Vec<u8> = (0..len).map(|at| (at ^ (at >> 8)) as u8).collect();
            let [small, large] = landing.pieces();
            assert_eq!(small.len() + large.len(), Landing::ROOM);
            let first = len.min(small.len());
            small[..first].copy_from_slice(&sent[..first]);
            large[..len - first].copy_from_slice(&sent[first..]);
            let packet = landing.take(len);
            assert!(packet.bytes() == sent, "{len}");
            assert_eq!(packet.buffer.len() == HEAD_ROOM + SMALL_LEN, len <= SMALL_LEN);
        }
        assert_eq!(landing.take(usize::MAX).len(), MAX_LEN);
    }

    #[test]
    fn lengths_are_bounded() {
        let pool = Pool::default();
        let mut packet = pool.packet(MAX_LEN);
        assert_eq!(packet.room_mut().len(), MAX_LEN);
        packet.set_len(usize::MAX);
        assert_eq!(packet.len(), MAX_LEN);
        assert_eq!(pool.packet_of(&vec![7; MAX_LEN + 1]).len(), MAX_LEN);
    }
}
