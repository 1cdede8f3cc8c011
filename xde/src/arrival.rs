// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Frames from the underlay: for which device of this host is each of them?
//!
//! Mostly the MAC address in front says so. What comes from outside to an address of which several
//! ports borrow is for the port that has its tuple ([`crate::shared`]), and gets that one's MAC
//! address. Of its fragments only the first shows ports; others follow it ([`crate::follow`]).

use crate::answer::{give, outer_facts};
use crate::driver::{Arrivals, Driver, Look, parse};
use crate::follow::{Account, Follow, Waits};
use crate::host::{Egress, Moment, PortId, UnderlayShape};
use crate::snapshot::{Place, Snapshot};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use opte::drop_reason::DropReason;
use opte::ecn;
use opte::flow_key::FlowKey;
use opte::frame::{FlatFrame, Frame};
use opte::geneve::{Mark, OuterFacts};
use opte::headers::{Headers, MacPair, Payload};
use opte::host::{Host, Lock};
use opte::nat::Addressed;
use opte::wire::{Ether, view};
use opte_api::{MacAddr, Vni};

/// A frame from the underlay that is not for one device, or not yet.
pub(crate) enum Stray {
    /// It is for none.
    Refused(DropReason),
    /// It is for whoever hears a group.
    Group(OuterFacts),
    /// It is a fragment for an address of which several ports borrow.
    Piece(OuterFacts),
}

impl From<DropReason> for Stray {
    fn from(reason: DropReason) -> Self {
        Self::Refused(reason)
    }
}

/// Which packet a fragment is of: VPC, key without ports, and identification.
pub(crate) type Datagram = (Vni, [u64; 5], u32);

/// That of a fragment.
pub(crate) fn datagram_of(vni: Vni, key: &FlowKey, id: u32) -> Datagram {
    (vni, *key.without_ports().words(), id)
}

/// Writes another destination MAC address into the inner frame that begins at `ether`.
pub(crate) fn set_destination(frame: &mut impl Frame, ether: u16, mac: MacAddr) {
    let rest = frame.head_mut().get_mut(usize::from(ether)..).unwrap_or_default();
    rest.iter_mut().zip(mac.0).for_each(|(to, from)| *to = from);
}

/// A fragment that waits for the first of its packet.
pub(crate) struct Piece {
    datagram: Datagram,
    /// The inner frame.
    bytes: Vec<u8>,
    mark: Mark,
    ecn: u8,
}

impl Waits for Piece {
    fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// The ports that first fragments to shared addresses have gone to, and fragments that wait.
pub(crate) type Pieces = Follow<Datagram, PortId, Piece>;

/// What there was of packets to external tuples of this host, beside drops.
#[derive(Default)]
pub(crate) struct OutsideCounts {
    held: AtomicU64,
    forgotten: AtomicU64,
    /// Packets turned round on their way to the outside.
    pub turned: AtomicU64,
}

impl OutsideCounts {
    /// Names and values.
    pub fn list(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = [&self.held, &self.forgotten, &self.turned];
        let names = ["shared_fragments_held", "shared_fragments_forgotten", "hairpinned"];
        names.into_iter().zip(counts.map(|count| count.load(Ordering::Relaxed)))
    }
}

impl<H: Host> Account for Driver<H> {
    fn forgotten(&self) {
        self.outside.forgotten.fetch_add(1, Ordering::Relaxed);
    }

    fn waits(&self) {
        self.outside.held.fetch_add(1, Ordering::Relaxed);
    }

    fn given_up(&self) {
        self.refuse(DropReason::Fragment);
    }
}

/// The device that a frame from the underlay is for.
#[inline]
pub(crate) fn arrival<'a, H: Host, F: Frame>(
    snapshot: &'a Snapshot<H>,
    frame: &F,
    shape: UnderlayShape,
) -> Result<Look<'a, H>, Stray> {
    let outer = outer_facts(frame, shape)?;
    let ether: &Ether = view(frame.head(), outer.inner)?;
    let mac = MacAddr(ether.dst);
    if mac.is_multicast() {
        return Err(Stray::Group(outer));
    }
    if outer.external
        && !snapshot.shared.is_empty()
        && let Some(borrowed) = borrowed(snapshot, frame, &outer)
    {
        return borrowed;
    }
    let place = snapshot.guest(outer.vni, mac, outer.dst).ok_or(DropReason::NoPort)?;
    Ok(Look::new(place, read(frame, &outer)))
}

#[inline]
fn read<F: Frame>(frame: &F, outer: &OuterFacts) -> Result<Headers, DropReason> {
    // Where it lies: a copy of what was just written makes the processor wait.
    let mut headers = parse(frame, outer.inner, outer.mark());
    headers.iter_mut().for_each(|headers| headers.ecn = outer.traffic_class & ecn::MASK);
    headers
}

/// The same for what comes from outside to an address of which several ports borrow.
#[inline(never)]
fn borrowed<'a, H: Host, F: Frame>(
    snapshot: &'a Snapshot<H>,
    frame: &F,
    outer: &OuterFacts,
) -> Option<Result<Look<'a, H>, Stray>> {
    let headers = read(frame, outer).ok()?;
    snapshot.shared.has(headers.key()?.dst()).then_some(())?;
    if !snapshot.switch.is_local(outer.dst) {
        return Some(Err(DropReason::NoPort.into()));
    }
    if matches!(headers.payload, Payload::Fragment(..)) {
        return Some(Err(Stray::Piece(*outer)));
    }
    let place = owner(snapshot, frame, &headers, outer.vni).ok_or(DropReason::NatUnmapped);
    Some(place.map(|place| readdressed(place, headers)).map_err(Stray::Refused))
}

/// The device of this VPC that has the tuple which a packet is for.
fn owner<'a, H: Host, F: Frame>(
    snapshot: &'a Snapshot<H>,
    frame: &F,
    headers: &Headers,
    vni: Vni,
) -> Option<Place<'a, H>> {
    let addressed = Addressed::of(frame.head(), headers);
    let port = snapshot.shared.port(headers.key()?.dst(), addressed)?;
    snapshot.device(port).filter(|place| place.device.vni == vni)
}

/// A frame that is for a device, whatever its MAC address says.
pub(crate) fn readdressed<H: Host>(place: Place<'_, H>, headers: Headers) -> Look<'_, H> {
    let macs = MacPair::new(place.device.mac, headers.macs.src());
    Look::readdressed(place, Headers { macs, ..headers })
}

impl<H: Host> Driver<H> {
    /// A fragment for an address of which several ports borrow. True: it was the first of its packet,
    /// and others may have waited for it.
    #[inline(never)]
    pub(crate) fn arrive_in_pieces<'a, F: Frame>(
        &self,
        (snapshot, shape): (&'a Snapshot<H>, UnderlayShape),
        frame: F,
        outer: &OuterFacts,
        (arrivals, now): (&mut Arrivals<'a, H>, Moment),
        out: &mut impl Egress<F>,
    ) -> bool {
        let Ok(headers) = read(&frame, outer) else { return false };
        let Payload::Fragment(key, fragment) = headers.payload else { return false };
        let datagram = datagram_of(outer.vni, &key, fragment.id);
        let is_first = fragment.offset == 0;
        let known = || self.pieces.with(|pieces| pieces.shown(&datagram, now));
        let place = match owner(snapshot, &frame, &headers, outer.vni) {
            Some(place) => Some(place),
            None if is_first => {
                self.refuse(DropReason::NatUnmapped);
                return false;
            }
            None => known().and_then(|port| snapshot.device(port)),
        };
        let Some(place) = place else {
            self.hold_piece(&frame, outer, datagram, now);
            return false;
        };
        let look = readdressed(place, headers);
        if let Some(refused) = arrivals.deliver(&look, frame, now, out) {
            refused.answer(place, shape, out);
        }
        if is_first {
            let port = place.device.id;
            self.pieces.with(|pieces| pieces.passed(datagram, port, now, self));
        }
        is_first
    }

    fn hold_piece<F: Frame>(&self, frame: &F, outer: &OuterFacts, datagram: Datagram, now: Moment) {
        let head = frame.head();
        // Of a frame in several pieces of memory only the first can be kept.
        let whole = head.get(outer.inner..).filter(|_| head.len() == frame.len());
        let kept = whole.is_some_and(|bytes| {
            let (bytes, ecn) = (bytes.to_vec(), outer.traffic_class & ecn::MASK);
            let piece = Piece { datagram, bytes, mark: outer.mark(), ecn };
            self.pieces.with(|pieces| pieces.wait(datagram, piece, now, self))
        });
        if !kept {
            self.refuse(DropReason::FragmentLimit);
        }
    }

    /// Fragments that have waited go where the first one of their packet has gone.
    #[inline(never)]
    pub(crate) fn release_pieces<F: Frame>(
        &self,
        snapshot: &Snapshot<H>,
        now: Moment,
        out: &mut impl Egress<F>,
    ) {
        while let Some(piece) = self.pieces.with(Follow::ready) {
            let port = self.pieces.with(|pieces| pieces.shown(&piece.datagram, now));
            let Some(place) = port.and_then(|port| snapshot.device(port)) else {
                self.refuse(DropReason::NoPort);
                continue;
            };
            let (mut frame, given) = (FlatFrame::new(piece.bytes), (piece.mark, piece.ecn));
            set_destination(&mut frame, 0, place.device.mac);
            give(place, frame.bytes, given, now, out);
        }
    }
}
