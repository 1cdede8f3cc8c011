// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the engine needs of a packet buffer, and what it answers with.
//!
//! A host owns its buffers: the engine reads and edits the bytes of the inner headers in place,
//! and answers with a [`Rewrite`] that tells the host what to take off and to put in front.

use crate::checksum::Sum;
use crate::outer::Outer;
use opte_api::MacAddr;

/// Bytes at the front of a frame that a host must make contiguous (or the whole frame, if it is
/// shorter): room for the largest headers that [`crate::parse`] accepts.
pub const HEAD_LEN: usize = 512;

/// A frame of a host.
pub trait Frame {
    /// The contiguous front of the frame, exclusively ours: at least [`HEAD_LEN`] bytes, or all.
    fn head(&self) -> &[u8];
    /// The same bytes, to be edited.
    fn head_mut(&mut self) -> &mut [u8];
    /// Length of the whole frame in bytes, tail segments included.
    fn len(&self) -> usize;
    /// What the sender left to do, or what has been verified already.
    fn offload(&self) -> Offload;
    /// The sum of the bytes from `at` to the end. `None`: not all of them are in the head, and the
    /// host does not look behind it.
    fn sum(&self, at: usize) -> Option<Sum> {
        let head = self.head();
        let whole = head.get(at..).filter(|_| head.len() == self.len());
        whole.map(|bytes| Sum::default().bytes(bytes))
    }
    /// The same frame once more, for another receiver. `None`: the host has no buffer for it.
    fn copy(&self) -> Option<Self>
    where
        Self: Sized;

    /// Has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Facts that travel with a frame beside its bytes (virtio-net header, `mblk` flags).
/// Offsets count from the first byte of the inner Ethernet header.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Offload {
    /// State of the transport checksum.
    pub checksum: ChecksumState,
    /// The frame stands for several segments.
    pub segments: Option<Segmentation>,
}

/// State of a frame's transport checksum.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ChecksumState {
    /// The field holds the sum, as sent; nobody has verified it.
    #[default]
    Complete,
    /// The field holds the pseudo-header sum alone; who sends the frame must add the bytes from
    /// `start` to the end and store the sum at `start + offset`.
    Partial {
        /// Where the transport header begins.
        start: u16,
        /// Where the field is, from `start`.
        offset: u16,
    },
    /// The field holds the sum, and a device or a peer on this host has verified it.
    Verified,
}

/// A frame that is to be cut into segments of `size` payload bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segmentation {
    /// What is cut.
    pub kind: SegmentKind,
    /// Transport payload of each segment but the last, in bytes.
    pub size: u16,
}

/// Transport of a frame that is to be cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SegmentKind {
    /// TCP over either family: sequence numbers go on, PSH and FIN stay for the last.
    Tcp,
    /// UDP over either family: each segment is a datagram.
    Udp,
}

/// What a host does with a forwarded frame before it sends it on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rewrite {
    /// Bytes to take off the front: the outer headers of a frame from the underlay.
    pub strip: u16,
    /// Outer headers to put in front: the frame leaves for another host.
    pub outer: Option<Outer>,
}

/// A frame that lies in one piece of memory, for tests, tools and simple hosts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FlatFrame {
    /// The bytes.
    pub bytes: alloc::vec::Vec<u8>,
    /// The facts beside the bytes.
    pub offload: Offload,
}

impl FlatFrame {
    /// A frame without offload facts.
    pub fn new(bytes: impl Into<alloc::vec::Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), offload: Offload::default() }
    }

    /// The frame as it leaves after `rewrite`, without outer MAC addresses, except that of a
    /// group.
    pub fn rewritten(&self, rewrite: &Rewrite) -> alloc::vec::Vec<u8> {
        let inner = self.bytes.get(usize::from(rewrite.strip)..).unwrap_or_default();
        let mut out = alloc::vec::Vec::with_capacity(inner.len() + Outer::MAX_LEN);
        if let Some(outer) = &rewrite.outer {
            out.extend_from_slice(outer.headers(inner.len()).as_slice());
            let group = outer.dst.is_multicast().then(|| MacAddr::from_ipv6_group(outer.dst));
            let mac = group.unwrap_or_default();
            out.iter_mut().zip(mac.0).for_each(|(to, from)| *to = from);
        }
        out.extend_from_slice(inner);
        out
    }
}

impl Frame for FlatFrame {
    fn head(&self) -> &[u8] {
        &self.bytes
    }

    fn head_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn offload(&self) -> Offload {
        self.offload
    }

    fn copy(&self) -> Option<Self> {
        Some(self.clone())
    }
}
