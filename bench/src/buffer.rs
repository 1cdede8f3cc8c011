// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A frame with room in front, so that outer headers are written in place.

use opte::frame::{Frame, Offload, Rewrite};

/// Room in front of each frame: enough for the longest outer headers.
pub const HEAD_ROOM: usize = 128;

/// Bytes in one piece of memory that begin somewhere behind its start.
#[derive(Clone, Debug, Default)]
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    offload: Offload,
}

impl Buffer {
    /// A frame of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let mut buffer = Self::default();
        buffer.fill(bytes);
        buffer
    }

    /// Takes other bytes. Allocates only if there was never a frame so long.
    pub fn fill(&mut self, bytes: &[u8]) {
        self.memory.resize(HEAD_ROOM, 0);
        self.memory.extend_from_slice(bytes);
        self.start = HEAD_ROOM;
    }

    /// The frame.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    /// The frame, to be edited.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }

    /// Makes the frame `N` bytes longer in front; answers the whole.
    #[inline]
    pub fn grow<const N: usize>(&mut self) -> &mut [u8] {
        self.start -= N;
        &mut self.memory[self.start..]
    }

    /// Takes bytes off the front.
    #[inline]
    pub fn strip(&mut self, len: usize) {
        self.start += len;
    }

    /// Does what the engine tells its host to do with a forwarded frame.
    #[inline]
    pub fn rewrite(&mut self, rewrite: &Rewrite) {
        self.strip(rewrite.strip.into());
        if let Some(outer) = &rewrite.outer {
            let len = self.len();
            let room = self.memory[..self.start].last_chunk_mut().expect("room in front");
            outer.write(room, len);
            self.start -= outer.len();
        }
    }
}

impl Frame for Buffer {
    #[inline]
    fn head(&self) -> &[u8] {
        self.bytes()
    }

    #[inline]
    fn head_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }

    #[inline]
    fn len(&self) -> usize {
        self.memory.len() - self.start
    }

    #[inline]
    fn offload(&self) -> Offload {
        self.offload
    }

    fn copy(&self) -> Option<Self> {
        Some(self.clone())
    }
}
