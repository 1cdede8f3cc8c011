// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Probes fire where something happens, wherever they are in the code.

use super::Setting;
use crate::module::{DROPPED, take_fired, watch};
use crate::scene::{FAR, HERE, arrive, datagram, got, host, send, tunnelled};
use anyhow::{Result, ensure};
use opte::event::EVENTS;
use opte_api::Direction;
use opte_tests::setting::Guest;
use std::collections::{BTreeMap, BTreeSet};
use xde_illumos_shim::context::Context;
use xde_illumos_shim::modules::Kernel;

/// Every event has sites, and those of ordinary life fire.
pub fn all(setting: &Setting<'_>) -> Result<String> {
    let loaded = setting.loaded();
    let there: BTreeSet<&str> = loaded.sites().iter().map(|site| site.probe.as_str()).collect();
    for event in EVENTS {
        ensure!(there.contains(event.probe), "{} has no site", event.probe);
    }
    watch(loaded, |_| true);
    let shown = seen(setting);
    watch(loaded, |probe| probe == DROPPED);
    let seen = shown?;
    let wanted = [
        "batch-begin",
        "batch-end",
        "control-begin",
        "control-end",
        "decide-begin",
        "decide-end",
        DROPPED,
        "flow-opened",
        "published",
        "rule-matched",
    ];
    for probe in wanted {
        ensure!(seen.contains_key(probe), "{probe} has not fired: {seen:?}");
    }
    for (begin, end) in [("batch-begin", "batch-end"), ("decide-begin", "decide-end")] {
        ensure!(seen.get(begin) == seen.get(end), "{begin} and {end}: {seen:?}");
    }
    let count: usize = seen.values().sum();
    Ok(format!("{} sites; {count} events of {} kinds", loaded.sites().len(), seen.len()))
}

/// How often each probe fired.
fn seen(setting: &Setting<'_>) -> Result<BTreeMap<String, usize>> {
    let [(five, at5), (six, _)] = HERE;
    take_fired();
    let mut host = host(setting.loaded(), setting.options(Kernel::Oxide))?;
    let near = datagram(five, six, [1000, 53], b"near");
    let nobody = datagram(five, Guest(77), [1000, 53], b"to nobody");
    send(&mut host, at5, &[near.clone(), near, nobody], Context::Interrupt);
    let far = tunnelled(&datagram(FAR, five, [53, 1000], b"far"), five);
    arrive(&mut host, &[far], Context::Kernel);
    ensure!(got(&mut host).len() == 3, "packets arrive {}", Direction::In);
    host.shut_down()?;
    let mut seen = BTreeMap::new();
    take_fired().into_iter().for_each(|it| *seen.entry(it.probe).or_default() += 1);
    Ok(seen)
}
