// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The role of a boundary host: `xde boundary`.
//!
//! [`xde::boundary`] decides about packets; here is what it decides for. `outside` is the link
//! to the world, `hops` knows the next devices there, `carrier` moves packets between it and the underlay, `addresses` says which
//! addresses the host itself has, `worker` waits for something to do. One thread moves packets,
//! others serve requests.
//!
//! The kernel sees every frame of the outside link, too. It leaves those for the NAT table alone,
//! for their addresses are none of its own, unless it forwards: forwarding must be off on the
//! outside interface.

mod addresses;
mod carrier;
mod hops;
mod outside;
mod worker;

use crate::control::ControlServer;
use crate::counters::Counters;
use crate::host::{LinuxHost, secret};
use crate::settings::{DEFAULT_LOG, DEFAULT_SOCKET, MAX_SPIN_MICROS};
use crate::{service, signals};
use anyhow::Context;
use opte_api::{MacAddr, Vni};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use worker::Worker;
use xde::boundary::{Boundary, Config};

/// Options of `xde boundary`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Interface towards the outside
    #[arg(long, value_name = "INTERFACE")]
    outside: String,
    /// Underlay address to which hypervisor hosts send; it must be one of this host's
    #[arg(long, value_name = "IPV6")]
    underlay_ip: Ipv6Addr,
    /// VNI of packets to the boundary
    #[arg(long, value_name = "NUMBER", default_value_t = Config::DEFAULT_VNI)]
    vni: Vni,
    /// MAC address of the boundary in inner frames
    #[arg(long, value_name = "MAC", default_value_t = Config::DEFAULT_INNER_MAC)]
    boundary_mac: MacAddr,
    /// Microseconds to look for more frames before going to sleep, at most, 0 to 10000
    #[arg(long, env = "XDE_SPIN_US", value_name = "MICROSECONDS", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_SPIN_MICROS)))]
    spin_us: u32,
    /// Unix socket for requests, as of opteadm; only this user can connect
    #[arg(long, env = "XDE_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// What to log to standard error: a level (error, warn, info, debug, trace), or levels by part
    #[arg(long, env = "XDE_LOG", value_name = "FILTER", default_value = DEFAULT_LOG)]
    log: String,
}

/// Runs a boundary until SIGINT or SIGTERM comes.
pub fn run(args: Args) -> anyhow::Result<()> {
    service::start_log(&args.log)?;
    let stop = signals::stop_request().context("cannot listen to signals")?;
    let config =
        Config { underlay_ip: args.underlay_ip, vni: args.vni, inner_mac: args.boundary_mac };
    let seed = secret().context("cannot read random numbers")?;
    let boundary = Arc::new(Boundary::<LinuxHost>::new(config, seed));
    let counters = Arc::new(Counters::default());
    let mut worker =
        Worker::open(&args.outside, args.underlay_ip, boundary.clone(), counters.clone())?;

    let host = counters.clone();
    let answer = move |header, body: &[u8]| boundary.control(header, body, &host.all());
    let server = ControlServer::start(&args.socket, answer, counters)?;
    tracing::info!("boundary between {} and {}", args.outside, args.underlay_ip);
    tracing::info!("serves {}", args.socket.display());
    service::tell_ready();
    let end = worker.run(&stop, Duration::from_micros(args.spin_us.into()));
    drop(server);
    tracing::info!("stopped");
    end
}
