// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The host without an engine: whatever a guest sends goes to one other host, and whatever comes
//! from there goes to the guest. What it reaches is the limit for what an engine can reach on it.
//!
//! ```text
//! bare PORT LINK SRC DST [all|none] [SPIN_US]
//! ```
//!
//! makes the device PORT, sends over the underlay from SRC to DST, and runs until it is stopped,
//! then prints its counters. `none` leaves all checksums and segmentation to the guest.

#[path = "../tests/host/bare.rs"]
mod bare;

use anyhow::{Context, bail};
use bare::Bare;
use opte::outer::GeneveOptions;
use std::sync::Arc;
use std::time::Duration;
use xde_linux::check;
use xde_linux::counters::Counters;
use xde_linux::crew::{self, Crew};
use xde_linux::host::Clock;
use xde_linux::port::GuestOffloads;
use xde_linux::port::tap::Tap;
use xde_linux::signals;
use xde_linux::sys::link;
use xde_linux::underlay::udp::UdpUnderlay;
use xde_linux::worker::{Pace, Worker};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [port, underlay, src, dst, rest @ ..] = args.as_slice() else {
        bail!("usage: bare PORT LINK SRC DST [all|none] [SPIN_US]");
    };
    let offloads = match rest.first() {
        None | Some(&"all") => GuestOffloads::All,
        Some(&"none") => GuestOffloads::None,
        Some(other) => bail!("'{other}' is neither 'all' nor 'none'"),
    };
    let mut pace = Pace::default();
    if let Some(micros) = rest.get(1) {
        pace.spin = Duration::from_micros(micros.parse()?);
    }
    let stop = signals::stop_request()?;
    let counters = Arc::new(Counters::default());
    let (orders, remote) = crew::remote()?;
    let taps = Tap::create(port, MTU, offloads, 1).context("cannot make the device")?;
    let links = vec![link::index(underlay).context("no such link")?];
    let sockets = UdpUnderlay::open(&links, check::joining(), 1);
    let sockets = sockets.context("cannot open the underlay")?;
    let engine = Arc::new(Bare::new(src.parse()?, dst.parse()?, GeneveOptions::NONE));
    let shared = Arc::clone(&counters);
    let packets = std::thread::spawn(move || {
        Worker::new(orders, engine, Clock::start(), pace, shared)?.run(&stop)
    });
    let crew = Crew::new(vec![remote]);
    crew.set_underlay(sockets)?;
    crew.add_port(bare::PORT, taps)?;
    packets.join().map_err(|_| anyhow::anyhow!("the packet thread has failed"))??;
    for (name, value) in counters.all().into_iter().filter(|(_, value)| *value > 0) {
        println!("{name} {value}");
    }
    Ok(())
}

/// Largest packet of the guest.
const MTU: u16 = 1500;
