// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Programs that make load, and that take it: hidden commands, called inside of a namespace.
//!
//! Every loop has an end: a number of packets or requests, and a time. A client writes one line
//! of JSON, so that the caller need not know how it measures.

pub mod connect;
pub mod hold;
pub mod ping;
pub mod serve;
pub mod sink;
pub mod udp;

use anyhow::Result;
use clap::Subcommand;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Takes UDP packets and counts them.
pub const SINK: u16 = 7001;
/// Sends back what comes, on UDP and on TCP; any CPU.
pub const ECHO: u16 = 7002;
/// The same, on CPU 0.
pub const ECHO_PINNED: u16 = 7003;
/// One request, one answer, and the server closes.
pub const SHORT: u16 = 7004;
/// Sends UDP packets back, with the address and port that they came from.
pub const OBSERVER: u16 = 7005;

/// How long anybody waits for an answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// A load.
#[derive(Debug, Subcommand)]
pub enum Load {
    /// Take every kind of load, for a bounded time
    Serve {
        #[arg(long, default_value_t = 1800)]
        seconds: u64,
    },
    /// Send UDP packets of 64-byte frames, at a rate or as fast as can be
    Udp {
        to: Ipv4Addr,
        /// Packets per second
        #[arg(long)]
        rate: Option<f64>,
        #[arg(long)]
        millis: u64,
    },
    /// Look for the highest rate of such packets that loses almost nothing
    UdpClean {
        to: Ipv4Addr,
        /// Of one attempt
        #[arg(long)]
        millis: u64,
    },
    /// Send a request, wait for its answer, and again
    Ping {
        to: Ipv4Addr,
        #[arg(long)]
        tcp: bool,
        /// Both ends on CPU 0
        #[arg(long)]
        pinned: bool,
        #[arg(long)]
        millis: u64,
    },
    /// Keep UDP conversations going, and see whether anything ever changes about them
    Hold {
        to: Ipv4Addr,
        #[arg(long, default_value_t = 50)]
        sockets: u32,
        #[arg(long)]
        millis: u64,
    },
    /// Open a connection for each request
    Connect {
        to: Ipv4Addr,
        #[arg(long, default_value_t = 4)]
        threads: usize,
        #[arg(long)]
        millis: u64,
    },
}

/// The hidden command.
pub fn run(load: Load) -> Result<()> {
    let line = match load {
        Load::Serve { seconds } => return serve::run(Duration::from_secs(seconds)),
        Load::Udp { to, rate, millis } => {
            serde_json::to_string(&udp::Generator::new(to)?.blast(rate, time(millis))?)
        }
        Load::UdpClean { to, millis } => serde_json::to_string(&udp::clean(to, time(millis))?),
        Load::Ping { to, tcp, pinned, millis } => {
            let port = if pinned { ECHO_PINNED } else { ECHO };
            if pinned {
                stay_on_first_cpu()?;
            }
            let to = SocketAddr::from((to, port));
            serde_json::to_string(&ping::run(to, tcp, time(millis))?)
        }
        Load::Hold { to, sockets, millis } => {
            serde_json::to_string(&hold::run(to, sockets, time(millis))?)
        }
        Load::Connect { to, threads, millis } => {
            serde_json::to_string(&connect::run(to, threads, time(millis))?)
        }
    };
    println!("{}", line?);
    Ok(())
}

fn time(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Pins this thread, and those that it starts.
fn stay_on_first_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(0)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cpus)?)
}
