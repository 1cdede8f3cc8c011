// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Destinations outside that the guest knows by other addresses.

use alloc::string::String;
use core::fmt::{self, Write};
use opte::flow_key::FlowKey;
use opte::nat::Remote;
use oxide_vpc_api::NatDestination;

/// All of a port. What the guest opens to one of them has its destination translated together with
/// its source.
#[derive(Clone, Debug, Default)]
pub(super) struct Destinations(pub alloc::vec::Vec<NatDestination>);

impl Destinations {
    /// How the remote end of a packet that the guest sends is translated.
    pub fn remote(&self, key: &FlowKey) -> Option<Remote> {
        let real = self.0.iter().find_map(|destination| real(destination, key))?;
        Remote::between(key, &real)
    }

    /// Adds what it says, for who looks.
    pub fn describe(&self, text: &mut String) {
        // Writing to a String cannot fail.
        let _: fmt::Result = self.0.iter().try_for_each(|destination| {
            let NatDestination { seen, real, protocol, ports, first_port } = destination;
            write!(text, " destination={seen}")?;
            if let Some(protocol) = protocol {
                write!(text, ":{protocol}")?;
            }
            if let Some(ports) = ports {
                write!(text, ":{ports}")?;
            }
            write!(text, ">{real}")?;
            first_port.map_or(Ok(()), |port| write!(text, ":{port}"))
        });
    }
}

/// The same key with the destination that it has outside.
fn real(destination: &NatDestination, key: &FlowKey) -> Option<FlowKey> {
    let NatDestination { seen, real, protocol, ports, first_port } = destination;
    if !seen.contains(key.dst()) || protocol.is_some_and(|protocol| protocol != key.protocol()) {
        return None;
    }
    let port = match ports {
        None => key.dst_port(),
        Some(ports) => {
            let within = ports.first <= key.dst_port() && key.dst_port() <= ports.last;
            let offset = within.then(|| key.dst_port() - ports.first)?;
            first_port.unwrap_or(ports.first).checked_add(offset)?
        }
    };
    let ip = real.with_host_bits(seen.host_bits(key.dst()));
    Some(key.with_dst(ip).with_dst_port(port))
}
