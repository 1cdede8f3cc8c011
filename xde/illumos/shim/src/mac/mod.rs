// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The MAC layer: links that drivers register and clients open, mac(9E).
//!
//! There are links of the module's own, made by [`provider`], and *wires*, made by a test: those
//! keep what is sent, and bring what a test lets arrive.

pub(crate) mod client;
pub(crate) mod perimeter;
pub(crate) mod provider;

use crate::context::{Context, run_in};
use crate::message::{Message, linked};
use crate::world::{World, wake, with};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::c_uint;
use core::ptr::{null_mut, with_exposed_provenance_mut, without_provenance_mut};
use illumos_sys_hdrs::oxide::mac_client::mac_siphon_t;
use illumos_sys_hdrs::sys::dlpi::DL_ETHER;
use illumos_sys_hdrs::sys::mac::{LINK_STATE_UP, link_state_t, mac_info_t, mac_rx_t};
use illumos_sys_hdrs::sys::mac_provider::mac_callbacks_t;
use illumos_sys_hdrs::sys::stream::mblk_t;
use illumos_sys_hdrs::sys::types::{B_FALSE, c_int};

/// Handles are no addresses of anything: a module that follows one faults.
const HANDLES: usize = 0x4d43_0000_0000_0000;

/// A driver's side of a link.
#[derive(Clone, Copy)]
pub(crate) struct Provider {
    pub(crate) callbacks: *const mac_callbacks_t,
    pub(crate) driver: usize,
}

/// What a wire can do for who sends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Abilities {
    /// Cuts TCP and fills in checksums inside of Geneve, on a kernel that knows tunnels.
    pub cuts: bool,
    /// It is no Ethernet link.
    pub foreign: bool,
}

/// A packet that was sent over a wire.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// The packet; whoever takes it frees it.
    pub message: Message,
    /// What chose the ring.
    pub hint: usize,
}

pub(crate) struct Mac {
    pub(crate) name: CString,
    /// `None`: a wire.
    pub(crate) provider: Option<Provider>,
    pub(crate) address: [u8; 6],
    /// Smallest and largest packet.
    pub(crate) sdu: [u32; 2],
    pub(crate) state: Option<link_state_t>,
    info: *mut mac_info_t,
    pub(crate) opens: u32,
    pub(crate) clients: Vec<usize>,
    /// Who is in the perimeter, and how often.
    perimeter: Option<(usize, u32)>,
    /// Clients that want packets.
    pub(crate) active: u32,
    /// Entry points that run.
    entries: u32,
    abilities: Abilities,
    sent: VecDeque<(usize, usize)>,
    /// What IP gets of a wire, or a guest of a link.
    pub(crate) received: VecDeque<usize>,
    /// Told after something was received.
    pub(crate) hook: Option<crate::guest::Hook>,
    /// Opens and clients of a wire that nobody has opened.
    usual: (u32, usize),
}

pub(crate) struct Client {
    pub(crate) mac: usize,
    siphon: Option<(mac_siphon_t, usize)>,
    ears: u32,
    /// Siphons that run.
    running: u32,
}

struct Ear {
    client: usize,
    callback: mac_rx_t,
    argument: usize,
    running: u32,
}

pub(crate) struct Macs {
    pub(crate) all: BTreeMap<usize, Mac>,
    pub(crate) clients: BTreeMap<usize, Client>,
    ears: BTreeMap<usize, Ear>,
    registrations: BTreeMap<usize, ()>,
    pub(crate) property: provider::Property,
    made: usize,
    number: u32,
}

impl Macs {
    pub(crate) const fn new() -> Self {
        Self {
            all: BTreeMap::new(),
            clients: BTreeMap::new(),
            ears: BTreeMap::new(),
            registrations: BTreeMap::new(),
            property: provider::Property::NONE,
            made: 0,
            number: 0,
        }
    }

    /// A handle that no other object has or had.
    pub(crate) fn handle(&mut self) -> usize {
        self.made += 16;
        HANDLES + self.made
    }

    pub(crate) fn left_over(&self, found: &mut Vec<String>) {
        for mac in self.all.values() {
            let (opens, clients) = (mac.opens, mac.clients.len());
            if mac.provider.is_some() || (opens, clients) != mac.usual {
                found.push(format!("link {:?}: {opens} opens, {clients} clients", mac.name));
            }
        }
        found.extend(self.ears.keys().map(|ear| format!("promiscuous callback {ear:#x}")));
        found.extend(self.registrations.keys().map(|it| format!("registration {it:#x}")));
        let siphons = self.clients.iter().filter(|(_, client)| client.siphon.is_some());
        found.extend(siphons.map(|(client, _)| format!("siphon of client {client:#x}")));
    }
}

impl World {
    /// A link, with the structure that tells of it.
    fn make_mac(&mut self, name: &str, provider: Option<Provider>, address: [u8; 6]) -> usize {
        let info = self.make::<mac_info_t>();
        let place = self.make::<[u8; 8]>();
        // SAFETY: fresh structures; the address has room for 6 bytes.
        unsafe {
            place.cast::<[u8; 6]>().write(address);
            (*info).mi_media = DL_ETHER;
            (*info).mi_nativemedia = DL_ETHER;
            (*info).mi_addr_length = 6;
            (*info).mi_unicst_addr = place.cast();
        }
        let mac = Mac {
            name: CString::new(name).unwrap_or_default(),
            provider,
            address,
            sdu: [0; 2],
            state: None,
            info,
            opens: 0,
            clients: Vec::new(),
            perimeter: None,
            active: 0,
            entries: 0,
            abilities: Abilities::default(),
            sent: VecDeque::new(),
            received: VecDeque::new(),
            hook: None,
            usual: (0, 0),
        };
        let handle = self.macs.handle();
        self.macs.all.insert(handle, mac);
        handle
    }

    /// Undoes [`World::make_mac`]. What its guests did not take is freed.
    fn unmake_mac(&mut self, who: &str, handle: usize) {
        let Some(mac) = self.macs.all.remove(&handle) else { return };
        for message in mac.received {
            self.freemsg(who, with_exposed_provenance_mut(message));
        }
        // SAFETY: made with the link, and nobody has it any more.
        let place = unsafe { (*mac.info).mi_unicst_addr };
        self.unmake(who, place.cast::<[u8; 8]>());
        self.unmake(who, mac.info);
    }

    /// The link of a handle of the module's.
    pub(crate) fn mac(&mut self, who: &str, handle: usize) -> Option<&mut Mac> {
        if !self.macs.all.contains_key(&handle) {
            self.blame(format!("{who} of {handle:#x}, which is no link, or no longer"));
        }
        self.macs.all.get_mut(&handle)
    }

    pub(crate) fn client(&mut self, who: &str, handle: usize) -> Option<&mut Client> {
        if !self.macs.clients.contains_key(&handle) {
            self.blame(format!("{who} of {handle:#x}, which is no client, or no longer"));
        }
        self.macs.clients.get_mut(&handle)
    }

    /// Becomes a client of a link.
    pub(crate) fn join(&mut self, mac: usize) -> usize {
        let handle = self.macs.handle();
        let client = Client { mac, siphon: None, ears: 0, running: 0 };
        self.macs.clients.insert(handle, client);
        if let Some(mac) = self.macs.all.get_mut(&mac) {
            mac.clients.push(handle);
        }
        handle
    }

    /// Is a client no more.
    pub(crate) fn leave(&mut self, who: &str, handle: usize) {
        let Some(client) = self.client(who, handle) else { return };
        let (mac, busy) = (client.mac, client.ears > 0 || client.siphon.is_some());
        let busy = busy || client.running > 0;
        if busy {
            self.blame(format!("{who}: the client still hears"));
        }
        self.macs.clients.remove(&handle);
        if let Some(mac) = self.macs.all.get_mut(&mac) {
            mac.clients.retain(|it| *it != handle);
        }
    }

    fn wire(&mut self, name: &str) -> Option<&mut Mac> {
        let is = |mac: &&mut Mac| mac.provider.is_none() && mac.name.as_bytes() == name.as_bytes();
        self.macs.all.values_mut().find(is)
    }
}

/// Makes a wire with a data link of the same name that carries packets of so many bytes, and which
/// IP has opened.
pub fn wire(name: &str, address: [u8; 6], largest: u32, abilities: Abilities) {
    with(|world| {
        let handle = world.make_mac(name, None, address);
        let Some(mac) = world.macs.all.get_mut(&handle) else { return };
        (mac.sdu, mac.abilities, mac.state) = ([0, largest], abilities, Some(LINK_STATE_UP));
        if abilities.foreign {
            // SAFETY: made with the link.
            unsafe { (*mac.info).mi_media = DL_ETHER + 1 };
        }
        world.plumb(name, handle);
        if let Some(mac) = world.macs.all.get_mut(&handle) {
            mac.usual = (mac.opens, mac.clients.len());
        }
    });
}

/// Packets that were sent over a wire since the last call, in order.
pub fn take_sent(name: &str) -> Vec<Sent> {
    with(|world| {
        let sent = world.wire(name).map(|mac| core::mem::take(&mut mac.sent)).unwrap_or_default();
        let sent = sent.into_iter();
        sent.map(|(at, hint)| Sent { message: Message::at(at), hint }).collect()
    })
}

/// Packets of a wire that IP got since the last call, in order.
pub fn take_stack(name: &str) -> Vec<Message> {
    with(|world| {
        let got = world.wire(name).map(|mac| core::mem::take(&mut mac.received));
        got.unwrap_or_default().into_iter().map(Message::at).collect()
    })
}

/// A chain comes in over a wire: copies go to who listens, then the chain to the siphon, and what
/// that leaves to IP.
pub fn arrive(name: &str, chain: Message, context: Context) {
    run_in(context, || {
        let messages = with(|world| world.take_chain("a test", chain.0));
        let known = with(|world| {
            let mac = world.wire(name)?;
            Some(mac.clients.clone())
        });
        let Some(clients) = known else { return };
        for client in &clients {
            copies(*client, &messages);
        }
        let mut rest = linked(&messages);
        for client in &clients {
            rest = siphoned(*client, rest, context);
        }
        with(|world| {
            let left = world.take_chain("a siphon", rest);
            if let Some(mac) = world.wire(name) {
                mac.received.extend(left.iter().map(|it| it.expose_provenance()));
            }
        });
    });
}

/// Copies of packets for all ears of a client, one after the other.
fn copies(client: usize, messages: &[*mut mblk_t]) {
    let ears = with(|world| {
        let ears = world.macs.ears.iter_mut().filter(|(_, ear)| ear.client == client);
        let ears = ears.map(|(handle, ear)| {
            ear.running += 1;
            (*handle, ear.callback, ear.argument)
        });
        ears.collect::<Vec<_>>()
    });
    for (handle, callback, argument) in ears {
        with(|world| world.thread().callbacks.push(handle));
        for message in messages {
            let copy = with(|world| world.copymsg(*message));
            let argument = with_exposed_provenance_mut(argument);
            // SAFETY: the module's callback with its own argument; not removed while it runs.
            unsafe { callback(argument, null_mut(), copy, B_FALSE) };
        }
        with(|world| {
            world.thread().callbacks.retain(|it| *it != handle);
            if let Some(ear) = world.macs.ears.get_mut(&handle) {
                ear.running -= 1;
            }
            wake();
        });
    }
}

/// What the siphon of a client leaves of a chain.
fn siphoned(client: usize, chain: *mut mblk_t, context: Context) -> *mut mblk_t {
    let siphon = with(|world| {
        let it = world.macs.clients.get_mut(&client)?;
        let siphon = it.siphon?;
        it.running += 1;
        world.thread().callbacks.push(client);
        Some(siphon)
    });
    let (Some((siphon, argument)), false) = (siphon, chain.is_null()) else { return chain };
    let argument = with_exposed_provenance_mut(argument);
    let (mut last, mut count, mut bytes) = (null_mut(), c_uint::MAX, usize::MAX);
    let told = context == Context::Interrupt;
    // SAFETY: the module's siphon with its own argument; places that may be written, or null.
    let rest = unsafe {
        if told {
            siphon(argument, chain, &mut last, &mut count, &mut bytes)
        } else {
            siphon(argument, chain, null_mut(), null_mut(), null_mut())
        }
    };
    with(|world| {
        world.thread().callbacks.retain(|it| *it != client);
        let left = world.take_chain("a siphon", rest);
        let seen: usize = left.iter().map(|it| world.bytes_of("a siphon", *it).len()).sum();
        let right = (left.last().copied().unwrap_or(null_mut()), left.len() as c_uint, seen);
        if told && (last, count, bytes) != right {
            world.blame(format!("a siphon tells {:?}, right is {right:?}", (last, count, bytes)));
        }
        if let Some(it) = world.macs.clients.get_mut(&client) {
            it.running -= 1;
        }
        wake();
        linked(&left)
    })
}

/// Calls an entry point of a link in kernel context.
pub(crate) fn entry<R>(
    mac: usize,
    context: Context,
    call: impl FnOnce(&mac_callbacks_t, *mut core::ffi::c_void) -> R,
) -> Option<R> {
    let provider = with(|world| {
        let mac = world.macs.all.get_mut(&mac)?;
        let provider = mac.provider?;
        mac.entries += 1;
        Some(provider)
    })?;
    // SAFETY: registered, and it does not become unregistered while an entry point runs.
    let callbacks = unsafe { &*provider.callbacks };
    let driver = with_exposed_provenance_mut(provider.driver);
    let result = run_in(context, || call(callbacks, driver));
    with(|world| {
        match world.macs.all.get_mut(&mac) {
            Some(mac) => mac.entries -= 1,
            None => world.blame("a link was unregistered while an entry point ran".into()),
        }
        wake();
    });
    Some(result)
}

/// A handle as the module has it.
pub(crate) fn pointer<T>(handle: usize) -> *mut T {
    without_provenance_mut(handle)
}

/// Number of an error, for those that fail on purpose.
pub(crate) const NO_MEMORY: c_int = illumos_sys_hdrs::sys::errno::ENOMEM;
