// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The loop of a boundary host: waits until frames have come or addresses have changed.

use super::addresses::AddressWatch;
use super::carrier::Carrier;
use super::outside::OutsideLink;
use crate::check;
use crate::counters::Counters;
use crate::host::{Clock, LinuxHost};
use crate::outbox::Outbox;
use crate::packet::{Landings, Pool};
use crate::poller::Poller;
use crate::sys::raw;
use crate::underlay::Underlay;
use crate::underlay::udp::UdpUnderlay;
use crate::vigil::Rounds;
use anyhow::Context;
use opte_api::MacAddr;
use std::net::Ipv6Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use xde::boundary::Boundary;

const TOKEN_STOP: u64 = 0;
const TOKEN_CHANGES: u64 = 1;
const TOKEN_OUTSIDE: u64 = 2;
const TOKEN_UNDERLAY: u64 = 3;
/// Nothing is to be done at a certain time.
const LONG: Duration = Duration::from_secs(60 * 60);

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
        let mut underlays = UdpUnderlay::open(&[], check::joining(), 1)
            .context("cannot open the Geneve port, UDP 6081: is another xde running?")?;
        let underlay = underlays.pop().context("no underlay")?;
        let carrier = Carrier {
            boundary,
            outside: OutsideLink::open(outside)?,
            outside_mac: MacAddr::default(),
            underlay,
            underlay_mtu: None,
            counters,
            landings: Landings::new(&Pool::default(), raw::BATCH),
            outbox: Outbox::default(),
        };
        let mut worker = Self { carrier, watch, clock: Clock::start() };
        worker.refresh()?;
        Ok(worker)
    }

    /// Moves packets until `stop` can be read; looks for more for `spin` at most before it sleeps.
    pub fn run(&mut self, stop: impl AsFd, spin: Duration) -> anyhow::Result<()> {
        let mut poller = Poller::new()?;
        poller.add(&stop, TOKEN_STOP)?;
        poller.add(&self.watch, TOKEN_CHANGES)?;
        poller.add(&self.carrier.outside, TOKEN_OUTSIDE)?;
        poller.add(&self.carrier.underlay.readable(), TOKEN_UNDERLAY)?;
        let mut rounds = Rounds::new(spin);
        let mut ready = Vec::new();
        let mut instant = Instant::now();
        loop {
            instant = rounds.wait(&mut poller, instant + LONG, &mut ready)?;
            let now = self.clock.at(instant);
            for token in &ready {
                match *token {
                    TOKEN_STOP => return Ok(()),
                    TOKEN_CHANGES => self.addresses_changed()?,
                    TOKEN_OUTSIDE => {
                        let carried = self.carrier.outside_ready(now);
                        carried.context("cannot read the outside link")?;
                    }
                    _ => self.carrier.underlay_ready(now),
                }
            }
        }
    }

    fn addresses_changed(&mut self) -> anyhow::Result<()> {
        self.carrier.outside.check()?;
        if let Err(error) = self.refresh() {
            // The addresses of before stay; the next change is another chance.
            tracing::warn!("{error:#}");
        }
        Ok(())
    }

    /// Reads the addresses of this host anew, and acts on them.
    fn refresh(&mut self) -> anyhow::Result<()> {
        let addresses = self.watch.read()?;
        tracing::debug!(?addresses);
        self.carrier.outside_mac = addresses.outside.mac;
        self.carrier.outside.changed();
        self.carrier.boundary.set_outside(addresses.outside);
        self.carrier.underlay.set_links(addresses.inner_links);
        let mtu = |link: String| raw::mtu(&self.carrier.outside, &link).ok();
        self.carrier.underlay_mtu = addresses.underlay.and_then(mtu);
        Ok(())
    }
}
