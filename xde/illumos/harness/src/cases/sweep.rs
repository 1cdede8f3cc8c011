// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Every call that may fail fails once, at each place where it is made: nothing is lost or held, and
//! the state is as before.

use super::{KERNELS, Setting};
use crate::host::{Host, UNDERLAY};
use crate::scene::{HERE, datagram, got, send};
use anyhow::{Context as _, Result, bail, ensure};
use opte_api::frame::{Request, encode_request, is_done};
use opte_tests::setting::add_guest;
use oxide_vpc_api::request::{
    ClearUnderlay, CreatePort, DeletePort, ListPorts, SetMtu, SetUnderlay,
};
use std::collections::{BTreeMap, BTreeSet};
use xde_illumos_shim::context::Context;
use xde_illumos_shim::ddi::{self, Who};
use xde_illumos_shim::fault::{self, FALLIBLE};
use xde_illumos_shim::modules::Kernel;
use xde_illumos_shim::world;

/// Something that is done, and undone.
struct Act {
    name: &'static str,
    before: fn(&mut Host) -> Result<()>,
    /// Whether it was done.
    act: fn(&mut Host) -> bool,
    undo: fn(&mut Host) -> Result<()>,
}

fn nothing(_: &mut Host) -> Result<()> {
    Ok(())
}

/// Makes a request; whether it was served.
fn served<R: Request>(host: &mut Host, request: &R) -> bool {
    let frame = encode_request(request).expect("a small request");
    host.ioctl(Who::Privileged, &frame).is_ok_and(|answer| is_done(&answer))
}

fn set_underlay(host: &mut Host) -> bool {
    served(host, &SetUnderlay { links: vec![UNDERLAY.into()] })
}

fn create(host: &mut Host) -> bool {
    let guest = HERE[0].0;
    let create = CreatePort { name: guest.port(), config: guest.config(0) };
    served(host, &create)
}

fn underlay(host: &mut Host) -> Result<()> {
    ensure!(set_underlay(host), "the underlay");
    Ok(())
}

fn port(host: &mut Host) -> Result<()> {
    ensure!(set_underlay(host) && create(host), "the port");
    Ok(())
}

fn delete(host: &mut Host) -> bool {
    served(host, &DeletePort { name: HERE[0].0.port() })
}

const ACTS: &[Act] = &[
    Act {
        name: "set the underlay",
        before: nothing,
        act: set_underlay,
        undo: |host| host.ask(&ClearUnderlay {}).map(drop),
    },
    Act {
        name: "clear the underlay",
        before: underlay,
        act: |host| served(host, &ClearUnderlay {}),
        undo: nothing,
    },
    Act { name: "create a port", before: underlay, act: create, undo: |host| host.clear() },
    Act { name: "delete a port", before: port, act: delete, undo: |host| host.clear() },
    Act {
        name: "change an MTU",
        before: port,
        act: |host| served(host, &SetMtu { port: HERE[0].0.port(), mtu: 1400 }),
        undo: |host| host.clear(),
    },
];

/// What a failed act must leave as it was.
fn state(host: &mut Host) -> Result<(Vec<String>, String)> {
    let ports = host.ask(&ListPorts {})?;
    Ok((host.left_over(), format!("{ports:?}")))
}

/// Left-over things without their addresses: their kinds, and how many of each.
fn kinds(left: &[String]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for thing in left.iter().filter(|it| !it.contains("allocation")) {
        let kind: String = thing.chars().filter(|it| !it.is_ascii_hexdigit()).collect();
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// Calls that an act makes, of those that may fail.
fn calls(host: &mut Host, act: &Act) -> Result<BTreeMap<&'static str, u64>> {
    (act.before)(host)?;
    host.inside(fault::take_calls);
    ensure!((act.act)(host), "{} does not work at all", act.name);
    let mut calls = host.inside(fault::take_calls);
    calls.retain(|name, _| FALLIBLE.contains(name));
    (act.undo)(host)?;
    Ok(calls)
}

fn one(host: &mut Host, act: &Act, name: &'static str, nth: u64) -> Result<bool> {
    (act.before)(host)?;
    let before = state(host)?;
    host.inside(|| fault::fail(name, nth));
    // Whoever is not told has been served all the same.
    let done = (act.act)(host) || name == "ddi_copyout";
    ensure!(!host.inside(fault::disarm), "the call was not made");
    let complaints = host.complaints();
    ensure!(complaints.is_empty(), "against the rules: {complaints:#?}");
    if !done {
        let after = state(host)?;
        ensure!(after.1 == before.1, "ports before: {}, after: {}", before.1, after.1);
        let (before, after) = (kinds(&before.0), kinds(&after.0));
        ensure!(before == after, "before: {before:#?}, after: {after:#?}");
        ensure!((act.act)(host), "it cannot be done any more");
    }
    (act.undo)(host)?;
    let complaints = host.complaints();
    ensure!(complaints.is_empty(), "against the rules, afterwards: {complaints:#?}");
    Ok(done)
}

/// Requests.
pub fn requests(setting: &Setting<'_>) -> Result<String> {
    let (mut failures, mut names) = (0, BTreeSet::new());
    for kernel in KERNELS {
        for act in ACTS {
            let mut host = started(setting, kernel)?;
            let calls = calls(&mut host, act)?;
            for (name, count) in calls {
                let step = if setting.plain { count.max(1) } else { 1 };
                for nth in (1..=count).step_by(step as usize) {
                    one(&mut host, act, name, nth).with_context(|| {
                        format!("{kernel:?}: {}, call {nth} of {name}", act.name)
                    })?;
                    (failures, _) = (failures + 1, names.insert(name));
                }
            }
            host.shut_down().with_context(|| format!("{kernel:?}: {}", act.name))?;
        }
    }
    Ok(format!("{failures} failures of {} calls", names.len()))
}

fn started(setting: &Setting<'_>, kernel: Kernel) -> Result<Host> {
    let mut host = Host::boot(setting.loaded(), setting.options(kernel));
    host.start()?;
    HERE.iter().for_each(|(guest, _)| host.name(guest.port().as_str()));
    Ok(host)
}

/// `_init`, attach, and a port as the first thing.
pub fn attach(setting: &Setting<'_>) -> Result<String> {
    let mut failures = 0;
    for kernel in KERNELS {
        let mut host = Host::boot(setting.loaded(), setting.options(kernel));
        host.start()?;
        let mut calls = host.inside(fault::take_calls);
        calls.retain(|name, _| FALLIBLE.contains(name) && *name != "secpolicy_dl_config");
        host.stop()?;
        for (name, count) in calls {
            for nth in 1..=count {
                attach_once(&mut host, name, nth)
                    .with_context(|| format!("{kernel:?}: call {nth} of {name}"))?;
                failures += 1;
            }
        }
    }
    Ok(format!("{failures} failures"))
}

fn attach_once(host: &mut Host, name: &'static str, nth: u64) -> Result<()> {
    host.inside(|| fault::fail(name, nth));
    let installed = host.init() == 0;
    let attached = installed && host.inside(ddi::attach);
    if !attached {
        ensure!(!host.inside(fault::disarm), "the call was not made");
        if installed {
            ensure!(host.inside(ddi::attach), "it does not attach any more");
        } else {
            ensure!(host.init() == 0 && host.inside(ddi::attach), "it does not load any more");
        }
    }
    host.inside(fault::disarm);
    let (guest, port) = HERE[0];
    host.name(guest.port().as_str());
    let opened = host.inside(|| ddi::open("ctl", 0, ddi::Who::Privileged));
    ensure!(opened.is_ok(), "open: {opened:?}");
    host.ask(&SetUnderlay { links: vec![UNDERLAY.into()] })?;
    add_guest(host, guest, 0);
    host.open_all()?;
    send(host, port, &[datagram(guest, HERE[1].0, [1, 1000], b"x")], Context::Interrupt);
    drop(got(host));
    host.clear()?;
    host.stop()?;
    let (complaints, left) = (host.complaints(), host.left_over());
    ensure!(complaints.is_empty(), "against the rules: {complaints:#?}");
    ensure!(left.is_empty(), "left over: {left:#?}");
    Ok(())
}

/// Detach and `_fini`.
pub fn detach(setting: &Setting<'_>) -> Result<String> {
    for kernel in KERNELS {
        let mut host = started(setting, kernel)?;
        host.inside(|| ddi::close("ctl"));
        host.inside(|| fault::fail("mod_remove", 1));
        ensure!(host.fini() != 0, "it is unloaded while it is attached");
        ensure!(host.inside(ddi::detach), "detach");
        host.inside(|| fault::fail("mod_remove", 1));
        if host.fini() == 0 {
            bail!("it is unloaded although the kernel refuses");
        }
        ensure!(host.inside(ddi::attach) && host.inside(ddi::detach), "it does not attach again");
        ensure!(host.fini() == 0, "_fini");
        let (complaints, left) = (host.inside(world::complaints), host.left_over());
        ensure!(complaints.is_empty() && left.is_empty(), "{complaints:?} {left:?}");
    }
    Ok("a kernel that refuses to unload keeps a module that works".into())
}
