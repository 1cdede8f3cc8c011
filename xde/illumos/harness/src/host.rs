// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One host: a kernel, the module in it, and everybody around: an underlay link with routes, and a
//! guest at each port.

use crate::shape::Shape;
use anyhow::{Result, bail, ensure};
use illumos_sys_hdrs::net::if_::ND_REACHABLE;
use opte_api::frame::{HEADER_LEN, Header, MAX_REQUEST, Request, decode_request};
use opte_api::ioctl::{COMMAND, Exchange};
use oxide_vpc_api::request::{ClearUnderlay, CreatePort, DeletePort, ListPorts, SetUnderlay};
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use xde::host::PortId;
use xde_illumos_loader::Loaded;
use xde_illumos_shim::context::Context;
use xde_illumos_shim::ddi::{self, Who};
use xde_illumos_shim::guest::{By, Guest};
use xde_illumos_shim::ip::{Neighbour, Route};
use xde_illumos_shim::mac::Abilities;
use xde_illumos_shim::message::{self, Message};
use xde_illumos_shim::modules::{self, Kernel};
use xde_illumos_shim::world::{self, World};
use xde_illumos_shim::{clock, dls, ip, kstat, mac};

/// The link between hosts.
pub const UNDERLAY: &str = "net0";
/// Its own link address, and that of the router behind it.
pub const MACS: [[u8; 6]; 2] = [[2, 8, 0x20, 0, 0, 1], [2, 8, 0x20, 0, 0, 0xfe]];
/// The control node.
const CONTROL: &str = "ctl";
/// Room for answers, in bytes.
const ROOM: usize = 1 << 20;
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe);
const NANOS: i64 = 1_000_000;

/// How a host is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which kernel.
    pub kernel: Kernel,
    /// What its link can do.
    pub abilities: Abilities,
    /// Memory is left to a checker of its own.
    pub plain: bool,
}

impl Options {
    /// A kernel with links that can do nothing.
    pub const fn of(kernel: Kernel) -> Self {
        Self { kernel, abilities: Abilities { cuts: false, foreign: false }, plain: false }
    }
}

/// A host.
pub struct Host {
    /// Its kernel, while another is in force.
    world: World,
    loaded: &'static Loaded,
    guests: BTreeMap<PortId, (String, Guest)>,
    /// What the module did against the rules.
    complaints: Vec<String>,
    answer: Vec<u8>,
    /// How frames are given to the module.
    pub shape: Shape,
}

/// A packet that came out, with what its sender left to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Out {
    /// All of its bytes.
    pub bytes: Vec<u8>,
    /// Offload facts.
    pub facts: xde_illumos_shim::offload::Facts,
    /// What chose the ring of the link.
    pub hint: usize,
}

impl Out {
    fn take(message: Message, hint: usize) -> Self {
        let (bytes, facts) = (message::bytes(message), message::facts(message));
        message::free(message);
        Self { bytes, facts, hint }
    }
}

/// Puts a host's kernel in force for as long as it lives.
struct InForce<'a>(&'a mut World);

impl<'a> InForce<'a> {
    fn put(world: &'a mut World) -> Self {
        world::exchange(world);
        Self(world)
    }
}

impl Drop for InForce<'_> {
    fn drop(&mut self) {
        world::exchange(self.0);
    }
}

impl Host {
    /// A kernel that has just booted, with one link, and the module as a file that is not loaded
    /// yet.
    pub fn boot(loaded: &'static Loaded, options: Options) -> Self {
        let mut world = World::new();
        {
            let _in_force = InForce::put(&mut world);
            if options.plain {
                xde_illumos_shim::kmem::leave_to_checker();
            }
            modules::be(options.kernel);
            mac::wire(UNDERLAY, MACS[0], 9000, options.abilities);
            ip::interface(UNDERLAY, Some(MACS[0]));
            let all = Route::on_link(Ipv6Addr::UNSPECIFIED, 0, UNDERLAY);
            ip::add_route(Route { gateway: Some(ROUTER), ..all });
            let (mac, state) = (Some(MACS[1]), ND_REACHABLE);
            ip::set_neighbour(Neighbour { interface: UNDERLAY, address: ROUTER, mac, state });
        }
        let (guests, complaints) = (BTreeMap::new(), Vec::new());
        let (answer, shape) = (vec![0; ROOM], Shape::default());
        Self { world, loaded, guests, complaints, answer, shape }
    }

    /// Runs `f` in this host's kernel.
    pub fn inside<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let in_force = InForce::put(&mut self.world);
        let result = f();
        self.complaints.extend(world::complaints());
        drop(in_force);
        result
    }

    /// `_init`; the error number.
    pub fn init(&mut self) -> i32 {
        let init = self.loaded.entries().init;
        // SAFETY: loaded, and the shim keeps the promises of the kernel.
        self.inside(|| unsafe { init() })
    }

    /// `_fini`; the error number.
    pub fn fini(&mut self) -> i32 {
        let fini = self.loaded.entries().fini;
        // SAFETY: as for `init`.
        self.inside(|| unsafe { fini() })
    }

    /// `_init`, attach, and the control node opened.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.init() == 0, "_init");
        ensure!(self.inside(ddi::attach), "attach");
        let opened = self.inside(|| ddi::open(CONTROL, 0, Who::Privileged));
        ensure!(opened.is_ok(), "open: {opened:?}");
        Ok(())
    }

    /// The control node closed, detach and `_fini`.
    pub fn stop(&mut self) -> Result<()> {
        self.inside(|| ddi::close(CONTROL));
        ensure!(self.inside(ddi::detach), "detach");
        ensure!(self.fini() == 0, "_fini");
        Ok(())
    }

    /// A host with an underlay and no ports.
    pub fn ready(loaded: &'static Loaded, options: Options) -> Result<Self> {
        let mut host = Self::boot(loaded, options);
        host.start()?;
        host.ask(&SetUnderlay { links: vec![UNDERLAY.into()] })?;
        Ok(host)
    }

    /// Makes a request, which must be served.
    pub fn ask<R: Request>(&mut self, request: &R) -> Result<R::Response> {
        let answer = opte_tests::hypervisor::Played::request(self, request);
        answer.map_err(|error| anyhow::anyhow!("{}: {error}", R::NAME))
    }

    /// An ioctl with this request; the answer, or an error number.
    pub fn ioctl(&mut self, who: Who, frame: &[u8]) -> Result<Vec<u8>, i32> {
        let mut room = std::mem::take(&mut self.answer);
        let answer = self.inside(|| ioctl(who, frame, &mut room));
        self.answer = room;
        answer
    }

    /// A request as it travels. A port that is to be made gets a number for its name first, and
    /// whoever is at a port that is to be deleted goes first.
    pub fn exchange_frame(&mut self, frame: &[u8]) -> Vec<u8> {
        match to_come(frame) {
            Some(Change::Delete(name)) => self.close(&name),
            Some(Change::Create(name)) => self.name(&name),
            None => {}
        }
        match self.ioctl(Who::Privileged, frame) {
            Ok(answer) => answer,
            Err(error) => panic!("the ioctl is refused with error {error}"),
        }
    }

    /// Gives a name a number, as whoever asks for a port does first.
    pub fn name(&mut self, name: &str) {
        self.inside(|| dls::name(name));
    }

    /// Ports that there are, by number.
    pub fn ports(&mut self) -> Vec<(PortId, String)> {
        let all = self.inside(|| kstat::list("xde"));
        let ports = all.into_iter().filter(|(_, name)| name != "host");
        ports.map(|(number, name)| (PortId(number as u32), name)).collect()
    }

    /// Somebody opens the link of each port that nobody has open.
    pub fn open_all(&mut self) -> Result<()> {
        for (port, name) in self.ports() {
            if !self.guests.contains_key(&port) {
                let by = if port.0.is_multiple_of(2) { By::Mac } else { By::DataLink };
                let opened = self.inside(|| Guest::open(&name, by));
                let Ok(guest) = opened else { bail!("nobody can open {name}: {opened:?}") };
                self.guests.insert(port, (name, guest));
            }
        }
        Ok(())
    }

    fn close(&mut self, name: &str) {
        let port = self.guests.iter().find(|(_, (it, _))| it == name).map(|(port, _)| *port);
        if let Some((_, guest)) = port.and_then(|port| self.guests.remove(&port)) {
            self.inside(|| guest.close());
        }
    }

    /// Does something with the guest of a port.
    pub fn with_guest<R>(&mut self, port: PortId, f: impl FnOnce(&Guest) -> R) -> Option<R> {
        let (name, guest) = self.guests.remove(&port)?;
        let result = self.inside(|| f(&guest));
        self.guests.insert(port, (name, guest));
        Some(result)
    }

    /// The guest of a port, for a while: to be given back.
    pub fn take_guest(&mut self, port: PortId) -> Option<(String, Guest)> {
        self.guests.remove(&port)
    }

    /// Undoes [`Host::take_guest`].
    pub fn give_back_guest(&mut self, port: PortId, guest: (String, Guest)) {
        self.guests.insert(port, guest);
    }

    /// The guest of a port sends a chain.
    pub fn send(&mut self, port: PortId, chain: Message, context: Context) {
        self.with_guest(port, |guest| guest.send(chain, context));
    }

    /// A chain comes in from the underlay.
    pub fn arrive(&mut self, chain: Message, context: Context) {
        self.inside(|| mac::arrive(UNDERLAY, chain, context));
    }

    /// What each guest got since the last time.
    pub fn received(&mut self) -> Vec<(PortId, Out)> {
        let ports: Vec<PortId> = self.guests.keys().copied().collect();
        let mut all = Vec::new();
        for port in ports {
            let got = self.with_guest(port, |guest| {
                let got = guest.received().into_iter();
                got.map(|message| Out::take(message, 0)).collect::<Vec<_>>()
            });
            all.extend(got.into_iter().flatten().map(|out| (port, out)));
        }
        all
    }

    /// What left over the underlay since the last time.
    pub fn sent(&mut self) -> Vec<Out> {
        self.inside(|| {
            let sent = mac::take_sent(UNDERLAY).into_iter();
            sent.map(|sent| Out::take(sent.message, sent.hint)).collect()
        })
    }

    /// What IP got of the underlay since the last time.
    pub fn stack(&mut self) -> Vec<Out> {
        self.inside(|| {
            let got = mac::take_stack(UNDERLAY).into_iter();
            got.map(|message| Out::take(message, 0)).collect()
        })
    }

    /// Moves the clock.
    pub fn wait(&mut self, millis: u64) {
        self.inside(|| clock::advance(millis as i64 * NANOS));
    }

    /// What the kernel does by the clock is done.
    pub fn tick(&mut self) {
        self.inside(clock::tick);
    }

    /// A counter of the host.
    pub fn counter(&mut self, name: &str) -> u64 {
        let read = self.inside(|| kstat::read("xde", "host"));
        match read {
            Some(Ok(counters)) => counters.get(name).copied().unwrap_or(u64::MAX),
            _ => u64::MAX,
        }
    }

    /// What the module did against the rules since the last time.
    pub fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }

    /// What is taken and not given back, by number of things.
    pub fn left_over(&mut self) -> Vec<String> {
        self.inside(world::left_over)
    }

    /// Everybody goes, everything is deleted, and the module is unloaded. An error says what went
    /// wrong on the way, what was done against the rules, or what is left over.
    pub fn shut_down(mut self) -> Result<()> {
        self.clear()?;
        self.stop()?;
        self.inside(xde_illumos_shim::kmem::exhume);
        let (complaints, left) = (self.complaints(), self.left_over());
        ensure!(complaints.is_empty(), "against the rules: {complaints:#?}");
        ensure!(left.is_empty(), "left over: {left:#?}");
        Ok(())
    }

    /// Ports and underlay go.
    pub fn clear(&mut self) -> Result<()> {
        drop((self.received(), self.sent(), self.stack()));
        for port in self.ask(&ListPorts {})? {
            self.ask(&DeletePort { name: port.name })?;
        }
        // There may be none.
        let _ = self.ask(&ClearUnderlay {});
        drop((self.sent(), self.stack()));
        Ok(())
    }
}

/// An ioctl in the kernel that is in force, with this request and so much room for the answer; the
/// answer, or an error number.
pub fn ioctl(who: Who, frame: &[u8], room: &mut [u8]) -> Result<Vec<u8>, i32> {
    let (request, to) = (frame.as_ptr_range(), room.as_mut_ptr_range());
    let exchange = Exchange {
        request: request.start.expose_provenance() as u64,
        request_len: frame.len() as u32,
        answer: to.start.expose_provenance() as u64,
        room: room.len() as u32,
        answer_len: 0,
    };
    let mut bytes = exchange.to_bytes();
    let argument = bytes.as_mut_ptr_range();
    let ranges = [
        (request.start.addr()..request.end.addr(), false),
        (to.start.addr()..to.end.addr(), true),
        (argument.start.addr()..argument.end.addr(), true),
    ];
    let at = argument.start.expose_provenance();
    let error = ddi::with_memory(&ranges, || ddi::ioctl(CONTROL, COMMAND, at, who));
    if error != 0 {
        return Err(error);
    }
    let told = Exchange::from_bytes(&bytes).map(|it| it.answer_len as usize);
    Ok(room.get(..told.unwrap_or(0)).unwrap_or_default().to_vec())
}

/// What a request is going to do to a port.
enum Change {
    Create(String),
    Delete(String),
}

fn to_come(frame: &[u8]) -> Option<Change> {
    let (header, body) = frame.split_first_chunk::<HEADER_LEN>()?;
    let header = Header::from_bytes(*header, MAX_REQUEST).ok()?;
    match header.code {
        DeletePort::CODE => {
            let delete: DeletePort = decode_request(body).ok()?;
            Some(Change::Delete(delete.name.as_str().to_owned()))
        }
        CreatePort::CODE => {
            let create: CreatePort = decode_request(body).ok()?;
            Some(Change::Create(create.name.as_str().to_owned()))
        }
        _ => None,
    }
}
