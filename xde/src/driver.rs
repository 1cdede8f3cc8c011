// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A hypervisor host: frames of guests and of the underlay go in by batches, and leave by
//! [`Egress`].

use crate::answer::{Refused, give};
use crate::arrival::{OutsideCounts, Pieces, Stray, arrival, set_destination};
use crate::dispatch::{by_version, refuse};
use crate::host::{Egress, Moment, Platform, PortId, UnderlayShape};
use crate::management::Management;
use crate::multicast::Counts;
use crate::shelf::Shelf;
use crate::snapshot::{Place, Published, Snapshot};
use crate::switch::Device;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use opte::counters::Counters;
use opte::drop_reason::DropReason;
use opte::event::{BatchBegun, BatchEnded, ControlBegun, ControlEnded, Dropped, NO_PORT};
use opte::flow_table::Budget;
use opte::frame::{FlatFrame, Frame, Rewrite};
use opte::geneve::Mark;
use opte::headers::Headers;
use opte::host::{Host, Lock, Observer};
use opte::nat::ReservationSpace;
use opte::outer::Outer;
use opte::port::{Batch, Caching, Turn, Verdict};
use opte::wire::{Ether, view};
use opte_api::frame::{FETCH, Header, SMALLEST_ROOM, decode, is_done, with_version};
use opte_api::{Direction, MacAddr, OpteError};
use oxide_vpc::overlay::is_turned;

/// What [`Driver::upkeep`] does at most in one call.
const UPKEEP: Budget = Budget { looks: 4, moves: 32 };
/// Numbers of flows that it asks for behind a change, in one call.
const SWEEP: u32 = 8;
/// Ports that it looks at in one call.
const UPKEEP_PORTS: usize = 32;
/// Frames of a batch that are read before the first of them is decided.
const AHEAD: usize = 16;

/// What a driver is made with.
#[derive(Clone, Copy, Debug)]
pub struct DriverOptions {
    /// Secret of hashes and choices; from the host's random source.
    pub seed: u64,
    /// Most flows of each port.
    pub flow_limit: u32,
    /// Whether packets may run stored transforms.
    pub caching: Caching,
}

impl DriverOptions {
    /// The usual options with a seed.
    pub const fn new(seed: u64) -> Self {
        let flow_limit = opte::flow_table::DEFAULT_FLOW_LIMIT;
        Self { seed, flow_limit, caching: Caching::Stored }
    }
}

/// A hypervisor host.
pub struct Driver<H: Host> {
    pub(crate) options: DriverOptions,
    pub(crate) observer: Arc<H::Observer>,
    published: Arc<Published<H>>,
    /// Copies of packets to groups.
    pub(crate) copies: Counts,
    /// Fragments to addresses of which several ports borrow.
    pub(crate) pieces: H::Lock<Pieces>,
    pub(crate) outside: OutsideCounts,
    /// Who owns what outside.
    pub(crate) space: Arc<ReservationSpace>,
    /// Packets that reached no port.
    pub(crate) counters: Counters,
    /// The port whose turn it is to be looked after.
    next_upkeep: AtomicU32,
    management: H::Token<Management<H>>,
    /// Answers that wait for their callers.
    pub(crate) shelf: H::Lock<Shelf>,
}

impl<H: Host> Driver<H> {
    /// A host without ports and underlay.
    pub fn new(seed: u64, observer: H::Observer) -> Self {
        Self::with_options(DriverOptions::new(seed), observer)
    }

    /// The same with other options.
    pub fn with_options(options: DriverOptions, observer: H::Observer) -> Self {
        let published = Arc::new(Published::new(Snapshot::empty(options.seed)));
        let space = ReservationSpace::new::<H>(options.seed.rotate_left(17) ^ 0x6e61_7420);
        Self {
            options,
            observer: Arc::new(observer),
            published: published.clone(),
            copies: Counts::default(),
            pieces: H::Lock::new(Pieces::default()),
            outside: OutsideCounts::default(),
            space: space.clone(),
            counters: Counters::default(),
            next_upkeep: AtomicU32::new(0),
            management: H::Token::new(Management::new(published, space, options.seed)),
            shelf: H::Lock::new(Shelf::default()),
        }
    }

    /// Serves one request; answers a whole frame, header and body. Requests are served one after
    /// the other; packets do not wait for them.
    pub fn control(
        &self,
        platform: &mut dyn Platform,
        now: Moment,
        header: Header,
        body: &[u8],
    ) -> Vec<u8> {
        self.space.tick(now);
        let code = header.code;
        self.observer.tell(|| ControlBegun { code });
        let answer = by_version(header, body, |header, body| {
            self.management.with(|management| management.serve(self, platform, now, header, body))
        });
        self.observer.tell(|| ControlEnded { code, served: is_done(&answer).into() });
        answer
    }

    /// The same for a caller that has room for an answer of so many bytes. A longer one waits until
    /// it is fetched ([`opte_api::frame::Kept`]), and nothing is carried out again.
    pub fn control_within(
        &self,
        platform: &mut dyn Platform,
        now: Moment,
        header: Header,
        body: &[u8],
        room: usize,
    ) -> Vec<u8> {
        if room < SMALLEST_ROOM as usize {
            let limit = u32::try_from(room).unwrap_or(u32::MAX);
            return refuse(OpteError::TooLarge { got: SMALLEST_ROOM, limit });
        }
        let answer = if header.code == FETCH {
            by_version(header, body, |_, body| match decode(body) {
                Ok(fetch) => self.shelf.with(|shelf| shelf.fetch(fetch, room)),
                Err(error) => refuse(error),
            })
        } else {
            self.control(platform, now, header, body)
        };
        if answer.len() <= room {
            return answer;
        }
        let kept = self.shelf.with(|shelf| shelf.fit(answer, room));
        with_version(kept, header.version)
    }

    /// Takes frames that the guest of `port` has sent; leaves `frames` empty.
    pub fn from_guest<F: Frame>(
        &self,
        port: PortId,
        frames: &mut Vec<F>,
        now: Moment,
        out: &mut impl Egress<F>,
    ) {
        self.space.tick(now);
        let snapshot = self.snapshot();
        let Some(place) = snapshot.device(port) else {
            frames.drain(..).for_each(|_| self.lost(Direction::Out));
            return;
        };
        let frames_begun = frames.len() as u32;
        self.observer.tell(|| BatchBegun { frames: frames_begun, port: port.0 });
        let (device, mut batch) = (place.device, Batch::default());
        let mut source = frames.drain(..);
        let mut looks = [const { None }; AHEAD];
        while !source.as_slice().is_empty() {
            look_ahead(&mut looks, source.as_slice(), Direction::Out, |frame| {
                Ok(Look::new(place, parse(frame, 0, Mark::GUEST)))
            });
            for (look, mut frame) in looks.iter().flatten().flatten().zip(source.by_ref()) {
                let (port, headers) = (&device.port, look.headers());
                let turn = look.turn(Direction::Out, now);
                match port.process(turn, &mut frame, headers, &mut batch) {
                    Verdict::Forward => {
                        self.send(&snapshot, place, frame, &batch.rewrite, now, out);
                        for (frame, rewrite) in batch.released.drain(..) {
                            self.send_released((&snapshot, place), &frame, &rewrite, now, out);
                        }
                    }
                    Verdict::Held => {}
                    Verdict::Reply(bytes) => out.reply(device.id, bytes),
                    Verdict::Drop(_) => {
                        batch.answer.take().into_iter().for_each(|it| out.reply(device.id, it));
                        if let Some(told) = batch.told.take() {
                            let frame = FlatFrame::new(told.frame);
                            self.send_released((&snapshot, place), &frame, &told.rewrite, now, out);
                        }
                    }
                }
            }
        }
        device.port.finish(&mut batch);
        self.observer.tell(|| BatchEnded { frames: frames_begun, port: port.0 });
    }

    /// Takes frames that came over the underlay; leaves `frames` empty.
    pub fn from_underlay<F: Frame>(
        &self,
        shape: UnderlayShape,
        frames: &mut Vec<F>,
        now: Moment,
        out: &mut impl Egress<F>,
    ) {
        self.space.tick(now);
        let snapshot = self.snapshot();
        let frames_begun = frames.len() as u32;
        self.observer.tell(|| BatchBegun { frames: frames_begun, port: NO_PORT });
        let mut batch = Arrivals::default();
        let mut source = frames.drain(..);
        let mut looks = [const { None }; AHEAD];
        while !source.as_slice().is_empty() {
            look_ahead(&mut looks, source.as_slice(), Direction::In, |frame| {
                arrival(&snapshot, frame, shape)
            });
            for (look, frame) in looks.iter().flatten().zip(source.by_ref()) {
                match look {
                    Ok(look) => {
                        if let Some(refused) = batch.deliver(look, frame, now, out) {
                            refused.answer(look.place, shape, out);
                        }
                    }
                    Err(Stray::Piece(outer)) => {
                        let (from, to) = ((&*snapshot, shape), (&mut batch, now));
                        // One after the other, since stacks are short.
                        if self.arrive_in_pieces(from, frame, outer, to, out) {
                            self.release_pieces(&snapshot, now, out);
                        }
                    }
                    Err(Stray::Refused(reason)) => self.refuse(*reason),
                    Err(Stray::Group(outer)) => {
                        self.arrive_at_group(&snapshot, frame, outer, now, out);
                    }
                }
            }
        }
        batch.flush();
        self.observer.tell(|| BatchEnded { frames: frames_begun, port: NO_PORT });
    }

    /// Sends what the port of `sender` let out: to another guest of this host as it is, or away.
    #[inline(never)]
    fn send<F: Frame>(
        &self,
        snapshot: &Snapshot<H>,
        sender: Place<'_, H>,
        frame: F,
        rewrite: &Rewrite,
        now: Moment,
        out: &mut impl Egress<F>,
    ) {
        let Some(outer) = &rewrite.outer else { return self.lost(Direction::Out) };
        match self.local_guest(snapshot, &frame, rewrite, outer) {
            Ok(Some(place)) => {
                let mut batch = Arrivals::default();
                let mark = Mark::neighbour(outer.vni);
                let headers = parse(&frame, rewrite.strip.into(), mark);
                let refused = batch.deliver(&Look::new(place, headers), frame, now, out);
                batch.flush();
                if let Some(refused) = refused {
                    refused.answer_guest(sender, mark, now, out);
                }
            }
            Ok(None) if outer.dst.is_multicast() => {
                self.send_to_group(snapshot, sender, frame, (rewrite, outer), now, out)
            }
            Ok(None) => out.to_underlay(frame, rewrite),
            Err(_) if is_turned(outer) => {
                let refused = self.turn((snapshot, sender), frame, (rewrite, outer), now, out);
                if let Some(refused) = refused {
                    refused.answer_guest(sender, Mark::turned(sender.device.vni), now, out);
                }
            }
            Err(reason) => self.refuse(reason),
        }
    }

    /// The same of a fragment that has waited, and of what the receiver of a packet is told.
    fn send_released<F: Frame>(
        &self,
        (snapshot, sender): (&Snapshot<H>, Place<'_, H>),
        frame: &FlatFrame,
        rewrite: &Rewrite,
        now: Moment,
        out: &mut impl Egress<F>,
    ) {
        let Some(outer) = &rewrite.outer else { return self.lost(Direction::Out) };
        let inner = frame.rewritten(&Rewrite { outer: None, ..*rewrite });
        match self.local_guest(snapshot, frame, rewrite, outer) {
            Ok(Some(place)) => give(place, inner, (Mark::neighbour(outer.vni), 0), now, out),
            Ok(None) => out.answer(inner, outer),
            Err(_) if is_turned(outer) => {
                self.turn_released((snapshot, sender), FlatFrame::new(inner), outer, now, out);
            }
            Err(reason) => self.refuse(reason),
        }
    }

    /// The device that the frame is for, if it is one of this host's.
    fn local_guest<'a, F: Frame>(
        &self,
        snapshot: &'a Snapshot<H>,
        frame: &F,
        rewrite: &Rewrite,
        outer: &Outer,
    ) -> Result<Option<Place<'a, H>>, DropReason> {
        if !snapshot.switch.is_local(outer.dst) {
            return Ok(None);
        }
        let ether: &Ether = view(frame.head(), rewrite.strip.into())?;
        let place = snapshot.guest(outer.vni, MacAddr(ether.dst), outer.dst);
        place.ok_or(DropReason::NoPort).map(Some)
    }

    /// Removes flows of all ports that were idle for too long, and those that the last change has
    /// ended. To be called a few times a second by
    /// hosts whose packets may wait for it; others call [`Driver::upkeep`].
    pub fn poll(&self, now: Moment) {
        while self.upkeep(now) {}
    }

    /// Does a small part of the same, for which no packet waits long. True: there is more to do; to
    /// be called again soon, between packets.
    pub fn upkeep(&self, now: Moment) -> bool {
        self.space.tick(now);
        if self.published.is_over(now) {
            self.management.with(|management| management.end_drains(now));
        }
        let (snapshot, mut budget) = (self.snapshot(), UPKEEP);
        let first = PortId(self.next_upkeep.load(Ordering::Relaxed));
        let mut devices = snapshot.switch.devices_from(first);
        for device in devices.by_ref().take(UPKEEP_PORTS) {
            if device.port.sweep(SWEEP, now) || device.port.expire(now, &mut budget) {
                self.next_upkeep.store(device.id.0, Ordering::Relaxed);
                return true;
            }
        }
        let next = devices.next().map(|device| device.id.0);
        self.next_upkeep.store(next.unwrap_or(0), Ordering::Relaxed);
        next.is_some()
    }

    /// The device of this number.
    pub fn device(&self, port: PortId) -> Option<Arc<Device<H>>> {
        self.snapshot().device(port).map(|place| place.device.clone())
    }

    fn snapshot(&self) -> Arc<Snapshot<H>> {
        self.published.load()
    }

    /// A frame for which there is no port any more.
    fn lost(&self, direction: Direction) {
        self.counters.dropped(direction, DropReason::NoPort);
    }

    /// A frame from the underlay, or on its way to another guest, that reaches no port.
    pub(crate) fn refuse(&self, reason: DropReason) {
        self.counters.dropped(Direction::In, reason);
        self.observer.tell(|| Dropped::new(NO_PORT, Direction::In, reason, None));
    }
}

/// A frame that has been read, the device that it is from or for, and where its flow is likely
/// to be.
pub(crate) struct Look<'a, H: Host> {
    place: Place<'a, H>,
    headers: Result<Headers, DropReason>,
    cell: Option<u32>,
    /// The frame has the MAC address of another device yet.
    readdressed: bool,
}

impl<'a, H: Host> Look<'a, H> {
    pub(crate) const fn new(place: Place<'a, H>, headers: Result<Headers, DropReason>) -> Self {
        Self { place, headers, cell: None, readdressed: false }
    }

    /// The same of a frame that is to get the destination MAC address which its headers tell.
    pub(crate) const fn readdressed(place: Place<'a, H>, headers: Headers) -> Self {
        Self { place, headers: Ok(headers), cell: None, readdressed: true }
    }

    #[cold]
    fn readdress<F: Frame>(&self, frame: &mut F) {
        let Ok(headers) = &self.headers else { return };
        set_destination(frame, headers.ether, headers.macs.dst());
    }

    fn headers(&self) -> Result<&Headers, DropReason> {
        self.headers.as_ref().map_err(|reason| *reason)
    }

    const fn turn(&self, direction: Direction, now: Moment) -> Turn<'a> {
        Turn { policy: self.place.policy, direction, now, cell: self.cell }
    }
}

pub(crate) fn parse<F: Frame>(frame: &F, ether: usize, mark: Mark) -> Result<Headers, DropReason> {
    Headers::parse(frame.head(), frame.len(), ether, mark)
}

/// Reads the first frames of a batch, and whatever their look-ups will need. Into memory of the
/// caller's: two such lists at a time would take too much of a kernel's stack.
#[inline]
fn look_ahead<'a, H: Host, F: Frame>(
    looks: &mut [Option<Result<Look<'a, H>, Stray>>; AHEAD],
    frames: &[F],
    direction: Direction,
    look: impl Fn(&F) -> Result<Look<'a, H>, Stray>,
) {
    for (at, place) in looks.iter_mut().enumerate() {
        *place = frames.get(at).map(&look);
    }
    if frames.len() > 1 {
        // Each step for all frames before the next step: their waits for memory overlap.
        for look in looks.iter_mut().flatten().flatten() {
            let headers = look.headers.as_ref().ok();
            look.cell = headers.and_then(|h| look.place.device.port.likely_cell(direction, h));
        }
        for look in looks.iter().flatten().flatten() {
            look.cell.into_iter().for_each(|cell| look.place.device.port.glance(cell));
        }
    }
}

/// Frames that reach guests. What they come to is added up for as long as they go to one device.
pub(crate) struct Arrivals<'a, H: Host> {
    batch: Batch,
    device: Option<&'a Arc<Device<H>>>,
}

impl<H: Host> Default for Arrivals<'_, H> {
    fn default() -> Self {
        Self { batch: Batch::default(), device: None }
    }
}

impl<'a, H: Host> Arrivals<'a, H> {
    pub(crate) fn deliver<F: Frame>(
        &mut self,
        look: &Look<'a, H>,
        mut frame: F,
        now: Moment,
        out: &mut impl Egress<F>,
    ) -> Option<Refused<F>> {
        let device = look.place.device;
        if self.device.is_none_or(|last| last.id != device.id) {
            self.flush();
            self.device = Some(device);
        }
        if look.readdressed {
            look.readdress(&mut frame);
        }
        let (turn, batch) = (look.turn(Direction::In, now), &mut self.batch);
        // No layer answers packets that come in; what answers the guest goes to the guest.
        match device.port.process(turn, &mut frame, look.headers(), batch) {
            Verdict::Forward => {
                out.to_guest(device.id, frame, &batch.rewrite);
                for (frame, rewrite) in batch.released.drain(..) {
                    out.reply(device.id, frame.rewritten(&rewrite));
                }
            }
            Verdict::Held => {}
            Verdict::Reply(bytes) => out.reply(device.id, bytes),
            Verdict::Drop(_) => {
                if let Some(told) = batch.told.take() {
                    out.reply(device.id, told.frame);
                }
                return batch.answer.take().map(|answer| Refused { frame, answer });
            }
        }
        None
    }

    pub(crate) fn flush(&mut self) {
        if let Some(device) = self.device.take() {
            device.port.finish(&mut self.batch);
        }
    }
}
