// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The role of a hypervisor host: guests' ports, and the underlay to the other hosts.
//!
//! One thread or several move packets, others serve requests; they share the [`Driver`]. On SIGINT
//! or SIGTERM the packet threads end, the socket's file is removed, and devices vanish with the
//! process.

use crate::check;
use crate::control::ControlServer;
use crate::counters::Counters;
use crate::crew::{self, Crew};
use crate::engine::Engine;
use crate::host::{Clock, LinuxHost, Log, secret};
use crate::platform::LinuxPlatform;
use crate::port::PortKind;
use crate::service;
use crate::settings::Settings;
use crate::signals;
use crate::worker::Worker;
use anyhow::{Context, anyhow};
use opte_api::frame::{
    HEADER_LEN, Header, MAX_REQUEST, MAX_RESPONSE, decode_answer, encode_request,
};
use oxide_vpc_api::request::SetUnderlay;
use parking_lot::Mutex;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use xde::driver::Driver;

/// Runs a hypervisor host until it is asked to stop.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    service::start_log(&settings.log)?;
    if settings.ports == PortKind::Tap {
        check::tap_devices()?;
    }
    let driver: Driver<LinuxHost> =
        Driver::new(secret().context("cannot read random numbers")?, Log);
    let station = Station::start(&settings, driver)?;
    let server =
        ControlServer::start(&settings.socket, station.desk.clone().answer(), station.counters)?;
    tracing::info!("serves {}", settings.socket.display());
    service::tell_ready();
    // All end when they are asked to; if one ends otherwise, so does the process.
    let end = station.ends.recv();
    drop(server);
    tracing::info!("stopped");
    end.map_err(|_| anyhow!("a packet thread has failed"))?.context("a packet thread has failed")
}

/// Packet threads with all that surrounds it, but for the control socket.
struct Station<E> {
    desk: Arc<Desk<E>>,
    counters: Arc<Counters>,
    ends: Receiver<io::Result<()>>,
}

impl<E: Engine> Station<E> {
    fn start(settings: &Settings, engine: E) -> anyhow::Result<Self> {
        let stop = signals::stop_request().context("cannot listen to signals")?;
        let (engine, clock) = (Arc::new(engine), Clock::start());
        let counters: Arc<Counters> = Arc::default();
        let (done, ends) = mpsc::channel();
        let mut remotes = Vec::new();
        for number in 0..settings.workers {
            let (orders, remote) = crew::remote()?;
            let (pace, done, stop) = (settings.pace, done.clone(), stop.try_clone()?);
            let (engine, counters) = (Arc::clone(&engine), Arc::clone(&counters));
            let work = move || Worker::new(orders, engine, clock, pace, counters)?.run(&stop);
            thread::Builder::new()
                .name(format!("packets-{number}"))
                .spawn(move || done.send(ending(work)))
                .context("cannot start a packet thread")?;
            remotes.push(remote);
        }
        let crew = Crew::new(remotes);
        let (ports, offloads) = (settings.ports, settings.offloads);
        let platform = LinuxPlatform::new(crew, ports, offloads, Arc::clone(&counters));
        let desk = Arc::new(Desk { engine, clock, platform: Mutex::new(platform) });
        if !settings.underlay.is_empty() {
            desk.set_underlay(settings.underlay.clone())?;
        }
        Ok(Self { desk, counters, ends })
    }
}

/// How `work` ends: a panic is an end, too, which the other threads would not show.
fn ending(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(io::Error::other("panic")))
}

/// Where requests are served, one after the other.
struct Desk<E> {
    engine: Arc<E>,
    clock: Clock,
    platform: Mutex<LinuxPlatform>,
}

impl<E: Engine> Desk<E> {
    fn serve(&self, header: Header, body: &[u8]) -> Vec<u8> {
        let mut platform = self.platform.lock();
        self.engine.control(&mut *platform, self.clock.now(), header, body)
    }

    fn answer(self: Arc<Self>) -> impl Fn(Header, &[u8]) -> Vec<u8> + Send + Sync + 'static {
        move |header, body| self.serve(header, body)
    }

    /// The request that a client would make, so that the engine knows of it.
    fn set_underlay(&self, links: Vec<String>) -> anyhow::Result<()> {
        let names = links.join(", ");
        let request = encode_request(&SetUnderlay { links })?;
        let (head, body) = request.split_first_chunk::<HEADER_LEN>().context("no header")?;
        let answer = self.serve(Header::from_bytes(*head, MAX_REQUEST)?, body);
        let (head, body) = answer.split_first_chunk::<HEADER_LEN>().context("no header")?;
        decode_answer::<()>(Header::from_bytes(*head, MAX_RESPONSE)?, body)
            .with_context(|| format!("underlay over {names}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_end() {
        assert!(ending(|| Ok(())).is_ok());
        assert!(ending(|| panic!("as expected")).is_err());
    }
}
