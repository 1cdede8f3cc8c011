// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A hypervisor host within a test: the real driver and engine, virtual time, and frames that
//! are plain bytes.

use opte::drop_reason::DropReason;
use opte::event::{Event, Traced};
use opte::frame::{FlatFrame, Rewrite};
use opte::host::{Host, Lock, Observer};
use opte::outer::Outer;
use opte_api::frame::{
    HEADER_LEN, Header, MAX_RESPONSE, Request, decode_answer, encode_answer, encode_request,
};
use opte_api::{MacAddr, OpteError};
use oxide_vpc_api::PortName;
use oxide_vpc_api::request::SetUnderlay;
use parking_lot::Mutex;
use std::cell::Cell;
use std::net::Ipv6Addr;
use std::sync::Arc;
use xde::Driver;
use xde::driver::DriverOptions;
use xde::host::{Egress, Moment, Platform, PortId, UnderlayShape};

thread_local! {
    static LOCKS_TAKEN: Cell<u64> = const { Cell::new(0) };
    static LOCKS_HELD: Cell<u32> = const { Cell::new(0) };
}

/// How many locks the engine has taken on this thread.
pub fn locks_taken() -> u64 {
    LOCKS_TAKEN.get()
}

/// How many of them this thread holds.
pub fn locks_held() -> u32 {
    LOCKS_HELD.get()
}

/// A lock of the operating system that is counted.
pub struct SystemLock<T>(Mutex<T>);

impl<T: Send> Lock<T> for SystemLock<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        LOCKS_TAKEN.set(LOCKS_TAKEN.get() + 1);
        let mut value = self.0.lock();
        LOCKS_HELD.set(LOCKS_HELD.get() + 1);
        let result = f(&mut value);
        LOCKS_HELD.set(LOCKS_HELD.get() - 1);
        result
    }

    fn glance(&self) {
        std::hint::black_box(self.0.is_locked());
    }
}

/// Keeps every event, for tests to look at.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Recorder {
    /// The events since the last call.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Observer for Recorder {
    fn tell<E: Traced>(&self, event: impl FnOnce() -> E) {
        // What only serves to measure time is not kept.
        if !E::SHAPE.probe.ends_with("-begin") && !E::SHAPE.probe.ends_with("-end") {
            self.0.lock().push(event().into());
        }
    }
}

/// The host of tests.
pub enum TestHost {}

impl Host for TestHost {
    type Lock<T: Send> = SystemLock<T>;
    type Token<T: Send> = SystemLock<T>;
    type Observer = Recorder;
}

/// What left the host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Left {
    /// To another host, with all outer headers.
    Underlay(Vec<u8>),
    /// To another host, as an answer to what came from there.
    Answer(Vec<u8>),
    /// To the guest of a port.
    Guest(PortId, Vec<u8>),
    /// To the guest of a port, as an answer of its gateway.
    Reply(PortId, Vec<u8>),
}

#[derive(Default)]
struct Exit {
    left: Vec<Left>,
    /// By way of whom packets to groups leave, in their order.
    next_hops: Vec<Ipv6Addr>,
}

impl Egress<FlatFrame> for Exit {
    fn to_underlay(&mut self, frame: FlatFrame, rewrite: &Rewrite) {
        self.left.push(Left::Underlay(frame.rewritten(rewrite)));
    }

    fn to_next_hop(&mut self, frame: FlatFrame, rewrite: &Rewrite, next_hop: Ipv6Addr) {
        self.next_hops.push(next_hop);
        self.to_underlay(frame, rewrite);
    }

    fn to_guest(&mut self, port: PortId, frame: FlatFrame, rewrite: &Rewrite) {
        self.left.push(Left::Guest(port, frame.rewritten(rewrite)));
    }

    fn answer(&mut self, bytes: Vec<u8>, outer: &Outer) {
        self.left.push(Left::Answer([outer.headers(bytes.len()).as_slice(), &bytes].concat()));
    }

    fn reply(&mut self, port: PortId, bytes: Vec<u8>) {
        self.left.push(Left::Reply(port, bytes));
    }
}

/// A platform on which everything succeeds.
#[derive(Clone, Debug, Default)]
pub struct Agreeable;

impl Platform for Agreeable {
    fn create_device(
        &mut self,
        _port: PortId,
        _name: &PortName,
        _mac: MacAddr,
        _mtu: u16,
    ) -> Result<(), OpteError> {
        Ok(())
    }

    fn delete_device(&mut self, _port: PortId, _name: &PortName) -> Result<(), OpteError> {
        Ok(())
    }

    fn set_mtu(&mut self, _name: &PortName, _mtu: u16) -> Result<(), OpteError> {
        Ok(())
    }

    fn set_underlay(&mut self, _links: &[String]) -> Result<(), OpteError> {
        Ok(())
    }

    fn clear_underlay(&mut self) -> Result<(), OpteError> {
        Ok(())
    }
}

/// A host that scenarios are played on: [`Hypervisor`], or the engine in another host's clothes.
pub trait Played {
    /// Serves a whole request; answers a whole frame.
    fn exchange(&mut self, frame: &[u8]) -> Vec<u8>;

    /// A frame from the guest of `port`.
    fn guest_sends(&mut self, port: PortId, frame: FlatFrame) -> Vec<Left>;

    /// A frame from the underlay, with all outer headers.
    fn underlay_brings(&mut self, frame: FlatFrame) -> Vec<Left>;

    /// Moves the clock.
    fn advance(&mut self, millis: u64);

    /// Removes flows that were idle for too long.
    fn expire(&mut self);

    /// The reasons of the drops since the last call.
    fn drops(&mut self) -> Vec<DropReason>;

    /// Sends a request as bytes, and decodes the answer.
    fn request<R: Request>(&mut self, request: &R) -> Result<R::Response, OpteError>
    where
        Self: Sized,
    {
        let answer = self.exchange(&encode_request(request)?);
        let (header, body) = answer.split_first_chunk().expect("an answer has a header");
        decode_answer(Header::from_bytes(*header, MAX_RESPONSE)?, body)
    }
}

/// A hypervisor host with an underlay and no ports.
pub struct Hypervisor {
    /// The driver.
    pub driver: Driver<TestHost>,
    /// The time.
    pub now: Moment,
    events: Recorder,
    next_hops: Vec<Ipv6Addr>,
}

impl Hypervisor {
    /// A host that differs from others only by what it draws from `options.seed`.
    pub fn new(options: DriverOptions) -> Self {
        let events = Recorder::default();
        let driver = Driver::with_options(options, events.clone());
        let (now, next_hops) = (Moment::from_millis(1_000_000), Vec::new());
        let mut host = Self { driver, now, events, next_hops };
        let links = vec!["test0".into()];
        host.request(&SetUnderlay { links }).expect("a fresh host takes an underlay");
        host
    }

    /// Sends a request as bytes, and decodes the answer.
    pub fn request<R: Request>(&mut self, request: &R) -> Result<R::Response, OpteError> {
        self.request_on(&mut Agreeable, request)
    }

    /// The same on a platform of the test's.
    pub fn request_on<R: Request>(
        &mut self,
        platform: &mut dyn Platform,
        request: &R,
    ) -> Result<R::Response, OpteError> {
        let frame = encode_request(request)?;
        let (header, body) = frame.split_first_chunk::<HEADER_LEN>().expect("a frame has a header");
        let header = Header::from_bytes(*header, u32::MAX)?;
        let answer = self.driver.control(platform, self.now, header, body);
        let (header, body) = answer.split_first_chunk().expect("an answer has a header");
        decode_answer(Header::from_bytes(*header, MAX_RESPONSE)?, body)
    }

    /// A frame from the guest of `port`.
    pub fn from_guest(&mut self, port: PortId, frame: FlatFrame) -> Vec<Left> {
        let mut exit = Exit::default();
        self.driver.from_guest(port, &mut vec![frame], self.now, &mut exit);
        self.next_hops = exit.next_hops;
        exit.left
    }

    /// A frame from the underlay, with all outer headers.
    pub fn from_underlay(&mut self, frame: FlatFrame) -> Vec<Left> {
        let mut exit = Exit::default();
        let mut frames = vec![frame];
        self.driver.from_underlay(UnderlayShape::Ethernet, &mut frames, self.now, &mut exit);
        exit.left
    }

    /// By way of whom the packets to groups left that the last frame from a guest became, in
    /// their order.
    pub fn next_hops(&self) -> &[Ipv6Addr] {
        &self.next_hops
    }

    /// Moves the clock.
    pub fn advance(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
    }

    /// Removes flows that were idle for too long.
    pub fn expire(&mut self) {
        self.driver.poll(self.now);
    }

    /// The events since the last call.
    pub fn events(&self) -> Vec<Event> {
        self.events.take()
    }

    /// The reasons of the drops since the last call.
    pub fn drops(&self) -> Vec<DropReason> {
        let reason = |event: Event| match event {
            Event::Dropped(dropped) => DropReason::ALL.get(usize::from(dropped.reason)).copied(),
            _ => None,
        };
        self.events().into_iter().filter_map(reason).collect()
    }
}

impl Played for Hypervisor {
    fn exchange(&mut self, frame: &[u8]) -> Vec<u8> {
        let (header, body) = frame.split_first_chunk::<HEADER_LEN>().expect("a frame has a header");
        match Header::from_bytes(*header, u32::MAX) {
            Ok(header) => self.driver.control(&mut Agreeable, self.now, header, body),
            Err(error) => encode_answer::<()>(&Err(error)),
        }
    }

    fn guest_sends(&mut self, port: PortId, frame: FlatFrame) -> Vec<Left> {
        Self::from_guest(self, port, frame)
    }

    fn underlay_brings(&mut self, frame: FlatFrame) -> Vec<Left> {
        Self::from_underlay(self, frame)
    }

    fn advance(&mut self, millis: u64) {
        Self::advance(self, millis);
    }

    fn expire(&mut self) {
        Self::expire(self);
    }

    fn drops(&mut self) -> Vec<DropReason> {
        Self::drops(self)
    }
}
