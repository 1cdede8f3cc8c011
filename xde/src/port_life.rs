// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The states of a port, which requests each takes, and what may be changed while it runs.

use crate::dispatch::serve;
use crate::driver::Driver;
use crate::host::{Moment, Platform};
use crate::management::{Management, flow_limit, self_mappings, unknown};
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte::host::Host;
use opte_api::OpteError;
use opte_api::frame::Request;
use oxide_vpc::Mappings;
use oxide_vpc_api::request::*;
use oxide_vpc_api::{PortConfig, PortName, PortState};

/// States in which a port may be told something new. While it is paused or restored and not
/// started, it is what was saved.
pub(crate) const CHANGE: &[PortState] = &[PortState::Ready, PortState::Running];
/// States in which flows may be removed.
pub(crate) const CLEAR: &[PortState] = &[PortState::Running];
/// States in which flows may be looked at. A port that is ready has none.
pub(crate) const LOOK: &[PortState] = &[PortState::Running, PortState::Paused, PortState::Restored];

impl<H: Host> Management<H> {
    /// Requests about the life of one port.
    #[inline(never)]
    pub(crate) fn serve_life(
        &mut self,
        driver: &Driver<H>,
        platform: &mut dyn Platform,
        now: Moment,
        code: u16,
        body: &[u8],
    ) -> Vec<u8> {
        match code {
            SetPortSettings::CODE => serve(body, |r| self.set_settings(driver, now, r)),
            ShowPortSettings::CODE => serve(body, |r: ShowPortSettings| {
                self.port(&r.port).map(|managed| managed.vpc.config().settings.clone())
            }),
            SetMtu::CODE => serve(body, |r| self.set_mtu(platform, r)),
            SetDhcp::CODE => serve(body, |r: SetDhcp| {
                self.change(&r.port, |vpc| vpc.reconfigure(None, |c| c.dhcp = r.dhcp))
            }),
            SetUnderlayAddress::CODE => serve(body, |r| self.set_underlay_address(r)),
            StartPort::CODE => {
                serve(body, |r: StartPort| self.set_state(&r.port, PortState::Running, now))
            }
            PausePort::CODE => serve(body, |r: PausePort| {
                self.permit(&r.port, "pause it", &[PortState::Running])?;
                self.set_state(&r.port, PortState::Paused, now)
            }),
            ResetPort::CODE => serve(body, |r: ResetPort| {
                self.set_state(&r.port, PortState::Ready, now)?;
                self.port(&r.port)?.device.port.clear_flows();
                self.space.tidy();
                Ok(())
            }),
            SavePort::CODE => serve(body, |r| self.save(now, r)),
            StageRestore::CODE => serve(body, |r| self.stage(r)),
            RestorePort::CODE => serve(body, |r| self.restore(driver, platform, now, r)),
            code => unknown(code),
        }
    }

    /// Refuses what a port does not take in its state.
    pub(crate) fn permit(
        &self,
        name: &PortName,
        what: &str,
        states: &[PortState],
    ) -> Result<(), OpteError> {
        let state = self.port(name)?.state;
        if states.contains(&state) {
            return Ok(());
        }
        let names: Vec<_> = states.iter().map(ToString::to_string).collect();
        let names = names.join(" or ");
        Err(OpteError::BadState(format!(
            "port '{name}' is {state}; to {what} it must be {names}: see start-port, pause-port"
        )))
    }

    pub(crate) fn set_state(
        &mut self,
        name: &PortName,
        state: PortState,
        now: Moment,
    ) -> Result<(), OpteError> {
        let managed = self.ports.get_mut(name).ok_or_else(|| OpteError::not_found("port", name))?;
        (managed.state, managed.since) = (state, now);
        managed.device.port.set_running(state == PortState::Running);
        Ok(())
    }

    fn set_settings(
        &mut self,
        driver: &Driver<H>,
        now: Moment,
        SetPortSettings { port, settings }: SetPortSettings,
    ) -> Result<(), OpteError> {
        let limit = flow_limit(driver, &settings)?;
        self.change(&port, |vpc| {
            let until = vpc.until(now);
            vpc.reconfigure(until, |c| c.settings = settings)
        })?;
        self.set_deadline();
        self.space.tidy();
        self.port(&port).map(|managed| managed.device.port.set_flow_limit(limit, now))
    }

    fn set_mtu(
        &mut self,
        platform: &mut dyn Platform,
        SetMtu { port, mtu }: SetMtu,
    ) -> Result<(), OpteError> {
        self.permit(&port, "change it", CHANGE)?;
        PortConfig { mtu, ..self.port(&port)?.vpc.config().clone() }.validate()?;
        platform.set_mtu(&port, mtu)?;
        self.change(&port, |vpc| vpc.reconfigure(None, |config| config.mtu = mtu))
    }

    fn set_underlay_address(
        &mut self,
        SetUnderlayAddress { port, underlay_ip }: SetUnderlayAddress,
    ) -> Result<(), OpteError> {
        self.permit(&port, "change it", CHANGE)?;
        let mut new = self.port(&port)?.vpc.config().clone();
        new.underlay_ip = underlay_ip;
        new.validate()?;
        let maps = self_mappings(&new)
            .try_fold(Mappings::clone(&self.maps), |maps, entry| maps.with_guest(&entry))?;
        if let Some(managed) = self.ports.get_mut(&port) {
            managed.vpc.reconfigure(None, |config| *config = new)?;
            managed.device.set_underlay_ip(underlay_ip);
        }
        self.maps = Arc::new(maps);
        self.publish_switch();
        Ok(())
    }
}
