// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! An engine that decides nothing: one port, one other host.

use opte::frame::Rewrite;
use opte::host::Moment;
use opte::outer::{GeneveOptions, Outer};
use opte_api::frame::{Header, encode_answer};
use opte_api::{OpteError, Vni};
use std::net::Ipv6Addr;
use xde::host::{Egress, Platform, PortId, UnderlayShape};
use xde_linux::engine::Engine;
use xde_linux::packet::Packet;

/// The port.
pub const PORT: PortId = PortId(7);
/// Length of a Geneve header without options.
const GENEVE_LEN: u16 = 8;

/// The engine.
pub struct Bare(Outer);

impl Bare {
    /// Sends from `src` to `dst`, with these options.
    pub fn new(src: Ipv6Addr, dst: Ipv6Addr, options: GeneveOptions) -> Self {
        Self(Outer {
            src,
            dst,
            source_port: 50_003,
            vni: Vni::from_bytes([0, 0, 99]),
            options,
            traffic_class: 0,
        })
    }
}

impl Engine for Bare {
    fn control(&self, _: &mut dyn Platform, _: Moment, header: Header, _: &[u8]) -> Vec<u8> {
        encode_answer::<()>(&Err(OpteError::UnknownCommand(header.code)))
    }

    fn guest_frames(
        &self,
        _: PortId,
        frames: &mut Vec<Packet>,
        _: Moment,
        out: &mut impl Egress<Packet>,
    ) {
        let rewrite = Rewrite { strip: 0, outer: Some(self.0) };
        frames.drain(..).for_each(|frame| out.to_underlay(frame, &rewrite));
    }

    fn underlay_frames(
        &self,
        shape: UnderlayShape,
        frames: &mut Vec<Packet>,
        _: Moment,
        out: &mut impl Egress<Packet>,
    ) {
        assert_eq!(
            shape,
            UnderlayShape::Geneve {
                src: self.0.dst,
                dst: self.0.src,
                traffic_class: self.0.traffic_class
            }
        );
        let strip = GENEVE_LEN + self.0.options.as_slice().len() as u16;
        let rewrite = Rewrite { strip, outer: None };
        frames.drain(..).for_each(|frame| out.to_guest(PORT, frame, &rewrite));
    }

    fn upkeep(&self, _: Moment) -> bool {
        false
    }
}
