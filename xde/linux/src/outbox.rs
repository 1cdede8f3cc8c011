// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Frames on their way to the underlay, gathered during a burst and sent together.
//!
//! [`Outbox::put`] does everything that is decided about a frame before it leaves: super-frames
//! are cut, checksums finished, outer headers written. What remains is a list of [`Datagram`]s,
//! each a header and a body that lie where they are, for an underlay to send.

use crate::counters::{Counter, Counters};
use crate::packet::Packet;
use crate::segment::{self, Cutter};
use crate::segment_size;
use opte::frame::{ChecksumState, Frame, Rewrite};
use opte::outer::Outer;
use std::io::IoSlice;
use std::net::Ipv6Addr;
use std::ops::Range;

/// A Geneve datagram to send.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Outer source address.
    pub src: Ipv6Addr,
    /// Outer destination address.
    pub dst: Ipv6Addr,
    /// Outer source port: entropy of the flow.
    pub source_port: u16,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Bytes from the Geneve header on.
    pub len: usize,
    /// Headers of a segment, among all headers; empty if the body is all.
    header: Range<usize>,
    /// Which frame the body is in.
    frame: usize,
    /// The body in that frame.
    body: Range<usize>,
}

/// Frames and headers of the datagrams that wait.
#[derive(Debug, Default)]
pub struct Outbox {
    datagrams: Vec<Datagram>,
    headers: Vec<u8>,
    frames: Vec<Packet>,
    /// Bytes of the largest datagram, from the Geneve header on; zero if that is not known.
    largest: usize,
}

impl Outbox {
    /// Says how large a datagram may be, from the Geneve header on; zero if that is not known.
    pub fn set_largest(&mut self, bytes: usize) {
        self.largest = bytes;
    }

    /// Takes a frame that the engine has sent to another host.
    pub fn put(&mut self, mut frame: Packet, rewrite: &Rewrite, counters: &Counters) {
        let Some(outer) = rewrite.outer.filter(|_| frame.strip(rewrite.strip.into())) else {
            return counters.count(Counter::BadRewrite);
        };
        let put = match frame.offload().segments {
            Some(_) => self.put_segments(frame, &outer),
            None => self.put_whole(frame, &outer),
        };
        if let Err(counter) = put {
            counters.count(counter);
        }
    }

    fn put_whole(&mut self, mut frame: Packet, outer: &Outer) -> Result<(), Counter> {
        if let ChecksumState::Partial { start, offset } = frame.offload().checksum {
            segment::finish_checksum(frame.bytes_mut(), start.into(), offset.into())
                .ok_or(Counter::BadRewrite)?;
        }
        if !frame.push(outer.headers(frame.len()).geneve()) {
            return Err(Counter::BadRewrite);
        }
        let body = 0..frame.len();
        self.push(outer, 0..0, body);
        self.frames.push(frame);
        Ok(())
    }

    fn put_segments(&mut self, frame: Packet, outer: &Outer) -> Result<(), Counter> {
        let segments = frame.offload().segments.ok_or(Counter::Uncuttable)?;
        let larger = segment_size::enlarge(frame.bytes(), segments, outer, self.largest);
        let (segments, outer) = larger.unwrap_or((segments, *outer));
        let cutter = Cutter::new(frame.bytes(), segments).map_err(|_| Counter::Uncuttable)?;
        // A Geneve header does not tell the length of what follows (RFC 8926, section 3.4).
        let outer_headers = outer.headers(frame.len());
        for index in 0..cutter.count() {
            let body = cutter.body(index);
            let start = self.headers.len();
            self.headers.extend_from_slice(outer_headers.geneve());
            cutter.write_header(index, &mut self.headers);
            self.push(&outer, start..self.headers.len(), body);
        }
        self.frames.push(frame);
        Ok(())
    }

    /// Adds a datagram whose body is in the frame that is pushed next.
    fn push(&mut self, outer: &Outer, header: Range<usize>, body: Range<usize>) {
        self.datagrams.push(Datagram {
            src: outer.src,
            dst: outer.dst,
            source_port: outer.source_port,
            traffic_class: outer.traffic_class,
            len: header.len() + body.len(),
            header,
            frame: self.frames.len(),
            body,
        });
    }

    /// What waits, in order.
    pub fn datagrams(&self) -> &[Datagram] {
        &self.datagrams
    }

    /// The pieces of memory that a datagram is made of: its headers, if they lie apart, and its
    /// body.
    pub fn slices(&self, datagram: &Datagram) -> impl Iterator<Item = IoSlice<'_>> {
        let header = self.headers.get(datagram.header.clone());
        let frame = self.frames.get(datagram.frame).map(Packet::bytes);
        let body = frame.and_then(|bytes| bytes.get(datagram.body.clone()));
        [header, body].into_iter().flatten().filter(|bytes| !bytes.is_empty()).map(IoSlice::new)
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Forgets everything; the frames' buffers go back to their pool.
    pub fn clear(&mut self) {
        self.datagrams.clear();
        self.headers.clear();
        self.frames.clear();
    }
}

#[cfg(test)]
pub mod samples {
    //! Outer headers for the tests of this crate.

    use super::*;
    use opte::outer::GeneveOptions;
    use opte_api::Vni;

    /// Outer headers to `fd00::dst`.
    pub fn outer(dst: u16, source_port: u16) -> Outer {
        Outer {
            src: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
            dst: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, dst),
            source_port,
            vni: Vni::new(99).unwrap(),
            options: GeneveOptions::new(&[1, 0x29, 0, 0]).unwrap(),
            traffic_class: 0,
        }
    }

    /// The rewrite that sends a frame there.
    pub fn rewrite(dst: u16, source_port: u16) -> Rewrite {
        Rewrite { strip: 0, outer: Some(outer(dst, source_port)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inner::{Family, TCP, samples as frames};
    use crate::packet::Pool;
    use opte::frame::{Offload, SegmentKind, Segmentation};

    fn bytes(outbox: &Outbox, datagram: &Datagram) -> Vec<u8> {
        outbox.slices(datagram).flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn whole_frames_and_segments_follow_each_other() {
        let (pool, counters) = (Pool::default(), Counters::default());
        let mut outbox = Outbox::default();
        outbox.put(pool.packet_of(b"0123456789abcdef"), &samples::rewrite(2, 7), &counters);
        let frame = frames::ip(Family::V6, TCP, &frames::tcp(0, 0, &[7; 250]));
        let mut packet = pool.packet_of(&frame);
        packet.set_offload(Offload {
            checksum: ChecksumState::Partial { start: 54, offset: 16 },
            segments: Some(Segmentation { kind: SegmentKind::Tcp, size: 100 }),
        });
        outbox.put(packet, &samples::rewrite(3, 8), &counters);

        let sent = outbox.datagrams();
        let headers = 12 + 54 + 32;
        let lens: Vec<usize> = sent.iter().map(|datagram| datagram.len).collect();
        assert_eq!(lens, [28, headers + 100, headers + 100, headers + 50]);
        let geneve = samples::outer(2, 7).headers(0);
        for datagram in sent {
            let bytes = bytes(&outbox, datagram);
            assert_eq!(bytes.len(), datagram.len);
            assert_eq!(&bytes[..12], geneve.geneve());
        }
        assert_eq!(&bytes(&outbox, &sent[0])[12..], b"0123456789abcdef");
        assert_eq!(sent[3].dst, samples::outer(3, 8).dst);
        assert!(counters.all().iter().all(|(_, value)| *value == 0));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let (pool, counters) = (Pool::default(), Counters::default());
        let mut outbox = Outbox::default();
        let too_much = Rewrite { strip: 5, ..samples::rewrite(2, 7) };
        outbox.put(pool.packet_of(b"1234"), &too_much, &counters);
        outbox.put(pool.packet_of(b"1234"), &Rewrite::default(), &counters);
        let mut packet = pool.packet_of(&[0; 60]);
        let segments = Some(Segmentation { kind: SegmentKind::Udp, size: 10 });
        packet.set_offload(Offload { segments, ..Offload::default() });
        outbox.put(packet, &samples::rewrite(2, 7), &counters);
        assert!(outbox.is_empty());
        assert_eq!(counters.value(Counter::BadRewrite), 2);
        assert_eq!(counters.value(Counter::Uncuttable), 1);
    }
}
