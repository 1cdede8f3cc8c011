// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Requests to a boundary: its NAT table and its counters. What only a hypervisor host can do is
//! refused by name.

use super::Boundary;
use crate::dispatch::{by_version, refuse, serve};
use alloc::vec;
use alloc::vec::Vec;
use opte::host::{Host, Lock};
use opte_api::OpteError;
use opte_api::frame::{Header, Request};
use oxide_vpc_api::dump::{Counter, CounterSet};
use oxide_vpc_api::request::{
    AddBoundaryNat, COMMANDS, DumpCounters, ListBoundaryNat, RemBoundaryNat, Removal,
};

impl<H: Host> Boundary<H> {
    /// Serves one request; answers a whole frame, header and body. A refused request has changed
    /// nothing. `host` are counters of the host, which are shown behind the boundary's own.
    pub fn control(&self, header: Header, body: &[u8], host: &[(&str, u64)]) -> Vec<u8> {
        by_version(header, body, |header, body| match header.code {
            AddBoundaryNat::CODE => serve(body, |request| self.add(request)),
            RemBoundaryNat::CODE => serve(body, |request| self.remove(request)),
            ListBoundaryNat::CODE => serve(body, |ListBoundaryNat {}| Ok(self.list())),
            DumpCounters::CODE => serve(body, |request| self.counter_sets(request, host)),
            code => refuse(refusal(code)),
        })
    }

    /// All entries of the table.
    pub fn list(&self) -> Vec<oxide_vpc_api::BoundaryNat> {
        self.state.with(|state| state.table.list())
    }

    fn add(&self, AddBoundaryNat { entry }: AddBoundaryNat) -> Result<(), OpteError> {
        self.state.with(|state| {
            if state.outside.has(entry.ip) {
                let why = "it is this host's own address; an entry needs one of its own";
                return Err(OpteError::invalid("external address", why));
            }
            state.table.insert(entry)
        })
    }

    fn remove(&self, RemBoundaryNat { entry }: RemBoundaryNat) -> Result<Removal, OpteError> {
        Ok(self.state.with(|state| state.table.remove(&entry)))
    }

    fn counter_sets(
        &self,
        request: DumpCounters,
        host: &[(&str, u64)],
    ) -> Result<Vec<CounterSet>, OpteError> {
        if let Some(port) = request.port {
            return Err(OpteError::not_found("port", port.as_str()));
        }
        let host = host.iter().map(|(name, value)| Counter { name: (*name).into(), value: *value });
        let counters = self.counters.dump().into_iter().chain(host).collect();
        Ok(vec![CounterSet { port: None, counters }])
    }
}

fn refusal(code: u16) -> OpteError {
    match COMMANDS.iter().find(|(known, _)| *known == code) {
        Some(_) => OpteError::BadState("this host is a boundary, which has no ports".into()),
        None => OpteError::UnknownCommand(code),
    }
}
