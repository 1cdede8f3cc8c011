// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Carries packets between the outside link and the underlay, as the boundary decides.

use super::outside::{Arrival, OutsideLink};
use crate::counters::{Counter, Counters};
use crate::outbox::Outbox;
use crate::packet::{Landings, Packet};
use crate::port::link::Sent;
use crate::segment::{Cutter, finish_checksum};
use crate::sys::raw;
use crate::underlay::Underlay;
use opte::frame::{ChecksumState, Frame, Rewrite};
use opte::host::{Host, Moment};
use opte::outer::Outer;
use opte::wire::ETHER_LEN;
use opte_api::MacAddr;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;
use xde::boundary::{Answer, Boundary, BoundaryDrop, Verdict};
use xde::host::UnderlayShape;

/// Bytes that the underlay takes in front of an inner IP packet: IPv6, UDP, Geneve with its
/// option, Ethernet.
const OVERHEAD: u32 = 40 + 8 + 8 + 4 + 14;

/// Everything that a packet meets on its way through a boundary host.
pub struct Carrier<H: Host, U> {
    /// Who decides.
    pub boundary: Arc<Boundary<H>>,
    /// The outside.
    pub outside: OutsideLink,
    /// Link address of the outside interface.
    pub outside_mac: MacAddr,
    /// The hypervisor hosts.
    pub underlay: U,
    /// Largest packet that the underlay takes, if that is known.
    pub underlay_mtu: Option<u32>,
    /// What the host counts beside the boundary.
    pub counters: Arc<Counters>,
    /// Buffers.
    pub landings: Landings,
    /// What is to leave over the underlay.
    pub outbox: Outbox,
}

impl<H: Host, U: Underlay> Carrier<H, U> {
    /// Takes a burst from the outside.
    pub fn outside_ready(&mut self, now: Moment) -> io::Result<()> {
        let mut arrivals = Vec::with_capacity(raw::FEW);
        let received = match self.outside.receive(&mut self.landings, &mut arrivals) {
            Err(error) if is_passing(&error) => return Ok(()),
            other => other?,
        };
        for _ in arrivals.len()..received {
            self.count(BoundaryDrop::Truncated);
        }
        for Arrival { mut frame, header } in arrivals {
            let verdict = self.boundary.from_outside(frame.bytes_mut(), now);
            if matches!(verdict, Verdict::Encapsulate { .. }) {
                let Ok(offload) = header.check(frame.bytes_mut()) else {
                    self.count(BoundaryDrop::Offload);
                    continue;
                };
                frame.set_offload(offload);
            }
            self.carry_out(verdict, frame, now);
            self.carry_waited(now);
        }
        self.flush_outside();
        self.underlay.send(&mut self.outbox, &self.counters);
        Ok(())
    }

    /// Takes a burst from the underlay.
    pub fn underlay_ready(&mut self, now: Moment) {
        let mut frames: Vec<((Ipv6Addr, u8), Packet)> = Vec::new();
        self.underlay.receive(&mut self.landings, &self.counters, &mut |shape, burst| {
            if let UnderlayShape::Geneve { src, traffic_class, .. } = shape {
                frames.extend(burst.drain(..).map(|frame| ((src, traffic_class), frame)));
            }
        });
        for (source, mut frame) in frames {
            let verdict = self.boundary.from_underlay(source, frame.bytes_mut(), now);
            self.carry_out(verdict, frame, now);
            self.carry_waited(now);
        }
        self.flush_outside();
        self.underlay.send(&mut self.outbox, &self.counters);
    }

    /// Fragments that have waited come anew, behind the first one of their datagram.
    fn carry_waited(&mut self, now: Moment) {
        while let Some(waited) = self.boundary.waited() {
            let mut frame = self.landings.pool().packet_of(&waited.bytes);
            let verdict = match waited.from {
                None => self.boundary.from_outside(frame.bytes_mut(), now),
                Some(source) => self.boundary.from_underlay(source, frame.bytes_mut(), now),
            };
            self.carry_out(verdict, frame, now);
        }
    }

    fn carry_out(&mut self, verdict: Verdict, frame: Packet, now: Moment) {
        match verdict {
            Verdict::Held | Verdict::Ignore | Verdict::Drop(_) => {}
            Verdict::Answer(answer) => self.answer(answer),
            Verdict::Encapsulate { outer, inner } => self.encapsulate(outer, inner, frame, now),
            Verdict::Route { destination, packet } => self.route(destination, packet, frame, now),
        }
    }

    fn encapsulate(&mut self, outer: Outer, inner: Range<usize>, mut frame: Packet, now: Moment) {
        frame.set_len(inner.end);
        if !frame.strip(inner.start) {
            return self.count(BoundaryDrop::Offload);
        }
        if let Some(mtu) = self.underlay_mtu.and_then(|mtu| mtu.checked_sub(OVERHEAD))
            && packet_len(&frame) > mtu
        {
            let packet = frame.bytes().get(ETHER_LEN..).unwrap_or_default();
            return self.too_big(packet, mtu, now);
        }
        let rewrite = Rewrite { strip: 0, outer: Some(outer) };
        self.outbox.put(frame, &rewrite, &self.counters);
    }

    /// Sends a packet out; one of several segments, which came joined, as a whole if the link takes
    /// it so, else as these.
    fn route(&mut self, destination: IpAddr, packet: Range<usize>, mut frame: Packet, now: Moment) {
        frame.set_len(packet.end);
        // The facts beside a frame count from its Ethernet header.
        if !frame.strip(packet.start.saturating_sub(ETHER_LEN)) {
            return self.count(BoundaryDrop::Offload);
        }
        let longest = packet_len(&frame);
        let put = self.outside.put(destination, longest, self.outside_mac, frame, now);
        let Some(mut frame) = put else { return };
        // Packets that went the other way until now must not be overtaken.
        self.flush_outside();
        let offload = frame.offload();
        let Some(segments) = offload.segments else {
            if let ChecksumState::Partial { start, offset } = offload.checksum {
                let done = finish_checksum(frame.bytes_mut(), start.into(), offset.into());
                if done.is_none() {
                    return self.count(BoundaryDrop::Offload);
                }
            }
            return self.send_out(destination, frame.bytes(), now);
        };
        let Ok(cutter) = Cutter::new(frame.bytes(), segments) else {
            return self.count(BoundaryDrop::Offload);
        };
        let mut segment = Vec::new();
        for index in 0..cutter.count() {
            segment.clear();
            cutter.write_header(index, &mut segment);
            segment.extend_from_slice(frame.bytes().get(cutter.body(index)).unwrap_or_default());
            self.send_out(destination, &segment, now);
        }
    }

    fn flush_outside(&mut self) {
        let (drops, counters) = (self.boundary.counters(), &self.counters);
        self.outside.flush(|sent| match sent {
            Sent::Whole(_) => counters.count(Counter::OutsideTxFrames),
            Sent::NoRoom => drops.dropped(BoundaryDrop::Offload),
            Sent::Refused(_, error) => drops.dropped(reason(error)),
        });
    }

    /// Sends the packet in `frame`.
    fn send_out(&mut self, destination: IpAddr, frame: &[u8], now: Moment) {
        let packet = frame.get(ETHER_LEN..).unwrap_or_default();
        let Err(error) = self.outside.send_packet(destination, packet) else {
            return self.counters.count(Counter::OutsideTxPackets);
        };
        if error.raw_os_error() == Some(libc::EMSGSIZE)
            && let Ok(mtu) = self.outside.mtu()
        {
            return self.too_big(packet, mtu, now);
        }
        self.count(reason(&error));
    }

    fn too_big(&mut self, packet: &[u8], mtu: u32, now: Moment) {
        if let Verdict::Answer(answer) = self.boundary.too_big(packet, mtu, now) {
            self.answer(answer);
        }
    }

    fn answer(&mut self, answer: Answer) {
        let sent = match answer {
            Answer::Frame(bytes) => self.outside.send_frame(&bytes),
            Answer::Packet { destination, bytes } => self.outside.send_packet(destination, &bytes),
            Answer::Encapsulated { outer, inner } => {
                let rewrite = Rewrite { strip: 0, outer: Some(outer) };
                self.outbox.put(self.landings.pool().packet_of(&inner), &rewrite, &self.counters);
                Ok(())
            }
        };
        if let Err(error) = sent {
            self.count(reason(&error));
        }
    }

    fn count(&self, reason: BoundaryDrop) {
        self.boundary.counters().dropped(reason);
    }
}

/// Length of the largest IP packet that a frame travels as.
fn packet_len(frame: &Packet) -> u32 {
    let cut = frame.offload().segments.and_then(|segments| {
        let headers = Cutter::new(frame.bytes(), segments).ok()?.header_len();
        Some(headers + usize::from(segments.size))
    });
    let len = cut.unwrap_or(frame.len()).min(frame.len());
    u32::try_from(len.saturating_sub(ETHER_LEN)).unwrap_or(u32::MAX)
}

/// Why the kernel did not send.
fn reason(error: &io::Error) -> BoundaryDrop {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => BoundaryDrop::TooBig,
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => BoundaryDrop::NoRoute,
        _ => BoundaryDrop::SendFailed,
    }
}

/// Nothing was there, or the call is to be made again; what is wrong with the link for a while
/// shows here, too (packet(7)).
fn is_passing(error: &io::Error) -> bool {
    let down = error.raw_os_error() == Some(libc::ENETDOWN);
    down || matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
