// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The links between hosts: one to eight, opened by name.
//!
//! On a kernel that has them, a *siphon* on the link's own client takes Geneve packets before IP
//! sees them, and a detached opener sends. On mainline, a client of our own hears copies of what
//! comes in, and sends.
//!
//! [`Open`] owns all that has to be closed, and is made and dropped by the thread that serves a
//! request. [`Link`] is what bursts use; its [`Rundown`] keeps it usable until the last of them is
//! done.

mod carrier;
mod client;
mod receive;
mod stream;

use crate::counters::Counter;
use crate::lock::{Rundown, checked};
use crate::message::Chain;
use crate::packet::LinkFacts;
use crate::routes::ip::Stack;
use crate::state::State;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_int;
use core::ptr::null_mut;
use illumos_sys_hdrs::oxide::mac_provider::{
    LSO_TX_TUNNEL_TCP, MAC_CAPAB_TUN_TYPE_GENEVE, MAC_CSO_TUN_INNER_IPHDR,
    MAC_CSO_TUN_INNER_TCP_PARTIAL, MAC_CSO_TUN_INNER_UDP_PARTIAL, mac_capab_cso_t, mac_capab_lso_t,
};
use illumos_sys_hdrs::sys::dlpi::DL_ETHER;
use illumos_sys_hdrs::sys::dls::dls_mgmt_get_linkid;
use illumos_sys_hdrs::sys::mac::mac_handle_t;
use illumos_sys_hdrs::sys::mac_client::{mac_close, mac_open_by_linkid, mac_unicast_primary_get};
use illumos_sys_hdrs::sys::mac_client_priv::{mac_capab_get, mac_info};
use illumos_sys_hdrs::sys::mac_offload::{MAC_CAPAB_HCKSUM, MAC_CAPAB_LSO, mac_capab_t};
use illumos_sys_hdrs::sys::mac_provider::mac_sdu_get;
use illumos_sys_hdrs::sys::types::datalink_id_t;
use opte_api::OpteError;

const ETHER: u32 = 14;

/// What bursts need of a link.
pub struct Link {
    /// Its own address.
    pub mac: [u8; 6],
    /// What it carries.
    pub facts: LinkFacts,
    sender: Sender,
    carrier: carrier::Carrier,
    users: Rundown,
}

/// Whom a chain is handed to.
enum Sender {
    Stream(stream::Opener),
    Client(client::Client),
}

impl Link {
    /// Sends a chain of packets of one flow: those with the same `hint` keep their order. What the
    /// hardware has no room for is dropped by the MAC layer, which counts it.
    pub fn send(&self, chain: Chain, hint: usize) -> Result<(), Counter> {
        let sent = self.users.while_open(|| match &self.sender {
            Sender::Stream(opener) => opener.send(chain, hint),
            Sender::Client(client) => client.send(chain, hint),
        });
        sent.ok_or(Counter::NoUnderlay)
    }

    /// Whether it can carry packets, as far as is known.
    pub fn is_up(&self) -> bool {
        self.carrier.is_up()
    }

    /// Looks whether it is up; `Some` if it went up (true) or down. From the periodic callback.
    pub fn look(&self) -> Option<bool> {
        // SAFETY: open as long as the link has users, of whom we are one.
        self.users.while_open(|| unsafe { self.carrier.look() }).flatten()
    }
}

/// All links, for bursts.
pub struct Underlay {
    /// In the order in which they were named.
    pub links: Vec<Arc<Link>>,
    /// Where routes are asked for.
    pub stack: Stack,
}

/// An open MAC.
struct Mac(mac_handle_t);

// SAFETY: a handle has no tie to a thread.
unsafe impl Send for Mac {}

impl Mac {
    fn open(link: datalink_id_t) -> Result<Self, c_int> {
        let mut handle = null_mut();
        // SAFETY: user context, no lock held, not in a perimeter.
        checked(unsafe { mac_open_by_linkid(link, &mut handle) })?;
        Ok(Self(handle))
    }

    fn is_ethernet(&self) -> bool {
        // SAFETY: open, so what is told of it is valid.
        unsafe { mac_info(self.0).as_ref() }.is_some_and(|info| info.mi_media == DL_ETHER)
    }

    fn address(&self) -> [u8; 6] {
        let mut address = [0; 6];
        // SAFETY: open, and an Ethernet link, whose address is 6 bytes.
        unsafe { mac_unicast_primary_get(self.0, address.as_mut_ptr()) };
        address
    }

    fn longest(&self) -> usize {
        let mut sdu = 0;
        // SAFETY: open; the smallest is of no interest.
        unsafe { mac_sdu_get(self.0, null_mut(), &mut sdu) };
        (sdu + ETHER) as usize
    }

    /// A structure of a capability, in the longest shape that any kernel fills in.
    fn capability<T: Default>(&self, which: mac_capab_t) -> Option<T> {
        let mut data = T::default();
        // SAFETY: open; `data` is zeroed memory of the longest shape.
        let has = unsafe { mac_capab_get(self.0, which, (&raw mut data).cast()) };
        (has != 0).then_some(data)
    }

    /// Cuts TCP and fills in checksums inside of Geneve.
    fn cuts(&self) -> bool {
        let checksums =
            MAC_CSO_TUN_INNER_IPHDR | MAC_CSO_TUN_INNER_TCP_PARTIAL | MAC_CSO_TUN_INNER_UDP_PARTIAL;
        let sums = self.capability::<mac_capab_cso_t>(MAC_CAPAB_HCKSUM);
        let cuts = self.capability::<mac_capab_lso_t>(MAC_CAPAB_LSO);
        sums.is_some_and(|it| {
            it.cso_tunnel.ct_flags & checksums == checksums
                && it.cso_tunnel.ct_types & MAC_CAPAB_TUN_TYPE_GENEVE != 0
        }) && cuts.is_some_and(|it| {
            it.lso_flags & LSO_TX_TUNNEL_TCP != 0
                && it.lso_tunnel_tcp.tun_types & MAC_CAPAB_TUN_TYPE_GENEVE != 0
        })
    }
}

impl Drop for Mac {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once, after all of its clients: fields drop in order.
        unsafe { mac_close(self.0) };
    }
}

/// A link, open. Fields are dropped in this order: first nothing comes in any more, then nothing
/// goes out, then what was opened is closed.
struct OpenLink {
    _listening: Option<Listening>,
    _sending: Sending,
    _closing: Closing,
    _mac: Mac,
}

enum Listening {
    Siphon { _siphon: stream::Siphon },
    Promisc { _ear: client::Ear },
}

/// Bursts may send.
struct Sending(Arc<Link>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.users.close();
    }
}

enum Closing {
    Stream { _stream: stream::Stream },
    Client { _client: client::OwnClient },
}

/// All links of the underlay, open.
pub struct Open {
    links: Vec<OpenLink>,
    /// For bursts.
    pub underlay: Arc<Underlay>,
}

impl Open {
    /// Opens these links and begins to listen. Whatever fails, those that were opened are closed.
    pub fn links(names: &[String], state: &Arc<State>) -> Result<Self, OpteError> {
        let stack = Stack::hold();
        let stack = stack.ok_or_else(|| OpteError::System("the IP stack is not up yet".into()))?;
        let mut links: Vec<OpenLink> = Vec::new();
        for (at, name) in names.iter().enumerate() {
            if names.iter().take(at).any(|other| other == name) {
                return Err(OpteError::invalid(
                    "underlay",
                    format!("link '{name}' is named twice"),
                ));
            }
            let link = OpenLink::open(name, state).map_err(|error| refused(name, error))?;
            links.push(link);
        }
        let shared = links.iter().map(|link| link._sending.0.clone()).collect();
        for (link, name) in links.iter_mut().zip(names) {
            link.listen(state).map_err(|error| refused(name, error))?;
        }
        Ok(Self { links, underlay: Arc::new(Underlay { links: shared, stack }) })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.links.len()
    }
}

/// Why a link could not be opened.
enum Refusal {
    NoSuchLink,
    NotEthernet,
    Failed(&'static str, c_int),
}

fn refused(name: &str, refusal: Refusal) -> OpteError {
    match refusal {
        Refusal::NoSuchLink => OpteError::not_found("link", name),
        Refusal::NotEthernet => {
            OpteError::invalid("underlay", format!("link '{name}' is no Ethernet link"))
        }
        Refusal::Failed(what, error) => {
            OpteError::System(format!("{what} link '{name}': error {error}"))
        }
    }
}

impl OpenLink {
    fn open(name: &str, state: &Arc<State>) -> Result<Self, Refusal> {
        let text = CString::new(name).map_err(|_| Refusal::NoSuchLink)?;
        let mut id = 0;
        // SAFETY: a name that ends with NUL; user context, no lock held, in no perimeter.
        checked(unsafe { dls_mgmt_get_linkid(text.as_ptr(), &mut id) })
            .map_err(|_| Refusal::NoSuchLink)?;
        let mac = Mac::open(id).map_err(|error| Refusal::Failed("opening", error))?;
        if !mac.is_ethernet() {
            return Err(Refusal::NotEthernet);
        }
        let knows_tunnels = state.exports.packet_facts().is_some();
        let facts = LinkFacts { longest: mac.longest(), cuts: knows_tunnels && mac.cuts() };
        let (sender, closing) = match state.exports.streams() {
            Some(calls) => {
                let stream = stream::Stream::open(id, calls)
                    .map_err(|error| Refusal::Failed("making an opener of", error))?;
                (Sender::Stream(stream.opener()), Closing::Stream { _stream: stream })
            }
            None => {
                let client = client::OwnClient::open(mac.0)
                    .map_err(|error| Refusal::Failed("becoming a client of", error))?;
                (Sender::Client(client.client()), Closing::Client { _client: client })
            }
        };
        let carrier = carrier::Carrier::of(mac.0);
        let link = Link { mac: mac.address(), facts, sender, carrier, users: Rundown::new() };
        let sending = Sending(Arc::new(link));
        Ok(Self { _listening: None, _sending: sending, _closing: closing, _mac: mac })
    }

    fn listen(&mut self, state: &Arc<State>) -> Result<(), Refusal> {
        let listening = match (&self._closing, state.exports.streams()) {
            (Closing::Stream { _stream }, Some(calls)) => {
                Listening::Siphon { _siphon: stream::Siphon::set(_stream, calls, state.clone()) }
            }
            (Closing::Client { _client }, _) => {
                let ear = client::Ear::add(_client, state.clone())
                    .map_err(|error| Refusal::Failed("listening at", error))?;
                Listening::Promisc { _ear: ear }
            }
            (Closing::Stream { .. }, None) => return Ok(()),
        };
        self._listening = Some(listening);
        Ok(())
    }
}
