// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! All that can be seen of a host without disturbing it.

use crate::hypervisor::Hypervisor;
use opte_api::frame::Request;
use oxide_vpc_api::PortName;
use oxide_vpc_api::pools::MAX_LEASE_PAGE;
use oxide_vpc_api::request::{
    DumpCounters, DumpGateways, DumpLayer, DumpM2p, DumpMulticastForwarding,
    DumpMulticastSubscriptions, DumpNatLeases, DumpNatPools, DumpTcpFlows, DumpUft, DumpV2b,
    DumpV2p, ListLayers, ListPorts, ListPrefixes, ListRoutes, ShowPortSettings, ShowUnderlay,
};
use std::fmt::Debug;

/// What each request that only looks is answered, with its name. High-water marks are left out: they
/// tell of the past, in which an external port may have been on loan for a moment, and are
/// forgotten with the map of an address that nobody uses.
pub fn everything(host: &mut Hypervisor) -> Vec<(String, String)> {
    let mut view = View { host, answers: Vec::new() };
    view.ask("", &ShowUnderlay {});
    view.ask("", &DumpV2p::default());
    view.ask("", &DumpV2b::default());
    view.ask("", &DumpM2p {});
    view.ask("", &DumpMulticastForwarding {});
    view.ask("", &DumpMulticastSubscriptions {});
    view.ask("", &DumpCounters { port: None });
    view.ask("", &DumpNatPools { port: None });
    view.ask("", &ListPorts {});
    let ports = view.host.request(&ListPorts {}).unwrap_or_default();
    ports.into_iter().for_each(|port| view.port(&port.name));
    view.answers
}

struct View<'a> {
    host: &'a mut Hypervisor,
    answers: Vec<(String, String)>,
}

impl View<'_> {
    fn ask<R: Request>(&mut self, of: &str, request: &R)
    where
        R::Response: Debug,
    {
        let answer = format!("{:#?}", self.host.request(request));
        let marks = |line: &&str| !line.trim_start().starts_with("high_water");
        let answer = answer.lines().filter(marks).collect::<Vec<_>>().join("\n");
        self.answers.push((format!("{} {of}", R::NAME), answer));
    }

    fn port(&mut self, name: &PortName) {
        let (of, port) = (name.to_string(), || name.clone());
        self.ask(&of, &DumpUft::of(port()));
        self.ask(&of, &DumpTcpFlows::of(port()));
        self.ask(&of, &ListLayers { port: port() });
        for layer in ["gateway", "firewall", "router", "nat", "overlay"] {
            self.ask(&format!("{of} {layer}"), &DumpLayer::of(port(), layer));
        }
        self.ask(&of, &ListRoutes { port: port() });
        self.ask(&of, &DumpGateways { port: port() });
        let limit = MAX_LEASE_PAGE;
        self.ask(&of, &DumpNatLeases { port: port(), after: None, limit });
        self.ask(&of, &ListPrefixes { port: port() });
        self.ask(&of, &ShowPortSettings { port: port() });
    }
}

/// Says what differs; panics if anything does.
#[track_caller]
pub fn assert_same(what: &str, seen: &[(String, String)], before: &[(String, String)]) {
    let differs: Vec<_> = seen.iter().zip(before).filter(|(a, b)| a != b).collect();
    assert!(differs.is_empty() && seen.len() == before.len(), "{what}: {differs:#?}");
}
