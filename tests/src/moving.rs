// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Ports that are saved on one host and restored on another.

use crate::hypervisor::Hypervisor;
use opte_api::OpteError;
use oxide_vpc_api::PortName;
use oxide_vpc_api::request::{RestorePort, Restored, SavePort, StageRestore};
use oxide_vpc_api::saved::STAGE_BYTES;
use std::net::Ipv6Addr;

/// All parts of a port.
pub fn save_parts(host: &mut Hypervisor, port: &PortName) -> Result<Vec<Vec<u8>>, OpteError> {
    let (mut parts, mut from) = (Vec::new(), None);
    loop {
        let part = host.request(&SavePort { port: port.clone(), from })?;
        parts.push(part.bytes);
        from = part.next;
        if from.is_none() {
            return Ok(parts);
        }
    }
}

/// A port as a file has it.
pub fn save(host: &mut Hypervisor, port: &PortName) -> Result<Vec<u8>, OpteError> {
    save_parts(host, port).map(|parts| parts.concat())
}

/// Hands a saved port over.
pub fn stage(host: &mut Hypervisor, saved: &[u8]) -> Result<u64, OpteError> {
    let mut offset = 0;
    for part in saved.chunks(STAGE_BYTES) {
        offset = host.request(&StageRestore { offset, bytes: part.to_vec() })?;
    }
    Ok(offset)
}

/// Hands a saved port over, and makes one of it.
pub fn restore(
    host: &mut Hypervisor,
    saved: &[u8],
    underlay_ip: Option<Ipv6Addr>,
) -> Result<Restored, OpteError> {
    let bytes = stage(host, saved)?;
    host.request(&RestorePort { name: None, underlay_ip, bytes })
}
