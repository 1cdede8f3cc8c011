// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The loop of a boundary host: waits until frames have come or addresses have changed.

use super::addresses::AddressWatch;
use super::carrier::Carrier;
use super::outside::OutsideLink;
use crate::counters::Counters;
use crate::host::{Clock, LinuxHost};
use crate::outbox::Outbox;
use crate::packet::Pool;
use crate::sys::raw;
use crate::underlay::Underlay;
use crate::underlay::udp::UdpUnderlay;
use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::net::Ipv6Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use xde::boundary::Boundary;

/// Moves packets between the outside and the underlay.
pub struct Worker {
    carrier: Carrier<LinuxHost, UdpUnderlay>,
    watch: AddressWatch,
    clock: Clock,
}

impl Worker {
    /// Opens both sides. Nothing is sent before [`Worker::run`].
    pub fn open(
        outside: &str,
        underlay_ip: Ipv6Addr,
        boundary: Arc<Boundary<LinuxHost>>,
        counters: Arc<Counters>,
    ) -> anyhow::Result<Self> {
        let watch = AddressWatch::open(outside, underlay_ip)?;
        let underlay = UdpUnderlay::open(Vec::new())
            .context("cannot open the Geneve port, UDP 6081: is another xde running?")?;
        let carrier = Carrier {
            boundary,
            outside: OutsideLink::open(outside)?,
            underlay,
            underlay_mtu: None,
            counters,
            pool: Pool::default(),
            outbox: Outbox::default(),
        };
        let mut worker = Self { carrier, watch, clock: Clock::start() };
        worker.refresh()?;
        Ok(worker)
    }

    /// Moves packets until `stop` can be read.
    pub fn run(&mut self, stop: impl AsFd) -> anyhow::Result<()> {
        loop {
            let mut sources = [
                PollFd::new(&stop, PollFlags::IN),
                PollFd::new(&self.watch, PollFlags::IN),
                PollFd::new(&self.carrier.outside, PollFlags::IN),
                PollFd::from_borrowed_fd(self.carrier.underlay.readable(), PollFlags::IN),
            ];
            match poll(&mut sources, None) {
                Err(Errno::INTR) => continue,
                other => other.context("cannot wait for packets")?,
            };
            let [stopped, changed, outside, underlay] =
                sources.map(|source| !source.revents().is_empty());
            if stopped {
                return Ok(());
            }
            if changed {
                self.carrier.outside.check()?;
                if let Err(error) = self.refresh() {
                    // The addresses of before stay; the next change is another chance.
                    tracing::warn!("{error:#}");
                }
            }
            let now = self.clock.now();
            if outside {
                self.carrier.outside_ready(now).context("cannot read the outside link")?;
            }
            if underlay {
                self.carrier.underlay_ready(now);
            }
        }
    }

    /// Reads the addresses of this host anew, and acts on them.
    fn refresh(&mut self) -> anyhow::Result<()> {
        let addresses = self.watch.read()?;
        tracing::debug!(?addresses);
        self.carrier.boundary.set_outside(addresses.outside);
        self.carrier.underlay.set_links(addresses.inner_links);
        let mtu = |link: String| raw::mtu(&self.carrier.outside, &link).ok();
        self.carrier.underlay_mtu = addresses.underlay.and_then(mtu);
        Ok(())
    }
}
