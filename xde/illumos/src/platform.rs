// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Links, made and removed as requests want it.
//!
//! Every call comes from the one thread that serves a request (see [`crate::lock::Token`]), so the
//! mutex around what is owned is never waited for, and nothing of the kernel is called under it.

use crate::guest::Owned;
use crate::lock::Mutex;
use crate::memory::MayWait;
use crate::state::State;
use crate::underlay::Open;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte::host::Lock;
use opte_api::{MacAddr, OpteError};
use oxide_vpc_api::PortName;
use xde::host::{Platform, PortId};

/// All that requests have made.
#[derive(Default)]
pub struct Made {
    guests: BTreeMap<PortId, Owned>,
    underlay: Option<Open>,
}

impl Made {
    /// For the beginning.
    pub fn nothing() -> Mutex<Self> {
        Mutex::new(Self::default())
    }

    /// Whether anything is left.
    pub fn is_nothing(&self) -> bool {
        self.guests.is_empty() && self.underlay.is_none()
    }
}

/// The host side of a request.
pub struct IllumosPlatform<'a> {
    /// All there is.
    pub state: &'a Arc<State>,
    /// Requests wait for memory.
    pub _waits: MayWait,
}

impl Platform for IllumosPlatform<'_> {
    fn create_device(
        &mut self,
        port: PortId,
        name: &PortName,
        mac: MacAddr,
        mtu: u16,
    ) -> Result<(), OpteError> {
        let owned = Owned::create(self.state, port, name, mac, mtu)?;
        let guest = owned.guest.clone();
        self.state.made.with(|made| made.guests.insert(port, owned));
        self.state.change_ways(|ways| {
            ways.guests.insert(port, guest);
        });
        Ok(())
    }

    fn delete_device(&mut self, port: PortId, name: &PortName) -> Result<(), OpteError> {
        let Some(owned) = self.state.made.with(|made| made.guests.remove(&port)) else {
            return Err(OpteError::not_found("link of port", name));
        };
        let guest = owned.guest.clone();
        self.state.change_ways(|ways| {
            ways.guests.remove(&port);
        });
        owned.remove(name).map_err(|(owned, error)| {
            self.state.made.with(|made| made.guests.insert(port, owned));
            self.state.change_ways(|ways| {
                ways.guests.insert(port, guest);
            });
            error
        })
    }

    fn set_mtu(&mut self, name: &PortName, mtu: u16) -> Result<(), OpteError> {
        let guest = self.state.made.with(|made| {
            made.guests.values().find(|it| it.name == *name).map(|it| it.guest.clone())
        });
        let guest = guest.ok_or_else(|| OpteError::not_found("link of port", name))?;
        Owned::set_mtu(&guest, name, mtu)
    }

    fn set_underlay(&mut self, links: &[String]) -> Result<(), OpteError> {
        let open = Open::links(links, self.state)?;
        let underlay = open.underlay.clone();
        self.state.routes.forget();
        self.state.made.with(|made| made.underlay = Some(open));
        self.state.change_ways(|ways| ways.underlay = Some(underlay));
        Ok(())
    }

    fn clear_underlay(&mut self) -> Result<(), OpteError> {
        self.state.change_ways(|ways| ways.underlay = None);
        // Closed here, by the thread that may wait for whoever is still sending.
        drop(self.state.made.with(|made| made.underlay.take()));
        Ok(())
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.state.counters.all()
    }
}
