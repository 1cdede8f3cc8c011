// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Whoever opens the link of a port: a virtual machine, snoop(8), IP. It sends, gets packets, and
//! asks the driver what there is to ask, mac(9E).

use crate::context::Context;
use crate::mac::provider::{self, Property};
use crate::mac::{entry, perimeter};
use crate::message::Message;
use crate::world::with;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::{c_int, c_uint};
use illumos_sys_hdrs::sys::errno::{ENOENT, ENOTSUP};
use illumos_sys_hdrs::sys::mac::{LINK_STATE_UP, MAC_PROP_MTU};
use illumos_sys_hdrs::sys::types::{B_TRUE, datalink_id_t};

/// Told after packets came.
pub type Hook = Arc<dyn Fn() + Send + Sync>;

/// How a link is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum By {
    /// By its data link, which is held as long: snoop(8), IP.
    DataLink,
    /// By its MAC, as a virtual machine does.
    Mac,
}

/// An open link.
#[derive(Debug)]
pub struct Guest {
    mac: usize,
    client: usize,
    number: datalink_id_t,
    by: By,
}

impl Guest {
    /// Opens the data link of this name; error number. The first who does starts the link.
    pub fn open(name: &str, by: By) -> Result<Self, c_int> {
        let found = with(|world| {
            let number = world.dls.number(name)?;
            Some((number, world.dls.mac_of(number)?))
        });
        let (number, mac) = found.ok_or(ENOENT)?;
        perimeter::go_in(mac);
        let first = with(|world| {
            let it = world.macs.all.get_mut(&mac)?;
            it.opens += 1;
            it.active += 1;
            let first = it.active == 1;
            if by == By::DataLink {
                world.dls.hold(number, 1);
            }
            Some(first)
        });
        let client = with(|world| world.join(mac));
        let it = Self { mac, client, number, by };
        let error = match first {
            Some(true) => entry(mac, Context::Kernel, |callbacks, driver| {
                // SAFETY: registered, in the perimeter.
                callbacks.mc_start.map_or(0, |start| unsafe { start(driver) })
            }),
            _ => Some(0),
        };
        perimeter::go_out(mac);
        match error {
            Some(0) => Ok(it),
            error => Err(error.unwrap_or(ENOENT)),
        }
    }

    /// Tells `hook` of packets that come, from now on.
    pub fn on_receive(&self, hook: Option<Hook>) {
        with(|world| {
            if let Some(mac) = world.macs.all.get_mut(&self.mac) {
                mac.hook = hook;
            }
        });
    }

    /// Sends a chain.
    pub fn send(&self, chain: Message, context: Context) {
        let rest = entry(self.mac, context, |callbacks, driver| {
            // SAFETY: registered and started; the chain is given away.
            callbacks.mc_tx.map(|send| unsafe { send(driver, chain.0) })
        });
        if let Some(Some(rest)) = rest
            && !rest.is_null()
        {
            with(|world| world.blame("mc_tx gives packets back".into()));
        }
    }

    /// Packets that came since the last call.
    pub fn received(&self) -> Vec<Message> {
        with(|world| {
            let mac = world.macs.all.get_mut(&self.mac);
            let got = mac.map(|mac| core::mem::take(&mut mac.received)).unwrap_or_default();
            got.into_iter().map(Message::at).collect()
        })
    }

    /// A capability, as the longest shape that there is.
    pub fn capability(&self, kind: c_uint) -> Option<[u32; 32]> {
        provider::capability(self.mac, kind)
    }

    /// A statistic.
    pub fn statistic(&self, which: c_uint) -> Option<u64> {
        provider::statistic(self.mac, which)
    }

    /// What is told of a property.
    pub fn property(&self, which: c_uint) -> Property {
        perimeter::go_in(self.mac);
        let property = provider::property(self.mac, which);
        perimeter::go_out(self.mac);
        property
    }

    /// Sets the MTU, as dladm(8) would; error number.
    pub fn set_mtu(&self, mtu: u32) -> c_int {
        self.in_perimeter(|callbacks, driver| {
            let (size, value) = (size_of::<u32>() as c_uint, (&raw const mtu).cast());
            // SAFETY: registered, in the perimeter.
            callbacks
                .mc_setprop
                .map(|set| unsafe { set(driver, c"".as_ptr(), MAC_PROP_MTU, size, value) })
        })
    }

    /// Takes another address; error number.
    pub fn set_address(&self, address: [u8; 6]) -> c_int {
        self.in_perimeter(|callbacks, driver| {
            // SAFETY: registered, in the perimeter; 6 bytes.
            callbacks.mc_unicst.map(|set| unsafe { set(driver, address.as_ptr()) })
        })
    }

    /// Listens to everything; error number.
    pub fn promiscuous(&self) -> c_int {
        self.in_perimeter(|callbacks, driver| {
            // SAFETY: registered, in the perimeter.
            callbacks.mc_setpromisc.map(|set| unsafe { set(driver, B_TRUE) })
        })
    }

    fn in_perimeter(
        &self,
        call: impl FnOnce(
            &illumos_sys_hdrs::sys::mac_provider::mac_callbacks_t,
            *mut core::ffi::c_void,
        ) -> Option<c_int>,
    ) -> c_int {
        perimeter::go_in(self.mac);
        let error = entry(self.mac, Context::Kernel, call).flatten();
        perimeter::go_out(self.mac);
        error.unwrap_or(ENOTSUP)
    }

    /// The largest packet that the MAC layer knows of, and whether the link is up.
    pub fn link(&self) -> (u32, bool) {
        with(|world| {
            let mac = world.macs.all.get(&self.mac);
            mac.map_or((0, false), |mac| (mac.sdu[1], mac.state == Some(LINK_STATE_UP)))
        })
    }

    /// Closes it. The last who does stops the link.
    pub fn close(self) {
        let mac = self.mac;
        perimeter::go_in(mac);
        let last = with(|world| {
            let Some(it) = world.macs.all.get_mut(&mac) else {
                world.blame(format!("a link is gone that somebody has open ({:?})", self.by));
                return false;
            };
            it.active -= 1;
            it.active == 0
        });
        if last {
            entry(mac, Context::Kernel, |callbacks, driver| {
                if let Some(stop) = callbacks.mc_stop {
                    // SAFETY: registered and started, in the perimeter.
                    unsafe { stop(driver) };
                }
            });
        }
        with(|world| {
            world.leave("a test", self.client);
            if let Some(it) = world.macs.all.get_mut(&mac) {
                it.opens -= 1;
                if last {
                    it.hook = None;
                }
            }
            if self.by == By::DataLink {
                world.dls.hold(self.number, -1);
            }
        });
        self.received().into_iter().for_each(crate::message::free);
        perimeter::go_out(mac);
    }
}
