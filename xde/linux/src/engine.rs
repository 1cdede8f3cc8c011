// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the loop and the control socket need of an engine. There is one, [`Driver`]; tests and
//! measurements of the host put a simpler one in its place.

use crate::host::LinuxHost;
use crate::packet::Packet;
use opte::host::Moment;
use opte_api::frame::Header;
use xde::driver::Driver;
use xde::host::{Egress, Platform, PortId, UnderlayShape};

/// Decides about frames and answers requests. Its calls are those of [`Driver`].
pub trait Engine: Send + Sync + 'static {
    /// Serves one request; answers a whole frame.
    fn control(
        &self,
        platform: &mut dyn Platform,
        now: Moment,
        header: Header,
        body: &[u8],
    ) -> Vec<u8>;

    /// Takes frames that the guest of `port` has sent; leaves `frames` empty.
    fn guest_frames(
        &self,
        port: PortId,
        frames: &mut Vec<Packet>,
        now: Moment,
        out: &mut impl Egress<Packet>,
    );

    /// Takes frames that came over the underlay; leaves `frames` empty.
    fn underlay_frames(
        &self,
        shape: UnderlayShape,
        frames: &mut Vec<Packet>,
        now: Moment,
        out: &mut impl Egress<Packet>,
    );

    /// Removes some of what was idle for too long. To be called a few times a second, and again
    /// between packets for as long as it is true.
    fn upkeep(&self, now: Moment) -> bool;
}

impl Engine for Driver<LinuxHost> {
    fn control(
        &self,
        platform: &mut dyn Platform,
        now: Moment,
        header: Header,
        body: &[u8],
    ) -> Vec<u8> {
        self.control(platform, now, header, body)
    }

    fn guest_frames(
        &self,
        port: PortId,
        frames: &mut Vec<Packet>,
        now: Moment,
        out: &mut impl Egress<Packet>,
    ) {
        self.from_guest(port, frames, now, out);
    }

    fn underlay_frames(
        &self,
        shape: UnderlayShape,
        frames: &mut Vec<Packet>,
        now: Moment,
        out: &mut impl Egress<Packet>,
    ) {
        self.from_underlay(shape, frames, now, out);
    }

    fn upkeep(&self, now: Moment) -> bool {
        self.upkeep(now)
    }
}
