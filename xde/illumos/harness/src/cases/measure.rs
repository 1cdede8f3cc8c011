// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a packet of a known flow costs in the module: for a counter of instructions around this
//! process, and calls of the kernel, which are counted here.

use crate::host::{Host, Options};
use crate::module;
use crate::scene::{FAR, HERE, arrive, datagram, host, send, tunnelled};
use anyhow::{Result, ensure};
use std::path::Path;
use xde_illumos_shim::context::Context;
use xde_illumos_shim::fault;
use xde_illumos_shim::modules::Kernel;

/// Where packets go.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Way {
    /// From a guest to another of the same host.
    Near,
    /// From a guest to another host.
    Out,
    /// From another host to a guest.
    In,
}

/// Sends a chain of so many packets; whether all arrive.
fn one(host: &mut Host, way: Way, chain: u32) -> bool {
    let chain = chain as usize;
    let [(five, at5), (six, _)] = HERE;
    let context = Context::Interrupt;
    match way {
        Way::Near => {
            let frame = datagram(five, six, [1000, 5300], b"payload");
            send(host, at5, &vec![frame; chain], context);
        }
        Way::Out => {
            let frame = datagram(five, FAR, [1000, 5300], b"payload");
            send(host, at5, &vec![frame; chain], context);
        }
        Way::In => {
            let frame = datagram(FAR, five, [5300, 1000], b"payload");
            arrive(host, &vec![tunnelled(&frame, five); chain], context);
        }
    }
    host.received().len() + host.sent().len() == chain
}

/// Sends so many packets of a flow that is there already, in chains; tells in a line what they
/// needed. Probes are as they are while nobody watches.
pub fn run(path: &Path, way: Way, packets: u32, chain: u32) -> Result<()> {
    let loaded = module::load(path)?;
    let mut host = host(loaded, Options { plain: true, ..Options::of(Kernel::Oxide) })?;
    for _ in 0..70 {
        ensure!(one(&mut host, way, chain), "packets do not arrive");
    }
    let pull_ups = host.counter("pull_ups");
    host.inside(fault::take_calls);
    let chains = packets.div_ceil(chain);
    for _ in 0..chains {
        ensure!(one(&mut host, way, chain), "packets do not arrive");
    }
    let packets = chains * chain;
    let calls = host.inside(fault::take_calls);
    let each = |name: &str| {
        let count = calls.get(name).copied().unwrap_or_default();
        f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / f64::from(packets.max(1))
    };
    let pull_ups = host.counter("pull_ups") - pull_ups;
    println!(
        "{way:?}: {packets} packets in chains of {chain}, {pull_ups} pull-ups; each {:.2} \
         kmem_alloc, {:.2} allocb, {:.2} mutexes",
        each("kmem_alloc"),
        each("allocb"),
        each("mutex_enter")
    );
    host.shut_down()
}
